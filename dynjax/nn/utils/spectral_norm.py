"""Weights divided by their largest singular value, by a hook before each call
(arXiv:1802.05957)."""

from __future__ import annotations

from typing import Any

from ...autograd.modes import no_grad
from ...ops.declare import NAMES
from ...tensor.tensor import Tensor
from .. import functional as F
from ..conv import _ConvTransposeNd
from ..module import Module
from ..parameter import Parameter, is_lazy

__all__ = ["SpectralNorm", "remove_spectral_norm", "spectral_norm"]


def as_matrix(weight: Tensor, dim: int) -> Tensor:
    """`weight` with the dimension `dim` first and all others in one."""
    if dim != 0:
        weight = weight.permute(dim, *(k for k in range(weight.dim()) if k != dim))
    return weight.reshape(weight.shape[0], -1)


def output_dim(module: Module) -> int:
    """Where a layer's weight has its outputs."""
    return 1 if isinstance(module, _ConvTransposeNd) else 0


def largest_singular_value(matrix: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """From estimates of its singular vectors."""
    return u.dot(matrix.mv(v))


def random_direction(like: Tensor, size: int, eps: float) -> Tensor:
    """A random vector of length 1."""
    drawn = NAMES["torch"]["randn"](size, dtype=like.dtype, device=like.device)
    return F.normalize(drawn, dim=0, eps=eps)


class SpectralNorm:
    """The hook; `spectral_norm` adds it."""

    _version: int = 1

    def __init__(
        self,
        name: str = "weight",
        n_power_iterations: int = 1,
        dim: int = 0,
        eps: float = 1e-12,
    ) -> None:
        if n_power_iterations <= 0:
            raise ValueError(
                "Expected n_power_iterations to be positive, but got "
                f"n_power_iterations={n_power_iterations}"
            )
        self.name = name
        self.dim = dim
        self.n_power_iterations = n_power_iterations
        self.eps = eps

    def reshape_weight_to_matrix(self, weight: Tensor) -> Tensor:
        """The weight as a matrix, outputs first."""
        return as_matrix(weight, self.dim)

    def compute_weight(self, module: Module, do_power_iteration: bool) -> Tensor:
        """The weight, from better estimates of its singular vectors if asked for."""
        weight = getattr(module, f"{self.name}_orig")
        u, v = getattr(module, f"{self.name}_u"), getattr(module, f"{self.name}_v")
        matrix = as_matrix(weight, self.dim)
        if do_power_iteration:
            with no_grad():
                for _ in range(self.n_power_iterations):
                    v.copy_(F.normalize(matrix.t().mv(u), dim=0, eps=self.eps))
                    u.copy_(F.normalize(matrix.mv(v), dim=0, eps=self.eps))
                u, v = u.clone(), v.clone()
        return weight / largest_singular_value(matrix, u, v)

    def __call__(self, module: Module, inputs: Any) -> None:
        setattr(module, self.name, self.compute_weight(module, module.training))

    def remove(self, module: Module) -> None:
        """Make the weight a parameter again."""
        with no_grad():
            weight = self.compute_weight(module, False)
        for suffix in ("", "_u", "_v", "_orig"):
            delattr(module, self.name + suffix)
        module.register_parameter(self.name, Parameter(weight.detach()))


class _SaveVersion:
    """Says in the metadata of a state that the vectors are in it."""

    def __init__(self, hook: SpectralNorm) -> None:
        self.hook = hook

    def __call__(self, module: Module, state: Any, prefix: str, metadata: dict[str, Any]) -> None:
        versions = metadata.setdefault("spectral_norm", {})
        versions[f"{self.hook.name}.version"] = self.hook._version


def spectral_norm(
    module: Module,
    name: str = "weight",
    n_power_iterations: int = 1,
    eps: float = 1e-12,
    dim: int | None = None,
) -> Module:
    """Divide a parameter by its largest singular value, estimated step by step in training.

    Args:
        name: the parameter; `name_orig` takes its place.
        n_power_iterations: steps of the estimate at each call.
        eps: against division by zero.
        dim: where the outputs are, by default 0, and 1 for transposed convolutions.

    Returns: `module`.

    Raises:
        RuntimeError: it has such a hook already.
        ValueError: the parameter is None or waits for its shape, or no iterations.
    """
    for hook in module._forward_pre_hooks.values():
        if isinstance(hook, SpectralNorm) and hook.name == name:
            raise RuntimeError(
                f"Cannot register two spectral_norm hooks on the same parameter {name}"
            )
    dim = output_dim(module) if dim is None else dim
    hook = SpectralNorm(name, n_power_iterations, dim, eps)
    weight = module._parameters[name]
    if weight is None:
        raise ValueError(f"`SpectralNorm` cannot be applied as parameter `{name}` is None")
    if is_lazy(weight):
        raise ValueError(
            "The module passed to `SpectralNorm` can't have uninitialized parameters. Make sure "
            "to run the dummy forward before applying spectral normalization"
        )
    rows, columns = as_matrix(weight.detach(), dim).shape
    delattr(module, name)
    module.register_parameter(f"{name}_orig", weight)
    setattr(module, name, weight.detach())
    module.register_buffer(f"{name}_u", random_direction(weight, rows, eps))
    module.register_buffer(f"{name}_v", random_direction(weight, columns, eps))
    module.register_forward_pre_hook(hook)
    module._register_state_dict_hook(_SaveVersion(hook))
    return module


def remove_spectral_norm(module: Module, name: str = "weight") -> Module:
    """Undo `spectral_norm`; the weight keeps its value.

    Raises:
        ValueError: there is none.
    """
    for key, hook in module._forward_pre_hooks.items():
        if isinstance(hook, SpectralNorm) and hook.name == name:
            hook.remove(module)
            del module._forward_pre_hooks[key]
            break
    else:
        raise ValueError(f"spectral_norm of '{name}' not found in {module}")
    for key, saver in list(module._state_dict_hooks.items()):
        if isinstance(saver, _SaveVersion) and saver.hook.name == name:
            del module._state_dict_hooks[key]
    return module
