"""PyTorch's zip archives: a pickle, and a record of raw bytes for each storage.

Records are stored as they are, never compressed, so that a file is as large as what it holds.

Source: `caffe2/serialize/inline_container.h` describes the format.
"""

from __future__ import annotations

import sys
import zipfile
import zlib
from concurrent.futures import Executor, Future
from pickle import UnpicklingError
from typing import Any, BinaryIO

import numpy as np

from .memory import ALIGNMENT, frozen, read_into

_LOCAL_HEADER = 30  # bytes, before the name
_PADDING = b"FB"  # the field that PyTorch aligns records with
_LARGE = 1 << 20  # bytes
_ZIP64 = 20  # bytes of the field that sizes over 4 GB are in


class ArchiveReader:
    """An archive to read.

    Args:
        file: at any position.
        pool: for the checksums of large records, which take longer than reading does.
        bytes_of: the whole file as an array, if it is mapped; records are then parts of it.

    Raises:
        RuntimeError: it is damaged, or no archive of PyTorch's.
    """

    def __init__(self, file: BinaryIO, pool: Executor, bytes_of: np.ndarray | None = None) -> None:
        self.file, self.pool, self.bytes_of = file, pool, bytes_of
        self.checks: list[tuple[str, int, Future[int]]] = []
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
        """The bytes of a record.

        Raises:
            RuntimeError: there is none, or it is cut off, or is small and damaged; `verify` says
            whether large ones are.
        """
        entry = self.records.get(self.prefix + name)
        if entry is None:
            raise RuntimeError(f"the zip archive has no record {name[:100]!r}")
        self.file.seek(entry.header_offset)
        header = self.file.read(_LOCAL_HEADER)
        if len(header) != _LOCAL_HEADER or header[:4] != b"PK\x03\x04":
            raise RuntimeError(f"record {name[:100]!r} does not begin where the archive says")
        skip = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
        start = entry.header_offset + _LOCAL_HEADER + skip
        if self.bytes_of is not None:
            data = self.bytes_of[start : start + entry.file_size]
            if len(data) != entry.file_size:
                raise RuntimeError(f"record {name[:100]!r} is cut off")
            return data
        self.file.seek(start)
        try:
            data = read_into(self.file, entry.file_size)
        except EOFError as error:
            raise RuntimeError(f"record {name[:100]!r}: {error}") from None
        # PyTorch can be told to leave checksums out, and writes 0.
        if entry.CRC and len(data) >= _LARGE:
            self.checks.append((name, entry.CRC, self.pool.submit(zlib.crc32, data)))
        elif entry.CRC and zlib.crc32(data) != entry.CRC:
            raise _damaged(name)
        return data

    def verify(self) -> None:
        """See that what was read is what was written.

        Raises:
            RuntimeError: it is not.
        """
        while self.checks:
            name, expected, found = self.checks.pop()
            if found.result() != expected:
                raise _damaged(name)

    def elements(self, key: str, nbytes: int, itemsize: int) -> np.ndarray:
        """The bytes of a storage, in this machine's order.

        Args:
            key: its name.
            nbytes: how many the pickle says there are.
            itemsize: bytes that make one number.
        """
        data = self.record(f"data/{key}")
        if len(data) != nbytes:
            raise UnpicklingError(
                f"storage {key[:50]!r} has {len(data)} bytes, {nbytes} are announced"
            )
        if self.order.decode() != sys.byteorder and itemsize > 1:
            data = data.view(f"u{itemsize}").byteswap().view(np.uint8)
        return frozen(data) if data.flags.writeable else data


def _damaged(name: str) -> RuntimeError:
    return RuntimeError(f"record {name[:100]!r} is damaged: its checksum is another")


class ArchiveWriter:
    """An archive to write.

    Args:
        file: to write to.
        name: of the folder that everything is in.
    """

    def __init__(self, file: BinaryIO, name: str) -> None:
        self.zip = zipfile.ZipFile(file, "w", zipfile.ZIP_STORED)
        self.name = name

    def record(self, name: str, data: Any) -> None:
        """Write a record whose bytes begin at a multiple of 64.

        Args:
            name: of the record.
            data: bytes, or a 1-dim array of them.
        """
        entry = zipfile.ZipInfo(f"{self.name}/{name}")  # the date is 1980: equal state, equal file
        size = len(data)
        before = self.zip.fp.tell() + _LOCAL_HEADER + len(entry.filename.encode())
        before += 4 + (_ZIP64 if size * 1.05 > zipfile.ZIP64_LIMIT else 0)
        padding = -before % ALIGNMENT
        entry.extra = _PADDING + padding.to_bytes(2, "little") + b"Z" * padding
        entry.file_size = size
        with self.zip.open(entry, "w") as record:
            record.write(data)

    def close(self) -> None:
        """Write the list of records."""
        self.zip.close()
