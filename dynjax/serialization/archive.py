"""PyTorch's zip archives: a pickle, and a record of raw bytes for each storage.

Records are stored as they are, never compressed, so that a file is as large as what it holds.

Source: `caffe2/serialize/inline_container.h` describes the format.
"""

from __future__ import annotations

import functools
import os
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable
from concurrent.futures import Executor, Future
from pickle import UnpicklingError
from typing import Any, BinaryIO

import numpy as np

from .memory import ALIGNMENT, aligned, frozen, read_into

_LOCAL_HEADER = 30  # bytes, before the name
_PADDING = b"FB"  # the field that PyTorch aligns records with
_LARGE = 1 << 16  # bytes: worth a thread
_PIECE = 1 << 18  # bytes
_LIMIT = 0xFFFFFFFF  # where the large form of zip archives begins
_VERSION = 45  # of the format, the one that has the large form


class ArchiveReader:
    """An archive to read.

    Args:
        file: at any position.
        pool: reads large records.
        bytes_of: the whole file as an array, if it is mapped; storages are then parts of it.
        direct: `file` is a plain file of the system, and stays open as long as the pool works.

    Raises:
        RuntimeError: it is damaged, or no archive of PyTorch's.
    """

    def __init__(
        self,
        file: BinaryIO,
        pool: Executor,
        bytes_of: np.ndarray | None = None,
        direct: bool = False,
    ) -> None:
        self.file, self.pool, self.bytes_of = file, pool, bytes_of
        self.direct = direct and hasattr(os, "preadv")
        try:
            with zipfile.ZipFile(file) as archive:
                entries = archive.infolist()
        except (zipfile.BadZipFile, NotImplementedError, ValueError, OverflowError) as error:
            raise RuntimeError(
                f"failed reading zip archive: {error}. The file may be cut off or damaged"
            ) from None
        self.records = {entry.filename: entry for entry in entries}
        self._check(entries)
        pickles = [name for name in self.records if name.split("/")[1:] == ["data.pkl"]]
        if len(pickles) != 1:
            raise RuntimeError(
                f"the zip archive has {len(pickles)} records 'data.pkl' instead of 1"
            )
        self.prefix = pickles[0].removesuffix("data.pkl")
        if self.prefix + "constants.pkl" in self.records:
            raise RuntimeError("the file is a TorchScript program: only saved state can be loaded")
        order = self.prefix + "byteorder"
        self.order = bytes(self.record("byteorder")) if order in self.records else b"little"
        if self.order not in (b"little", b"big"):
            raise RuntimeError(f"unknown byte order {self.order[:20]!r}")

    def _check(self, entries: list[zipfile.ZipInfo]) -> None:
        """See that records are raw, and do not share bytes: then all of them fit into the file."""
        if len(self.records) != len(entries):
            raise RuntimeError("the zip archive has several records of one name")
        end = 0
        size = self.file.seek(0, 2)
        for entry in sorted(entries, key=lambda entry: entry.header_offset):
            if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
                raise RuntimeError(
                    f"record {entry.filename[:100]!r} is compressed, from {entry.file_size} to "
                    f"{entry.compress_size} bytes: PyTorch's files are not"
                )
            if entry.flag_bits & 1:
                raise RuntimeError(f"record {entry.filename[:100]!r} is encrypted")
            start = entry.header_offset
            if start < end or start + _LOCAL_HEADER + entry.file_size > size:
                raise RuntimeError(
                    f"record {entry.filename[:100]!r} of {entry.file_size} bytes lies in others, "
                    "or outside of the file"
                )
            end = start + _LOCAL_HEADER + entry.file_size

    def record(self, name: str) -> np.ndarray:
        """The bytes of a record, read and checked.

        Raises:
            RuntimeError: there is none, or it is cut off, or is damaged.
        """
        entry, start = self._place(name)
        self.file.seek(start)
        try:
            data = read_into(self.file, entry.file_size)
        except EOFError as error:
            raise RuntimeError(f"record {name[:100]!r}: {error}") from None
        # PyTorch can be told to leave checksums out, and writes 0.
        if entry.CRC and zlib.crc32(data) != entry.CRC:
            raise _damaged(name)
        return data

    def _place(self, name: str) -> tuple[zipfile.ZipInfo, int]:
        """A record's entry, and where its bytes begin."""
        entry = self.records.get(self.prefix + name)
        if entry is None:
            raise RuntimeError(f"the zip archive has no record {name[:100]!r}")
        self.file.seek(entry.header_offset)
        header = self.file.read(_LOCAL_HEADER)
        if len(header) != _LOCAL_HEADER or header[:4] != b"PK\x03\x04":
            raise RuntimeError(f"record {name[:100]!r} does not begin where the archive says")
        skip = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
        return entry, entry.header_offset + _LOCAL_HEADER + skip

    def _mapped(self, name: str, start: int, size: int) -> np.ndarray:
        data = self.bytes_of[start : start + size]
        if len(data) != size:
            raise RuntimeError(f"record {name[:100]!r} is cut off")
        return data

    def elements(self, key: str, nbytes: int, itemsize: int) -> Callable[[], np.ndarray]:
        """The bytes of a storage, in this machine's order, as what waits for them.

        A large one is read and checked by a thread meanwhile, if the file was opened here.

        Args:
            key: its name.
            nbytes: how many the pickle says there are.
            itemsize: bytes that make one number.
        """
        name = f"data/{key}"
        entry, start = self._place(name)
        if entry.file_size != nbytes:
            raise UnpicklingError(
                f"storage {key[:50]!r} has {entry.file_size} bytes, {nbytes} are announced"
            )
        read = functools.partial(self.record, name)
        if self.bytes_of is not None:
            read = functools.partial(self._mapped, name, start, nbytes)
        elif self.direct and nbytes >= _LARGE:
            read = self.pool.submit(_checked, self.file.fileno(), name, entry, start).result
        if self.order.decode() == sys.byteorder or itemsize == 1:
            return lambda: frozen(read())
        return lambda: frozen(read().view(f"u{itemsize}").byteswap().view(np.uint8))


def _checked(file: int, name: str, entry: zipfile.ZipInfo, start: int) -> np.ndarray:
    """The bytes of a record, each piece checked while the processor's cache has it still."""
    data = aligned(entry.file_size)
    view, done, crc = memoryview(data), 0, 0
    while done < len(view):
        n = os.preadv(file, [view[done : done + _PIECE]], start + done)
        if not n:
            raise RuntimeError(f"record {name[:100]!r} is cut off")
        if entry.CRC:
            crc = zlib.crc32(view[done : done + n], crc)
        done += n
    if crc != entry.CRC:
        raise _damaged(name)
    return data


def _damaged(name: str) -> RuntimeError:
    return RuntimeError(f"record {name[:100]!r} is damaged: its checksum is another")


class ArchiveWriter:
    """An archive to write.

    Args:
        file: to write to; only written forwards.
        name: of the folder that everything is in.
        pool: computes the checksums of what is to be written, while other records are.
    """

    def __init__(self, file: BinaryIO, name: str, pool: Executor) -> None:
        self.file, self.name, self.pool = file, name, pool
        self.records: list[tuple[bytes, Any, Future[int]]] = []

    def record(self, name: str, data: Any) -> None:
        """Note a record to be written.

        Args:
            name: of the record.
            data: bytes, or a 1-dim array of them.
        """
        full = f"{self.name}/{name}".encode("utf-8", "replace")
        self.records.append((full, data, self.pool.submit(zlib.crc32, data)))

    def close(self) -> None:
        """Write everything; the bytes of records begin at multiples of 64."""
        here, directory = 0, []
        for name, data, checksum in self.records:
            size, crc = len(data), checksum.result()
            large = _zip64(size, size) if size >= _LIMIT else b""
            padding = -(here + _LOCAL_HEADER + len(name) + len(large) + 4) % ALIGNMENT
            extra = large + _PADDING + struct.pack("<H", padding) + b"Z" * padding
            header = _about(crc, size, name, len(extra))
            self.file.write(b"PK\x03\x04" + header + name + extra)
            self.file.write(data)
            far = b""
            if size >= _LIMIT or here >= _LIMIT:
                far = _zip64(size, size, here)
            entry = _about(crc, _LIMIT if far else size, name, len(far))
            place = struct.pack("<3H2L", 0, 0, 0, 0, _LIMIT if far else here)
            directory.append(
                b"PK\x01\x02" + struct.pack("<H", _VERSION) + entry + place + name + far
            )
            here += _LOCAL_HEADER + len(name) + len(extra) + size
        self.file.write(b"".join(directory) + _end(here, sum(map(len, directory)), len(directory)))


def _about(crc: int, size: int, name: bytes, extra: int) -> bytes:
    """What local headers and the directory both say of a record."""
    size = min(size, _LIMIT)
    # UTF-8 names, stored, on the first day there is: equal state makes an equal file.
    return struct.pack("<5H3L2H", _VERSION, 0x800, 0, 0, 33, crc, size, size, len(name), extra)


def _zip64(*numbers: int) -> bytes:
    """The field for numbers that have no room in 32 bits."""
    return struct.pack(f"<2H{len(numbers)}Q", 1, 8 * len(numbers), *numbers)


def _end(start: int, size: int, count: int) -> bytes:
    """What follows the directory, in both forms: the large one holds whatever the numbers are."""
    large = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, _VERSION, _VERSION, 0, 0, count, count,
                        size, start)  # fmt: skip
    finder = struct.pack("<4sLQL", b"PK\x06\x07", 0, start + size, 1)
    few = min(count, 0xFFFF)
    small = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, few, few, min(size, _LIMIT),
                        min(start, _LIMIT), 0)  # fmt: skip
    return large + finder + small
