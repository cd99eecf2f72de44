"""What the optimizers share: recording an update safely, step counts, rounding as PyTorch's."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from ..core.dtypes import get_default_dtype
from ..tensor.tensor import Tensor, from_host


def record(update: Callable[[], None], written: Tensor, commit: Callable[[], None]) -> None:
    """Record `update`, then `commit` the optimizer state that belongs to it: both or neither.

    Args:
        update: records the operation, which gives `written` a new version.
        written: one of the Tensors that `update` writes.
        commit: stores the state that goes with it. An interrupt may make it run twice.
    """
    version = written._version
    try:
        update()
        commit()
    except BaseException:
        if written._version != version:
            commit()
        raise


def zeros_like(param: Tensor) -> Tensor:
    """Zeros of `param`'s shape, dtype and device, as a constant from the host.

    No operation is recorded for them, so that the first step is the same program as later ones.
    """
    return from_host(np.zeros(param.shape, param.dtype.np), param.device)


def number(value: float | Tensor) -> float:
    """A hyper-parameter as a Python number."""
    return value if type(value) is float else float(value)


class StepCounts:
    """The values of an optimizer's "step" tensors, known on the host without asking a device.

    A step tensor is never changed: each update stores a new one, shared by all parameters whose
    count is the same. What somebody else stored, or changed in place, is read once.
    """

    def __init__(self) -> None:
        self._known: dict[int, tuple[Tensor, int, float]] = {}

    def make(self, count: float, fused: bool | None) -> Tensor:
        """A new step tensor, of the dtype PyTorch gives it."""
        wide = not fused and get_default_dtype().np == np.float64
        return from_host(np.array(count, np.float64 if wide else np.float32))

    def _value(self, step: Tensor) -> float:
        known = self._known.get(id(step))
        if known is not None and known[0] is step and known[1] == step._version:
            return known[2]
        return float(step)

    def advance(self, steps: Sequence[Tensor], uniform: bool) -> tuple[list[float], list[Tensor]]:
        """The counts after one more update.

        Args:
            steps: the step tensors, one per parameter.
            uniform: whether they are known to be one and the same tensor.

        Returns:
            The counts and the tensors that hold them: one of each if all parameters have the same
            count, else one per parameter.
        """
        if len(self._known) > 256:
            self._known.clear()
        made: dict[tuple, tuple[float, Tensor]] = {}
        after: dict[int, tuple[float, Tensor]] = {}
        for step in steps[:1] if uniform else steps:
            if id(step) not in after:
                array = np.asarray(self._value(step) + 1, step.dtype.np)
                key = (float(array), array.dtype)
                if key not in made:
                    tensor = from_host(array)
                    made[key] = (key[0], tensor)
                    self._known[id(tensor)] = (tensor, tensor._version, key[0])
                after[id(step)] = made[key]
        pairs = list(made.values()) if len(made) == 1 else [after[id(step)] for step in steps]
        return [count for count, _ in pairs], [step for _, step in pairs]


def computing_dtype(dtype: jnp.dtype) -> jnp.dtype:
    """The type PyTorch computes in: float32 for half-precision types, which it rounds to after
    every operation, else `dtype` itself.
    """
    return jnp.dtype(jnp.float32) if dtype.itemsize == 2 else dtype


def numbers_for(dtype: jnp.dtype, numbers: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """Numbers from the host, rounded once to the (real) type in which `dtype` is computed."""
    real = jnp.finfo(computing_dtype(dtype)).dtype
    return {name: value.astype(real) for name, value in numbers.items()}


def add(x: jax.Array, y: jax.Array, alpha: jax.Array) -> jax.Array:
    """`x + alpha * y`, rounded once to x's type."""
    wide = computing_dtype(x.dtype)
    return (x.astype(wide) + y.astype(wide) * alpha).astype(x.dtype)
