"""`save` and `load`: state in PyTorch's files."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import IO, Any, BinaryIO

import numpy as np

from ..core.devices import as_device
from ..core.devices import device as Device
from ..tensor.tensor import Tensor, from_host
from . import legacy
from .archive import ArchiveReader, ArchiveWriter
from .atomic import replacing
from .encode import Encoded
from .memory import mapped
from .rebuild import Rebuilder, Stored, check_finished
from .unpickle import Source, Unpickler, refuse, shown

MapLocation = Callable[[Tensor, str], Any] | Device | str | dict[str, str] | None
FileLike = str | os.PathLike[str] | IO[bytes]

# Bytes from which on a file is mapped unless asked otherwise: there, copying and checking it takes
# several times as long as all else.
MAPPED_FROM = 1 << 26


def save(
    obj: object,
    f: FileLike,
    pickle_module: Any = pickle,
    pickle_protocol: int = 2,
    _use_new_zipfile_serialization: bool = True,
    _disable_byteorder_record: bool = False,
) -> None:
    """Write state to a file that `load` and PyTorch's `torch.load(weights_only=True)` read.

    State is tensors, parameters, numbers, text, bytes, None, Size, device and dtype in lists,
    tuples, dicts, OrderedDicts, Counters and sets. NumPy's numbers become Python's. Tensors that
    share a storage share it in the file. A path is replaced as a whole: whoever is killed, the file
    there is the old one or the new one.

    Args:
        obj: the state.
        f: a path, or a file object that can be written to.
        pickle_module: accepted; no pickle module writes this.
        pickle_protocol: 2.
        _use_new_zipfile_serialization: True: the legacy format is read, not written.
        _disable_byteorder_record: leave out the record of the byte order.

    Raises:
        TypeError: an object that could not be loaded without running code, a Module for example.
        RuntimeError: the folder does not exist.
        ValueError: another format.
    """
    if pickle_protocol != 2 or not _use_new_zipfile_serialization:
        raise ValueError(
            "save writes zip archives with pickle protocol 2, not "
            f"pickle_protocol={pickle_protocol}, "
            f"_use_new_zipfile_serialization={_use_new_zipfile_serialization}"
        )
    name = "archive"
    if isinstance(f, (str, os.PathLike)):
        name = os.path.splitext(os.path.basename(os.fsdecode(f)))[0] or name
        folder = os.path.dirname(os.path.realpath(f))
        if not os.path.isdir(folder):
            raise RuntimeError(f"Parent directory {folder} does not exist.")
    elif not hasattr(f, "write"):
        raise AttributeError(
            f"expected 'f' to be a path or a file to write to, not {type(f).__name__}"
        )
    encoded = Encoded(obj)
    # Checksums take less time than writing: one thread, and the writer has a processor of its own.
    with _writing(f) as file, ThreadPoolExecutor(max_workers=1) as pool:
        archive = ArchiveWriter(file, name, pool)
        archive.record("data.pkl", encoded.pickle)
        if not _disable_byteorder_record:
            archive.record("byteorder", sys.byteorder.encode())
        for k, flat in enumerate(encoded.storages):
            archive.record(f"data/{k}", flat.view(np.uint8))
        archive.record("version", b"3\n")
        archive.close()


@contextlib.contextmanager
def _writing(f: FileLike) -> Iterator[BinaryIO]:
    if isinstance(f, (str, os.PathLike)):
        with replacing(f) as file:
            yield file
    else:
        yield f


def load(
    f: FileLike,
    map_location: MapLocation = None,
    pickle_module: Any = None,
    *,
    weights_only: bool | None = None,
    mmap: bool | None = None,
    **pickle_load_args: Any,
) -> Any:
    """Read state from a file that `save` or PyTorch's `torch.save` wrote.

    Zip archives and the legacy format are read. No code is ever run, whatever `weights_only` says:
    names that a file mentions are looked up in a fixed list of what makes tensors, containers and
    NumPy's numbers.

    Args:
        f: a path, or a file object that can be read and can seek.
        map_location: where tensors go: a device; a dict from devices in the file to devices; a
            function of a storage (a 1-dim tensor) and its device in the file, which returns what
            has the device to use. None for the device in the file.
        pickle_module: None.
        weights_only: accepted; it is always so.
        mmap: True, map the file into memory: nothing is copied, values are read from the disk when
            they are looked at, and as in PyTorch and safetensors no checksums of theirs are. `f`
            must be a path. The file must not be cut or written to in place while tensors of it
            live; replacing it, as `save` does, is safe on local disks. False, read it into memory
            and look at checksums. None, True for zip archives at paths from 64 MB on (but on
            Windows, which lets nobody replace a mapped file).
        pickle_load_args: `encoding`, of strings that Python 2 wrote.

    Raises:
        pickle.UnpicklingError: the file mentions a name that is not on the list, or is damaged.
        EOFError, RuntimeError: the file is empty, cut off or damaged, or a device is not there.
        ValueError: mmap of what is no path.
    """
    if pickle_module is not None:
        raise RuntimeError(
            "Can not safely load weights when explicit pickle_module is specified: dynjax.load "
            "never unpickles by running code"
        )
    encoding = pickle_load_args.pop("encoding", "utf-8")
    if pickle_load_args:
        raise TypeError(f"load() got an unexpected keyword argument {min(pickle_load_args)!r}")
    path = isinstance(f, (str, os.PathLike))
    if mmap and not path:
        raise ValueError("f must be a file path in order to use the mmap argument")
    if path:
        with open(f, "rb") as file:
            return _load(file, _placing(map_location), encoding, mmap, direct=True)
    if not all(hasattr(f, name) for name in ("read", "seek", "tell", "readline")):
        raise AttributeError(
            f"{type(f).__name__!r} can't read and seek. You can only load from a file that is "
            "seekable. Please pre-load the data into a buffer like io.BytesIO and try to load from "
            "it instead."
        )
    return _load(f, _placing(map_location), encoding, False)


def _load(
    file: BinaryIO, place: Any, encoding: str, mmap: bool | None, direct: bool = False
) -> Any:
    source = Source(file)
    start = source.take(min(4, source.left()))
    file.seek(source.here)
    if not start:
        raise EOFError("Ran out of input: the file is empty")
    rebuilder = Rebuilder()
    if start != b"PK\x03\x04":
        if mmap:
            raise RuntimeError("mmap can only be used with zip archives, not the legacy format")
        return legacy.load(source, rebuilder, place, encoding)
    data = None
    large = direct and source.left() >= MAPPED_FROM and os.name == "posix"
    if mmap or (mmap is None and large):
        try:
            data = mapped(file)
        except OSError:  # not every file system can
            if mmap:
                raise
    with ThreadPoolExecutor() as pool:
        archive = ArchiveReader(file, pool, data, direct)
        try:
            return _unpickled(archive, rebuilder, place, encoding)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _unpickled(archive: ArchiveReader, rebuilder: Rebuilder, place: Any, encoding: str) -> Any:
    """The object in an archive."""

    def persistent(reference: Any) -> Stored:
        if type(reference) is not tuple or len(reference) != 5 or reference[0] != "storage":
            raise refuse(f"Unsupported reference to {shown(reference)}")
        return rebuilder.storage(*reference[1:])

    def read(stored: Stored) -> Callable[[], np.ndarray]:
        itemsize = _number_size(stored)
        return archive.elements(stored.key, stored.nbytes, itemsize)

    program = Source(io.BytesIO(archive.record("data.pkl")))
    result = Unpickler(
        program, rebuilder.names, persistent, rebuilder.build, encoding=encoding
    ).load()
    check_finished(result)
    rebuilder.fill(read, place)
    return result


def _number_size(stored: Stored) -> int:
    """Bytes of one number: complex elements are two."""
    dtype = stored.dtype
    if dtype is None:
        return 1
    return dtype.itemsize // 2 if dtype.is_complex else dtype.itemsize


def _placing(map_location: MapLocation) -> Callable[[str, np.ndarray], Device]:
    """Where storages go: a function of the location in the file, and the elements."""
    if map_location is None:
        return lambda location, flat: _restored(location)
    if isinstance(map_location, dict):
        return lambda location, flat: _restored(map_location.get(location, location))
    if isinstance(map_location, (str, Device, int)):
        target = as_device(map_location)
        return lambda location, flat: target
    if not callable(map_location):
        raise TypeError(f"map_location must not be {type(map_location).__name__}")

    def asked(location: str, flat: np.ndarray) -> Device:
        found = map_location(from_host(flat, Device("cpu")), location)
        return _restored(location) if found is None else as_device(getattr(found, "device", found))

    return asked


def _restored(location: Any) -> Device:
    """The device of a location in a file."""
    try:
        return as_device(location)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise RuntimeError(
            f"Attempting to deserialize object on device {str(location)[:50]!r}, which is not "
            f"there ({error}). Use map_location=torch.device('cpu') to map your storages to the "
            "CPU."
        ) from None


__all__ = ["load", "save"]
