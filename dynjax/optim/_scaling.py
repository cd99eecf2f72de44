"""What a `GradScaler` leaves to optimizers with `fused=True`: dividing gradients by its scale, and
leaving an update out.

It sets `grad_scale` and `found_inf` on the optimizer for the time of `step()`, as PyTorch's does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp

from ..autograd import no_grad
from ..autograd.multi_tensor import MultiTensor
from ..tensor.tensor import Tensor


def _divided(*, grads: Sequence[Any], scale: Sequence[Any]) -> tuple[list[Any]]:
    def divided(grad: Any) -> Any:
        wide = jnp.promote_types(grad.dtype, jnp.float32)
        return (grad.astype(wide) / scale[0].astype(wide)).astype(grad.dtype)

    return (list(map(divided, grads)),)


_divide = MultiTensor(_divided, writes=("grads",), reads=("scale",), name="unscale")


@no_grad()
def admitted(optimizer: Any, params: Sequence[Tensor]) -> bool:
    """Whether an update may happen; the gradients are divided by the scale then, if one is set.

    Reads from the device, where a scaler is at work.
    """
    found = getattr(optimizer, "found_inf", None)
    if found is not None and float(found):
        return False
    scale = getattr(optimizer, "grad_scale", None)
    if scale is not None:
        groups: dict[Any, list[Tensor]] = {}
        for param in dict.fromkeys(params):
            if param.grad is not None:
                groups.setdefault(param.device, []).append(param.grad)
        for device, grads in groups.items():
            _divide(grads=grads, scale=[scale.to(device)])
    return True
