"""The state of the default random generator, as `torch.random`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from .engine.random import default_generator, initial_seed, manual_seed, seed
from .tensor.tensor import Tensor, from_host

__all__ = [
    "default_generator",
    "fork_rng",
    "get_rng_state",
    "initial_seed",
    "manual_seed",
    "seed",
    "set_rng_state",
]


def get_rng_state() -> Tensor:
    """The default generator's state, a uint8 tensor of shape (16,)."""
    return from_host(default_generator.get_state())


def set_rng_state(new_state: Any) -> None:
    """Continue from a state that `get_rng_state` gave.

    Raises:
        RuntimeError: it is none.
    """
    default_generator.set_state(np.asarray(new_state))


@contextlib.contextmanager
def fork_rng(
    devices: Iterable[Any] | None = None, enabled: bool = True, **options: Any
) -> Iterator[None]:
    """Within the block random numbers go on as they would; after it as if it had not been.

    Args:
        devices: accepted: one generator serves all devices.
        enabled: False to do nothing.
        options: PyTorch's `device_type` and the like, accepted.
    """
    before = default_generator.get_state()
    try:
        yield
    finally:
        if enabled:
            default_generator.set_state(before)
