"""Old functions of PyTorch's main namespace, and those that `nn.functional` has in a better form.

Losses take their reduction as a number here: 0 for none, 1 for the mean, 2 for the sum.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from ..autograd.modes import no_grad
from ..core import dtypes
from ..engine.frames import user_stacklevel
from ..tensor.tensor import Tensor
from . import losses, margins  # noqa: F401  (declare the losses)
from .declare import NAMES, Key, composite, op
from .declare import Tensor as TensorArg

_F = NAMES["nn.functional"]
_REDUCTIONS = ("none", "mean", "sum")


def _reduction(name: str, number: Any, position: int) -> str:
    if isinstance(number, bool) or not isinstance(number, int):
        raise TypeError(
            f"{name}(): argument 'reduction' (position {position}) must be int, not "
            f"{type(number).__name__}"
        )
    return _REDUCTIONS[number] if 0 <= number < 3 else "none"


def _loss(name: str, signature: str, given: str) -> Callable:
    """A loss of `nn.functional` whose reduction is a number; `given` is how it is called."""
    position = 1 + [p.split("=")[0].strip() for p in signature.split(",")].index("reduction")
    source = (
        f"def {name}({signature}):\n"
        f"    reduction = _reduction({name!r}, reduction, {position})\n"
        f"    return _loss({given}, reduction=reduction)\n"
    )
    names = {"_reduction": _reduction, "_loss": _F[name]}
    exec(source, names)  # noqa: S102  (the signatures below)
    names[name].__doc__ = f"`nn.functional.{name}` with a number for its reduction."
    return composite(method=False)(names[name])


_loss(
    "binary_cross_entropy_with_logits",
    "input, target, weight=None, pos_weight=None, reduction=1",
    "input, target, weight, pos_weight=pos_weight",
)
_loss(
    "cosine_embedding_loss",
    "input1, input2, target, margin=0.0, reduction=1",
    "input1, input2, target, margin",
)
_loss("hinge_embedding_loss", "input, target, margin=1.0, reduction=1", "input, target, margin")
_loss(
    "kl_div",
    "input, target, reduction=1, *, log_target=False",
    "input, target, log_target=log_target",
)
_loss(
    "margin_ranking_loss",
    "input1, input2, target, margin=0.0, reduction=1",
    "input1, input2, target, margin",
)
_loss(
    "poisson_nll_loss",
    "input, target, log_input, full, eps, reduction",
    "input, target, log_input, full, eps=eps",
)
_loss(
    "triplet_margin_loss",
    "anchor, positive, negative, margin=1.0, p=2, eps=1e-6, swap=False, reduction=1",
    "anchor, positive, negative, margin, p, eps, swap",
)


@composite(method=False)
def convolution(input, weight, bias, stride, padding, dilation, transposed, output_padding, groups):
    """The convolution, or its transpose, over as many dimensions as there are.

    Args:
        input: (N, C_in, ...). weight: as `conv2d` or `conv_transpose2d` take it. bias: or None.
        stride, padding, dilation, output_padding: a number each dimension, or one.
    """
    dims = input.ndim - 2
    if transposed:
        function = NAMES["torch"][f"conv_transpose{dims}d"]
        return function(input, weight, bias, stride, padding, output_padding, groups, dilation)
    return NAMES["torch"][f"conv{dims}d"](input, weight, bias, stride, padding, dilation, groups)


@composite(method=False, name="embedding_renorm_")
def embedding_renorm_(input, indices, max_norm, norm_type):
    """Scale the rows of a table that are looked up and longer than `max_norm` down to it."""
    with no_grad():
        _F["embedding"](indices, input, None, max_norm, norm_type)
    return input


@composite(method=False)
def frobenius_norm(input, dim, keepdim=False, *, out=None):
    """Deprecated: `linalg.vector_norm(input, 2, dim, keepdim)`."""
    _deprecated("frobenius_norm", "linalg.vector_norm(A, 2., dim, keepdim)")
    return NAMES["linalg"]["vector_norm"](input, 2.0, dim, keepdim, out=out)


@composite(method=False)
def nuclear_norm(input, dim=None, keepdim=False, *, out=None):
    """Deprecated: `linalg.matrix_norm(input, "nuc", dim, keepdim)`."""
    _deprecated("nuclear_norm", "linalg.matrix_norm(A, 'nuc', dim, keepdim)")
    if isinstance(dim, bool):
        dim, keepdim = None, dim
    return NAMES["linalg"]["matrix_norm"](input, "nuc", dim or (-2, -1), keepdim, out=out)


def _deprecated(name: str, instead: str) -> None:
    warnings.warn(
        f"{name} is deprecated; use `{instead}` instead", UserWarning, stacklevel=user_stacklevel()
    )


@composite(method=False)
def norm_except_dim(v, pow=2, dim=0):
    """Norms over all dimensions but one, which stays; over all for -1."""
    if dim == -1:
        return v.norm(pow)
    return v.norm(pow, [d for d in range(v.ndim) if d != dim % v.ndim], keepdim=True)


@composite(method="force", function=False, name="fill_diagonal_")
def fill_diagonal_(self, fill_value, wrap=False):
    """Fill the main diagonal, in place.

    Args:
        fill_value: the number.
        wrap: whether the diagonal of a tall matrix begins again below its end.

    Raises:
        RuntimeError: fewer than two dimensions, or more of unequal length.
    """
    if self.ndim < 2:
        raise RuntimeError("dimensions must larger than 1")
    if self.ndim > 2 and len(set(self.shape)) > 1:
        raise RuntimeError("all dimensions of input must be of equal length")
    n, size = self.shape[-1], self.numel()
    step = sum(n**d for d in range(self.ndim)) if self.ndim > 2 else n + 1
    stop = size if wrap and self.ndim == 2 else min(self.shape) * step
    at = NAMES["torch"]["zeros"](size, dtype=dtypes.bool, device=self.device)
    at[0 : min(stop, size) : step] = True
    return self.masked_fill_(at.view(self.shape), fill_value)


@composite(method="force", function=False, name="float_power_")
def float_power_(self, exponent):
    """`float_power` in place.

    Raises:
        RuntimeError: the tensor is not of double precision.
    """
    power = NAMES["torch"]["float_power"](self, exponent)
    if power.dtype != self.dtype:
        raise RuntimeError(
            f"the base given to float_power_ has dtype {self.dtype.type_name} but the operation's "
            f"result requires dtype {power.dtype.type_name}"
        )
    return self.copy_(power)


@composite(method=False)
def binomial(count, prob, generator=None):
    """Binomial numbers: successes among `count` trials of probability `prob`, broadcast.

    Raises:
        ValueError: `count` or `prob` is of no floating type.
    """
    for name, given in (("count", count), ("prob", prob)):
        if not given.is_floating_point():
            raise ValueError(
                f"binomial only supports floating-point dtypes for {name}, got: "
                f"{given.dtype.type_name}"
            )
    return _binomial(count, prob, generator=generator)


@op(method=False, function=False)
def _binomial(count: TensorArg, prob: TensorArg, *, key: Key):
    count, prob = jnp.broadcast_arrays(*map(lax.stop_gradient, (count, prob)))
    bits = jax.random.key(jax.random.bits(key), impl="threefry2x32")
    return jax.random.binomial(bits, count, prob, count.shape, jnp.float32).astype(count.dtype)


@composite(method=False)
def result_type(tensor1, tensor2):
    """The type of an arithmetic operation's result: tensors count before 0-dim ones, and these
    before numbers, within a kind of type.

    Args:
        tensor1, tensor2: tensors or numbers.
    """
    both = tensor1, tensor2
    if not all(isinstance(x, (Tensor, bool, int, float, complex)) for x in both):
        kinds = ", ".join(type(x).__name__ for x in both)
        raise TypeError(
            f"result_type() received an invalid combination of arguments - got ({kinds}), but "
            "expected tensors and numbers"
        )
    return dtypes.result_dtype(map(_operand, both))


def _operand(x: Any) -> tuple[dtypes.dtype, int]:
    if isinstance(x, Tensor):
        return x.dtype, dtypes.DIMENSIONED if x.ndim else dtypes.ZERO_DIM
    kinds = {bool: dtypes.bool, int: dtypes.int64, float: dtypes.float64}
    return kinds.get(type(x), dtypes.complex128), dtypes.NUMBER


@composite(method=False)
def typename(obj):
    """The full name of a type, or of an object's type."""
    if isinstance(obj, Tensor):
        return obj.type()
    module = getattr(obj, "__module__", None) or ""
    name = getattr(obj, "__qualname__", None) or type(obj).__qualname__
    return name if module in ("", "builtins", "__builtin__") else f"{module}.{name}"


@composite(method=False)
def get_device(input):
    """The number of the device that a tensor is on; -1 for the CPU."""
    return input.get_device()


@composite(method="force")
def is_distributed(input):
    """False: no tensor is spread over processes by itself."""
    return False


@composite(method=False, name="detach_")
def detach_(input):
    """Cut a tensor from the tape in place; see `Tensor.detach_`."""
    return input.detach_()


@composite(method=False, name="index_put_")
def index_put_(input, indices, values, accumulate=False):
    """Write `values` at `indices`, in place; see `index_put`."""
    return input.index_put_(indices, values, accumulate)


def _inert(old: str, new: str) -> None:
    """A method that is no more in-place: with a warning, what the other does to a copy."""

    def method(self, *args):
        warnings.warn(f"non-inplace {old} is deprecated", stacklevel=user_stacklevel())
        return getattr(self.clone(), new)(*args)

    method.__name__ = method.__qualname__ = old
    method.__doc__ = f"Deprecated: `{new}` of a copy."
    composite(method="force", function=False)(method)


_inert("resize", "resize_")
_inert("resize_as", "resize_as_")


def _removed(name: str, instead: str) -> None:
    """A method that only says what to use in its place."""

    def method(self, *args, **kwargs):
        raise RuntimeError(
            f"This function was deprecated since version 1.9 and is now removed. `{name}` is "
            f"replaced by `{instead}`, whose arguments and results differ."
        )

    method.__name__ = method.__qualname__ = name
    method.__doc__ = f"Removed: see `{instead}`."
    composite(method="force", function=False)(method)


for _name, _instead in (
    ("eig", "linalg.eig"), ("lstsq", "linalg.lstsq"), ("solve", "linalg.solve"),
    ("symeig", "linalg.eigh"),
):  # fmt: skip
    _removed(_name, _instead)


@composite(method="force", function=False)
def new(self, *data, device=None):
    """A tensor of this one's type: of sizes, of data, or empty."""
    sizes = data and all(isinstance(n, int) for n in data)
    made = NAMES["torch"]["zeros"](data) if sizes else NAMES["torch"]["tensor"](*(data or ([],)))
    return made.to(device or self.device, self.dtype)


@composite(method="force", function=False)
def as_subclass(self, cls):
    """The same tensor as an instance of a subclass; shares storage and tape position.

    Raises:
        TypeError: `cls` is no subclass of Tensor.
    """
    if not (isinstance(cls, type) and issubclass(cls, Tensor)):
        raise TypeError(
            "Creating a Tensor subclass from a class that does not inherit from Tensor is not "
            "possible. Make sure your class inherits from Tensor."
        )
    same = self.view_as(self)
    same.__class__ = cls
    return same


@composite(method=False)
def cond(pred, true_fn, false_fn, operands=()):
    """`true_fn(*operands)` if `pred` holds, else `false_fn(*operands)`; waits for its value.

    Args:
        pred: a bool, or a tensor of one element.
    """
    return (true_fn if pred else false_fn)(*operands)
