"""Where in the user's program something was recorded."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


class Source(NamedTuple):
    """A line of the user's program."""

    file: str
    line: int
    function: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line} in {self.function}"


def user_source() -> Source | None:
    """The innermost line outside dynjax that led here."""
    frame = sys._getframe(1)
    while frame is not None:
        code = frame.f_code
        if not code.co_filename.startswith(_PACKAGE) and not code.co_filename.startswith("<op "):
            return Source(code.co_filename, frame.f_lineno, code.co_name)
        frame = frame.f_back
    return None


def user_stacklevel() -> int:
    """The `stacklevel` with which the caller's warning points at the user's line."""
    frame, level = sys._getframe(1), 1
    while frame is not None:
        name = frame.f_code.co_filename
        if not name.startswith(_PACKAGE) and not name.startswith("<op "):
            return level
        frame, level = frame.f_back, level + 1
    return 1


def module_path(modules: Sequence[Any]) -> str:
    """The dotted path of the innermost running module, from the outermost one."""
    if not modules:
        return ""
    root, inner = modules[0], modules[-1]
    if inner is root:
        return ""
    for name, module in root.named_modules():
        if module is inner:
            return name
    return type(inner).__name__
