"""Pooling by the p-norm."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..tensor.tensor import Tensor
from . import pooling  # noqa: F401  (declares what is composed here)
from .declare import NAMES, composite


def _lp_pool(ndim: int) -> None:
    avg_pool = NAMES["nn.functional"][f"avg_pool{ndim}d"]
    max_pool = NAMES["nn.functional"][f"max_pool{ndim}d"]

    def lp_pool(
        input: Tensor,
        norm_type: float,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] | None = None,
        ceil_mode: bool = False,
    ) -> Tensor:
        stride = kernel_size if stride is None else stride
        if norm_type in (math.inf, -math.inf):
            sign = 1 if norm_type > 0 else -1
            return max_pool(input.abs() * sign, kernel_size, stride, 0, 1, ceil_mode) * sign
        sizes = (kernel_size,) * ndim if isinstance(kernel_size, int) else tuple(kernel_size)
        mean = avg_pool(input.pow(norm_type), kernel_size, stride, 0, ceil_mode)
        # This is `mean`, but with a gradient of zero at zero, as PyTorch has it.
        signed = mean.sign() * mean.abs()
        return signed.mul(math.prod(sizes)).pow(1.0 / norm_type)

    lp_pool.__doc__ = f"""The p-norm over windows of the last {ndim} dimension(s).

    Args:
        input: `(N, C, *)` or `(C, *)` of {ndim} such dimension(s).
        norm_type: p, of any sign, or inf.
        kernel_size: the size of the window.
        stride: its step, by default its size.
        ceil_mode: round the output's size up.
    """
    composite(name=f"lp_pool{ndim}d", module="nn.functional", method=False)(lp_pool)


for _ndim in (1, 2, 3):
    _lp_pool(_ndim)
