"""Bytes of files as arrays that JAX takes as they are."""

from __future__ import annotations

import mmap
from typing import BinaryIO

import numpy as np

# XLA's CPU backend uses memory of others without copying where it is aligned so.
ALIGNMENT = 64


def aligned(nbytes: int) -> np.ndarray:
    """Memory for that many bytes, beginning at a multiple of `ALIGNMENT`."""
    raw = np.empty(nbytes + ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + nbytes]


def frozen(array: np.ndarray) -> np.ndarray:
    """The array, which nobody will write to from now on."""
    if array.flags.writeable:
        array.flags.writeable = False
    return array


def read_into(file: BinaryIO, nbytes: int) -> np.ndarray:
    """The next bytes of a file.

    Raises:
        EOFError: there are fewer.
    """
    array = aligned(nbytes)
    view, done = memoryview(array), 0
    while done < nbytes:
        if hasattr(file, "readinto"):
            n = file.readinto(view[done:])
        else:
            chunk = file.read(nbytes - done)
            n = len(chunk)
            view[done : done + n] = chunk
        if not n:
            raise EOFError(f"{nbytes} bytes are announced, {done} are there: the file is cut off")
        done += n
    return array


def mapped(file: BinaryIO) -> np.ndarray:
    """The bytes of a file, read from the disk when they are looked at.

    The file must not be cut or written to in place while tensors of it live; replacing it, as
    everything here does, is safe.
    """
    file.seek(0, 2)
    if not file.tell():
        return frozen(np.empty(0, np.uint8))
    return np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)
