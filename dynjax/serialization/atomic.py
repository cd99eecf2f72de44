"""Files that are replaced as a whole: whoever looks finds the old content or the new one."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import stat
from collections.abc import Iterator
from typing import BinaryIO

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A new file that takes the place of `path` when the block ends without an exception.

    It is written beside its target, in the same folder, brought to the disk, and renamed over it;
    then the folder is brought to the disk. A process that is killed may leave a hidden
    `.<name>.<random>.tmp` behind, which the next one to write the same
    file removes. What is no regular file (a pipe, a device) is written as it is.

    Args:
        path: the file to make or replace; a symbolic link stays, what it leads to is replaced.

    Raises:
        OSError: as `open` and `os.replace`; the old content is there still.
    """
    target = os.path.realpath(path)
    folder, name = os.path.split(target)
    try:
        mode = os.stat(target).st_mode
    except FileNotFoundError:
        mode = None
    if mode is not None and not stat.S_ISREG(mode):
        with open(target, "wb") as file:
            yield file
        return
    prefix = f".{name[:50]}."  # file names have 255 bytes at most; nobody reads this one
    _clean(folder, prefix)
    temporary, file = _new(folder, prefix)
    try:
        with file:
            if mode is not None:
                os.chmod(temporary, stat.S_IMODE(mode))
            yield file
            file.flush()
            os.fsync(file.fileno())
            if fcntl:  # while it is locked still; elsewhere open files can't be renamed
                os.replace(temporary, target)
        if not fcntl:
            os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    _sync_folder(folder)


def _sync_folder(folder: str) -> None:
    """Bring a folder's list of names to the disk, where the system lets folders be opened."""
    if hasattr(os, "O_DIRECTORY"):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _new(folder: str, prefix: str) -> tuple[str, BinaryIO]:
    """A new hidden file, locked as long as it is open: a killed process holds no lock."""
    while True:
        path = os.path.join(folder, f"{prefix}{secrets.token_hex(8)}.tmp")
        file = open(path, "xb")
        if not fcntl:
            return path, file
        with contextlib.suppress(OSError):  # a file system without locks, where none are cleaned
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            if os.path.samestat(os.stat(path), os.fstat(file.fileno())):
                return path, file
        except FileNotFoundError:  # taken for a dead process's before it was locked
            pass
        file.close()


def _clean(folder: str, prefix: str) -> None:
    """Remove what killed processes left of saving to the same name."""
    if not fcntl:
        return
    pattern = re.compile(re.escape(prefix) + r"[0-9a-f]{16}\.tmp")
    for name in filter(pattern.fullmatch, os.listdir(folder)):
        with contextlib.suppress(OSError), open(os.path.join(folder, name), "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.unlink(file.name)
