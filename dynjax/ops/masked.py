"""Reductions and normalisations of the elements that a mask keeps: PyTorch's `torch.masked`.

Each is the plain operation on an input whose other elements hold what does not count for it.

Source: https://pytorch.org/docs/stable/masked.html
"""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp

from ..tensor.tensor import Tensor
from . import activations, reductions, running, sorting, special  # noqa: F401  (declare what is used)
from .checks import reduced_dims
from .declare import NAMES, composite
from .scatter import choose

_TORCH, _FUNCTIONAL = NAMES["torch"], NAMES["nn.functional"]
_MASKED = {"module": "masked", "method": False}

# What does not count.
_NEUTRAL = {
    "sum": 0, "cumsum": 0, "prod": 1, "cumprod": 1, "amax": -math.inf, "argmax": -math.inf,
    "amin": math.inf, "argmin": math.inf, "median": math.nan, "norm": 0, "softmax": -math.inf,
    "log_softmax": -math.inf, "softmin": math.inf, "logsumexp": -math.inf,
    "logaddexp": -math.inf,
}  # fmt: skip


def _mask(input: Tensor, mask: Tensor) -> Tensor:
    """The mask in the shape of `input`. Raises ValueError where it has more dimensions."""
    if mask.dim() > input.dim():
        raise ValueError(
            "_input_mask expected broadcastable mask (got mask dimensionality higher than of the "
            "input)"
        )
    return mask.bool().expand(tuple(input.shape))


def _kept(input: Tensor, mask: Tensor | None, neutral: float) -> Tensor:
    """`input` with `neutral` (or the extreme of its type) where the mask is False."""
    if mask is None:
        return input
    if not input.dtype.is_floating_point and math.isinf(neutral):
        bounds = jnp.iinfo(input.dtype.np)
        neutral = int(bounds.max if neutral > 0 else bounds.min)
    return choose(_mask(input, mask), input, neutral)


def _typed(result: Tensor, dtype: Any) -> Tensor:
    return result if dtype is None else result.to(dtype)


def _reduction(name: str, doc: str) -> None:
    def reduction(input, dim=None, *, keepdim=False, dtype=None, mask=None):
        x, dims = _kept(input, mask, _NEUTRAL[name]), reduced_dims(dim, input.dim())
        if name == "sum":
            return x.sum(dims, keepdim, dtype=dtype)
        if name == "prod":
            whole = not (x.dtype.is_floating_point or x.dtype.is_complex)
            x = x.long() if dtype is None and whole else _typed(x, dtype)
            for d in sorted(dims, reverse=True):
                x = x.prod(d, keepdim)
            return x
        return getattr(x, name)(dims, keepdim).to(input.dtype if dtype is None else dtype)

    reduction.__doc__ = f"{doc} along `dim` (by default all), of the elements that `mask` keeps."
    composite(name=name, **_MASKED)(reduction)


for _name, _doc in {"sum": "The sum", "prod": "The product", "amax": "The maximum",
                    "amin": "The minimum", "logsumexp": "log(sum(exp(x)))"}.items():  # fmt: skip
    _reduction(_name, _doc)


def _position(name: str) -> None:
    def position(input, dim=None, *, keepdim=False, dtype=None, mask=None):
        found = getattr(_kept(input, mask, _NEUTRAL[name]), name)(dim, keepdim)
        return found.to(input.dtype if dtype is None else dtype)

    what = "maximum" if name == "argmax" else "minimum"
    position.__doc__ = f"Where the {what} of the elements that `mask` keeps is, in input's type."
    composite(name=name, **_MASKED)(position)


_position("argmax")
_position("argmin")


def _along(name: str, function: Any, doc: str) -> None:
    def along(input, dim, *, dtype=None, mask=None):
        return function(_kept(input, mask, _NEUTRAL[name]), dim, dtype=dtype)

    along.__doc__ = f"{doc} along `dim`, of the elements that `mask` keeps."
    composite(name=name, **_MASKED)(along)


_along("cumsum", _TORCH["cumsum"], "The running sum")
_along("cumprod", _TORCH["cumprod"], "The running product")
_along("softmax", _FUNCTIONAL["softmax"], "The softmax")
_along("log_softmax", _FUNCTIONAL["log_softmax"], "The logarithm of the softmax")
_along("softmin", _FUNCTIONAL["softmin"], "The softmax of -x")


def _count(input, dim, mask, keepdim):
    mask = _TORCH["ones"](tuple(input.shape)).bool() if mask is None else _mask(input, mask)
    return mask.sum(reduced_dims(dim, input.dim()), keepdim)


@composite(**_MASKED)
def mean(input, dim=None, *, keepdim=False, dtype=None, mask=None):
    """The mean along `dim` of the elements that `mask` keeps; NaN where it keeps none.

    Raises:
        ValueError: neither `dtype` nor the input's is floating.
    """
    source, dtype = ("Input", input.dtype) if dtype is None else ("Optional", dtype)
    if not (dtype.is_floating_point or dtype.is_complex):
        raise ValueError(
            f"mean(): Could not infer output dtype. {source} dtype must be either a floating "
            f"point or complex dtype. Got: {dtype}"
        )
    total = NAMES["masked"]["sum"](input, dim, keepdim=keepdim, dtype=dtype, mask=mask)
    return total / _count(input, dim, mask, keepdim)


@composite(**_MASKED)
def median(input, dim=-1, *, keepdim=False, dtype=None, mask=None):
    """The lower median along `dim` of the elements that `mask` keeps; NaN where it keeps none.

    Raises:
        ValueError: an integer input of which nothing is kept.
    """
    x = input if input.dtype.is_floating_point else input.float()
    found = _TORCH["nanmedian"](_kept(x, mask, math.nan), dim, keepdim).values
    if input.dtype.is_floating_point:
        return found
    if found.isnan().any():
        raise ValueError(
            "masked median expects no fully masked out rows if dtype is not floating point"
        )
    return found.to(input.dtype if dtype is None else dtype)


@composite(**_MASKED)
def norm(input, ord=2.0, dim=None, *, keepdim=False, dtype=None, mask=None):
    """The vector norm of order `ord` along `dim`, of the elements that `mask` keeps."""
    x = _typed(_kept(input, mask, math.inf if ord == -math.inf else 0), dtype)
    return _TORCH["norm"](x, 2.0 if ord is None else ord, reduced_dims(dim, input.dim()), keepdim)


@composite(**_MASKED)
def normalize(input, ord, dim, *, eps=1e-12, dtype=None, mask=None):
    """The elements that `mask` keeps over their norm along `dim` (at least `eps`); others 0."""
    length = norm(input, ord, dim, keepdim=True, dtype=dtype, mask=mask)
    return _kept(input, mask, 0) / length.maximum(length.new_full((), eps))


def _spread(input, dim, unbiased, correction, keepdim, dtype, mask):
    """The variance."""
    if unbiased is not None and correction is not None:
        raise AssertionError("Only one of unbiased and correction may be given")
    if correction is None:
        correction = 1 if unbiased is None else int(unbiased)
    whole = not (input.dtype.is_floating_point or input.dtype.is_complex)
    dtype = (_TORCH["empty"](0).float().dtype if whole else input.dtype) if dtype is None else dtype
    total = NAMES["masked"]["sum"]
    count = _count(input, dim, mask, True)
    x = input - total(input, dim, keepdim=True, dtype=dtype, mask=mask) / count
    squares = total(x * x.conj(), dim, keepdim=keepdim, dtype=dtype, mask=mask)
    count = (count - correction).clamp(min=0).reshape(tuple(squares.shape))
    return (squares / count).to(dtype)


@composite(**_MASKED)
def var(input, dim=None, unbiased=None, *, correction=None, keepdim=False, dtype=None, mask=None):
    """The variance along `dim` of the elements that `mask` keeps.

    Args:
        correction: what is taken from the count of elements, by default 1; or else
        unbiased: True for 1, False for 0.
    """
    return _spread(input, dim, unbiased, correction, keepdim, dtype, mask)


@composite(**_MASKED)
def std(input, dim=None, unbiased=None, *, correction=None, keepdim=False, dtype=None, mask=None):
    """The standard deviation along `dim` of the elements that `mask` keeps; as `var`."""
    return _spread(input, dim, unbiased, correction, keepdim, dtype, mask).sqrt()


@composite(**_MASKED)
def logaddexp(input, other, *, dtype=None, input_mask=None, other_mask=None):
    """log(exp(input) + exp(other)), where either counts only if its mask keeps it."""
    pair = _kept(input, input_mask, -math.inf), _kept(other, other_mask, -math.inf)
    return _typed(_TORCH["logaddexp"](*pair), dtype)
