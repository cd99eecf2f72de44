"""Scaled losses, so that gradients of float16 do not vanish, as `torch.amp.GradScaler`."""

from __future__ import annotations

import inspect
import warnings
from collections import defaultdict
from collections.abc import Iterable, Sequence
from enum import Enum
from typing import Any

import jax.numpy as jnp
import numpy as np

from ..autograd import no_grad
from ..autograd.multi_tensor import MultiTensor
from ..core.devices import device_count
from ..core.dtypes import float16
from ..optim.optimizer import Optimizer
from ..tensor.tensor import Tensor, from_host

__all__ = ["GradScaler", "OptState"]


class OptState(Enum):
    """What was done with an optimizer's gradients since the last `update()`."""

    READY = 0
    UNSCALED = 1
    STEPPED = 2


def _optimizer_state() -> dict[str, Any]:
    return {"stage": OptState.READY, "found_inf_per_device": {}}


def _checked(*, grads: Sequence[Any], found: Sequence[Any]) -> tuple:
    found = found[0]
    for grad in grads:
        found = jnp.where(jnp.isfinite(grad).all(), found, 1.0).astype(found.dtype)
    return ([found],)


def _unscaled(*, grads: Sequence[Any], found: Sequence[Any], scale: Sequence[Any]) -> tuple:
    inverse = (1 / scale[0].astype(jnp.float64)).astype(jnp.float32)
    new = []
    for grad in grads:
        # In float32, as PyTorch: the inverse of a scale may be nothing in float16.
        wide = jnp.promote_types(grad.dtype, jnp.float32)
        new.append((grad.astype(wide) * inverse.astype(jnp.finfo(wide).dtype)).astype(grad.dtype))
    return new, *_checked(grads=grads, found=found)


def _updated(
    *, scale: Sequence[Any], tracker: Sequence[Any], found: Sequence[Any], growth: Any,
    backoff: Any, interval: Any,
) -> tuple:  # fmt: skip
    scale, tracker, bad = scale[0], tracker[0], sum(found) > 0
    successes = tracker + 1
    grows = successes == interval
    grown = (scale * growth).astype(scale.dtype)
    grown = jnp.where(grows & jnp.isfinite(grown), grown, scale)
    scale = jnp.where(bad, (scale * backoff).astype(scale.dtype), grown)
    tracker = jnp.where(bad | grows, 0, successes).astype(tracker.dtype)
    return [scale], [tracker]


_check = MultiTensor(_checked, writes=("found",), reads=("grads",), name="check_finite")
_unscale = MultiTensor(_unscaled, writes=("grads", "found"), reads=("scale",), name="unscale")
_update = MultiTensor(
    _updated,
    writes=("scale", "tracker"),
    reads=("found",),
    numbers=("growth", "backoff", "interval"),
    name="update_scale",
)


def _gradients(optimizer: Optimizer) -> dict[Any, list[Tensor]]:
    """An optimizer's gradients, by device."""
    found: dict[Any, list[Tensor]] = {}
    for group in optimizer.param_groups:
        for param in group["params"]:
            if param.grad is not None:
                found.setdefault(param.grad.device, []).append(param.grad)
    return found


class GradScaler:
    """Multiplies losses, divides gradients, leaves out updates whose gradients overflowed.

    All gradients of an optimizer are divided and checked by one operation, and the new scale is
    another. Whether to update is decided on the host: `step()` waits for forward and backward to
    have run. Optimizers with `fused=True` divide themselves, by `grad_scale`, and leave the update
    out themselves, if `found_inf`: attributes that they have while they step.

    Args:
        device: type of the device where the scale lives.
        init_scale: the first scale.
        growth_factor: by what it grows after `growth_interval` updates without overflow.
        backoff_factor: by what it shrinks after an overflow.
        growth_interval: see there.
        enabled: whether it does anything.

    Raises:
        AssertionError: a growth factor that is not above 1, a backoff factor that is not below.

    Source: torch.amp.GradScaler; Micikevicius et al., https://arxiv.org/abs/1710.03740.
    """

    def __init__(
        self,
        device: str = "cuda",
        init_scale: float = 2.0**16,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
        enabled: bool = True,
    ) -> None:
        self._device = device
        if enabled and device == "cuda" and not device_count("cuda"):
            warnings.warn(
                "dynjax.cuda.amp.GradScaler is enabled, but CUDA is not available.  Disabling.",
                stacklevel=2,
            )
            enabled = False
        self._enabled = enabled
        if not enabled:
            return
        if growth_factor <= 1.0:
            raise AssertionError("The growth factor must be > 1.0.")
        if backoff_factor >= 1.0:
            raise AssertionError("The backoff factor must be < 1.0.")
        self._init_scale = init_scale
        self._init_growth_tracker = 0
        self._scale: Tensor | None = None
        self._growth_tracker: Tensor | None = None
        self._growth_factor = growth_factor
        self._backoff_factor = backoff_factor
        self._growth_interval = growth_interval
        self._per_optimizer_states: dict[int, dict[str, Any]] = defaultdict(_optimizer_state)

    def scale(self, outputs: Any) -> Any:
        """Tensors, alone or in nested iterables, times the scale.

        Raises:
            ValueError: something else.
        """
        if not self._enabled:
            return outputs
        if isinstance(outputs, Tensor):
            if self._scale is None:
                self._begin(outputs.device)
            return outputs * self._scale.to(outputs.device)
        if not isinstance(outputs, Iterable):
            raise ValueError("outputs must be a Tensor or an iterable of Tensors")
        scaled = map(self.scale, outputs)
        return type(outputs)(scaled) if isinstance(outputs, (list, tuple)) else scaled

    def _begin(self, device: Any) -> None:
        self._scale = from_host(np.array(self._init_scale, np.float32), device)
        self._growth_tracker = from_host(np.array(self._init_growth_tracker, np.int32), device)

    def _require_scale(self, name: str) -> None:
        if self._scale is None:
            raise AssertionError(
                f"Attempted {name} but _scale is None.  This may indicate your script did not use "
                "scaler.scale(loss or outputs) earlier in the iteration."
            )

    @no_grad()
    def unscale_(self, optimizer: Optimizer) -> None:
        """Divide the gradients of an optimizer by the scale, and note whether all are finite.

        Raises:
            RuntimeError: done already since the last `update()`. ValueError: float16 gradients.
        """
        if not self._enabled:
            return
        self._require_scale("unscale_")
        ours = self._per_optimizer_states[id(optimizer)]
        if ours["stage"] is OptState.UNSCALED:
            raise RuntimeError(
                "unscale_() has already been called on this optimizer since the last update()."
            )
        if ours["stage"] is OptState.STEPPED:
            raise RuntimeError("unscale_() is being called after step().")
        grads = _gradients(optimizer)
        if any(grad.dtype is float16 for members in grads.values() for grad in members):
            raise ValueError("Attempting to unscale FP16 gradients.")
        for device, members in grads.items():
            found = from_host(np.zeros((), np.float32), device)
            _unscale(grads=members, found=[found], scale=[self._scale.to(device)])
            ours["found_inf_per_device"][device] = found
        ours["stage"] = OptState.UNSCALED

    @no_grad()
    def _check_inf_per_device(self, optimizer: Optimizer) -> dict[Any, Tensor]:
        """Note whether all gradients of an optimizer are finite."""
        found = {}
        for device, members in _gradients(optimizer).items():
            found[device] = from_host(np.zeros((), np.float32), device)
            _check(grads=members, found=[found[device]])
        self._per_optimizer_states[id(optimizer)]["found_inf_per_device"] = found
        return found

    def step(self, optimizer: Optimizer, *args: Any, **kwargs: Any) -> Any:
        """`optimizer.step(*args, **kwargs)`, unless gradients are infinite or NaN.

        Returns:
            What the step returned; None if it was left out.

        Raises:
            RuntimeError: called twice since the last `update()`, or with a closure.
            AssertionError: no gradients.
        """
        if not self._enabled:
            return optimizer.step(*args, **kwargs)
        if "closure" in kwargs:
            raise RuntimeError("Closure use is not currently supported if GradScaler is enabled.")
        self._require_scale("step")
        ours = self._per_optimizer_states[id(optimizer)]
        if ours["stage"] is OptState.STEPPED:
            raise RuntimeError("step() has already been called since the last update().")
        if getattr(optimizer, "_step_supports_amp_scaling", False):
            try:
                return self._step_fused(optimizer, ours, *args, **kwargs)
            finally:
                ours["stage"] = OptState.STEPPED
        if ours["stage"] is OptState.READY:
            self.unscale_(optimizer)
        if not ours["found_inf_per_device"]:
            raise AssertionError("No inf checks were recorded for this optimizer.")
        result = None
        if not any(float(found) for found in ours["found_inf_per_device"].values()):
            result = optimizer.step(*args, **kwargs)
        ours["stage"] = OptState.STEPPED
        return result

    def _step_fused(
        self, optimizer: Optimizer, ours: dict[str, Any], *args: Any, **kwargs: Any
    ) -> Any:
        """A step of an optimizer that divides, and leaves out, itself."""
        if "grad_scaler" in inspect.signature(optimizer.step).parameters:
            warnings.warn(
                "GradScaler is going to stop passing itself as a keyword argument to the passed "
                "optimizer. In the near future GradScaler registers `grad_scale: Tensor` and "
                "`found_inf: Tensor` to the passed optimizer and let the optimizer use them "
                "directly.",
                FutureWarning,
                stacklevel=3,
            )
            return optimizer.step(*args, grad_scaler=self, **kwargs)
        before = getattr(optimizer, "grad_scale", None)
        if ours["stage"] is OptState.READY:
            self._check_inf_per_device(optimizer)
            optimizer.grad_scale = self._scale if before is None else self._scale * before
        else:
            optimizer.grad_scale = before
        found = ours["found_inf_per_device"].values()
        optimizer.found_inf = sum(each.to(self._scale.device) for each in found)
        try:
            return optimizer.step(*args, **kwargs)
        finally:
            del optimizer.grad_scale, optimizer.found_inf

    @no_grad()
    def update(self, new_scale: float | Tensor | None = None) -> None:
        """Settle the scale of the next iteration; waits for nothing.

        Args:
            new_scale: to use instead of what follows from the overflows found.

        Raises:
            AssertionError: nothing was checked, or a new scale that is no one-element Tensor there.
        """
        if not self._enabled:
            return
        self._require_scale("update")
        if new_scale is not None:
            self._set_scale(new_scale)
        else:
            found = [
                found.to(self._scale.device)
                for ours in self._per_optimizer_states.values()
                for found in ours["found_inf_per_device"].values()
            ]
            if not found:
                raise AssertionError("No inf checks were recorded prior to update.")
            _update(
                scale=[self._scale],
                tracker=[self._growth_tracker],
                found=found,
                growth=self._growth_factor,
                backoff=self._backoff_factor,
                interval=self._growth_interval,
            )
        self._per_optimizer_states = defaultdict(_optimizer_state)

    def _set_scale(self, new_scale: float | Tensor) -> None:
        if isinstance(new_scale, float):
            self._scale.fill_(new_scale)
            return
        if (
            new_scale.device.type != self._device
            or new_scale.numel() != 1
            or new_scale.requires_grad
        ):
            raise AssertionError(
                "new_scale should be a float or a 1-element torch.cuda.FloatTensor or "
                "torch.FloatTensor with requires_grad=False."
            )
        self._scale.copy_(new_scale)

    def get_scale(self) -> float:
        """The scale, read from the device; 1 if disabled."""
        if not self._enabled:
            return 1.0
        return self._init_scale if self._scale is None else float(self._scale)

    def _get_growth_tracker(self) -> int:
        if not self._enabled:
            return 0
        tracker = self._growth_tracker
        return self._init_growth_tracker if tracker is None else int(tracker)

    def get_growth_factor(self) -> float:
        """By what the scale grows."""
        return self._growth_factor

    def set_growth_factor(self, new_factor: float) -> None:
        """Set by what the scale grows."""
        self._growth_factor = new_factor

    def get_backoff_factor(self) -> float:
        """By what the scale shrinks."""
        return self._backoff_factor

    def set_backoff_factor(self, new_factor: float) -> None:
        """Set by what the scale shrinks."""
        self._backoff_factor = new_factor

    def get_growth_interval(self) -> int:
        """After how many updates the scale grows."""
        return self._growth_interval

    def set_growth_interval(self, new_interval: int) -> None:
        """Set after how many updates the scale grows."""
        self._growth_interval = new_interval

    def is_enabled(self) -> bool:
        """Whether it does anything."""
        return self._enabled

    def state_dict(self) -> dict[str, Any]:
        """The scale and its rule, as PyTorch has them; empty if disabled."""
        if not self._enabled:
            return {}
        return {
            "scale": self.get_scale(),
            "growth_factor": self._growth_factor,
            "backoff_factor": self._backoff_factor,
            "growth_interval": self._growth_interval,
            "_growth_tracker": self._get_growth_tracker(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what `state_dict()`, dynjax's or PyTorch's, has given.

        Raises:
            RuntimeError: an empty one.
        """
        if not self._enabled:
            return
        if not state_dict:
            raise RuntimeError(
                "The source state dict is empty, possibly because it was saved "
                "from a disabled instance of GradScaler."
            )
        self._init_scale = state_dict["scale"]
        self._growth_factor = state_dict["growth_factor"]
        self._backoff_factor = state_dict["backoff_factor"]
        self._growth_interval = state_dict["growth_interval"]
        self._init_growth_tracker = state_dict["_growth_tracker"]
        if self._scale is not None:
            self._begin(self._scale.device)

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        if self._enabled:
            if self._per_optimizer_states:
                raise AssertionError(
                    "A GradScaler instance may only be pickled at the beginning "
                    "of an iteration, or at the end after scaler.update()."
                )
            state["_init_scale"] = self.get_scale()
            state["_init_growth_tracker"] = self._get_growth_tracker()
            state["_scale"] = state["_growth_tracker"] = None
        return state
