"""Discrete Fourier transforms.

The last dimension is real on one side for `rfft`, `irfft`, `hfft` and `ihfft`; along the others
every transform is complex. `norm` says which direction is scaled: "backward" (or None) the
inverse by 1/n, "forward" the other, "ortho" both by 1/sqrt(n).

Source: https://pytorch.org/docs/stable/fft.html
"""

import functools

import jax.numpy as jnp
import numpy as np

from ..core.dtypes import as_dtype, get_default_dtype
from .checks import is_complex, type_name, wrap_dim
from .creation import finish
from .declare import FLOAT, Int, Ints, Str, Tensor, composite, op

_FROM_REAL, _TO_REAL = ("rfft", "ihfft"), ("irfft", "hfft")

_WHAT = {
    "fft": "The discrete Fourier transform",
    "ifft": "The inverse of `fft`",
    "rfft": "`fft` of a real signal: the half of the spectrum that determines the other",
    "irfft": "The inverse of `rfft`: the real signal of half a spectrum",
    "hfft": "The real spectrum of a signal given by its half, conjugate-symmetric in time",
    "ihfft": "The inverse of `hfft`: half the signal of a real spectrum",
}


def _check(name, kind, x, norm):
    """Refuse the types and modes that PyTorch refuses. Raises RuntimeError."""
    if is_complex(x) and kind in _FROM_REAL:
        if name in ("ihfft2", "ihfftn"):
            raise RuntimeError(
                f"Only supports floating-point dtypes, but found: {type_name(x.dtype)}"
            )
        real = "real" if name == kind else "real-valued"
        called = "rfftn" if kind == "rfft" and name != kind else name
        raise RuntimeError(f"{called} expects a {real} input tensor, but got {type_name(x.dtype)}")
    if x.dtype.itemsize == 2:
        raise RuntimeError(f"Unsupported dtype {type_name(x.dtype)}")
    if norm not in (None, "backward", "forward", "ortho"):
        raise RuntimeError(f'Invalid normalization mode: "{norm}"')


def _settled(x, sizes, dims):
    """The axes and the number of points along each. Raises RuntimeError, IndexError."""
    if isinstance(sizes, int):
        sizes = (sizes,)
    if dims is not None:
        axes = _unique_axes(dims, x.ndim)
        if sizes is not None and len(sizes) != len(axes):
            raise RuntimeError("When given, dim and shape arguments must have the same length")
    elif sizes is not None:
        if len(sizes) > x.ndim:
            raise RuntimeError(
                f"Got shape with {len(sizes)} values but input tensor only has {x.ndim} dimensions."
            )
        axes = tuple(range(x.ndim - len(sizes), x.ndim))
    else:
        axes = tuple(range(x.ndim))
    return list(axes), [None if n == -1 else n for n in sizes or [-1] * len(axes)]


def _unique_axes(dims, ndim):
    """`wrap_dims` in the words of the transforms."""
    axes = tuple(wrap_dim(d, ndim) for d in ((dims,) if isinstance(dims, int) else dims))
    if len(set(axes)) < len(axes):
        raise RuntimeError("FFT dims must be unique")
    return axes


def _transform(kind, x, sizes, axes, norm):
    """The transform along `axes`, over `sizes` points each (None: all there are)."""
    points = [
        n if n is not None
        else 2 * (x.shape[a] - 1) if kind in _TO_REAL and a == axes[-1]
        else x.shape[a]
        for a, n in zip(axes, sizes, strict=True)
    ]  # fmt: skip
    for n in points:
        if n < 1:
            raise RuntimeError(f"Invalid number of data points ({n}) specified")
    if kind not in _FROM_REAL:
        x = x.astype(jnp.promote_types(x.dtype, np.complex64))
    if kind not in ("hfft", "ihfft"):
        return getattr(jnp.fft, kind + "n")(x, points, axes, norm) if axes else x
    # JAX has these along one dimension; the others are complex.
    *before, n = points
    if kind == "ihfft":
        x = jnp.fft.ihfft(x, n, axes[-1], norm)
    if before:
        x = (jnp.fft.fftn if kind == "hfft" else jnp.fft.ifftn)(x, before, axes[:-1], norm)
    return jnp.fft.hfft(x, n, axes[-1], norm) if kind == "hfft" else x


def _node(kind, given):
    """PyTorch's name of the tape's node of the form along one dimension."""
    if kind in _TO_REAL:
        return "FftC2RBackward0"
    if kind == "ihfft":
        return "ConjBackward0"
    return f"Fft{'C2C' if given['input'].dtype.is_complex else 'R2C'}Backward0"


_NODE_OF_MANY = dict.fromkeys(_TO_REAL, "FftC2RBackward0") | {"rfft": "FftR2CBackward0"}


_ARGUMENTS = (
    (
        "one dimension",
        "n: number of points: the input is cut to this length, or padded with 0.",
        "dim: the dimension.",
    ),
    (
        "two dimensions",
        "s: number of points along each, as `n` of the form along one; -1 for all there are.",
        "dim: the two dimensions.",
    ),
    (
        "several dimensions",
        "s: number of points along each, as `n` of the form along one; -1 for all there are.",
        "dim: the dimensions; by default the last `len(s)`, or all.",
    ),
)


def _declare(kind):
    """The forms of one transform: along one dimension, two, any number of them."""
    options = {"module": "fft", "types": FLOAT, "out": True}

    @op(name=kind, grad_name=functools.partial(_node, kind), **options)
    def along(input: Tensor, n: Int = None, dim: Int = -1, norm: Str = None):
        _check(kind, kind, input, norm)
        if input.ndim == 0:
            raise IndexError(f"Dimension specified as {dim} but tensor has no dimensions")
        return _transform(kind, input, [n], [wrap_dim(dim, input.ndim)], norm)

    options["grad_name"] = _NODE_OF_MANY.get(kind, "FftC2CBackward0")

    @op(name=kind + "2", **options)
    def along_two(input: Tensor, s: Ints = None, dim: Ints = (-2, -1), norm: Str = None):
        _check(kind + "2", kind, input, norm)
        axes, sizes = _settled(input, s, dim)
        return _transform(kind, input, sizes, axes, norm)

    @op(name=kind + "n", **options)
    def along_many(input: Tensor, s: Ints = None, dim: Ints = None, norm: Str = None):
        _check(kind + "n", kind, input, norm)
        axes, sizes = _settled(input, s, dim)
        if not axes and kind not in ("fft", "ifft"):
            raise RuntimeError(f"{kind}n must transform at least one axis")
        return _transform(kind, input, sizes, axes, norm)

    forms = (along, along_two, along_many)
    for form, (where, size, dims) in zip(forms, _ARGUMENTS, strict=True):
        form.__doc__ = f"""{_WHAT[kind]}, along {where}.

    Args:
        {size}
        {dims}
        norm: "backward", "forward" or "ortho".

    Raises:
        RuntimeError: fewer than one point, half types, an unknown norm{
            ", complex input" if kind in _FROM_REAL else ""
        }.
    """


for _kind in _WHAT:
    _declare(_kind)


# --- frequencies --------------------------------------------------------------------------------


def _frequencies(name, count, doc):
    def function(n: int, d: float = 1.0, *, dtype=None, **options):
        dtype = get_default_dtype() if dtype is None else as_dtype(dtype, name)
        if not (dtype.is_floating_point or dtype.is_complex):
            raise RuntimeError(f"{name} requires a floating point or complex dtype")
        if n < 0:
            raise RuntimeError("upper bound and lower bound inconsistent with step sign")
        with np.errstate(divide="ignore", invalid="ignore"):
            values = count(n) * np.divide(1.0, n * np.float64(d))
        return finish(name, values.astype(dtype.np), **options)

    function.__doc__ = doc
    composite(name=name, module="fft")(function)


_frequencies(
    "fftfreq", lambda n: (np.arange(n) + n // 2) % max(n, 1) - n // 2,
    "The frequencies of `fft` of n points, d apart: [0, 1, ..., -2, -1] / (n d).",
)  # fmt: skip
_frequencies(
    "rfftfreq", lambda n: np.arange(n // 2 + 1),
    "The frequencies of `rfft` of n points, d apart: [0, 1, ..., n // 2] / (n d).",
)  # fmt: skip


def _shifted(name, shift, doc):
    def body(input: Tensor, dim: Ints = None):
        if dim == () or (dim is None and input.ndim == 0):
            raise RuntimeError("`shifts` required")
        if input.ndim == 0:
            raise IndexError(f"Dimension specified as {dim} but tensor has no dimensions")
        axes = range(input.ndim) if dim is None else (dim,) if isinstance(dim, int) else dim
        return shift(input, [wrap_dim(d, input.ndim) for d in axes])

    op(name=name, module="fft", grad_name="RollBackward0", doc=doc)(body)


_shifted("fftshift", jnp.fft.fftshift, "The zero frequency moved from the front to the middle.")
_shifted("ifftshift", jnp.fft.ifftshift, "The zero frequency moved from the middle to the front.")
