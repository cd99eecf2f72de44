"""Weights as a length and a direction, recomputed by a hook before each call (arXiv:1602.07868)."""

from __future__ import annotations

import warnings
from typing import Any

from ...ops.declare import NAMES
from ...tensor.tensor import Tensor
from ..module import Module
from ..parameter import Parameter, is_lazy

__all__ = ["WeightNorm", "remove_weight_norm", "weight_norm"]


def norm_except(v: Tensor, dim: int) -> Tensor:
    """The norms of `v` over all dimensions but one, which stay with size 1; -1 means over all."""
    if dim == -1:
        return v.norm()
    dims = tuple(k for k in range(v.dim()) if k != dim % v.dim())
    return NAMES["linalg"]["vector_norm"](v, 2, dims, True)


def scaled(v: Tensor, g: Tensor, dim: int) -> Tensor:
    """`v` at the length `g`."""
    return v * (g / norm_except(v, dim))


class WeightNorm:
    """The hook; `weight_norm` adds it."""

    def __init__(self, name: str, dim: int | None) -> None:
        self.name = name
        self.dim = -1 if dim is None else dim

    def compute_weight(self, module: Module) -> Tensor:
        """The weight, from its length and direction."""
        v, g = getattr(module, f"{self.name}_v"), getattr(module, f"{self.name}_g")
        return scaled(v, g, self.dim)

    def __call__(self, module: Module, inputs: Any) -> None:
        setattr(module, self.name, self.compute_weight(module))

    def remove(self, module: Module) -> None:
        """Make the weight a parameter again."""
        weight = self.compute_weight(module)
        delattr(module, self.name)
        del module._parameters[f"{self.name}_g"], module._parameters[f"{self.name}_v"]
        setattr(module, self.name, Parameter(weight.detach()))


def weight_norm(module: Module, name: str = "weight", dim: int | None = 0) -> Module:
    """Let a parameter be `name_v` scaled to the length `name_g`, two parameters in its place.

    Args:
        dim: the dimension whose elements have lengths of their own; None for one length.

    Returns: `module`. Deprecated: `parametrizations.weight_norm` does the same.

    Raises:
        RuntimeError: it has such a hook already. ValueError: it waits for its shape.
    """
    warnings.warn(
        "`torch.nn.utils.weight_norm` is deprecated in favor of "
        "`torch.nn.utils.parametrizations.weight_norm`.",
        FutureWarning,
        stacklevel=2,
    )
    for hook in module._forward_pre_hooks.values():
        if isinstance(hook, WeightNorm) and hook.name == name:
            raise RuntimeError(
                f"Cannot register two weight_norm hooks on the same parameter {name}"
            )
    hook = WeightNorm(name, dim)
    weight = getattr(module, name)
    if is_lazy(weight):
        raise ValueError(
            "The module passed to `WeightNorm` can't have uninitialized parameters. Make sure to "
            "run the dummy forward before applying weight normalization"
        )
    del module._parameters[name]
    length = norm_except(weight.detach(), hook.dim)
    module.register_parameter(f"{name}_g", Parameter(length))
    module.register_parameter(f"{name}_v", Parameter(weight.detach()))
    setattr(module, name, hook.compute_weight(module))
    module.register_forward_pre_hook(hook)
    return module


def remove_weight_norm(module: Module, name: str = "weight") -> Module:
    """Undo `weight_norm`; the weight keeps its value.

    Raises:
        ValueError: there is none.
    """
    for key, hook in module._forward_pre_hooks.items():
        if isinstance(hook, WeightNorm) and hook.name == name:
            hook.remove(module)
            del module._forward_pre_hooks[key]
            return module
    raise ValueError(f"weight_norm of '{name}' not found in {module}")
