"""What operations check when they are traced, in PyTorch's words.

An operation's body runs once for each new combination of shapes, types and structure, while the
user's call is still on the stack: so a check costs nothing afterwards, and its error is raised at
the user's line.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from ..core import dtypes


def type_name(dtype: Any) -> str:
    """PyTorch's internal name of a NumPy type, as its messages use it: "Float", "Long"."""
    return dtypes.of(dtype).type_name


def scalar_name(dtype: Any) -> str:
    """The name that PyTorch's other messages use: "float", "long int", "bool"."""
    return _SCALAR_NAMES.get(dtypes.of(dtype).name, type_name(dtype).lower())


_SCALAR_NAMES = {
    "int64": "long int", "int16": "short int", "int8": "signed char", "uint8": "unsigned char",
    "float16": "c10::Half", "bfloat16": "c10::BFloat16",
    "complex64": "c10::complex<float>", "complex128": "c10::complex<double>",
}  # fmt: skip


# --- kinds of types -----------------------------------------------------------------------------


def is_bool(x: Any) -> bool:
    """Whether an array (or anything with a `dtype`) holds booleans."""
    return x.dtype == np.bool_


def is_floating(x: Any) -> bool:
    """Whether an array holds real floating-point numbers, `bfloat16` included."""
    return jnp.issubdtype(x.dtype, jnp.floating)


def is_complex(x: Any) -> bool:
    """Whether an array holds complex numbers."""
    return x.dtype.kind == "c"


def is_integral(x: Any, include_bool: bool = True) -> bool:
    """Whether an array holds integers (or booleans)."""
    return x.dtype.kind in ("iub" if include_bool else "iu")


def check_kind(x: Any, refused: str, kernel: str) -> None:
    """Refuse kinds of types that PyTorch has no kernel for.

    Args:
        refused: letters of the refused kinds: `b`ool, `i`nteger, `f`loating, `c`omplex.
        kernel: PyTorch's name of the kernel, for the message.

    Raises:
        NotImplementedError: `x` is of a refused kind.
    """
    kind = "f" if is_floating(x) else "i" if x.dtype.kind == "u" else x.dtype.kind
    if kind in refused:
        raise NotImplementedError(f"\"{kernel}\" not implemented for '{type_name(x.dtype)}'")


def check_floating(x: Any, function: str) -> None:
    """Refuse what is neither floating nor complex. Raises RuntimeError."""
    if is_integral(x):
        raise RuntimeError(
            f"{function}: Expected a floating point or complex tensor as input. "
            f"Got {type_name(x.dtype)}"
        )


def check_factor_dtypes(a: Any, b: Any, names: tuple[str, str] = ("mat1", "mat2")) -> None:
    """Refuse matrices of types that differ, in the words of `addmm`.

    Raises:
        RuntimeError: as PyTorch does.
    """
    if a.dtype != b.dtype:
        raise RuntimeError(
            f"{names[0]} and {names[1]} must have the same dtype, but got "
            f"{type_name(a.dtype)} and {type_name(b.dtype)}"
        )


def check_factor(x: Any, factor: Any, name: str) -> None:
    """Refuse a number with a fraction that is to multiply integers.

    Raises:
        RuntimeError: as PyTorch does.
    """
    if is_integral(x) and factor.dtype.kind == "f":
        raise RuntimeError(
            f"For integral input tensors, argument {name} must not be a floating point number."
        )


def check_same_dtype(a: Any, b: Any) -> None:
    """Refuse two arrays of different types. Raises RuntimeError."""
    if a.dtype != b.dtype:
        raise RuntimeError(f"{type_name(a.dtype)} did not match {type_name(b.dtype)}")


def opmath(dtype: Any) -> np.dtype:
    """The type in which PyTorch computes: `float32` for the half types, else the type itself."""
    dtype = np.dtype(dtype)
    return np.dtype(np.float32) if dtype.itemsize == 2 and dtype.kind not in "iu" else dtype


def in_opmath(body: Callable) -> Callable:
    """Let a body compute half types in `float32` and round its results once, as PyTorch does.

    Array arguments of a half type arrive in `float32`; floating results go back to the type of
    the first of them.
    """

    @functools.wraps(body)
    def wrapped(*args, **kwargs):
        halves = [
            a.dtype
            for a in (*args, *kwargs.values())
            if _is_array(a) and opmath(a.dtype) != a.dtype
        ]
        if not halves:
            return body(*args, **kwargs)

        def widen(a):
            return a.astype(opmath(a.dtype)) if _is_array(a) else a

        def narrow(a):
            return a.astype(halves[0]) if a.dtype == np.float32 else a

        result = body(*map(widen, args), **{k: widen(v) for k, v in kwargs.items()})
        return tuple(map(narrow, result)) if isinstance(result, tuple) else narrow(result)

    return wrapped


def _is_array(a: Any) -> bool:
    return hasattr(a, "dtype") and hasattr(a, "shape")


# --- dimensions ---------------------------------------------------------------------------------


def wrap_dim(dim: int, ndim: int) -> int:
    """A dimension counted from the front. A 0-dim tensor accepts 0 and -1, as in PyTorch.

    Raises:
        IndexError: `dim` is out of range.
    """
    bound = max(ndim, 1)
    if not -bound <= dim < bound:
        raise IndexError(
            f"Dimension out of range (expected to be in range of [{-bound}, {bound - 1}], "
            f"but got {dim})"
        )
    return dim % bound


def wrap_dims(dims: int | Sequence[int], ndim: int) -> tuple[int, ...]:
    """Several dimensions counted from the front, in the order given.

    Raises:
        IndexError: one is out of range.
        RuntimeError: one appears twice.
    """
    wrapped = tuple(wrap_dim(d, ndim) for d in ((dims,) if isinstance(dims, int) else dims))
    for i, d in enumerate(wrapped):
        if d in wrapped[:i]:
            raise RuntimeError(f"dim {d} appears multiple times in the list of dims")
    return wrapped


def reduced_dims(dims: int | Sequence[int] | None, ndim: int) -> tuple[int, ...]:
    """The axes that a reduction over `dims` runs over: None and () mean all of them.

    Raises: as :func:`wrap_dims`.
    """
    if dims is None or dims == ():
        return tuple(range(ndim))
    wrapped = wrap_dims(dims, ndim)
    return wrapped if ndim else ()


def check_not_empty(x: Any, dims: Sequence[int], function: str) -> None:
    """Refuse a reduction without identity over a dimension of size 0.

    Args:
        dims: the wrapped dimensions that are reduced.
        function: name of the function, for the message.

    Raises:
        IndexError: such a dimension is empty.
    """
    for d in dims:
        if x.ndim and x.shape[d] == 0:
            raise IndexError(f"{function}(): Expected reduction dim {d} to have non-zero size.")


# --- shapes -------------------------------------------------------------------------------------


def broadcast_shapes(*shapes: Sequence[int]) -> tuple[int, ...]:
    """The shape that arrays of these shapes broadcast to.

    Raises:
        RuntimeError: two sizes differ and neither is 1.
    """
    result: tuple[int, ...] = ()
    for shape in shapes:
        ndim = max(len(result), len(shape))
        a = (1,) * (ndim - len(result)) + tuple(result)
        b = (1,) * (ndim - len(shape)) + tuple(shape)
        for d in reversed(range(ndim)):
            if a[d] != b[d] and 1 not in (a[d], b[d]):
                raise RuntimeError(
                    f"The size of tensor a ({a[d]}) must match the size of tensor b ({b[d]}) "
                    f"at non-singleton dimension {d}"
                )
        result = tuple(n if m == 1 else m for m, n in zip(a, b))
    return result


def broadcast(*arrays: Any) -> tuple:
    """The arrays, each broadcast to their common shape. Raises as :func:`broadcast_shapes`."""
    shape = broadcast_shapes(*(a.shape for a in arrays))
    return tuple(jnp.broadcast_to(a, shape) for a in arrays)
