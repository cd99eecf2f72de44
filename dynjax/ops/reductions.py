"""Reductions over dimensions: sums, extremes, moments, norms.

Integers are summed as int64; half types accumulate in `float32`. Extremes share the gradient
among ties, except those that return an index, which give all of it to that index.

Source: https://pytorch.org/docs/stable/torch.html#reduction-ops
"""

import functools
import math
import warnings

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ..engine.frames import user_stacklevel
from ..tensor.tensor import Tensor as TensorType
from .checks import (
    check_floating,
    check_kind,
    check_not_empty,
    in_opmath,
    is_bool,
    is_complex,
    is_integral,
    opmath,
    reduced_dims,
    type_name,
    wrap_dim,
)
from .declare import FLOAT, PROMOTE, Bool, Dtype, Float, Int, Ints, Static, Tensor, composite, op
from .order import order_of
from .pick import pick
from .pointwise import absolute, maximum, minimum


def _by_dim(name, full=0, dim=1):
    """The name of the tape's node: PyTorch's differs between whole tensor and dimensions."""
    return lambda args: f"{name}Backward{full if args.get('dim') is None else dim}"


def accumulated(x, dtype):
    """What a sum or product runs over: integers widen to int64 unless a type is given."""
    if dtype is None:
        dtype = np.int64 if is_integral(x) else x.dtype
    return x.astype(dtype)


# --- sums and products --------------------------------------------------------------------------


@op(out=True, grad_name=_by_dim("Sum"))
def sum(input: Tensor, dim: Ints = None, keepdim: Bool = False, *, dtype: Dtype = None):
    """The sum over `dim`, or over everything.

    Args:
        dtype: type in which to sum, and of the result; integers give int64 without it.
    """
    x = accumulated(input, dtype)
    return jnp.sum(x, reduced_dims(dim, input.ndim), dtype=x.dtype, keepdims=keepdim)


@op(out=True)
def nansum(input: Tensor, dim: Ints = None, keepdim: Bool = False, *, dtype: Dtype = None):
    """`sum`, taking NaN as 0."""
    if is_complex(input):
        raise RuntimeError("nansum on CPU does not support complex inputs")
    x = accumulated(jnp.where(jnp.isnan(input), 0, input), dtype)
    return jnp.sum(x, reduced_dims(dim, input.ndim), dtype=x.dtype, keepdims=keepdim)


def _averaged(x, dtype):
    """What a mean runs over."""
    given, what = (x.dtype, "Input") if dtype is None else (dtype, "Optional")
    if is_integral(np.empty(0, given)):
        raise RuntimeError(
            f"mean(): could not infer output dtype. {what} dtype must be either a floating point "
            f"or complex dtype. Got: {type_name(given)}"
        )
    return x.astype(given)


@op(out=True, grad_name=_by_dim("Mean"))
def mean(input: Tensor, dim: Ints = None, keepdim: Bool = False, *, dtype: Dtype = None):
    """The mean over `dim`, or over everything. Raises RuntimeError for integers without `dtype`."""
    return jnp.mean(_averaged(input, dtype), reduced_dims(dim, input.ndim), keepdims=keepdim)


@op(out=True)
def nanmean(input: Tensor, dim: Ints = None, keepdim: Bool = False, *, dtype: Dtype = None):
    """The mean of what is not NaN."""
    if is_integral(input):
        raise RuntimeError(
            "nanmean(): expected input to have floating point or complex dtype but got "
            f"{type_name(input.dtype)}"
        )
    axes, missing = reduced_dims(dim, input.ndim), jnp.isnan(input)
    total = jnp.sum(accumulated(jnp.where(missing, 0, input), dtype), axes, keepdims=keepdim)
    return total / jnp.sum(~missing, axes, keepdims=keepdim).astype(total.dtype)


@op(out=True, grad_name=_by_dim("Prod"))
def prod(input: Tensor, dim: Int = None, keepdim: Bool = False, *, dtype: Dtype = None):
    """The product over `dim`, or over everything."""
    x = accumulated(input, dtype)
    return jnp.prod(
        x, reduced_dims(dim, input.ndim), dtype=x.dtype, keepdims=keepdim and dim is not None
    )


def log_sum_exp(x, axes, keepdim):
    """log(sum(exp(x))) over axes; -inf where all are -inf."""
    top = jnp.max(lax.stop_gradient(x.real), axes, keepdims=True, initial=-jnp.inf)
    top = jnp.where(jnp.isfinite(top), top, 0)
    total = jnp.sum(jnp.exp(x - top), axes, keepdims=True)
    result = jnp.log(total) + top
    return result if keepdim else lax.squeeze(result, axes)


@op(types=FLOAT, out=True, module=("torch", "special"))
@in_opmath
def logsumexp(input: Tensor, dim: Ints, keepdim: Bool = False):
    """log(sum(exp(x))) over `dim`, without overflow."""
    return log_sum_exp(input, reduced_dims(dim, input.ndim), keepdim)


# --- truth and counts ---------------------------------------------------------------------------


def _truth(name, fn, doc):
    def body(input: Tensor, dim: Ints = None, keepdim: Bool = False):
        result = fn(input, reduced_dims(dim, input.ndim), keepdims=keepdim)
        return result.astype(np.uint8) if input.dtype == np.uint8 else result

    op(name=name, out=True, doc=doc)(body)


_truth("all", jnp.all, "Whether all elements are nonzero, over `dim` or everything.")
_truth("any", jnp.any, "Whether some element is nonzero, over `dim` or everything.")


@op()
def count_nonzero(input: Tensor, dim: Ints = None):
    """How many elements are not 0, as int64."""
    return jnp.sum(input != 0, reduced_dims(dim, input.ndim), dtype=np.int64)


# --- extremes -----------------------------------------------------------------------------------


def _check_extreme(name, x, dim):
    """The axes of an extreme over `dim` (None: all); refuses empty ones."""
    if dim is None and x.size == 0:
        raise RuntimeError(
            f"{name}(): Expected reduction dim to be specified for input.numel() == 0. Specify "
            "the reduction dim with the 'dim' argument."
        )
    axes = reduced_dims(dim, x.ndim)
    check_not_empty(x, axes, name)
    return axes


def _extreme(name, fn, index_of, other, what):
    """Declare `amax` and the three forms of `max`, or those of the minimum."""

    @op(name="a" + name, out=True, doc=f"The {what} over `dim`; ties share the gradient.")
    def over(input: Tensor, dim: Ints = (), keepdim: Bool = False):
        check_kind(input, "c", f"{name}_values_cpu")
        axes = _check_extreme("a" + name, input, None if dim == () else dim)
        return fn(input, axes, keepdims=keepdim)

    @op(
        name=f"{name}_all",
        out=True,
        function=False,
        method=False,
        grad_name=f"{name.title()}Backward1",
    )
    def full(input: Tensor):
        check_kind(input, "c", f"{name}_all")
        _check_extreme(name, input, None)
        return fn(input)

    @op(
        name=f"{name}_dim", out=True, function=False, method=False, returns=("values", "indices"),
        grad_name=f"{name.title()}Backward0",
    )  # fmt: skip
    def along(input: Tensor, dim: Int, keepdim: Bool = False):
        check_kind(input, "c", f"{name}_cpu")
        return _selected(input, wrap_dim(dim, input.ndim), keepdim, name, index_of)

    @composite(name=name)
    def function(input, *args, out=None, **kwargs):
        if not args and not kwargs:
            return full(input, out=out)
        if "other" in kwargs or (args and isinstance(args[0], TensorType)):
            return other(input, *args, out=out, **kwargs)
        return along(input, *args, out=out, **kwargs)

    function.__doc__ = f"""The {what} of a tensor, in three forms.

    `{name}(input)` over all elements; `{name}(input, dim, keepdim=False)` over one dimension, as
    a named tuple (values, indices); `{name}(input, other)` of two tensors, elementwise.
    """


def _selected(x, axis, keepdim, name, index_of):
    """Values and indices along an axis; the gradient goes to the chosen elements."""
    if x.ndim == 0:
        return x, jnp.zeros((), np.int64)
    check_not_empty(x, (axis,), name)
    index = index_of(lax.stop_gradient(x), axis)
    values = pick(x, index, axis)
    return (values, index) if keepdim else (values.squeeze(axis), index.squeeze(axis))


def _first(extreme):
    """The function that finds where the extreme first is, NaN if there is one: a dimension of 1.

    As two plain reductions; one over pairs of value and position, as XLA's CPU runs `jnp.argmax`,
    takes ten times as long.
    """

    def index_of(x, axis):
        best = extreme(x, axis, keepdims=True)
        found = x == best
        if jnp.issubdtype(x.dtype, jnp.floating):
            found |= jnp.isnan(x) & jnp.isnan(best)
        axis = range(x.ndim) if axis is None else (axis,)
        # Row by row over the axes, in the order of the flattened tensor.
        place, step = np.int64(0), 1
        for d in reversed(axis):
            place = place + step * lax.broadcasted_iota(np.int64, x.shape, d)
            step *= x.shape[d]
        return jnp.min(jnp.where(found, place, step), tuple(axis), keepdims=True)

    return index_of


_argmax, _argmin = _first(jnp.max), _first(jnp.min)
_extreme("max", jnp.max, _argmax, maximum, "largest element")
_extreme("min", jnp.min, _argmin, minimum, "smallest element")


@op(out="same type", returns=("min", "max"))
def aminmax(input: Tensor, *, dim: Int = None, keepdim: Bool = False):
    """The smallest and the largest element over `dim`, as a named tuple (min, max)."""
    check_kind(input, "c", "aminmax_cpu")
    axes = _check_extreme("aminmax", input, dim)
    return jnp.min(input, axes, keepdims=keepdim), jnp.max(input, axes, keepdims=keepdim)


def _arg_extreme(name, index_of, what):
    def body(input: Tensor, dim: Int = None, keepdim: Bool = False):
        for refused, kind in ((is_complex, "complex"), (is_bool, "bool")):
            if refused(input):
                raise RuntimeError(f"{name}(): does not support {kind} input")
        if dim is None and input.size == 0:
            raise IndexError(
                f"{name}(): Expected reduction dim to be specified for input.numel() == 0."
            )
        axis = None if dim is None else wrap_dim(dim, input.ndim)
        check_not_empty(input, () if axis is None else (axis,), name)
        if input.ndim == 0:
            return jnp.zeros((), np.int64)
        index = index_of(input, axis)
        return index if keepdim else index.squeeze(axis)

    op(name=name, out=True, doc=f"The index of the {what}, the first of equals; of the "
       "flattened tensor if `dim` is None.")(body)  # fmt: skip


_arg_extreme("argmax", _argmax, "largest element")
_arg_extreme("argmin", _argmin, "smallest element")


# --- medians ------------------------------------------------------------------------------------


def _median_index(skip_nan):
    def index_of(x, axis):
        """Where the lower median is; where the first NaN is, if there is one and it counts."""
        n, order = x.shape[axis], order_of(x, axis)  # NaN last
        missing = jnp.sum(jnp.isnan(x), axis, keepdims=True)
        if skip_nan:
            rank = jnp.maximum(n - missing - 1, 0) // 2
        else:
            rank = jnp.where(missing > 0, n - missing, (n - 1) // 2)
        return jnp.take_along_axis(order, rank, axis).astype(np.int64)

    return index_of


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def _shared_median(x, index_of):
    """The median of a vector; its gradient is shared by the elements that equal it."""
    return x[index_of(x, 0)[0]]


@_shared_median.defjvp
def _shared_median_jvp(index_of, primals, tangents):
    value = _shared_median(*primals, index_of)
    equal = (primals[0] == value) | (jnp.isnan(primals[0]) & jnp.isnan(value))
    share = jnp.where(equal, tangents[0], 0).sum() / equal.sum().astype(value.dtype)
    return value, share


def _declare_median(name, index_of, doc):
    @op(
        name=f"{name}_all",
        out=True,
        function=False,
        method=False,
        grad_name=f"{name.title()}Backward0",
    )
    def full(input: Tensor):
        check_kind(input, "bc", "median_cpu")
        if input.size == 0:
            return jnp.full((), jnp.nan).astype(input.dtype)
        return _shared_median(input.reshape(-1), index_of)

    @op(
        name=f"{name}_dim", out=True, function=False, method=False, returns=("values", "indices"),
        grad_name=f"{name.title()}Backward1",
    )  # fmt: skip
    def along(input: Tensor, dim: Int, keepdim: Bool = False):
        check_kind(input, "bc", "median_out_impl")
        return _selected(input, wrap_dim(dim, input.ndim), keepdim, name, index_of)

    @composite(name=name)
    def function(input, dim=None, keepdim=False, *, out=None):
        return full(input, out=out) if dim is None else along(input, dim, keepdim, out=out)

    function.__doc__ = doc


_declare_median(
    "median",
    _median_index(skip_nan=False),
    "The lower median: of all elements, or (values, indices) along `dim`. NaN if there is one.",
)
_declare_median(
    "nanmedian",
    _median_index(skip_nan=True),
    "The lower median of what is not NaN: of all elements, or (values, indices) along `dim`.",
)


# --- variance -----------------------------------------------------------------------------------


def _moments(name, x, dim, keepdim, correction, root):
    """The variance (or its root) and the mean."""
    if is_integral(x):
        raise RuntimeError(f"{name} only support floating point and complex dtypes")
    axes = reduced_dims(dim, x.ndim)
    n = math.prod(x.shape[a] for a in axes)
    if n <= correction:
        warnings.warn(
            f"{name.split(' ')[0]}(): degrees of freedom is <= 0. Correction should be strictly "
            "less than the reduction factor (input numel divided by output numel).",
            UserWarning,
            stacklevel=user_stacklevel(),
        )
    mean = jnp.mean(x, axes, keepdims=True)
    variance = jnp.sum(_squared(x - mean), axes, keepdims=keepdim) / max(n - correction, 0.0)
    return (_root(variance) if root else variance), (mean if keepdim else mean.squeeze(axes))


def _squared(x):
    """|x|**2, real."""
    return jnp.square(x.real) + jnp.square(x.imag) if is_complex(x) else jnp.square(x)


def _root(x):
    """The square root, with gradient 0 at 0 as PyTorch's norms and deviations have."""
    zero = x == 0
    return jnp.where(zero, 0, jnp.sqrt(jnp.where(zero, 1, x)))


def _declare_moments(name, root, doc):
    @op(name=name, function=False, method=False, out=True)
    @in_opmath
    def alone(input: Tensor, dim: Ints, correction: Float, keepdim: Bool):
        return _moments("std and var", input, dim, keepdim, correction, root)[0]

    @op(name=f"{name}_mean", function=False, method=False)
    @in_opmath
    def with_mean(input: Tensor, dim: Ints, correction: Float, keepdim: Bool):
        return _moments(f"{name}_mean", input, dim, keepdim, correction, root)

    def settled(dim, unbiased, correction):
        if isinstance(dim, bool):  # the overload (input, unbiased)
            dim, unbiased = None, dim
        if correction is None:
            correction = 1 if unbiased is None else int(unbiased)
        return dim, correction

    @composite(name=name)
    def function(input, dim=None, unbiased=None, keepdim=False, *, correction=None, out=None):
        return alone(input, *settled(dim, unbiased, correction), keepdim, out=out)

    @composite(name=f"{name}_mean", method=False)
    def function_with_mean(input, dim=None, unbiased=None, keepdim=False, *, correction=None):
        return with_mean(input, *settled(dim, unbiased, correction), keepdim)

    function.__doc__ = f"""The {doc} over `dim`, or over everything.

    Args:
        unbiased: deprecated: correction 1 (if True) or 0. May stand in the place of `dim`.
        correction: subtracted from the number of elements in the divisor; 1 by default.

    Raises:
        RuntimeError: integers.
    """
    function_with_mean.__doc__ = f"The {doc} and the mean; arguments as for `{name}`."


_declare_moments("var", False, "variance")
_declare_moments("std", True, "standard deviation")


# --- norms --------------------------------------------------------------------------------------


def vector_norm_of(x, order, axes, keepdim):
    """The `order`-norm over axes, with PyTorch's gradients: 0 where the norm is 0."""
    size = absolute(x)
    if order == math.inf:
        return jnp.max(size, axes, keepdims=keepdim)
    if order == -math.inf:
        return jnp.min(size, axes, keepdims=keepdim)
    if order == 0:
        return jnp.sum(x != 0, axes, keepdims=keepdim).astype(size.dtype)
    if order == 1:
        return jnp.sum(size, axes, keepdims=keepdim)
    if order == 2:
        return _root(jnp.sum(_squared(x), axes, keepdims=keepdim))
    if order < 0:
        zero = size == 0
        terms = jnp.where(zero, jnp.inf, jnp.power(jnp.where(zero, 1, size), order))
        return jnp.power(jnp.sum(terms, axes, keepdims=keepdim), 1 / order)
    total = jnp.sum(_safe_power(size, order), axes, keepdims=keepdim)
    return _safe_power(total, 1 / order)


def _safe_power(x, exponent):
    """x to a positive power, with gradient 0 at 0."""
    zero = x == 0
    return jnp.where(zero, 0, jnp.power(jnp.where(zero, 1, x), exponent))


def _norm(x, order, dim, keepdim, dtype):
    check_floating(x, "linalg.vector_norm")
    axes = reduced_dims(dim, x.ndim)
    if order < 0 or order == math.inf:
        if x.size == 0 and dim is None:
            raise RuntimeError(
                f"linalg.vector_norm cannot compute the {order:g} norm on an empty tensor because "
                "the operation does not have an identity"
            )
        check_not_empty(x, axes, "linalg.vector_norm")
    narrow = x.dtype if dtype is None else np.dtype(dtype)
    result = vector_norm_of(x.astype(opmath(narrow)), order, axes, keepdim)
    return result.astype(np.empty(0, narrow).real.dtype)


@op(out=True, method="force", module="linalg", grad_name="LinalgVectorNormBackward0")
def vector_norm(
    x: Tensor, ord: Static = 2, dim: Ints = None, keepdim: Bool = False, *, dtype: Dtype = None
):
    """The `ord`-norm of the elements over `dim`, or over everything.

    Args:
        ord: any number, or an infinity; 0 counts the nonzero elements.

    Raises:
        RuntimeError: integers.
    """
    return _norm(x, ord, dim, keepdim, dtype)


@op(out=True, grad_name="LinalgVectorNormBackward0")
def norm(
    input: Tensor, p: Static = "fro", dim: Ints = None, keepdim: Bool = False,
    *, dtype: Dtype = None,
):  # fmt: skip
    """The `p`-norm of the elements over `dim`, or over everything.

    Args:
        p: a number, an infinity, "fro" (2), or "nuc": the sum of the singular values of the
            matrices in the two dimensions `dim`.

    Raises:
        RuntimeError: integers.
    """
    if p == "nuc":
        axes = reduced_dims(dim, input.ndim)
        if len(axes) != 2:
            shown = " ".join(map(str, axes))
            raise RuntimeError(f"linalg.matrix_norm: dim must be a 2-tuple. Got {shown}")
        return jnp.linalg.norm(input, "nuc", axes, keepdims=keepdim)
    if isinstance(p, str) and p != "fro":
        raise RuntimeError(f"linalg.matrix_norm: Order {p} not supported.")
    return _norm(input, 2 if p in ("fro", None) else p, dim, keepdim, dtype)


@op(types=PROMOTE)
def dist(input: Tensor, other: Tensor, p: Static = 2):
    """The `p`-norm of input - other."""
    return _norm(input - other, p, None, False, None)


@composite(function=False)
def sum_to_size(input, *size):
    """The sum over the dimensions by which `size` would broadcast to the input's shape.

    Raises:
        RuntimeError: `size` does not broadcast to it.
    """
    size = tuple(size[0]) if len(size) == 1 and not isinstance(size[0], int) else size
    extra = input.ndim - len(size)
    fits = extra >= 0 and all(n in (1, m) for n, m in zip(size, input.shape[extra:], strict=True))
    if not fits:
        raise RuntimeError(
            f"size {{{list(size)}}} is not expandable to size {{{list(input.shape)}}}."
        )
    if not size:
        return input.sum()
    wide = [d for d in range(input.ndim) if d < extra or size[d - extra] != input.shape[d]]
    return input.sum(wide, keepdim=True).reshape(size) if wide else input
