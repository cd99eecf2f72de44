"""``torch.cuda`` over the GPUs that JAX sees.

JAX has no streams or events to offer, so there are none here. Without a GPU the functions answer,
or fail, as in a PyTorch built without CUDA.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax

from ..core import devices
from ..core.devices import as_device
from ..core.devices import device as Device
from ..engine import flush
from ..engine import random as _random
from . import amp as amp


def is_available() -> bool:
    """Whether JAX sees a GPU."""
    return device_count() > 0


def device_count() -> int:
    """How many GPUs this process can use."""
    return devices.device_count("cuda")


def init() -> None:
    """Looks for GPUs, which every use does by itself.

    Raises:
        AssertionError: there is none.
    """
    as_device("cuda")


def is_initialized() -> bool:
    """Whether GPUs can be used; JAX starts its backends when first asked."""
    return is_available()


def _gpu(which: Any) -> Device:
    """The GPU of an index, a device, a text, or None for the current one."""
    if which is None:
        return as_device("cuda")
    named = Device("cuda", which) if isinstance(which, int) else Device(which)
    if named.type != "cuda":
        raise ValueError(f"Expected a cuda device, but got: {named}")
    return as_device(named)


def current_device() -> int:
    """The index of the GPU that ``"cuda"`` means.

    Raises:
        AssertionError: there is no GPU.
    """
    return as_device("cuda").index


def set_device(device: Any) -> None:
    """Sets the GPU that ``"cuda"`` means in this thread; a negative index changes nothing.

    Raises:
        AssertionError: there is no GPU. RuntimeError: no such GPU. ValueError: another device.
    """
    if isinstance(device, int) and device < 0:
        return
    devices.set_current_cuda_index(_gpu(device).index)


class device:
    """A ``with`` block in which ``"cuda"`` means this GPU.

    Args:
        device: index, device or text; None or a negative index for no change.
    """

    def __init__(self, device: Any) -> None:
        self.device = device

    def __enter__(self) -> None:
        self._before = devices.current_cuda_index()
        if self.device is not None:
            set_device(self.device)

    def __exit__(self, *exc_info: object) -> None:
        devices.set_current_cuda_index(self._before)


def synchronize(device: Any = None) -> None:
    """Runs what is recorded and waits for all results on a GPU.

    Raises:
        AssertionError: there is no GPU.
    """
    gpu = _gpu(device).jax
    flush()
    jax.block_until_ready([a for a in jax.live_arrays(gpu.platform) if gpu in a.devices()])


# --- what a GPU is ------------------------------------------------------------------------------


@dataclass(frozen=True)
class DeviceProperties:
    """What JAX tells of a GPU.

    Attributes:
        name: the maker's name.
        total_memory: bytes that JAX may use, which is not all that the GPU has.
        major, minor: compute capability; 0 where the maker has no such number.
    """

    name: str
    total_memory: int
    major: int
    minor: int


def get_device_properties(device: Any = None) -> DeviceProperties:
    """Name, memory and compute capability of a GPU.

    Raises:
        AssertionError: there is no GPU.
    """
    gpu = _gpu(device).jax
    major, _, minor = str(getattr(gpu, "compute_capability", "")).partition(".")
    version = (int(part) if part.isdigit() else 0 for part in (major, minor))
    total = (gpu.memory_stats() or {}).get("bytes_limit", 0)
    return DeviceProperties(gpu.device_kind, total, *version)


def get_device_name(device: Any = None) -> str:
    """The maker's name for a GPU."""
    return get_device_properties(device).name


def get_device_capability(device: Any = None) -> tuple[int, int]:
    """Compute capability of a GPU, ``(8, 0)``."""
    properties = get_device_properties(device)
    return properties.major, properties.minor


def is_bf16_supported(including_emulation: bool = True) -> bool:
    """Whether ``bfloat16`` can be used on the current GPU: XLA emulates it where it must."""
    return is_available() and (including_emulation or get_device_capability()[0] >= 8)


# --- memory -------------------------------------------------------------------------------------


def memory_stats(device: Any = None) -> dict[str, int]:
    """What JAX's allocator counts, by JAX's names; empty without a GPU or where it counts not."""
    return dict(_gpu(device).jax.memory_stats() or {}) if is_available() else {}


def memory_allocated(device: Any = None) -> int:
    """Bytes in arrays now."""
    return memory_stats(device).get("bytes_in_use", 0)


def max_memory_allocated(device: Any = None) -> int:
    """The most bytes there ever were in arrays; JAX offers no way to begin this count again."""
    return memory_stats(device).get("peak_bytes_in_use", 0)


def memory_reserved(device: Any = None) -> int:
    """Bytes that the allocator holds."""
    return memory_stats(device).get("bytes_reserved", memory_allocated(device))


def max_memory_reserved(device: Any = None) -> int:
    """The most bytes that the allocator ever held."""
    return memory_stats(device).get("peak_bytes_reserved", max_memory_allocated(device))


def mem_get_info(device: Any = None) -> tuple[int, int]:
    """Bytes still free, and all that JAX may use.

    Raises:
        AssertionError: there is no GPU.
    """
    total = get_device_properties(device).total_memory
    return max(0, total - memory_allocated(device)), total


def empty_cache() -> None:
    """Does nothing: JAX's allocator gives no memory back before the process ends."""


# --- random numbers -----------------------------------------------------------------------------


def manual_seed(seed: int) -> None:
    """Begins the random stream of this seed. One stream serves all devices, so on a machine with
    a GPU this is :func:`dynjax.manual_seed`; without one it does nothing, as in PyTorch."""
    if is_available():
        _random.manual_seed(seed)


def seed() -> None:
    """Begins a random stream of a random seed, where there is a GPU."""
    if is_available():
        _random.seed()


manual_seed_all = manual_seed
seed_all = seed
