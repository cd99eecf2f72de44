"""Differences of neighbours, and what they estimate: derivatives and integrals.

Source: https://pytorch.org/docs/stable/torch.html
"""

from numbers import Number as PythonNumber

import jax.numpy as jnp
from jax import lax

from ..tensor.tensor import Tensor as TensorType
from .checks import broadcast, is_bool, wrap_dim, wrap_dims
from .declare import FLOAT, PROMOTE, Int, Number, Operand, Tensor, composite, op


def _check_joined(x, other, axis):
    """What is put before or behind `x` along an axis has to have its other sizes."""
    if other.ndim != x.ndim:
        raise RuntimeError("diff expects prepend or append to be the same dimension as input")
    for d in range(x.ndim):
        if d != axis and other.shape[d] != x.shape[d]:
            raise RuntimeError(
                "diff expects the shape of tensor to prepend or append to match that of input "
                f"except along the differencing dimension; input.size({d}) = {x.shape[d]}, but "
                f"got tensor.size({d}) = {other.shape[d]}"
            )


@op(types=PROMOTE, out=True, grad_name="SubBackward0")
def diff(
    input: Tensor, n: Int = 1, dim: Int = -1, prepend: Tensor | None = None,
    append: Tensor | None = None,
):  # fmt: skip
    """The differences of neighbours along `dim`, taken `n` times; of bools whether they differ.

    Args:
        prepend, append: put before and behind the input first.

    Raises:
        RuntimeError: a 0-dim tensor, a negative `n`, sizes that do not fit.
    """
    if input.ndim == 0:
        raise RuntimeError("diff expects input to be at least one-dimensional")
    if n < 0:
        raise RuntimeError(f"order must be non-negative but got {n}")
    axis = wrap_dim(dim, input.ndim)
    for other in (prepend, append):
        if other is not None:
            _check_joined(input, other, axis)
    if n == 0:
        return input
    x = jnp.concatenate([a for a in (prepend, input, append) if a is not None], axis)
    for _ in range(min(n, x.shape[axis])):
        before, after = _neighbours(x, axis)
        x = before != after if is_bool(x) else after - before
    return x


def _neighbours(x, axis):
    """All but the last, and all but the first along an axis."""
    n = x.shape[axis]
    return (
        lax.slice_in_dim(x, 0, max(n - 1, 0), axis=axis),
        lax.slice_in_dim(x, min(1, n), n, axis=axis),
    )


# --- integrals ----------------------------------------------------------------------------------


def _areas(name, y, x, dx, dim):
    """Twice the area between each two neighbours, and the axis."""
    if y.ndim == 0:
        raise IndexError(f"Dimension specified as {dim} but tensor has no dimensions")
    axis = wrap_dim(dim, y.ndim)
    before, after = _neighbours(y, axis)
    if x is None:
        return (before + after if dx is None else (before + after) * dx), axis
    if x.ndim == 1:
        if x.size != y.shape[axis]:
            raise RuntimeError(f"{name}: There must be one `x` value for each sample point")
        x = x.reshape(-1, *(1,) * (y.ndim - 1 - axis))
    low, high = _neighbours(x.reshape((*(1,) * (y.ndim - x.ndim), *x.shape)), axis)
    heights, widths = broadcast(before + after, high - low)
    return heights * widths, axis


def _declare_integral(name, finish, grad_name, doc):
    @op(name=name, types=FLOAT, function=False, method=False, grad_name=grad_name)
    def integral(y: Tensor, x: Tensor | None, dx: Number | None, dim: Int):
        areas, axis = _areas(name, y, x, dx, dim)
        return finish(areas, axis) / 2

    def function(y, x=None, *, dx=None, dim: int = -1):
        if x is not None and dx is not None:
            raise TypeError(f"{name}(): takes `x` or `dx`, not both")
        if any(t is not None and t.dtype.name == "bool" for t in (y, x)):
            of = "`y`" if x is None else "`x` or `y`"
            raise RuntimeError(f"{name}: received a bool input for {of}, but bool is not supported")
        return integral(y, x, dx, dim)

    function.__doc__ = f"""{doc}, by the trapezoidal rule.

    Args:
        y: the values.
        x: where they are: a vector along `dim`, or any shape that broadcasts with `y`.
        dx: their distance, if that is constant; 1 by default.

    Raises:
        RuntimeError: sizes that do not fit, bools. TypeError: both `x` and `dx`.
    """
    aliases = ("trapz",) if name == "trapezoid" else ()
    composite(name=name, method=False, aliases=aliases)(function)


_declare_integral("trapezoid", jnp.sum, "DivBackward0", "The integral along `dim`")
_declare_integral(
    "cumulative_trapezoid", jnp.cumsum, "DivBackward0", "The integrals up to each point along `dim`"
)


# --- derivatives --------------------------------------------------------------------------------


@op(name="gradient", types=FLOAT, promote=("input",), function=False, method=False,
    grad_name="CatBackward0")  # fmt: skip
def _slope(input: Tensor, spacing: Operand, dim: Int, edge_order: Int):
    """The derivative along one dimension, from points a distance or some coordinates apart."""
    n = input.shape[dim]
    if n <= edge_order:
        raise RuntimeError(
            f"torch.gradient expected each dimension size to be at least edge_order+1, got {n}"
        )
    if spacing.ndim and spacing.size != n:
        raise RuntimeError(
            f"torch.gradient expected {n} coordinates for dimension {dim}, but got {spacing.size}"
        )
    widths = jnp.diff(spacing) if spacing.ndim else jnp.broadcast_to(spacing, (n - 1,))
    along = [-1 if d == dim else 1 for d in range(input.ndim)]
    widths = widths.astype(input.real.dtype).reshape(along)

    def of(x, start, count):
        return lax.slice_in_dim(x, start, start + count, axis=dim)

    steps = jnp.diff(input, axis=dim) / widths

    def slope(start, count, at):
        """The derivative of the parabolas through three points each, `at` from their middles."""
        left, right, p, q = (of(x, start + k, count) for x in (steps, widths) for k in (0, 1))
        at = {"first": -p, "middle": 0, "last": q}[at]
        return (left * q + right * p + 2 * at * (right - left)) / (p + q)

    middle = slope(0, n - 2, "middle")
    if edge_order == 2:
        first, last = slope(0, 1, "first"), slope(n - 3, 1, "last")
    else:
        first, last = of(steps, 0, 1), of(steps, n - 2, 1)
    return jnp.concatenate([first, middle, last], dim)


def _spacings(spacing, dim, ndim):
    """The dimensions and one spacing for each. Raises as `gradient`."""
    spacing = 1 if spacing is None else spacing
    dims = wrap_dims(tuple(range(ndim)) if dim is None else dim, ndim)
    if not isinstance(spacing, (tuple, list)):
        if not isinstance(spacing, PythonNumber) and getattr(spacing, "ndim", 1):
            raise TypeError(
                "gradient(): argument 'spacing' must be Number, tuple of Scalars or tuple of "
                f"Tensors, not {type(spacing).__name__}"
            )
        return dims, [spacing] * len(dims)
    if len(spacing) != len(dims):
        if dim is None:
            raise RuntimeError(
                "torch.gradient expected spacing to be unspecified, a scalar, or a list of length "
                f"equal to 'self.dim() = {ndim}', since dim argument was not given, but got a "
                f"list of length {len(spacing)}"
            )
        raise RuntimeError(
            "torch.gradient expected spacing to be unspecified, a scalar or it's spacing and dim "
            "arguments to have the same length, but got a spacing argument of length "
            f"{len(spacing)} and a dim argument of length {len(dims)}."
        )
    tensors = [isinstance(s, TensorType) for s in spacing]
    if any(tensors) and not all(tensors):
        k = tensors.index(False)
        raise TypeError(
            f"expected Tensor as element {k} in argument 1, but got {type(spacing[k]).__name__}"
        )
    for s in spacing:
        if isinstance(s, TensorType) and s.ndim != 1:
            raise RuntimeError(
                "torch.gradient expected each element of spacing to have one dimension, but got "
                f"an element with {s.ndim} dimensions!"
            )
    return dims, spacing


@composite(method=False)
def gradient(input, *, spacing=None, dim=None, edge_order: int = 1):
    """The derivatives along dimensions, by central differences.

    Args:
        spacing: the distance of the points (1 by default), one number or one for each dimension;
            or for each dimension a vector of their coordinates.
        dim: one dimension or several; all by default.
        edge_order: 1 or 2, how many neighbours the derivatives at the edges are taken from.

    Returns: a tuple with a tensor for each dimension.

    Raises:
        RuntimeError: too few points, spacings that do not fit, uint8 or bool.
    """
    dims, spacing = _spacings(spacing, dim, input.ndim)
    if input.dtype.name == "uint8":
        raise RuntimeError("torch.gradient does not support uint8 input.")
    if input.dtype.name == "bool":
        raise RuntimeError(
            "Subtraction, the `-` operator, with two bool tensors is not supported. Use the `^` "
            "or `logical_xor()` operator instead."
        )
    if edge_order not in (1, 2):
        raise RuntimeError("torch.gradient only supports edge_order=1 and edge_order=2.")
    return tuple(_slope(input, s, d, edge_order) for s, d in zip(spacing, dims, strict=True))
