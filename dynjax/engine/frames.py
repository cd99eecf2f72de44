"""Where in the user's program something was recorded."""

from __future__ import annotations

import functools
import os
import sys
from itertools import islice
from types import CodeType
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


class Source(NamedTuple):
    """A line of the user's program."""

    file: str
    line: int
    function: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line} in {self.function}"


Place = tuple[CodeType, int]


@functools.cache
def is_ours(filename: str) -> bool:
    """Whether dynjax's own code comes from there."""
    return filename.startswith(_PACKAGE) or filename.startswith("<op ")


def user_place(above: int = 1) -> Place | None:
    """Where the innermost frame outside dynjax is: its code and position, without the line yet.

    Args:
        above: frames that are known to be dynjax's, this one included.
    """
    frame = sys._getframe(above)
    while frame is not None:
        code = frame.f_code
        if not is_ours(code.co_filename):
            last = frame.f_lasti
            place = _places.get((id(code), last))
            return _new_place(code, last) if place is None else place
        frame = frame.f_back
    return None


def _new_place(code: CodeType, last: int) -> Place:
    if len(_places) >= _MOST_PLACES:
        _places.clear()
    place = _places[id(code), last] = code, last
    return place


# One object for a place, however many operations are recorded there: the collector goes through
# what is alive. A place holds its code, so that the code's id stays its own.
_places: dict[tuple[int, int], Place] = {}
_MOST_PLACES = 1 << 16


def source_of(place: Place | None) -> Source | None:
    """The line of a place."""
    if place is None:
        return None
    code, last = place
    line = next(islice(code.co_positions(), last // 2, None), (code.co_firstlineno,))[0]
    return Source(code.co_filename, line or code.co_firstlineno, code.co_name)


def user_stacklevel() -> int:
    """The `stacklevel` with which the caller's warning points at the user's line."""
    frame, level = sys._getframe(1), 1
    while frame is not None:
        if not is_ours(frame.f_code.co_filename):
            return level
        frame, level = frame.f_back, level + 1
    return 1


_paths: WeakKeyDictionary[Any, dict[int, str]] = WeakKeyDictionary()


def module_path(root: Any, inner: Any) -> str:
    """The dotted path of a module from another; its class's name if it is not inside."""
    if inner is root:
        return ""
    path = _paths.get(root, {}).get(id(inner))
    if path is None or _at(root, path) is not inner:
        _paths[root] = {id(module): name for name, module in root.named_modules()}
        path = _paths[root].get(id(inner))
    return type(inner).__name__ if path is None else path


def _at(root: Any, path: str) -> Any:
    """The module at a dotted path, None if there is none."""
    for name in path.split("."):
        root = root._modules.get(name)
        if root is None:
            return None
    return root
