"""The format that PyTorch wrote before 1.6: pickles, one after the other, then raw storages."""

from __future__ import annotations

from functools import partial
from pickle import UnpicklingError
from typing import Any

import numpy as np

from .memory import frozen, read_into
from .rebuild import Rebuilder, Stored, check_finished
from .unpickle import Source, Unpickler, refuse, shown

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001


def load(source: Source, rebuilder: Rebuilder, place: Any, encoding: str) -> Any:
    """The object in a file of the legacy format.

    Args:
        source: where it begins; afterwards at its end.
        rebuilder, place: see `Rebuilder.fill`.
        encoding: of Python 2's strings.

    Raises:
        pickle.UnpicklingError: a name that is not allowed, or a damaged file.
        EOFError: the file is cut off.
    """

    def persistent(reference: Any) -> Any:
        if type(reference) is not tuple or len(reference) != 6 or _text(reference[0]) != "storage":
            kind = _text(reference[0]) if type(reference) is tuple and reference else reference
            raise refuse(f"Unsupported reference to {shown(kind)}")
        _, kind, key, location, numel, view = reference
        return rebuilder.storage(kind, _text(key), _text(location), numel, view)

    if Unpickler(source, {}).load() != _MAGIC:
        raise UnpicklingError("the file is neither a zip archive nor in PyTorch's legacy format")
    if Unpickler(source, {}).load() != _PROTOCOL:
        raise UnpicklingError("an unknown version of PyTorch's legacy format")
    Unpickler(source, {}).load()  # the system that wrote it; numbers are little-endian anywhere
    result = Unpickler(
        source, rebuilder.names, persistent, rebuilder.build, encoding=encoding
    ).load()
    check_finished(result)
    keys = Unpickler(source, {}).load()
    named = type(keys) is list and all(type(key) in (str, bytes, int) for key in keys)
    if not named or len(set(keys)) != len(keys):
        raise UnpicklingError("the list of storages is no list of different names")
    storages = _Storages(source, keys, rebuilder)
    rebuilder.fill(lambda stored: partial(storages.read, stored), place)
    return result


def _text(value: Any) -> Any:
    return value.decode("ascii", "replace") if type(value) is bytes else value


class _Storages:
    """The raw storages at the end of a file: each its number of elements, then these."""

    def __init__(self, source: Source, keys: list[Any], rebuilder: Rebuilder) -> None:
        self.source = source
        self.starts: dict[str, int] = {}
        for key in map(_text, keys):
            stored = rebuilder.stored.get(key)
            if stored is None:
                raise UnpicklingError(f"storage {shown(key)} belongs to nothing")
            count = int.from_bytes(source.take(8), "little", signed=True)
            itemsize = stored.dtype.itemsize if stored.dtype else 1
            if count * itemsize != stored.nbytes:
                raise UnpicklingError(
                    f"storage {key[:50]!r} has {count} elements of {itemsize} bytes, "
                    f"{stored.nbytes} bytes are announced"
                )
            self.starts[key] = source.file.tell()
            if stored.nbytes > source.left():
                raise EOFError(
                    f"storage {key[:50]!r} has {stored.nbytes} bytes, {source.left()} are there: "
                    "the file is cut off"
                )
            source.file.seek(stored.nbytes, 1)
        self.end = source.file.tell()

    def read(self, stored: Stored) -> np.ndarray:
        """The bytes of a storage."""
        if stored.key not in self.starts:
            raise UnpicklingError(f"storage {stored.key[:50]!r} is not in the file")
        self.source.file.seek(self.starts[stored.key])
        data = frozen(read_into(self.source.file, stored.nbytes))
        self.source.file.seek(self.end)
        return data
