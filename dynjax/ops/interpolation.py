"""Resizing: nearest neighbours, linear, cubic, area; with antialiasing.

Every mode resizes one axis after the other. Along an axis, an output is a weighted sum of a few
inputs: which ones and how much is known from the sizes, so it is worked out on the host.

Source: https://pytorch.org/docs/stable/generated/torch.nn.functional.interpolate.html
"""

from __future__ import annotations

import math
import warnings

import jax.numpy as jnp
import numpy as np

from ..engine.frames import user_stacklevel
from . import adaptive_pooling  # noqa: F401  (declares what "area" is)
from .checks import in_opmath, type_name
from .declare import NAMES, Bool, Ints, Static, Str, Tensor, composite, op

_NEAREST = ("nearest", "nearest-exact")
# How many dimensions of the input each mode is for.
_NDIM = {"linear": 3, "bilinear": 4, "trilinear": 5, "bicubic": 4, "lanczos": 4}


# --- which inputs, and how much ------------------------------------------------------------------


def _ratio(n, out, factor, align, real):
    """How far apart in the input two neighbouring outputs are."""
    if align:
        return real(n - 1) / real(out - 1) if out > 1 else real(0)
    return real(1 / factor) if factor else real(n) / real(out)


def _nearest(n, out, factor, align, real, shift):
    at = np.floor((np.arange(out, dtype=real) + real(shift)) * _ratio(n, out, factor, False, real))
    return np.clip(at.astype(np.int64), 0, n - 1)[:, None], None


def _source(n, out, factor, align, real):
    at, ratio = np.arange(out, dtype=real), _ratio(n, out, factor, align, real)
    return at * ratio if align else (at + real(0.5)) * ratio - real(0.5)


def _linear(n, out, factor, align, real):
    at = np.maximum(_source(n, out, factor, align, real), 0)
    low = np.minimum(at.astype(np.int64), n - 1)
    share = np.clip(at - low, 0, 1)
    return np.stack([low, np.minimum(low + 1, n - 1)], 1), np.stack([1 - share, share], 1)


def _cubic_weight(x, a):
    """The cubic convolution kernel, zero beyond 2."""
    x = np.abs(x)
    near, far = ((a + 2) * x - (a + 3)) * x * x + 1, (((x - 5) * x + 8) * x - 4) * a
    return np.where(x < 1, near, np.where(x < 2, far, 0))


def _cubic(n, out, factor, align, real):
    at = _source(n, out, factor, align, real)
    low = np.floor(at)
    taps = low[:, None] + np.arange(-1, 3)
    return np.clip(taps.astype(np.int64), 0, n - 1), _cubic_weight(at[:, None] - taps, real(-0.75))


_FILTERS = {
    "bilinear": (1, lambda x: np.maximum(1 - np.abs(x), 0)),
    "bicubic": (2, lambda x: _cubic_weight(x, -0.5)),
    "lanczos": (3, lambda x: np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0)),
}


def _antialiased(n, out, factor, align, real, mode):
    """A filter as wide as the outputs are apart."""
    reach, weight = _FILTERS[mode]
    ratio = _ratio(n, out, factor, align, real)
    wide = max(ratio, real(1))
    center = ratio * (np.arange(out, dtype=real) + real(0.5))
    first = np.maximum((center - reach * wide + real(0.5)).astype(np.int64), 0)
    last = np.minimum((center + reach * wide + real(0.5)).astype(np.int64), n)
    taps = first[:, None] + np.arange(int((last - first).max()))
    weights = weight((taps - center[:, None] + real(0.5)) / wide) * (taps < last[:, None])
    return np.minimum(taps, n - 1), weights / weights.sum(1, keepdims=True)


def _plan(mode, antialias, *sizes):
    if antialias:
        return _antialiased(*sizes, mode)
    if mode in _NEAREST:
        return _nearest(*sizes, 0.5 if mode == "nearest-exact" else 0)
    return (_cubic if mode == "bicubic" else _linear)(*sizes)


def _resized(x, axis, index, weights):
    if weights is None:
        times, rest = divmod(len(index), x.shape[axis])
        if not rest and (index[:, 0] == np.arange(len(index)) // times).all():
            # The gradient of a repetition is a sum, that of a choice a scatter: a fifth as fast.
            return jnp.repeat(x, times, axis)
        return jnp.take(x, index[:, 0], axis)
    weights = weights.astype(x.dtype).reshape(*weights.shape, *(1,) * (x.ndim - axis - 1))
    # What counts nothing stays out, should it be infinite.
    return jnp.where(weights != 0, jnp.take(x, index, axis) * weights, 0).sum(axis + 1)


# --- the operation --------------------------------------------------------------------------------


def _name(given):
    mode = "".join(part.capitalize() for part in given["mode"].split("-"))
    aa = "Aa" if given["antialias"] else ""
    return f"Upsample{mode}{len(given['input'].shape) - 2}D{aa}Backward0"


def _check(input, size):
    names = "DHW"[3 - len(size) :] if len(size) > 1 else "W"

    def text(sizes):
        return "(" + ", ".join(f"{a}: {n}" for a, n in zip(names, sizes, strict=True)) + ")"

    if min(*size, *input.shape[2:]) <= 0:
        raise RuntimeError(
            "Input and output sizes should be greater than 0, but got input "
            f"{text(input.shape[2:])} output {text(size)}"
        )
    if input.shape[1] == 0:
        raise RuntimeError(
            f"Non-empty {input.ndim}D data tensor expected but got a tensor with sizes "
            f"{list(input.shape)}"
        )


@op(name="interpolate", function=False, method=False, grad_name=_name)
@in_opmath
def _interpolate(
    input: Tensor, size: Ints, factors: Static, mode: Str, align_corners: Bool, antialias: Bool
):  # fmt: skip
    """`nn.functional.interpolate` to a size, the modes but for "area"."""
    _check(input, size)
    if not jnp.issubdtype(input.dtype, jnp.floating) and input.dtype != np.uint8:
        kernel = f"upsample_{mode.replace('-', '_')}{input.ndim - 2}d"
        raise NotImplementedError(f"\"{kernel}\" not implemented for '{type_name(input.dtype)}'")
    real = np.float64 if input.dtype == np.float64 else np.float32
    x = input.astype(np.float32) if input.dtype == np.uint8 else input
    for d, (n, out) in enumerate(zip(input.shape[2:], size, strict=True)):
        # As the reference does, nothing is filtered along an axis that keeps its size.
        if n != out or not antialias:
            factor = factors[d] if factors else None
            x = _resized(x, d + 2, *_plan(mode, antialias, n, out, factor, align_corners, real))
    return jnp.clip(jnp.round(x), 0, 255).astype(np.uint8) if input.dtype == np.uint8 else x


def _per_dimension(input, given, what):
    """`size` or `scale_factor` as one for each spatial dimension. Raises ValueError."""
    dims = input.dim() - 2
    if not isinstance(given, (list, tuple)):
        return (given,) * dims
    if len(given) != dims:
        is_size = what == "output size"
        names = "(o1, o2, ...,oK)" if is_size else "(s1, s2, ...,sK)"
        pair = "Input and output" if is_size else "Input and scale_factor"
        raise ValueError(
            f"{pair} must have the same number of spatial dimensions, but got input with spatial "
            f"dimensions of {list(input.shape[2:])} and {what} {given}. Please provide input "
            f"tensor in (N, C, d1, d2, ...,dK) format and {what.split(' of')[0]} in {names} format."
        )
    return tuple(given)


def _check_mode(input, mode, align_corners, antialias):
    if antialias and not (mode in _FILTERS and input.dim() == 4):
        raise ValueError(
            "Anti-alias option is restricted to bilinear, bicubic, and lanczos modes and requires "
            "a 4-D tensor as input"
        )
    if mode == "lanczos" and input.dim() == 4:
        if align_corners:
            raise ValueError("Lanczos mode does not support align_corners=True")
        if not antialias:
            raise ValueError("Lanczos mode requires antialias=True")
    known = input.dim() in (3, 4, 5)
    wanted = _NDIM.get(mode, input.dim() if mode in (*_NEAREST, "area") else 0)
    if known and wanted == input.dim():
        return
    if known and mode in ("linear", "bilinear", "trilinear"):
        raise NotImplementedError(
            f"Got {input.dim()}D input, but {mode} mode needs {wanted}D input"
        )
    raise NotImplementedError(
        f"Input Error: Only 3D, 4D and 5D input Tensors supported (got {input.dim()}D) for the "
        "modes: nearest | linear | bilinear | bicubic | trilinear | lanczos | area | "
        f"nearest-exact (got {mode})"
    )


@composite(module="nn.functional", method=False)
def interpolate(
    input, size=None, scale_factor=None, mode="nearest", align_corners=None,
    recompute_scale_factor=None, antialias=False,
):  # fmt: skip
    """Resize the spatial dimensions of `input`.

    Args:
        input: (N, C, W), (N, C, H, W) or (N, C, D, H, W).
        size: of the output, an int or one per spatial dimension; or else
        scale_factor: a number or one per spatial dimension.
        mode: "nearest", "nearest-exact", "linear" (3-D inputs), "bilinear", "bicubic", "lanczos"
            (4-D), "trilinear" (5-D), or "area".
        align_corners: the outer elements of input and output are in the same place, rather than
            their outer edges.
        recompute_scale_factor: use the ratio of the sizes rather than `scale_factor`.
        antialias: "bilinear", "bicubic" or "lanczos" with a filter as wide as outputs are apart.

    Raises:
        ValueError, NotImplementedError, TypeError, RuntimeError: settings do not fit.
    """
    if mode in (*_NEAREST, "area") and align_corners is not None:
        raise ValueError(
            "align_corners option can only be set with the interpolating modes: linear | "
            "bilinear | bicubic | trilinear"
        )
    factors = None
    if size is not None and scale_factor is not None:
        raise ValueError("only one of size or scale_factor should be defined")
    if size is not None:
        size = _per_dimension(input, size, "output size of")
        if not all(hasattr(n, "__index__") for n in size):
            raise TypeError(
                "expected size to be one of int or Tuple[int] or Tuple[int, int] or Tuple[int, "
                f"int, int], but got size with types {[type(n) for n in size]}"
            )
        if recompute_scale_factor:
            raise ValueError("recompute_scale_factor is not meaningful with an explicit size.")
    elif scale_factor is not None:
        factors = _per_dimension(input, scale_factor, "scale_factor of shape")
        size = tuple(int(n * f) for n, f in zip(input.shape[2:], factors, strict=True))
    else:
        raise ValueError("either size or scale_factor should be defined")
    _check_mode(input, mode, align_corners, antialias)
    if mode == "area":
        return NAMES["nn.functional"][f"adaptive_avg_pool{len(size)}d"](input, size)
    if recompute_scale_factor or not all(map(math.isfinite, factors or ())):
        factors = None
    return _interpolate(input, size, factors, mode, bool(align_corners), bool(antialias))


def _deprecated(name, mode, align_corners):
    def upsample(input, size=None, scale_factor=None, mode=mode, align_corners=align_corners):
        warnings.warn(
            f"`nn.functional.{name}` is deprecated. Use `nn.functional.interpolate` instead.",
            stacklevel=user_stacklevel(),
        )
        return interpolate(input, size, scale_factor, mode, align_corners)

    upsample.__name__, upsample.__doc__ = name, "Deprecated: `interpolate`."
    composite(module="nn.functional", method=False)(upsample)


_deprecated("upsample", "nearest", None)
_deprecated("upsample_nearest", "nearest", None)
_deprecated("upsample_bilinear", "bilinear", True)
