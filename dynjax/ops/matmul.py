"""Products of matrices and vectors, and what is made of them.

Products are exact to the type: on accelerators too, float32 is multiplied as float32, as PyTorch
does by default. Gradients of products are products: each costs about what its forward did.
"""

import math
import re

import jax.numpy as jnp
from jax import lax

from ..tensor.tensor import Tensor as Array
from .checks import (
    check_factor,
    check_factor_dtypes,
    check_kind,
    scalar_name,
    type_name,
    wrap_dim,
    wrap_dims,
)
from .declare import PROMOTE, Int, Ints, Number, Str, Tensor, Tensors, composite, op, register
from .views import expanded_size

_PRECISION = lax.Precision.HIGHEST


def _product(a, b):
    return jnp.matmul(a, b, precision=_PRECISION)


# Checks


def _same_type(a, b):
    if a.dtype != b.dtype:
        raise RuntimeError(
            f"expected m1 and m2 to have the same dtype, but got: {scalar_name(a.dtype)} != "
            f"{scalar_name(b.dtype)}"
        )


def _same_scalar_type(a, b):
    if a.dtype != b.dtype:
        raise RuntimeError(
            f"expected scalar type {type_name(a.dtype)} but found {type_name(b.dtype)}"
        )


def _check_matrices(a, b):
    """Refuse (rows, inner) times (inner', columns), where the inner sizes or the types differ."""
    if a[1] != b[0]:
        raise RuntimeError(
            f"mat1 and mat2 shapes cannot be multiplied ({a[0]}x{a[1]} and {b[0]}x{b[1]})"
        )


def _check_mv(matrix, vec, rows, added=None):
    """Refuse (rows, inner) times (inner',) plus what is added to it, if something is."""
    size = rows if added is None else math.prod(added.shape)
    if matrix.shape[-1] != vec.shape[0] or size not in (1, rows):
        raise RuntimeError(
            f"size mismatch, got input ({size}), mat ({rows}x{matrix.shape[-1]}), "
            f"vec ({vec.shape[0]})"
        )
    given = vec if added is None else added, matrix, vec
    if len({x.dtype for x in given}) > 1:
        names = [type_name(x.dtype) for x in given]
        raise RuntimeError(
            f"addmv input tensors must have the same dtype, but got {names[0]}, {names[1]}, "
            f"and {names[2]}"
        )


def _check_dot(name, a, b):
    if a.ndim != 1 or b.ndim != 1:
        raise RuntimeError(f"1D tensors expected, but got {a.ndim}D and {b.ndim}D tensors")
    if a.dtype != b.dtype:
        raise RuntimeError(
            f"{name} : expected both vectors to have same dtype, but found "
            f"{type_name(a.dtype)} and {type_name(b.dtype)}"
        )
    if a.shape != b.shape:
        raise RuntimeError(
            f"inconsistent tensor size, expected tensor [{a.shape[0]}] and src [{b.shape[0]}] to "
            f"have the same number of elements, but got {a.shape[0]} and {b.shape[0]} elements "
            "respectively"
        )


def _check_3d(batch1, batch2):
    for position, x in enumerate((batch1, batch2), 1):
        if x.ndim != 3:
            raise RuntimeError(f"batch{position} must be a 3D tensor")


def _check_batches(batch1, batch2):
    expected = [batch1.shape[0], batch1.shape[2]]
    if list(batch2.shape[:2]) != expected:
        raise RuntimeError(
            "Expected size for first two dimensions of batch2 tensor to be: "
            f"{expected} but got: {list(batch2.shape[:2])}."
        )
    _same_scalar_type(batch1, batch2)


def _check_matmul(a, b):
    if a.ndim == 0 or b.ndim == 0:
        raise RuntimeError(
            f"both arguments to matmul need to be at least 1D, but they are {a.ndim}D and {b.ndim}D"
        )
    if a.ndim == b.ndim == 1:
        _check_dot("dot", a, b)
    elif b.ndim == 1:
        _check_mv(a, b, math.prod(a.shape[:-1]))
    elif a.ndim == 1 and b.ndim == 2:
        _check_matrices((1, a.shape[0]), b.shape)
    elif b.ndim == 2 or (a.ndim <= 2 and a.shape[-1] != b.shape[-2]):
        _check_matrices((math.prod(a.shape[:-1]), a.shape[-1]), b.shape[-2:])
    else:
        _check_batched(a, b)
    _same_type(a, b) if min(a.ndim, b.ndim) <= 2 else _same_scalar_type(a, b)


def _check_batched(a, b):
    lead = max(a.ndim, b.ndim) - 2
    one, two = ((1,) * (lead + 2 - x.ndim) + x.shape[:-2] for x in (a, b))
    for d in reversed(range(lead)):
        if one[d] != two[d] and 1 not in (one[d], two[d]):
            raise RuntimeError(
                f"The size of tensor a ({one[d]}) must match the size of tensor b ({two[d]}) at "
                f"non-singleton dimension {d}"
            )
    if a.ndim > 1 and a.shape[-1] != b.shape[-2]:
        batch = math.prod(max(m, n) for m, n in zip(one, two, strict=True))
        raise RuntimeError(
            "Expected size for first two dimensions of batch2 tensor to be: "
            f"[{batch}, {a.shape[-1]}] but got: [{batch}, {b.shape[-2]}]."
        )


# Products of two


def _matmul_name(arguments):
    dims = tuple(len(getattr(arguments[x], "shape", "...")) for x in ("input", "other"))
    return {(1, 1): "DotBackward0", (2, 1): "MvBackward0", (2, 2): "MmBackward0"}.get(
        dims, "UnsafeViewBackward0"
    )


@op(out=True, grad_name=_matmul_name, module=("torch", "linalg"))
def matmul(input: Tensor, other: Tensor):
    """The product of vectors, matrices or batches of matrices, by the number of dimensions.

    Raises RuntimeError where shapes or types do not fit.
    """
    _check_matmul(input, other)
    if input.ndim == other.ndim == 1:
        check_kind(input, "b", "dot")
    return _product(input, other)


@op(out=True)
def mm(input: Tensor, mat2: Tensor):
    """The product of two matrices. Raises RuntimeError where shapes or types do not fit."""
    for name, x in (("self", input), ("mat2", mat2)):
        if x.ndim != 2:
            raise RuntimeError(f"{name} must be a matrix")
    _check_matrices(input.shape, mat2.shape)
    _same_type(input, mat2)
    return _product(input, mat2)


@op(out=True)
def bmm(input: Tensor, mat2: Tensor):
    """The products of the matrices of two batches (b, n, m) and (b, m, p)."""
    _check_3d(input, mat2)
    _check_batches(input, mat2)
    return _product(input, mat2)


@op(out=True)
def mv(input: Tensor, vec: Tensor):
    """The product of a matrix and a vector."""
    if input.ndim != 2 or vec.ndim != 1:
        raise RuntimeError(
            f"vector + matrix @ vector expected, got {vec.ndim}, {input.ndim}, {vec.ndim}"
        )
    _check_mv(input, vec, input.shape[0])
    return _product(input, vec)


@op(out=True)
def dot(input: Tensor, tensor: Tensor):
    """The sum of products of two vectors."""
    _check_dot("dot", input, tensor)
    check_kind(input, "b", "dot")
    return _product(input, tensor)


@op(out=True)
def vdot(input: Tensor, other: Tensor):
    """The sum of products of two vectors, the first conjugated."""
    _check_dot("dot", input, other)
    check_kind(input, "b", "vdot")
    return _product(input.conj(), other)


@op(out=True)
def inner(input: Tensor, other: Tensor):
    """Sums of products over the last dimensions of both; with a scalar, the product."""
    if input.ndim == 0 or other.ndim == 0:
        return input * other
    if input.shape[-1] != other.shape[-1]:
        raise RuntimeError(
            "inner() the last dimension must match on both input tensors but got shapes "
            f"{list(input.shape)} and {list(other.shape)}"
        )
    return jnp.inner(input, other, precision=_PRECISION)


def _outer(input: Tensor, vec2: Tensor):
    """The products of every element of one vector with every element of another."""
    for name, x in (("self", input), ("vec2", vec2)):
        if x.ndim != 1:
            raise RuntimeError(f"outer: Expected 1-D argument {name}, but got {x.ndim}-D")
    return input[:, None] * vec2


op(name="outer", types=PROMOTE, out=True, aliases=("ger",), grad_name="MulBackward0")(_outer)


@op(types=PROMOTE, out=True)
def kron(input: Tensor, other: Tensor):
    """The Kronecker product: every element of `input` times all of `other`."""
    if not max(input.ndim, other.ndim):
        return input * other
    if input.dtype == jnp.bool_:  # which jnp.kron can't multiply
        return jnp.kron(input.astype(jnp.uint8), other.astype(jnp.uint8)).astype(jnp.bool_)
    return jnp.kron(input, other)


@op(out=True, types=PROMOTE, method=False, function=False)
def linalg_cross(input: Tensor, other: Tensor, *, dim: Int = -1):
    """The vector product along `dim`, which must have size 3."""
    return _crossed(input, other, dim)


register("linalg", "cross", linalg_cross)


def _crossed(input, other, dim):
    if input.ndim != other.ndim:
        raise RuntimeError("linalg.cross: inputs must have the same number of dimensions.")
    d = wrap_dim(dim, input.ndim)
    if input.shape[d] != 3 or other.shape[d] != 3:
        raise RuntimeError(
            f"linalg.cross: inputs dimension {dim} must have length 3. Got {input.shape[d]} and "
            f"{other.shape[d]}"
        )
    return jnp.cross(input, other, axis=d)


@op(out=True, types=PROMOTE, grad_name="LinalgCrossBackward0")
def cross(input: Tensor, other: Tensor, dim: Int = None):
    """The vector product along `dim`, by default the first dimension of size 3."""
    if dim is None:
        if 3 not in input.shape:
            raise RuntimeError("no dimension of size 3 in input")
        dim = input.shape.index(3)
    return _crossed(input, other, dim)


@op
def trace(input: Tensor):
    """The sum of the main diagonal of a matrix; that of integers is int64."""
    if input.ndim != 2:
        raise RuntimeError(f"trace: expected a matrix, but got tensor with dim {input.ndim}")
    whole = not jnp.issubdtype(input.dtype, jnp.inexact)
    return jnp.sum(input.diagonal(), dtype=jnp.int64 if whole else input.dtype)


# Products added to something


def _added(input, product, beta, alpha):
    """beta * input + alpha * product; a beta of 0 ignores what `input` holds, NaN included."""
    expanded_size(input, product.shape)
    if beta is not None and getattr(beta, "dtype", None) is not None:
        beta, alpha = (
            x if jnp.issubdtype(product.dtype, jnp.inexact) else jnp.trunc(x) for x in (beta, alpha)
        )
    scaled = jnp.where(beta == 0, 0, beta * input)
    return (scaled + alpha * product).astype(product.dtype)


def _check_added(input, mat1, mat2):
    check_kind(mat2, "b", "addmm_impl_cpu_")
    check_factor_dtypes(input, mat2, ("self", "mat2"))
    check_factor_dtypes(mat1, mat2)


@op(inplace=True, out=True)
def addmm(input: Tensor, mat1: Tensor, mat2: Tensor, *, beta: Number = 1, alpha: Number = 1):
    """beta * input + alpha * (mat1 @ mat2)."""
    for name, x in (("mat1", mat1), ("mat2", mat2)):
        if x.ndim != 2:
            raise RuntimeError(f"{name} must be a matrix, got {x.ndim}-D tensor")
    _check_added(input, mat1, mat2)
    _check_matrices(mat1.shape, mat2.shape)
    return _added(input, _product(mat1, mat2), beta, alpha)


@op(inplace=True, out=True)
def addmv(input: Tensor, mat: Tensor, vec: Tensor, *, beta: Number = 1, alpha: Number = 1):
    """beta * input + alpha * (mat @ vec)."""
    if mat.ndim != 2 or vec.ndim != 1 or input.ndim > 1:
        raise RuntimeError(
            f"vector + matrix @ vector expected, got {input.ndim}, {mat.ndim}, {vec.ndim}"
        )
    _check_mv(mat, vec, mat.shape[0], input)
    check_kind(mat, "b", "addmv_impl_cpu")
    return _added(input, _product(mat, vec), beta, alpha)


@op(types=PROMOTE, promote=("input", "vec1", "vec2"), inplace=True, out=True)
def addr(input: Tensor, vec1: Tensor, vec2: Tensor, *, beta: Number = 1, alpha: Number = 1):
    """beta * input + alpha * outer(vec1, vec2)."""
    for name, x in (("vec1", vec1), ("vec2", vec2)):
        if x.ndim != 1:
            raise RuntimeError(f"addr: Expected 1-D argument {name}, but got {x.ndim}-D")
    for name, x in (("beta", beta), ("alpha", alpha)):
        check_factor(input, x, name)
    return _added(input, vec1[:, None] * vec2, beta, alpha)


@op(inplace=True, out=True)
def baddbmm(input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: Number = 1,
            alpha: Number = 1):  # fmt: skip
    """beta * input + alpha * bmm(batch1, batch2)."""
    _check_3d(batch1, batch2)
    expanded_size(input, (*batch1.shape[:2], batch2.shape[2]))
    if input.dtype != batch1.dtype:
        names = [scalar_name(x.dtype) for x in (input, batch1, batch2)]
        raise RuntimeError(
            f"Input dtypes must be the same, got: input {names[0]}, batch1: {names[1]}, "
            f"batch2: {names[2]}"
        )
    _check_batches(batch1, batch2)
    check_kind(input, "b", "baddbmm")
    return _added(input, _product(batch1, batch2), beta, alpha)


@op(inplace=True, out=True)
def addbmm(input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: Number = 1,
           alpha: Number = 1):  # fmt: skip
    """beta * input + alpha * the sum of the products of two batches of matrices."""
    _check_3d(batch1, batch2)
    if batch1.shape[0] != batch2.shape[0]:
        raise RuntimeError(
            "batch1 and batch2 must have same number of batches, got "
            f"{batch1.shape[0]} and {batch2.shape[0]}"
        )
    (rows, inner), (inner2, columns) = batch1.shape[1:], batch2.shape[1:]
    expanded_size(input, (rows, columns))
    if inner != inner2:
        raise RuntimeError(
            f"Incompatible matrix sizes for bmm ({rows}x{inner} and {inner2}x{columns})"
        )
    _check_added(input, batch1, batch2)
    product = jnp.einsum("bij,bjk->ik", batch1, batch2, precision=_PRECISION)
    return _added(input, product, beta, alpha)


# Layers


def _linear_name(arguments):
    return "AddmmBackward0" if arguments["bias"] is not None else "MmBackward0"


@op(module="nn.functional", out=True, grad_name=_linear_name)
def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None):
    """`input @ weight.T + bias`, with a weight of shape (out, in), or (in,) for one output.

    Raises RuntimeError where shapes or types do not fit.
    """
    if input.ndim == 0 or weight.ndim == 0:
        raise RuntimeError(
            f"both arguments to linear need to be at least 1D, but they are {input.ndim}D and "
            f"{weight.ndim}D"
        )
    if weight.ndim > 2:
        raise RuntimeError(f"t() expects a tensor with <= 2 dimensions, but self is {weight.ndim}D")
    rows, columns = math.prod(input.shape[:-1]), input.shape[-1]
    if bias is not None and (bias.ndim or input.ndim == 2):
        _check_added(bias, input, weight)
    if input.ndim == weight.ndim == 1:
        _check_dot("dot", input, weight)
    elif weight.ndim == 1:
        _check_mv(input, weight, rows)
    else:
        _check_matrices((rows, columns), weight.shape[::-1])
    _same_type(input, weight)
    # As matrices: in three dimensions XLA's CPU copies in the backward (25.7 against 15.2 ms).
    flat = input.reshape(rows, columns)
    out = lax.dot_general(flat, weight, (((1,), (weight.ndim - 1,)), ((), ())),
                          precision=_PRECISION)  # fmt: skip
    shape = (*input.shape[:-1], *weight.shape[:-1])
    if bias is None:
        return out.reshape(shape)
    expanded_size(bias, (rows, *shape[-1:]) if input.ndim > 1 else (1, *shape))
    bias = bias.astype(out.dtype)
    return (out + bias).reshape(shape) if bias.ndim <= 1 else out.reshape(shape) + bias


@op(module="nn.functional")
def bilinear(input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None):
    """out[..., k] = input1 @ weight[k] @ input2 + bias[k], with a weight (out, in1, in2)."""
    if input1.ndim != input2.ndim:
        raise RuntimeError(
            f"bilinear(): input dimensions do not match: got {input1.ndim} and {input2.ndim}"
        )
    for d in range(input1.ndim - 1):
        if input1.shape[d] != input2.shape[d]:
            raise RuntimeError(
                f"bilinear(): input batch dimensions do not match at dim {d}: got "
                f"{input1.shape[d]} and {input2.shape[d]}"
            )
    for k, x in enumerate((input1, input2), 1):
        if x.shape[-1] != weight.shape[k]:
            raise RuntimeError(
                f"bilinear(): input{k} size does not match weight size: got {x.shape[-1]} but "
                f"expected {weight.shape[k]}"
            )
    if bias is not None and bias.shape[0] != weight.shape[0]:
        raise RuntimeError(
            f"bilinear(): bias size does not match weight size: got {bias.shape[0]} but expected "
            f"{weight.shape[0]}"
        )
    out = jnp.einsum("...i,kij,...j->...k", input1, weight, input2, precision=_PRECISION)
    return out if bias is None else out + bias


# Products by subscripts


def _einsum_text(equation, operands):
    """The equation in JAX's form, checked in PyTorch's words."""
    text = equation.replace(" ", "")
    left, arrow, right = text.partition("->")
    terms = left.split(",")
    if len(terms) != len(operands):
        which = "fewer" if len(operands) < len(terms) else "more"
        raise RuntimeError(
            f"einsum(): {which} operands were provided than specified in the equation"
        )
    bare = text.replace("...", "").replace("->", "").replace(",", "")
    if not re.fullmatch(r"[a-zA-Z]*", bare):
        bad = next(i for i, c in enumerate(equation) if not re.match(r"[a-zA-Z.,\-> ]", c))
        raise RuntimeError(
            f"einsum(): invalid subscript given at index {bad} in the equation string, subscripts "
            "must be in [a-zA-Z]"
        )
    sizes = {}
    for k, (term, x) in enumerate(zip(terms, operands, strict=True)):
        _einsum_sizes(k, term, x, sizes)
    for c in right.replace("...", "") if arrow else "":
        if right.count(c) > 1:
            raise RuntimeError(
                f"einsum(): output subscript {c} appears more than once in the output"
            )
        if c not in sizes:
            raise RuntimeError(
                f"einsum(): output subscript {c} does not appear in the equation for any input "
                "operand"
            )
    return text


def _einsum_sizes(k, term, x, sizes):
    names = term.replace("...", "")
    hidden = x.ndim - len(names)
    if hidden < 0 or (hidden and "..." not in term):
        also = "more than" if "..." in term else "not match"
        what = (
            f"the number of subscripts in the equation ({len(names)}) does not match the number of "
            f"dimensions ({x.ndim}) for operand {k} and no ellipsis was given"
            if also == "not match"
            else f"the number of subscripts in the equation ({len(names)}) is more than the number "
            f"of dimensions ({x.ndim}) for operand {k}"
        )
        raise RuntimeError(f"einsum(): {what}")
    before = term.index("...") if "..." in term else len(names)
    own = {}
    for position, c in enumerate(names):
        n = x.shape[position if position < before else position + hidden]
        if own.setdefault(c, n) != n:
            raise RuntimeError(
                f"einsum(): subscript {c} is repeated for operand {k} but the sizes don't match, "
                f"{n} != {own[c]}"
            )
        seen = sizes.setdefault(c, n)
        if n != seen and 1 not in (n, seen):
            raise RuntimeError(
                f"einsum(): subscript {c} has size {n} for operand {k} which does not broadcast "
                f"with previously seen size {seen}"
            )
        sizes[c] = max(n, seen)


@op(name="einsum", method=False, function=False)
def einsum_text(operands: Tensors, equation: Str):
    """The sum of products that an equation describes."""
    text = _einsum_text(equation, operands)
    for x in operands[1:]:
        _same_scalar_type(operands[0], x)
    return jnp.einsum(text, *operands, precision=_PRECISION)


@composite(method=False)
def einsum(*args):
    """Sums of products by Einstein's convention: `einsum("ij,jk->ik", a, b)`.

    Also as `einsum(a, [0, 1], b, [1, 2], [0, 2])`, with subscripts from 0 to 51 and Ellipsis.
    Raises RuntimeError where equation and operands do not fit.
    """
    if len(args) < 2:
        raise ValueError(
            "einsum(): must specify the equation string and at least one operand, or at least one "
            "operand and its subscripts list"
        )
    if isinstance(args[0], Array):
        output = f"->{_letters(args[-1])}" if len(args) % 2 else ""
        operands = args[0 : len(args) - len(args) % 2 : 2]
        args = (",".join(map(_letters, args[1::2])) + output, *operands)
    equation, operands = args[0], args[1:]
    if len(operands) == 1 and isinstance(operands[0], (list, tuple)):
        operands = operands[0]
    return einsum_text(list(operands), equation)


def _letters(subscripts):
    letters = ""
    for s in subscripts:
        if s is not Ellipsis and not 0 <= s < 52:
            raise ValueError(
                "einsum(): subscript in subscript list is not within the valid range [0, 52)"
            )
        letters += "..." if s is Ellipsis else chr(s + (65 if s < 26 else 71))
    return letters


@op(name="tensordot", method=False, function=False, out=True)
def tensordot_pairs(a: Tensor, b: Tensor, dims_a: Ints, dims_b: Ints):
    """Sums of products over pairs of dimensions."""
    _same_type(a, b)
    axes = wrap_dims(dims_a, a.ndim), wrap_dims(dims_b, b.ndim)
    one, two = a, b
    for i, j, m, n in zip(dims_a, dims_b, *axes, strict=True):
        if one.shape[m] != two.shape[n]:
            if 1 not in (one.shape[m], two.shape[n]):
                raise RuntimeError(
                    "contracted dimensions need to match, but first has size "
                    f"{one.shape[m]} in dim {i} and second has size {two.shape[n]} in dim {j}"
                )
            # A size of 1 broadcasts: sum the other first.
            one = one.sum(m, keepdims=True) if one.shape[m] != 1 else one
            two = two.sum(n, keepdims=True) if two.shape[n] != 1 else two
    return jnp.tensordot(one, two, axes, precision=_PRECISION)


@composite(method=False)
def tensordot(a, b, dims=2, *, out=None):
    """Sums of products over pairs of dimensions: the last `dims` of `a` and first of `b`, or lists.

    Raises RuntimeError where these do not fit.
    """
    if isinstance(dims, int):
        if dims < 0:
            raise RuntimeError(f"tensordot expects dims >= 0, but got dims={dims}")
        if min(len(a.shape), len(b.shape)) < dims:
            raise RuntimeError(f"tensordot expects dims < ndim_a or ndim_b, but got dims={dims}")
        dims = (tuple(range(-dims, 0)), tuple(range(dims)))
    dims_a, dims_b = ((d,) if isinstance(d, int) else tuple(d) for d in dims)
    if len(dims_a) != len(dims_b):
        raise RuntimeError("both dimension lists should have same length")
    return tensordot_pairs(a, b, dims_a, dims_b, out=out)


@composite(method=False)
def chain_matmul(*matrices):
    """The product of several matrices, from left to right."""
    if not matrices:
        raise RuntimeError("chain_matmul(): Expected one or more matrices")
    matrices = matrices[0] if isinstance(matrices[0], (list, tuple)) else matrices
    for m in matrices:
        if m.ndim != 2:
            raise RuntimeError(f"Tensor dimension is {m.ndim}, expected 2 instead.")
    out = matrices[0]
    for m in matrices[1:]:
        out = mm(out, m)
    return out
