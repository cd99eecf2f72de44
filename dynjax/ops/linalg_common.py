"""What the operations of linear algebra share: declaring, checks, errors that values cause."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..tensor.tensor import Tensor
from .checks import check_floating, check_kind, type_name
from .declare import op, register


class LinAlgError(RuntimeError):
    """A matrix is singular, not positive definite, or otherwise not what a solver can take."""


register("linalg", "LinAlgError", LinAlgError)


def linalg(body: Callable | None = None, /, **options: Any) -> Any:
    """Declare an operation of the namespace `linalg`; its name on the tape begins with "linalg_".

    Args:
        options: as for `op`. With `function=True` it appears in the main namespace too, and as a
            method; with `register=False` in no namespace.
    """

    def declare(fn: Callable) -> Callable:
        name, shown = fn.__name__.rstrip("_"), options.get("register", True)
        settings = {"out": True, **{k: v for k, v in options.items() if k != "register"}}
        if not settings.setdefault("function", False):
            settings["method"] = False
        front = op(name=f"linalg_{name}", **settings)(fn)
        if shown:
            register("linalg", name, front)
        return front

    return declare if body is None else declare(body)


# --- checks -------------------------------------------------------------------------------------


def check_ndim(x: Any, name: str, argument: str = "A") -> None:
    """Refuse what is no matrix. Raises RuntimeError."""
    if x.ndim < 2:
        raise RuntimeError(f"{name}: The input tensor {argument} must have at least 2 dimensions.")


def check_square(x: Any, name: str, argument: str = "A") -> None:
    """Refuse what is no batch of square matrices. Raises RuntimeError."""
    check_ndim(x, name, argument)
    if x.shape[-1] != x.shape[-2]:
        raise RuntimeError(
            f"{name}: {argument} must be batches of square matrices, but they are "
            f"{x.shape[-2]} by {x.shape[-1]} matrices"
        )


def check_precise(x: Any, name: str) -> None:
    """Refuse integers and half types. Raises RuntimeError."""
    check_floating(x, name)
    if x.dtype.itemsize == 2:
        raise RuntimeError(f"{name}: Low precision dtypes not supported. Got {type_name(x.dtype)}")


def check_kernel(x: Any, kernel: str) -> None:
    """Refuse the half types, which LAPACK has no kernel for. Raises NotImplementedError."""
    if x.dtype.itemsize == 2:
        check_kind(x, "f", kernel)


def check_same_type(a: Any, b: Any, name: str, names: tuple[str, str] = ("A", "B")) -> None:
    """Refuse two arrays of different types. Raises RuntimeError."""
    if a.dtype != b.dtype:
        raise RuntimeError(
            f"{name}: Expected {names[0]} and {names[1]} to have the same dtype, but found "
            f"{names[0]} of type {type_name(a.dtype)} and {names[1]} of type {type_name(b.dtype)} "
            "instead"
        )


# --- matrices -----------------------------------------------------------------------------------


def adjoint(x: Any) -> Any:
    """The conjugate transpose of matrices."""
    return jnp.conj(jnp.swapaxes(x, -1, -2))


def product(a: Any, b: Any) -> Any:
    """The product of matrices, exact to the type."""
    return jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)


def identity_like(x: Any) -> Any:
    """Identity matrices of the shape and type of square ones."""
    return jnp.broadcast_to(jnp.eye(x.shape[-1], dtype=x.dtype), x.shape)


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def hermitian(x: Any, upper: bool) -> Any:
    """The Hermitian matrix of which one triangle is given; its gradient is shared by both."""
    diagonal = jnp.zeros_like(x) + identity_like(x) * x.real
    half = jnp.triu(x, 1) if upper else jnp.tril(x, -1)
    return half + adjoint(half) + diagonal


@hermitian.defjvp
def _hermitian_jvp(upper: bool, primals: tuple, tangents: tuple) -> tuple:
    return hermitian(*primals, upper), (tangents[0] + adjoint(tangents[0])) / 2


def not_differentiable(name: str) -> Callable:
    """Decorator of a function that PyTorch has no derivative for: NotImplementedError if asked."""

    def declare(fn: Callable) -> Callable:
        fn = jax.custom_jvp(fn)

        @fn.defjvp
        def refuse(primals: tuple, tangents: tuple) -> tuple:
            raise NotImplementedError(f"derivative for aten::{name} is not implemented")

        return fn

    return declare


# --- errors that depend on values ---------------------------------------------------------------


def first_failure(info: Tensor) -> tuple[int, str] | None:
    """The first code that is not 0 and the batch element it belongs to, in PyTorch's words.

    This waits for the device. Inside a JAX transformation there are no values to look at: None.
    """
    array = info._array()
    if isinstance(array, jax.core.Tracer):
        return None
    codes = np.asarray(array)
    if not codes.any():
        return None
    position = int(np.flatnonzero(codes)[0])
    where = f"(Batch element {position}): " if codes.ndim else ""
    return int(codes.reshape(-1)[position]), where


def check_info(info: Tensor, name: str, text: str) -> None:
    """Raise LinAlgError where a code is not 0; `text` has a place for it."""
    failure = first_failure(info)
    if failure is not None:
        raise LinAlgError(f"{name}: {failure[1]}{text.format(failure[0])}")
