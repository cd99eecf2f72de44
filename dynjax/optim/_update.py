"""What the optimizers share: recording an update safely, step counts, rounding as PyTorch's."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from ..core.dtypes import get_default_dtype
from ..engine.value import Kind, concrete
from ..tensor.tensor import Tensor, from_host, wrap


class all_or_nothing:
    """Keeps an optimizer's state in step with its parameters when an update is interrupted.

    In the `with` block the update is recorded, then its state committed. If the block is left by
    an error after the update was recorded, the commit is made good.

    Args:
        written: one of the Tensors that the update writes: it has a new version afterwards.
        commit: stores the state; may run twice.
    """

    def __init__(self, written: Tensor, commit: Callable[[], None]) -> None:
        self.written, self.commit = written, commit
        self.version = written._version

    def __enter__(self) -> None:
        pass

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        if error is not None and self.written._version != self.version:
            self.commit()


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
        # Tensor, its version when this was true, its value: by identity, and by value.
        self._known: dict[int, tuple[Tensor, int, float]] = {}
        self._holders: dict[tuple[float, Kind], tuple[Tensor, int, float]] = {}

    def make(self, count: float, fused: bool | None) -> Tensor:
        """A new step tensor, of the dtype PyTorch gives it."""
        wide = not fused and get_default_dtype().np == np.float64
        return from_host(np.array(count, np.float64 if wide else np.float32))

    def advance(self, steps: Sequence[Tensor], uniform: bool) -> tuple[list[float], list[Tensor]]:
        """The counts after one more update.

        Args:
            steps: the step tensors, one per parameter.
            uniform: whether they are known to be one and the same tensor.

        Returns:
            The counts and the tensors that hold them: one of each if all parameters have the same
            count, else one per parameter.
        """
        if uniform:
            count, tensor = self._next(steps[0])
            return [count], [tensor]
        after = {id(step): step for step in steps}
        pairs = {key: self._next(step) for key, step in after.items()}
        if len({id(tensor) for _, tensor in pairs.values()}) == 1:
            count, tensor = pairs[id(steps[0])]
            return [count], [tensor]
        return [pairs[id(step)][0] for step in steps], [pairs[id(step)][1] for step in steps]

    def _next(self, step: Tensor) -> tuple[float, Tensor]:
        """One more than a step tensor holds, rounded to its type, and a tensor that holds it."""
        known = self._known.get(id(step))
        if known is None or known[0] is not step or known[1] != step._version:
            known = (step, 0, float(step))
        kind = step._v.kind.with_grad(False, False) if step.requires_grad else step._v.kind
        key = (known[2] + 1, kind)
        entry = self._holders.get(key)
        if entry is None or entry[0]._version != entry[1]:
            if len(self._known) > 256:
                self._known.clear()
                self._holders.clear()
            array = np.asarray(key[0], kind.dtype.np)
            holder = wrap(concrete(array, kind))
            entry = (holder, 0, float(array))
            self._known[id(holder)] = self._holders[key] = entry
        return entry[2], entry[0]


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
