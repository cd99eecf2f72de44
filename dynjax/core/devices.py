"""Devices: PyTorch's names for the devices that JAX has.

JAX's ``gpu`` is called ``cuda``, as in PyTorch; ``cpu`` and ``tpu`` keep their names. Nothing here
starts a JAX backend before a device is really looked for: not the import, not ``device("cuda")``.
"""

from __future__ import annotations

import re
import threading
from functools import cache
from typing import Any

import jax

from . import forks

# What PyTorch parses, in the order of its message, and the TPUs that JAX adds. JAX has devices for
# few of them: the others are refused when a tensor is to be placed.
_TYPES = (
    "cpu, cuda, ipu, xpu, mkldnn, opengl, opencl, ideep, hip, ve, fpga, maia, xla, lazy, vulkan, "
    "mps, meta, hpu, mtia, privateuseone, tpu"
)
_KNOWN = frozenset(_TYPES.split(", "))
_PLATFORM = {"cuda": "gpu"}  # ours to JAX's, where the names differ
_TYPE_OF_PLATFORM = {"gpu": "cuda", "rocm": "cuda"}
_instances: dict[tuple[str, int | None], device] = {}


class device:
    """Where a tensor lives. There is one instance a device, so equality is identity.

    Also a context manager: tensors made inside are made there.

    Args:
        type: ``"cpu"``, ``"cuda"``, ``"cuda:1"``, another device, or the index of an accelerator.
        index: the index, if ``type`` does not name one.

    Attributes:
        type: the kind of device.
        index: its number among its kind; None for the current one.
        jax: the ``jax.Device``.

    Raises:
        RuntimeError: the text names no device; there is no accelerator of this index.
        TypeError: the arguments are of other types.
    """

    __slots__ = ("index", "type")

    type: str
    index: int | None

    def __new__(cls, *args: Any, **kwargs: Any) -> device:
        return _parse(*args, **kwargs)

    def __init_subclass__(cls) -> None:
        raise TypeError("type 'dynjax.device' is not an acceptable base type")

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"attribute {name!r} of 'dynjax.device' objects is not writable")

    @property
    def jax(self) -> jax.Device:
        """The ``jax.Device`` of this name.

        Raises:
            AssertionError, RuntimeError, NotImplementedError: as :func:`as_device`.
        """
        resolved = as_device(self)
        present = _local_devices(resolved.type)
        if not present:  # only the CPU gets here, where JAX_PLATFORMS leaves it out
            raise _absent(resolved)
        return present[resolved.index or 0]

    def __enter__(self) -> device:
        _local.entered = (*_local.entered, self)
        return self

    def __exit__(self, *exc_info: object) -> None:
        _local.entered = _local.entered[:-1]

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __repr__(self) -> str:
        index = "" if self.index is None else f", index={self.index}"
        return f"device(type={self.type!r}{index})"

    def __reduce__(self) -> tuple[type, tuple[Any, ...]]:
        return device, (self.type,) if self.index is None else (self.type, self.index)


def _instance(type: str, index: int | None) -> device:
    found = _instances.get((type, index))
    if found is None:
        new = object.__new__(device)
        object.__setattr__(new, "type", type)
        object.__setattr__(new, "index", index)
        found = _instances.setdefault((type, index), new)
    return found


_CPU = _instance("cpu", None)


# --- what a user writes -------------------------------------------------------------------------


def _is_int(obj: Any) -> bool:
    return isinstance(obj, int) and not isinstance(obj, bool)


def _parse(*args: Any, **kwargs: Any) -> device:
    if len(args) == 1 and not kwargs or not args and list(kwargs) == ["device"]:
        named = args[0] if args else kwargs["device"]
        if isinstance(named, device):
            return named
        if isinstance(named, str):
            return _parse_text(named)
        if _is_int(named):
            return _accelerator(named)
    elif args or "type" in kwargs:
        given = dict(zip(("type", "index"), args), **kwargs)
        if len(args) <= 2 and given.keys() <= {"type", "index"}:
            return _from_parts(given["type"], given.get("index"))
    got = ", ".join(
        [type(arg).__name__ for arg in args]
        + [f"{name}={type(value).__name__}" for name, value in kwargs.items()]
    )
    raise TypeError(
        f"device() received an invalid combination of arguments - got ({got}), but expected one "
        "of:\n * (dynjax.device device)\n * (str type, int index = -1)\n"
    )


def _from_parts(kind: Any, index: Any) -> device:
    if not isinstance(kind, str):
        raise TypeError(
            "device(): argument 'type' (position 1) must be str, not "
            + ("dynjax.device" if isinstance(kind, device) else type(kind).__name__)
        )
    if index is None:
        return _parse_text(kind)
    if not _is_int(index):
        raise TypeError(
            "device(): argument 'index' (position 2) must be int, not " + type(index).__name__
        )
    parsed = _parse_text(kind)
    if parsed.index is not None:
        raise RuntimeError(
            f"type (string) must not include an index because index was passed explicitly: {kind}"
        )
    _check_index(index)
    return _instance(parsed.type, index)


def _parse_text(text: str) -> device:
    if not text:
        raise RuntimeError("Device string must not be empty")
    found = re.fullmatch(r"([A-Za-z_]+)(?::(0|[1-9][0-9]*))?", text, re.ASCII)
    if not found:
        raise RuntimeError(f"Invalid device string: '{text}'")
    kind, index = found.groups()
    if kind not in _KNOWN:
        raise RuntimeError(
            f"Expected one of {_TYPES} device type at start of device string: {kind}"
        )
    return _instance(kind, None if index is None else int(index))


def _check_index(index: int) -> None:
    if index < 0:
        raise RuntimeError("Device index must not be negative")


def _accelerator(index: int) -> device:
    """Device number `index` of the accelerator that JAX uses here."""
    _check_index(index)
    for kind in ("cuda", "tpu"):
        if _local_devices(kind):
            return _instance(kind, index)
    raise RuntimeError("Cannot access accelerator device when none is available.")


# --- what JAX has -------------------------------------------------------------------------------


def _local_devices(kind: str) -> list[jax.Device]:
    """The devices of a kind that this process can use; none if JAX has no such backend."""
    try:
        return jax.local_devices(backend=_PLATFORM.get(kind, kind))
    except RuntimeError:
        return []


def device_count(kind: str) -> int:
    """How many devices of a kind, ``"cpu"``, ``"cuda"`` or ``"tpu"``, this process can use."""
    return len(_local_devices(kind))


def _absent(named: device) -> Exception:
    backends = f"JAX's backend here is {jax.default_backend()!r}"
    if named.type == "cuda":
        return AssertionError(f"Torch not compiled with CUDA enabled ({backends})")
    return NotImplementedError(f"There is no device of type {named.type!r} ({backends})")


@cache
def _resolve(named: device) -> device:
    if named.type == "meta":
        raise NotImplementedError(
            "dynjax has no tensors on device 'meta': every tensor has values. To get shapes "
            "without computing, trace with jax.eval_shape."
        )
    present = _local_devices(named.type)
    if not present:
        raise _absent(named)
    if named.type == "cpu" and len(present) == 1:
        return _CPU  # as in PyTorch, where "cpu:0" and "cpu:1" are the one CPU
    index = named.index or 0
    if index >= len(present):
        if named.type == "cuda":
            raise RuntimeError("CUDA error: invalid device ordinal")
        raise RuntimeError(f"Device {named} does not exist: JAX has {len(present)} of this type")
    return _CPU if named.type == "cpu" and index == 0 else _instance(named.type, index)


def _numbered(named: device) -> device:
    if named is _CPU:
        return _CPU
    if named.index is None and named.type == "cuda":
        named = _instance("cuda", _local.current_cuda)
    return _resolve(named)


@cache
def _of_jax(found: jax.Device) -> device:
    kind = _TYPE_OF_PLATFORM.get(found.platform, found.platform)
    present = _local_devices(kind)
    # Another process's device has no local number: its id tells it apart.
    index = present.index(found) if found in present else found.id
    return _CPU if kind == "cpu" and index == 0 else _instance(kind, index)


def as_device(obj: Any) -> device:
    """The device that tensors really have: numbered, except for the first CPU.

    Args:
        obj: a device, what makes one, or a ``jax.Device``.

    Raises:
        AssertionError: a GPU, of which JAX sees none.
        NotImplementedError: a kind of device that JAX does not have here, or ``"meta"``.
        RuntimeError: no such device.
        TypeError: not a device.
    """
    if isinstance(obj, jax.Device):
        return _of_jax(obj)
    return _numbered(device(obj))


def jax_default() -> device:
    """Where JAX puts what names no device: often not where PyTorch code expects its tensors."""
    return _chosen(jax.config.jax_default_device)


@cache
def _chosen(found: jax.Device | str | None) -> device:
    if not isinstance(found, jax.Device):
        found = jax.local_devices(backend=found)[0]
    forks.watch()
    return _of_jax(found)


# --- the default --------------------------------------------------------------------------------


class _Local(threading.local):
    current_cuda: int = 0
    default: device = _CPU
    entered: tuple[device, ...] = ()


_local = _Local()


def get_default_device() -> device:
    """Where this thread's new tensors go: the innermost ``with device(...)``, else what
    :func:`set_default_device` set, else the CPU.

    Raises:
        AssertionError, RuntimeError, NotImplementedError: it does not exist (:func:`as_device`).
    """
    chosen = _local.entered[-1] if _local.entered else _local.default
    return _numbered(chosen)


def set_default_device(device: Any) -> None:
    """Sets where this thread's new tensors go.

    Args:
        device: a device or what makes one; None for the CPU. Whether it exists shows when used.
    """
    _local.default = _CPU if device is None else _parse(device)


def current_cuda_index() -> int:
    """Which GPU this thread means by ``"cuda"``."""
    return _local.current_cuda


def set_current_cuda_index(index: int) -> None:
    """Sets which GPU this thread means by ``"cuda"``; the index is not checked."""
    _local.current_cuda = index
