"""Comparisons, logic and bits.

Source: https://pytorch.org/docs/stable/torch.html#comparison-ops
"""

import jax.numpy as jnp
import numpy as np

from .checks import broadcast_shapes, check_kind, check_same_dtype, is_complex, is_floating
from .declare import PROMOTE, Bool, Float, Operand, Tensor, composite, op

# --- comparisons --------------------------------------------------------------------------------


def _comparison(name, fn, doc, aliases=(), ordered=True):
    def body(input: Tensor, other: Operand):
        broadcast_shapes(input.shape, other.shape)
        check_kind(input, "c" if ordered else "", f"{name}_cpu")
        return fn(input, other)

    return op(name=name, types=PROMOTE, inplace=True, out=True, aliases=aliases, doc=doc)(body)


eq = _comparison("eq", jnp.equal, "Whether input == other, elementwise.", ordered=False)
ne = _comparison("ne", jnp.not_equal, "Whether input != other.", ("not_equal",), ordered=False)
lt = _comparison("lt", jnp.less, "Whether input < other, elementwise.", ("less",))
le = _comparison("le", jnp.less_equal, "Whether input <= other, elementwise.", ("less_equal",))
gt = _comparison("gt", jnp.greater, "Whether input > other, elementwise.", ("greater",))
ge = _comparison("ge", jnp.greater_equal, "Whether input >= other.", ("greater_equal",))


def _within(a, b, rtol, atol, equal_nan):
    for name, tolerance in (("rtol", rtol), ("atol", atol)):
        if tolerance < 0:
            raise RuntimeError(
                f"{name} must be greater than or equal to zero, but got {tolerance:g}"
            )
    check_same_dtype(a, b)
    broadcast_shapes(a.shape, b.shape)
    close = a == b
    if equal_nan:
        close |= jnp.isnan(a) & jnp.isnan(b)
    if rtol == 0 and atol == 0:
        return close
    if not (is_floating(a) or is_complex(a)):
        a, b = (x.astype(np.float64) for x in (a, b))
    difference = jnp.abs(a - b)
    return close | (jnp.isfinite(difference) & (difference <= atol + jnp.abs(rtol * b)))


@op()
def isclose(
    input: Tensor, other: Tensor, rtol: Float = 1e-05, atol: Float = 1e-08, equal_nan: Bool = False
):
    """Whether |input - other| <= atol + rtol * |other|, elementwise.

    Raises:
        RuntimeError: the types differ, or a tolerance is negative.
    """
    return _within(input, other, rtol, atol, equal_nan)


@op(name="all_close", method=False, function=False)
def _all_close(input: Tensor, other: Tensor, rtol: Float, atol: Float, equal_nan: Bool):
    """Whether all elements are close, as a 0-dim tensor."""
    return jnp.all(_within(input, other, rtol, atol, equal_nan))


@composite()
def allclose(input, other, rtol=1e-05, atol=1e-08, equal_nan=False):
    """Whether all of |input - other| <= atol + rtol * |other|, as a bool. Raises as `isclose`."""
    return bool(_all_close(input, other, rtol, atol, equal_nan))


@op(name="all_equal", types=PROMOTE, method=False, function=False)
def _all_equal(input: Tensor, other: Tensor):
    """Whether all elements are equal, as a 0-dim tensor."""
    return jnp.all(input == other)


@composite()
def equal(input, other):
    """Whether two tensors have the same shape and elements, as a bool."""
    return input.shape == other.shape and bool(_all_equal(input, other))


# --- classification -----------------------------------------------------------------------------


def _predicate(name, fn, doc, refusal="", **options):
    def body(input: Tensor):
        if refusal and is_complex(input):
            raise RuntimeError(refusal)
        return fn(input)

    op(name=name, doc=doc, **options)(body)


def _infinite(sign):
    return lambda x: x == sign * jnp.inf if is_floating(x) else jnp.zeros(x.shape, bool)


_predicate("isnan", lambda x: x != x, "Whether x is not a number.")
_predicate("isinf", jnp.isinf, "Whether x is infinite.")
_predicate("isfinite", jnp.isfinite, "Whether x is neither infinite nor NaN.")
_predicate(
    "isposinf", _infinite(1), "Whether x is +inf.",
    "isposinf does not support complex inputs.", out=True,
)  # fmt: skip
_predicate(
    "isneginf", _infinite(-1), "Whether x is -inf.",
    "isneginf does not support complex inputs.", out=True,
)  # fmt: skip
_predicate("isreal", jnp.isreal, "Whether the imaginary part is 0.")
_predicate(
    "signbit", lambda x: jnp.signbit(x) if is_floating(x) else x < 0, "Whether the sign is minus.",
    "signbit is not implemented for complex tensors.", out=True,
)  # fmt: skip


# --- logic --------------------------------------------------------------------------------------


def _connective(name, fn, doc):
    def body(input: Tensor, other: Tensor):
        broadcast_shapes(input.shape, other.shape)
        return fn(input, other)

    op(name=name, inplace=True, out=True, doc=doc)(body)


_connective("logical_and", jnp.logical_and, "Whether both are nonzero.")
_connective("logical_or", jnp.logical_or, "Whether at least one is nonzero.")
_connective("logical_xor", jnp.logical_xor, "Whether exactly one is nonzero.")


@op(inplace=True, out=True)
def logical_not(input: Tensor):
    """Whether x is 0."""
    return input == 0


@op(inplace=True, out=True)
def bitwise_not(input: Tensor):
    """Every bit flipped; of bool, `logical_not`."""
    check_kind(input, "fc", "bitwise_not_cpu")
    return ~input


def _bits(name, fn, doc, refused="fc", kernel=None):
    def body(input: Operand, other: Operand):
        broadcast_shapes(input.shape, other.shape)
        check_kind(input, refused, kernel or f"{name}_cpu")
        return fn(input, other)

    op(name=name, types=PROMOTE, inplace=True, out=True, doc=doc)(body)


def _shift_left(x, n):
    bits = x.dtype.itemsize * 8
    return jnp.where((n < 0) | (n >= bits), 0, jnp.left_shift(x, n))


def _shift_right(x, n):
    bits = x.dtype.itemsize * 8
    beyond = jnp.where(x < 0, -1, 0).astype(x.dtype) if x.dtype.kind == "i" else 0
    return jnp.where((n < 0) | (n >= bits), beyond, jnp.right_shift(x, n))


_bits("bitwise_and", jnp.bitwise_and, "The bits set in both.")
_bits("bitwise_or", jnp.bitwise_or, "The bits set in one of them or both.")
_bits("bitwise_xor", jnp.bitwise_xor, "The bits set in exactly one.")
_bits("bitwise_left_shift", _shift_left, "input * 2**other.", "bfc", "lshift_cpu")
_bits("bitwise_right_shift", _shift_right, "input / 2**other, floored.", "bfc", "rshift_cpu")
