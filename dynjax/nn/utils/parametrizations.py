"""Ready parametrizations: weight norm, spectral norm, orthogonal matrices."""

from __future__ import annotations

from typing import Any

from ...autograd.modes import no_grad
from ...core.dtypes import finfo
from ...ops.declare import NAMES
from ...ops.shape import cat
from ...tensor.tensor import Tensor
from .. import functional as F
from ..module import Module
from . import parametrize
from .spectral_norm import as_matrix, largest_singular_value, output_dim, random_direction
from .weight_norm import norm_except, scaled

__all__ = ["orthogonal", "spectral_norm", "weight_norm"]

_MAPS = ("matrix_exp", "cayley", "householder")


def _tensor_of(module: Module, name: str) -> Tensor:
    weight = getattr(module, name, None)
    if not isinstance(weight, Tensor):
        raise ValueError(f"Module '{module}' has no parameter or buffer with name '{name}'")
    return weight


def _eye(like: Tensor, size: int) -> Tensor:
    return NAMES["torch"]["eye"](size, dtype=like.dtype, device=like.device)


def _is_orthogonal(q: Tensor) -> bool:
    rows, columns = q.shape[-2:]
    near = 10.0 * rows * finfo(q.dtype).eps
    difference = (q.mH @ q - _eye(q, columns)).abs().max()
    return float(difference) <= near + 1e-5


def _made_orthogonal(x: Tensor) -> Tensor:
    a, tau = NAMES["torch"]["geqrf"](x)
    q = NAMES["linalg"]["householder_product"](a, tau)
    return q * a.diagonal(dim1=-2, dim2=-1).sgn().unsqueeze(-2)


class _Orthogonal(Module):
    """From any matrix to one with orthogonal columns (arXiv:1901.08428, 1909.09501)."""

    base: Tensor

    def __init__(self, weight: Tensor, orthogonal_map: str, *, use_trivialization: bool) -> None:
        super().__init__()
        if weight.is_complex() and orthogonal_map == "householder":
            raise ValueError("The householder parametrization does not support complex tensors.")
        self.shape = weight.shape
        self.orthogonal_map = orthogonal_map
        if use_trivialization:
            self.register_buffer("base", None)

    def _map(self, x: Tensor) -> Tensor:
        """Of (..., n, k) with n >= k."""
        rows, columns = x.shape[-2:]
        if self.orthogonal_map == "householder":
            a = x.tril(-1)
            tau = 2.0 / (1.0 + (a * a).sum(-2))
            q = NAMES["linalg"]["householder_product"](a, tau)
            return q * x.diagonal(dim1=-2, dim2=-1).int().unsqueeze(-2)
        x = x.tril()
        if rows != columns:
            x = cat([x, x.new_zeros((*x.shape[:-1], rows - columns))], -1)
        a = x - x.mH
        if self.orthogonal_map == "matrix_exp":
            q = NAMES["torch"]["matrix_exp"](a)
        else:
            one = _eye(a, rows)
            q = NAMES["linalg"]["solve"](one - 0.5 * a, one + 0.5 * a)
        return q[..., :columns]

    def forward(self, x: Tensor) -> Tensor:
        wide = x.shape[-2] < x.shape[-1]
        q = self._map(x.mT if wide else x)
        if hasattr(self, "base"):
            q = self.base @ q
        return q.mT if wide else q

    def right_inverse(self, q: Tensor) -> Tensor:
        """What gives `q`, or, with a base, what gives the base that is set to it."""
        if tuple(q.shape) != tuple(self.shape):
            raise ValueError(
                f"Expected a matrix or batch of matrices of shape {self.shape}. Got a tensor of "
                f"shape {q.shape}."
            )
        with no_grad():
            wide = q.shape[-2] < q.shape[-1]
            tall = q.mT if wide else q
            rows, columns = tall.shape[-2:]
            if hasattr(self, "base"):
                if rows != columns:
                    size = (*tall.shape[:-1], rows - columns)
                    more = NAMES["torch"]["randn"](size, dtype=q.dtype, device=q.device)
                    self.base = _made_orthogonal(cat([tall, more], -1))
                else:
                    self.base = tall.clone() if _is_orthogonal(tall) else _made_orthogonal(tall)
                shape = q.shape
                return (-_eye(q, max(shape[-2:]))[: shape[-2], : shape[-1]]).expand(shape).clone()
            if self.orthogonal_map != "householder":
                raise NotImplementedError(
                    "It is not possible to assign to the matrix exponential or the Cayley "
                    "parametrizations when use_trivialization=False."
                )
            a, tau = NAMES["torch"]["geqrf"](tall)
            signs = a.diagonal(dim1=-2, dim2=-1).sign()
            signs = signs.where(tau != 0, -signs)
            a = a.tril(-1) + a.triu(1) + _placed(signs, a)
            return a.mT if wide else a


def _placed(diagonal: Tensor, like: Tensor) -> Tensor:
    """A matrix of zeros with that diagonal."""
    rows, columns = like.shape[-2:]
    return _eye(like, rows)[:, :columns] * diagonal.unsqueeze(-2)


def orthogonal(
    module: Module,
    name: str = "weight",
    orthogonal_map: str | None = None,
    *,
    use_trivialization: bool = True,
) -> Module:
    """Keep a matrix orthogonal (its rows or columns, whichever are fewer).

    Args:
        name: a parameter (..., n, k).
        orthogonal_map: "matrix_exp", "cayley" or "householder"; by default "matrix_exp" for
            square or complex matrices, "householder" for others.
        use_trivialization: whether the map is relative to a base, which may be assigned.

    Returns: `module`.

    Raises:
        ValueError: no such tensor, not a matrix, or an unknown map.
    """
    weight = _tensor_of(module, name)
    if weight.dim() < 2:
        raise ValueError(
            f"Expected a matrix or batch of matrices. Got a tensor of {weight.dim()} dimensions."
        )
    if orthogonal_map is None:
        square = weight.shape[-2] == weight.shape[-1]
        orthogonal_map = "matrix_exp" if square or weight.is_complex() else "householder"
    if orthogonal_map not in _MAPS:
        raise ValueError(
            'orthogonal_map has to be one of "matrix_exp", "cayley", "householder". '
            f"Got: {orthogonal_map}"
        )
    made = _Orthogonal(weight, orthogonal_map, use_trivialization=use_trivialization)
    parametrize.register_parametrization(module, name, made, unsafe=True)
    return module


class _WeightNorm(Module):
    """A direction scaled to a length (arXiv:1602.07868)."""

    def __init__(self, dim: int | None = 0) -> None:
        super().__init__()
        self.dim = -1 if dim is None else dim

    def forward(self, weight_g: Tensor, weight_v: Tensor) -> Tensor:
        return scaled(weight_v, weight_g, self.dim)

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Length and direction."""
        return norm_except(weight, self.dim), weight


def weight_norm(module: Module, name: str = "weight", dim: int | None = 0) -> Module:
    """Learn a weight's length (`original0`) and direction (`original1`) instead of the weight.

    Args:
        dim: the dimension whose elements have lengths of their own; None for one length.

    Returns: `module`. States of the older `nn.utils.weight_norm` load too.
    """
    parametrize.register_parametrization(module, name, _WeightNorm(dim), unsafe=True)

    def rename(state: dict[str, Any], prefix: str, *args: Any) -> None:
        old = [f"{prefix}{name}_g", f"{prefix}{name}_v"]
        if all(key in state for key in old):
            for k, key in enumerate(old):
                state[f"{prefix}parametrizations.{name}.original{k}"] = state.pop(key)

    module._register_load_state_dict_pre_hook(rename)
    return module


class _SpectralNorm(Module):
    """A weight divided by its largest singular value (arXiv:1802.05957)."""

    def __init__(
        self,
        weight: Tensor,
        n_power_iterations: int = 1,
        dim: int = 0,
        eps: float = 1e-12,
    ) -> None:
        super().__init__()
        ndim = weight.dim()
        if not -ndim <= dim < ndim:
            raise IndexError(
                f"Dimension out of range (expected to be in range of [-{ndim}, {ndim - 1}] but "
                f"got {dim})"
            )
        if n_power_iterations <= 0:
            raise ValueError(
                "Expected n_power_iterations to be positive, but got "
                f"n_power_iterations={n_power_iterations}"
            )
        self.dim = dim % ndim
        self.eps = eps
        if ndim > 1:
            self.n_power_iterations = n_power_iterations
            matrix = as_matrix(weight.detach(), self.dim)
            rows, columns = matrix.shape
            self.register_buffer("_u", random_direction(matrix, rows, eps))
            self.register_buffer("_v", random_direction(matrix, columns, eps))
            self._power_method(matrix, 15)

    def _power_method(self, matrix: Tensor, n_power_iterations: int) -> None:
        with no_grad():
            for _ in range(n_power_iterations):
                self._u.copy_(F.normalize(matrix.mv(self._v), dim=0, eps=self.eps))
                self._v.copy_(F.normalize(matrix.mH.mv(self._u), dim=0, eps=self.eps))

    def forward(self, weight: Tensor) -> Tensor:
        if weight.dim() == 1:
            return F.normalize(weight, dim=0, eps=self.eps)
        matrix = as_matrix(weight, self.dim)
        if self.training:
            self._power_method(matrix, self.n_power_iterations)
        return weight / largest_singular_value(matrix, self._u.clone(), self._v.clone())

    def right_inverse(self, value: Tensor) -> Tensor:
        """The value itself: what is assigned is divided too."""
        return value


def spectral_norm(
    module: Module,
    name: str = "weight",
    n_power_iterations: int = 1,
    eps: float = 1e-12,
    dim: int | None = None,
) -> Module:
    """Divide a weight by its largest singular value, estimated step by step in training.

    Args:
        n_power_iterations: steps of the estimate at each read.
        eps: against division by zero.
        dim: where the outputs are, by default 0, and 1 for transposed convolutions.

    Returns: `module`.

    Raises:
        ValueError: no such tensor, or no iterations. IndexError: no such dimension.
    """
    weight = _tensor_of(module, name)
    dim = output_dim(module) if dim is None else dim
    made = _SpectralNorm(weight, n_power_iterations, dim, eps)
    parametrize.register_parametrization(module, name, made)
    return module
