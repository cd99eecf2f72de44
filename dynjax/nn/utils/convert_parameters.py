"""Parameters as one vector, and back."""

from __future__ import annotations

from collections.abc import Iterable

from ...ops.shape import cat
from ...tensor.tensor import Tensor
from ..module import typename

__all__ = ["parameters_to_vector", "vector_to_parameters"]


def _check_devices(parameters: list[Tensor]) -> None:
    if len({param.device for param in parameters}) > 1:
        raise TypeError(
            "Found two parameters on different devices, this is currently not supported."
        )


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """Return all values of `parameters`, one after the other, as a vector.

    Raises:
        TypeError: the parameters are not all on one device.
    """
    group = list(parameters)
    _check_devices(group)
    return cat([param.view(-1) for param in group])


def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """Give `parameters` the values of a vector, in the order of `parameters_to_vector`.

    Raises:
        TypeError: `vec` is no Tensor, or the parameters are not all on one device.
    """
    if not isinstance(vec, Tensor):
        raise TypeError(f"expected torch.Tensor, but got: {typename(vec)}")
    group = list(parameters)
    _check_devices(group)
    start = 0
    for param in group:
        end = start + param.numel()
        param.data = vec[start:end].view_as(param).data
        start = end
