"""safetensors files: tensors by name, as a table and their raw bytes.

The functions are those of `safetensors.torch`. Tensors that are read are parts of the mapped file
until somebody writes to them: nothing is copied, and what nobody looks at is never read.

Source: https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from ..core import dtypes
from ..core.devices import as_device
from ..core.devices import device as Device
from ..tensor.tensor import Tensor, from_host
from .atomic import replacing
from .memory import ALIGNMENT, aligned, frozen, mapped
from .unpickle import shown

_DTYPES = {
    "BOOL": dtypes.bool_, "U8": dtypes.uint8, "I8": dtypes.int8, "I16": dtypes.int16,
    "U16": dtypes.uint16, "F16": dtypes.float16, "BF16": dtypes.bfloat16, "I32": dtypes.int32,
    "U32": dtypes.uint32, "F32": dtypes.float32, "F64": dtypes.float64, "I64": dtypes.int64,
    "U64": dtypes.uint64, "C64": dtypes.complex64,
}  # fmt: skip
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_MAX_TABLE = 100_000_000  # bytes; the format's own limit
_MAX_DIMS = 64  # NumPy's


class SafetensorError(ValueError):
    """A file that is no valid safetensors file, or tensors that can't be written to one."""


class _Entry(NamedTuple):
    """A tensor of a file: bytes `start` to `stop` after the table."""

    dtype: dtypes.dtype
    shape: tuple[int, ...]
    start: int
    stop: int


class safe_open:
    """A file whose tensors are read one by one; a context manager.

    Args:
        filename: the file.
        framework: accepted.
        device: where tensors go.

    Raises:
        SafetensorError: it is no safetensors file, or a damaged one.
        OSError: as `open`.
    """

    def __init__(
        self, filename: str | os.PathLike[str], framework: str = "dynjax", device: Any = "cpu"
    ) -> None:
        with open(filename, "rb") as file:
            data = mapped(file)
        self._file = _File(data, os.fspath(filename))
        self._device = as_device(device)

    def __enter__(self) -> safe_open:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._file = None

    def keys(self) -> list[str]:
        """The tensors' names, sorted."""
        return sorted(self._file.entries)

    def offset_keys(self) -> list[str]:
        """The tensors' names in the order of their bytes."""
        return sorted(self._file.entries, key=lambda name: self._file.entries[name].start)

    def metadata(self) -> dict[str, str] | None:
        """The text that was written with the tensors."""
        return self._file.metadata

    def get_tensor(self, name: str) -> Tensor:
        """A tensor.

        Raises:
            SafetensorError: there is none of this name.
        """
        return from_host(self._file.array(name), self._device)

    def get_slice(self, name: str) -> _Slice:
        """A tensor of which only what is indexed is read."""
        return _Slice(self._file.array(name), self._file.entries[name], self._device)


class _Slice:
    """A tensor in a file, to be indexed."""

    def __init__(self, array: np.ndarray, entry: _Entry, device: Device) -> None:
        self._array, self._entry, self._device = array, entry, device

    def get_shape(self) -> list[int]:
        """Its dimensions."""
        return list(self._entry.shape)

    def get_dtype(self) -> str:
        """Its type, in the format's words."""
        return _NAMES[self._entry.dtype]

    def __getitem__(self, index: Any) -> Tensor:
        # A copy: the rest of the file is not held by it.
        return from_host(np.array(self._array[index]), self._device)


class _File:
    """A parsed file."""

    def __init__(self, data: np.ndarray, name: str) -> None:
        self.name = name
        size = int.from_bytes(data[:8].tobytes(), "little")
        if len(data) < 8:
            raise self._bad(f"{len(data)} bytes, the length of the table alone takes 8")
        if size > _MAX_TABLE or size > len(data) - 8:
            raise self._bad(f"a table of {size} bytes is announced, {len(data) - 8} bytes follow")
        self.data = data[8 + size :]
        try:
            table = json.loads(
                data[8 : 8 + size].tobytes().decode("utf-8"), object_pairs_hook=_once
            )
        except (ValueError, RecursionError) as error:
            raise self._bad(f"the table is no valid JSON: {error}") from None
        if type(table) is not dict:
            raise self._bad("the table is no JSON object")
        self.metadata: dict[str, str] | None = table.pop("__metadata__", None)
        if self.metadata is not None and not (
            type(self.metadata) is dict and all(type(x) is str for x in self.metadata.values())
        ):
            raise self._bad("the metadata are not text by name")
        self.entries = {name: self._entry(name, entry) for name, entry in table.items()}
        end = 0
        for name, entry in sorted(self.entries.items(), key=lambda item: item[1][2:]):
            if entry.start != end:
                raise self._bad(f"tensor {name[:100]!r} begins at {entry.start} instead of {end}")
            end = entry.stop
        if end != len(self.data):
            raise self._bad(f"its tensors have {end} bytes, {len(self.data)} are there")

    def _bad(self, why: str) -> SafetensorError:
        return SafetensorError(f"{self.name}: no valid safetensors file: {why}")

    def _entry(self, name: str, entry: Any) -> _Entry:
        if type(entry) is not dict or entry.keys() != {"dtype", "shape", "data_offsets"}:
            raise self._bad(f"tensor {name[:100]!r} is not described by type, shape and offsets")
        dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
        if type(dtype) is not str or dtype not in _DTYPES:
            raise self._bad(f"tensor {name[:100]!r} has type {shown(dtype)}, unknown here")
        if not _sizes(shape) or len(shape) > _MAX_DIMS or not _sizes(offsets) or len(offsets) != 2:
            raise self._bad(f"tensor {name[:100]!r} has no valid shape and offsets")
        if math.prod(max(n, 1) for n in shape) * _DTYPES[dtype].itemsize >= 1 << 63:  # an empty one
            raise self._bad(f"tensor {name[:100]!r} of shape {shape[:8]} is too large")
        start, stop = offsets
        if stop - start != math.prod(shape) * _DTYPES[dtype].itemsize or stop > len(self.data):
            raise self._bad(
                f"tensor {name[:100]!r} of shape {shape[:8]} and type {dtype} is said to be bytes "
                f"{start} to {stop} of {len(self.data)}"
            )
        return _Entry(_DTYPES[dtype], tuple(shape), start, stop)

    def array(self, name: str) -> np.ndarray:
        """A tensor's values, without a copy where they lie as their type needs it."""
        if name not in self.entries:
            raise SafetensorError(f"{self.name} has no tensor {name!r}")
        entry = self.entries[name]
        raw = self.data[entry.start : entry.stop]
        if raw.ctypes.data % entry.dtype.itemsize:
            moved = aligned(len(raw))
            moved[:] = raw
            raw = frozen(moved)
        if entry.dtype is dtypes.bool_ and raw.max(initial=0) > 1:
            raise self._bad(f"tensor {name[:100]!r} has truth values other than 0 and 1")
        return raw.view(entry.dtype.np).reshape(entry.shape)


def _once(items: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(items)
    if len(found) != len(items):
        raise ValueError("a name occurs twice")
    return found


def _sizes(values: Any) -> bool:
    return type(values) is list and all(type(n) is int and 0 <= n < 1 << 62 for n in values)


def load_file(filename: str | os.PathLike[str], device: Any = "cpu") -> dict[str, Tensor]:
    """The tensors of a file, by name.

    Args:
        filename: the file. It must not be cut or written to in place while tensors of it live;
            replacing it, as `save_file` does, is safe.
        device: where they go.

    Raises:
        SafetensorError: it is no safetensors file, or a damaged one.
        OSError: as `open`.
    """
    with safe_open(filename, device=device) as file:
        return {name: file.get_tensor(name) for name in file.keys()}


def load(data: bytes) -> dict[str, Tensor]:
    """The tensors of a file in memory, by name.

    Raises:
        SafetensorError: it is no safetensors file, or a damaged one.
    """
    file = _File(np.frombuffer(data, np.uint8), "data")
    return {name: from_host(file.array(name)) for name in sorted(file.entries)}


def save_file(
    tensors: Mapping[str, Tensor],
    filename: str | os.PathLike[str],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write tensors to a file, which is replaced as a whole: nobody ever sees a part of it.

    Args:
        tensors: by name; no two may share a storage.
        filename: the file.
        metadata: text to write with them.

    Raises:
        RuntimeError: tensors share a storage.
        SafetensorError: a type that the format does not have.
        TypeError, ValueError: something else than tensors by name.
    """
    table, arrays = _laid_out(tensors, metadata)
    with replacing(filename) as file:
        file.write(table)
        for array in arrays:
            file.write(array)


def save(tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> bytes:
    """The file that `save_file` writes, in memory."""
    table, arrays = _laid_out(tensors, metadata)
    return b"".join([table, *arrays])


def _laid_out(
    tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None
) -> tuple[bytes, list[memoryview]]:
    """A file's table, with its length, and the bytes that follow."""
    check_distinct(tensors)
    table: dict[str, Any] = {}
    if metadata is not None:
        if not all(type(x) is str for pair in metadata.items() for x in pair):
            raise TypeError("metadata must be text by name")
        table["__metadata__"] = dict(metadata)
    arrays, start = [], 0
    # Large elements first: then each tensor begins at a multiple of its element's size.
    for name, tensor in sorted(tensors.items(), key=lambda kv: (-kv[1].dtype.itemsize, kv[0])):
        if tensor.dtype not in _NAMES:
            raise SafetensorError(f"tensor {name!r}: safetensors has no type {tensor.dtype.name}")
        if name == "__metadata__":
            raise SafetensorError("no tensor can be called '__metadata__'")
        stop = start + tensor.nbytes
        table[name] = {
            "dtype": _NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [start, stop],
        }
        host = np.ascontiguousarray(tensor._host())
        arrays.append(memoryview(host.reshape(-1).view(np.uint8)))
        start = stop
    text = json.dumps(table, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % ALIGNMENT)
    return len(text).to_bytes(8, "little") + text, arrays


def check_distinct(tensors: Mapping[str, Tensor]) -> None:
    """See that these are tensors by name, none of which share a storage.

    Raises:
        RuntimeError: some share one.
        TypeError, ValueError: they are something else.
    """
    if not isinstance(tensors, Mapping):
        raise ValueError(f"Expected a dict of [str, Tensor] but received {type(tensors)}")
    owners: dict[int, list[str]] = {}
    for name, tensor in tensors.items():
        if type(name) is not str or not isinstance(tensor, Tensor):
            raise ValueError(
                f"Key `{name}` is invalid, expected Tensor but received {type(tensor)}"
                if type(name) is str
                else f"Expected a dict of [str, Tensor] but the key {name!r} is {type(name)}"
            )
        owner = tensor if tensor._alias is None else tensor._alias.storage
        owners.setdefault(id(owner), []).append(name)
    shared = [names for names in owners.values() if len(names) > 1]
    if shared:
        raise RuntimeError(
            f"Some tensors share memory: {shared}. The file would hold them several times, and "
            "loading it would give independent ones. Save one of each, or clone them, or use "
            "dynjax.save"
        )


__all__ = ["SafetensorError", "load", "load_file", "safe_open", "save", "save_file"]
