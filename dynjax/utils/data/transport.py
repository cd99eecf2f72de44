"""Objects from one process to another: the pickle in a message, or in memory that both can see.

What is large goes into an anonymous file in memory, whose descriptor is sent: it has no name, so
nothing is left when a process is killed, and whoever gets it looks at it without copying.
"""

from __future__ import annotations

import io
import mmap
import os
import pickle
import socket
import tempfile
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from .tensors import from_host, plain_types

# XLA's CPU backend uses memory of others without copying where it is aligned so.
_ALIGNMENT = 64
# Bytes: what is larger does not go into a message. `UNDERWAY` messages of this size and what the
# system adds fit into a socket's buffer, so that no end ever waits for the other to read.
_LARGE = 1 << 12
UNDERWAY = 32
_BUFFER = 1 << 12  # bytes: smaller arrays are part of the pickle
_SENDS_FILES = hasattr(socket, "send_fds")


class Ready:
    """An array that becomes a tensor where it arrives.

    Args:
        array: that nobody will write to.
    """

    __slots__ = ("array",)

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def __reduce__(self) -> tuple:
        return from_host, (self.array,)


class _Pickler(pickle.Pickler):
    """Tensors travel as NumPy arrays."""

    def reducer_override(self, obj: Any) -> Any:
        if type(obj) in plain_types():
            if obj.requires_grad and not obj.is_leaf:
                raise RuntimeError(
                    "Cowardly refusing to serialize non-leaf tensor which requires_grad, since "
                    "autograd does not support crossing process boundaries.  If you just want to "
                    "transfer the data, call detach() on the tensor before serializing (e.g., "
                    "putting it on the queue)."
                )
            if type(obj) is plain_types()[0] and not obj.requires_grad and not vars(obj):
                return from_host, (obj._host(),)
        return NotImplemented


class Packed:
    """An object, pickled.

    Args:
        obj: what to pickle.

    Attributes:
        sizes: of the pickle, and of the arrays that lie outside of it, in bytes.
        parts: their bytes.
        total: bytes, padding included.
    """

    __slots__ = ("sizes", "parts", "total")

    def __init__(self, obj: Any) -> None:
        outside: list[memoryview] = []

        def is_inside(buffer: pickle.PickleBuffer) -> bool:
            view = buffer.raw()
            if view.nbytes < _BUFFER:
                return True
            outside.append(view)
            return False

        stream = io.BytesIO()
        _Pickler(stream, 5, buffer_callback=is_inside).dump(obj)
        self.parts = [stream.getbuffer(), *outside]
        self.sizes = [part.nbytes for part in self.parts]
        self.total = sum(map(_padded, self.sizes))

    def file(self) -> int:
        """The descriptor of a new anonymous file that holds it."""
        if hasattr(os, "memfd_create"):
            file = os.memfd_create("dynjax-data", os.MFD_CLOEXEC)
        else:
            with tempfile.TemporaryFile() as made:
                file = os.dup(made.fileno())
        try:
            at = 0
            for part, size in zip(self.parts, self.sizes):
                done = 0
                while done < size:
                    done += os.pwrite(file, part[done:], at + done)
                at += _padded(size)
            os.ftruncate(file, at)
        except BaseException:
            os.close(file)
            raise
        return file


def _padded(size: int) -> int:
    return size + -size % _ALIGNMENT


def unpacked(file: int, sizes: list[int], access: int = mmap.ACCESS_WRITE) -> Any:
    """The object in a file of `Packed`, whose arrays are parts of that file.

    Args:
        file: its descriptor; the caller closes it.
        sizes: as `Packed` says them.
        access: how arrays are written to: in the file, or in copies of its pages.
    """
    whole = memoryview(mmap.mmap(file, 0, access=access))
    at, parts = 0, []
    for size in sizes:
        parts.append(whole[at : at + size])
        at += _padded(size)
    return pickle.loads(parts[0], buffers=parts[1:])


class Channel:
    """One end of a connection that carries objects; safe against the death of the other end.

    Args:
        connection: an end of a two-way pipe.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def fileno(self) -> int:
        return self.connection.fileno()

    def send(self, label: Any, obj: Any) -> None:
        """Send a small label, and an object.

        Raises:
            OSError: the other end is gone. Whatever pickling raises.
        """
        broadcast([self], label, obj)

    def receive(self, access: int = mmap.ACCESS_WRITE) -> tuple[Any, Any]:
        """The next label and object.

        Raises:
            EOFError, OSError: the other end is gone. Whatever unpickling raises.
        """
        label, sizes, inline = pickle.loads(self.connection.recv_bytes())
        if sizes is None:
            return label, pickle.loads(inline[0], buffers=map(bytearray, inline[1:]))
        _, files, _, _ = self._with_socket(lambda end: socket.recv_fds(end, 1, 1))
        if not files:
            raise EOFError("the other process is gone")
        try:
            return label, unpacked(files[0], sizes, access)
        finally:
            os.close(files[0])

    def _with_socket(self, use: Callable[[socket.socket], Any]) -> Any:
        with socket.socket(fileno=os.dup(self.connection.fileno())) as end:
            return use(end)

    def close(self) -> None:
        self.connection.close()


def broadcast(channels: list[Channel], label: Any, obj: Any) -> None:
    """Send one object to several processes, which share its memory if it is large.

    Raises:
        OSError: one of the other ends is gone. Whatever pickling raises.
    """
    packed = Packed(obj)
    if packed.total <= _LARGE or not _SENDS_FILES:
        message = pickle.dumps((label, None, [bytes(part) for part in packed.parts]))
        for channel in channels:
            channel.connection.send_bytes(message)
        return
    message, file = pickle.dumps((label, packed.sizes, None)), packed.file()
    try:
        for channel in channels:
            channel.connection.send_bytes(message)
            channel._with_socket(lambda end: socket.send_fds(end, [b"f"], [file]))
    finally:
        os.close(file)
