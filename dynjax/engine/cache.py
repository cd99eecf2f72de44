"""Compiled programs on disk, for a second start without compiling.

What is stored, and under which key, is JAX's persistent compilation cache. Its settings are global
to a process, so they are ours only while dynjax compiles. An entry is native code: whoever can
write the directory can run code here. So the directory must be private, entries are checked against
digests before JAX may see them, and each set of versions and processor has a directory of its own.

Source: https://docs.jax.dev/en/latest/persistent_compilation_cache.html
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import stat
import threading
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
from jax.experimental.compilation_cache import compilation_cache

from ..core.config import config
from ..core.version import __version__
from .frames import user_stacklevel

_ENTRY, _DIGEST = "-cache", ".sha256"


class Store:
    """The entries of this process's versions and processor, in a directory that is private.

    Args:
        directory: where; made (for its owner only) if it is not there.

    Raises:
        PermissionError: someone else owns it, or could write to it.
        OSError: it can't be made or read.
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        root = Path(directory).expanduser().absolute()
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        root = root.resolve()
        _check_private(root)
        self.path = root / _environment()
        self.path.mkdir(mode=0o700, exist_ok=True)
        _check_private(self.path)
        self._sealed: set[str] = set()
        self._verify()

    def _verify(self) -> None:
        """Remove what is not as it was written, and the oldest entries past the bound."""
        kept = []
        for entry in self.path.glob(f"*{_ENTRY}"):
            found = _digest(entry)
            if found is not None and found == _read(self._seal_of(entry)):
                kept.append((entry.stat().st_mtime, entry.stat().st_size, entry))
                self._sealed.add(entry.name)
            else:
                self._remove(entry)
        over = sum(size for _, size, _ in kept) - config.cache_bytes
        for _, size, entry in sorted(kept):
            if over <= 0:
                break
            self._remove(entry)
            over -= size

    def _seal_of(self, entry: Path) -> Path:
        return entry.with_name(entry.name + _DIGEST)

    def _remove(self, entry: Path) -> None:
        self._sealed.discard(entry.name)
        entry.unlink(missing_ok=True)
        self._seal_of(entry).unlink(missing_ok=True)

    def seal(self) -> None:
        """Note the digests of entries that were written since."""
        for entry in self.path.glob(f"*{_ENTRY}"):
            if entry.name in self._sealed:
                continue
            found = _digest(entry)
            if found is None:
                continue
            seal = self._seal_of(entry)
            partial = seal.with_name(f"{seal.name}.{os.getpid()}")
            partial.write_bytes(found)
            partial.replace(seal)
            self._sealed.add(entry.name)


def _read(path: Path) -> bytes | None:
    """The contents of a regular file of this user, None of anything else."""
    try:
        with open(os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0)), "rb") as file:
            about = os.fstat(file.fileno())
            if not stat.S_ISREG(about.st_mode) or _is_foreign(about):
                return None
            return file.read()
    except OSError:
        return None


def _digest(path: Path) -> bytes | None:
    contents = _read(path)
    return None if contents is None else hashlib.sha256(contents).hexdigest().encode()


def _is_foreign(about: os.stat_result) -> bool:
    return hasattr(os, "getuid") and about.st_uid != os.getuid()


def _check_private(directory: Path) -> None:
    about = directory.stat()
    if _is_foreign(about):
        raise PermissionError(f"{directory} belongs to user {about.st_uid}, not {os.getuid()}")
    if os.name == "posix" and about.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise PermissionError(
            f"others can write to {directory} (mode {stat.S_IMODE(about.st_mode):03o}): chmod 700"
        )
    for above in directory.parents:
        mode = above.stat().st_mode
        if os.name == "posix" and mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            raise PermissionError(f"anyone can replace {directory}: {above} is writable to all")


def _environment() -> str:
    """A name for what compiled programs depend on, beside what JAX's own keys hold."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        features = next((x for x in lines if x.startswith(("flags", "Features"))), "")
    except OSError:
        features = platform.processor()
    kinds = " ".join(sorted({device.device_kind for device in jax.devices()}))
    machine = hashlib.sha256(f"{features} {kinds}".encode()).hexdigest()[:8]
    return (
        f"dynjax-{__version__}-jax-{version('jax')}-jaxlib-{version('jaxlib')}-"
        f"{jax.default_backend()}-{platform.machine()}-{machine}"
    )


_stores: dict[str, Store | None] = {}
_lock = threading.Lock()
_users = 0
_theirs: dict[str, Any] = {}
_inside: Store | None = None


def _settings(store: Store) -> dict[str, Any]:
    return {
        "jax_compilation_cache_dir": str(store.path),
        "jax_enable_compilation_cache": True,
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
        "jax_persistent_cache_enable_xla_caches": None,
        "jax_compilation_cache_max_size": -1,
        "jax_compilation_cache_check_contents": False,
        "jax_raise_persistent_cache_errors": False,
    }


def _store() -> Store | None:
    """The store that the settings ask for; one that can't be used is warned of, once."""
    wanted = config.cache_dir
    if wanted is None:
        wanted = os.environ.get("DYNJAX_CACHE_DIR", "")
    name = os.fspath(wanted)
    if not name:
        return None
    if name not in _stores:
        _stores[name] = None
        try:
            _stores[name] = Store(name)
        except (OSError, RuntimeError) as error:  # RuntimeError: ~ has no home
            warnings.warn(
                f"compiled programs are not kept: config.cache_dir can't be used: {error}",
                RuntimeWarning,
                stacklevel=user_stacklevel(),
            )
    return _stores[name]


class persisting:
    """Context manager: what JAX compiles inside is kept on disk, if `config.cache_dir` says so.

    JAX has no such setting for one thread: a compile by another thread meanwhile is kept too.
    """

    def __enter__(self) -> None:
        with _lock:
            self.store = _store()
            if self.store is not None:
                _enter(self.store)

    def __exit__(self, *exc: Any) -> None:
        if self.store is not None:
            with _lock:
                _leave()


def _enter(store: Store) -> None:
    global _users, _inside
    _users += 1
    if _users == 1:
        _inside = store
        for name, ours in _settings(store).items():
            _theirs[name] = getattr(jax.config, name)
            jax.config.update(name, ours)
        compilation_cache.reset_cache()  # JAX opens a directory once


def _leave() -> None:
    global _users
    _users -= 1
    if _users == 0:
        for name, ours in _settings(_inside).items():
            if getattr(jax.config, name) == ours:  # else somebody has set it meanwhile
                jax.config.update(name, _theirs[name])
        compilation_cache.reset_cache()
        with contextlib.suppress(OSError):
            _inside.seal()
