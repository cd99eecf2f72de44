"""Random keys: a Generator is a seed and a counter, both run-time inputs of what is compiled."""

from __future__ import annotations

import secrets
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .trace import state

_MASK = (1 << 63) - 1


class Generator:
    """A stream of random numbers, repeatable from its seed.

    Args:
        device: accepted as in PyTorch; numbers are the same on every device.

    The numbers are not PyTorch's.
    """

    def __init__(self, device: Any = "cpu") -> None:
        self.device = device
        self.manual_seed(67280421310721)

    def manual_seed(self, seed: int) -> Generator:
        """Begin the stream of this seed; returns the generator."""
        seed = int(seed)
        if not -(1 << 63) <= seed < (1 << 64):
            raise RuntimeError("Overflow when unpacking long long")
        self._seed = seed & ((1 << 64) - 1)
        self.key = self._seed & _MASK
        self.counter = 0
        return self

    def seed(self) -> int:
        """Begin the stream of a random seed; returns the seed."""
        seed = secrets.randbits(63)
        self.manual_seed(seed)
        return seed

    def initial_seed(self) -> int:
        """The seed in force."""
        return self._seed

    def get_state(self) -> np.ndarray:
        """Seed and counter, as bytes."""
        return np.array([self._seed, self.counter], np.uint64).view(np.uint8).copy()

    def set_state(self, state: Any) -> None:
        """Continue from what `get_state` gave."""
        words = np.asarray(state, np.uint8)
        if words.shape != (16,):
            raise RuntimeError("RNG state is wrong size")
        seed, counter = (int(x) for x in words.view(np.uint64))
        self.manual_seed(seed)
        self.counter = counter

    def clone_state(self) -> Generator:
        """A generator that continues as this one does."""
        new = Generator(self.device)
        new.manual_seed(self._seed)
        new.counter = self.counter
        return new

    def numpy(self) -> np.random.Generator:
        """NumPy's generator for the next draw on the host."""
        if (capture := state.trace.capture) is not None:
            capture.give_up("draws random numbers on the host")
        self.counter += 1
        return np.random.Generator(np.random.Philox(key=[self._seed, self.counter]))


def make_key(seed: Any, counter: Any) -> jax.Array:
    """The JAX key of one draw; `seed` and `counter` are 0-d integers, known when it runs."""
    # The counter stands in the key itself: folding it in would cost a threefry per draw, and
    # threefry is two to five times as fast as JAX's "rbg" on the CPU.
    words = jnp.stack(
        [
            seed.astype(jnp.uint32) ^ ((seed >> 32).astype(jnp.uint32) * np.uint32(0x9E3779B9)),
            counter.astype(jnp.uint32),
        ]
    )
    return jax.random.wrap_key_data(words, impl="threefry2x32")


default_generator = Generator()


def manual_seed(seed: int) -> Generator:
    """Begin the default stream of this seed; returns the default generator."""
    return default_generator.manual_seed(seed)


def seed() -> int:
    """Begin the default stream of a random seed; returns the seed."""
    return default_generator.seed()


def initial_seed() -> int:
    """The default generator's seed."""
    return default_generator.initial_seed()
