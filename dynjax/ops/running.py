"""Running reductions: the sums, products and extremes of the first 1, 2, ... elements.

Source: https://pytorch.org/docs/stable/torch.html#other-operations
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .checks import check_kind, in_opmath, opmath, wrap_dim
from .declare import Dtype, Int, Tensor, op
from .reductions import accumulated


def _many_lines(x, axis):
    """Whether to go along an axis one position after the other, over all lines at once.

    JAX's own running reductions are trees of log2(n) passes over everything, which is what an
    accelerator wants. On a CPU, 1024 lines of 256 take 0.8 ms so (sums), 1.5 (maxima), 80
    (log-sum-exp); in turn they take 0.35, 0.25 and 1.
    """
    n = x.shape[axis]
    return jax.default_backend() == "cpu" and 1 < n <= x.size // n


def _row_by_row(step, arrays, starts, axis):
    """Running results of `step`, which updates them by the arrays' next elements.

    Args:
        step: (*results so far, *next elements) -> results.
        arrays: of one shape.
        starts: results before the first element, numbers or arrays without the axis.
        axis: along which.
    """

    def turn(state, rows):
        state = step(*state, *rows)
        return state, state

    rows = tuple([jnp.moveaxis(x, axis, 0) for x in arrays])
    pairs = zip(rows, starts, strict=True)
    state = tuple([jnp.broadcast_to(jnp.asarray(s, r.dtype), r.shape[1:]) for r, s in pairs])
    return tuple([jnp.moveaxis(x, 0, axis) for x in lax.scan(turn, state, rows)[1]])


def _running(name, fn, step, start, doc):
    def body(input: Tensor, dim: Int, *, dtype: Dtype = None):
        axis, x = wrap_dim(dim, input.ndim), accumulated(input, dtype)
        if not x.ndim:
            return x
        wide = x.astype(opmath(x.dtype))
        if _many_lines(wide, axis):
            total = _row_by_row(lambda total, row: (step(total, row),), (wide,), (start,), axis)[0]
        else:
            total = fn(wide, axis)
        return total.astype(x.dtype)

    op(name=name, inplace=True, out=True, doc=doc)(body)


_running("cumsum", jnp.cumsum, jnp.add, 0, "The sums of the first 1, 2, ... elements along `dim`.")
_running(
    "cumprod",
    jnp.cumprod,
    jnp.multiply,
    1,
    "The products of the first 1, 2, ... elements along `dim`.",
)


@op(out=True)
@in_opmath
def logcumsumexp(input: Tensor, dim: Int):
    """log(cumsum(exp(x))) along `dim`, without overflow."""
    check_kind(input, "bi", "logcumsumexp_out_cpu")
    axis = wrap_dim(dim, input.ndim)
    if not input.ndim:
        return input
    if _many_lines(input, axis):
        start = -math.inf
        return _row_by_row(lambda t, row: (jnp.logaddexp(t, row),), (input,), (start,), axis)[0]
    return lax.cumlogsumexp(input, axis)


def _running_extreme(name, later_wins, doc):
    def last(x, i, y, j):
        """The later of two candidates, unless the earlier one is strictly better; NaN stays."""
        chosen = jnp.isnan(y) | (~jnp.isnan(x) & later_wins(y, x))
        return jnp.where(chosen, y, x), jnp.where(chosen, j, i)

    def body(input: Tensor, dim: Int):
        check_kind(input, "c", f"{name}_cpu")
        axis = wrap_dim(dim, input.ndim)
        if input.ndim == 0:
            return input, jnp.zeros((), np.int64)
        x = lax.stop_gradient(input)
        both = x, lax.broadcasted_iota(np.int64, input.shape, axis)
        if _many_lines(x, axis):
            first = [lax.index_in_dim(a, 0, axis, keepdims=False) for a in both]
            found = _row_by_row(last, both, first, axis)[1]
        else:
            found = lax.associative_scan(lambda a, b: last(*a, *b), both, axis=axis)[1]
        return jnp.take_along_axis(input, found, axis), found

    op(name=name, out=True, returns=("values", "indices"), doc=doc)(body)


_running_extreme(
    "cummax", jnp.greater_equal, "The largest of the first 1, 2, ... elements, and where it was."
)
_running_extreme(
    "cummin", jnp.less_equal, "The smallest of the first 1, 2, ... elements, and where it was."
)
