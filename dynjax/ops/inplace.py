"""In-place forms, made from functions that compute their result anew."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..autograd.dispatch import assign, check_inplace, unwatched
from ..engine.trace import state
from ..tensor.tensor import Tensor, wrap

# PyTorch's choice of in-place forms that are functions of its main namespace too.
FUNCTIONS = frozenset(
    """
    abs_ acos_ acosh_ addmv_ alpha_dropout_ arccos_ arccosh_ arcsin_ arcsinh_ arctan_ arctanh_
    as_strided_ asin_ asinh_ atan_ atanh_ ceil_ celu_ clamp_ clamp_max_ clamp_min_ clip_
    conj_physical_ cos_ cosh_ deg2rad_ detach_ dropout_ embedding_renorm_ erf_ erfc_ exp2_ exp_
    expm1_ feature_alpha_dropout_ feature_dropout_ fill_ fix_ floor_ frac_ gcd_ i0_ index_put_
    lcm_ ldexp_ log10_ log1p_ log2_ log_ logit_ nan_to_num_ neg_ negative_ rad2deg_ reciprocal_
    relu_ resize_as_ round_ rrelu_ rsqrt_ selu_ sigmoid_ sin_ sinc_ sinh_ sqrt_ square_ tan_
    tanh_ threshold_ trunc_ xlogy_ zero_
    """.split()
)


def inplace_form(function: Callable, name: str, keeps_input: bool = True) -> Callable:
    """The function that computes `function(self, ...)` and makes the result the content of self.

    Args:
        function: takes a tensor first and returns one of its shape.
        name: of the in-place form, with its underscore.
        keeps_input: whether its gradient reads the input, which is then kept under another name.
    """

    def form(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        check_inplace(self)
        source = unwatched(self) if keeps_input and state.trace.grad else self
        return assign(self, function(source, *args, **kwargs), name)

    return _named(form, name)


def inplace_view(function: Callable, name: str) -> Callable:
    """The function that gives self the shape of its view `function(self, ...)`: `unsqueeze_`."""

    def form(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        check_inplace(self)
        return restructure(self, function(self, *args, **kwargs))

    return _named(form, name)


def _named(form: Callable, name: str) -> Callable:
    form.__name__, form.__qualname__ = name, f"Tensor.{name}"
    form.__doc__ = f"In-place form of `{name[:-1]}`."
    return form


def restructure(tensor: Tensor, view: Tensor) -> Tensor:
    """Give a tensor the shape of a view of it (`unsqueeze_` and its like); returns it."""
    if tensor._alias.base is None and tensor._v.kind.leaf:
        raise RuntimeError(
            "a leaf Variable that requires grad is being used in an in-place operation."
        )
    storage = tensor._alias.storage
    twin = wrap(tensor._v)
    twin._alias = tensor._alias
    made = view._alias
    if made.base is tensor:
        made.base = twin
    tensor._v, tensor._alias = view._v, made
    storage.versions.now += 1
    storage.stamp += 1
    twin._alias.seen = made.seen = storage.stamp
    tensor._v.watch = storage.watch()
    return tensor
