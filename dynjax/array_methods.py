"""Methods that the Python array API standard gives to arrays; `array_api` is loaded when asked for.

Source: https://data-apis.org/array-api/2024.12.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from .tensor.tensor import Tensor


def array_namespace(self: Tensor, /, *, api_version: str | None = None) -> Any:
    """The namespace of the array API standard that goes with this array.

    Raises:
        ValueError: a version of the standard that is not known.
    """
    found = import_module("dynjax.array_api")
    if api_version not in (None, *found.VERSIONS):
        known = ", ".join(found.VERSIONS)
        raise ValueError(f"array API version {api_version!r} is not one of {known}")
    return found


def to_device(self: Tensor, device: Any, /, *, stream: Any = None) -> Tensor:
    """The array on another device, as the standard calls `to`.

    Raises:
        ValueError: a stream: XLA orders what it runs.
    """
    if stream is not None:
        raise ValueError("dynjax has no streams")
    return self.to(device)


Tensor.__array_namespace__ = array_namespace
Tensor.to_device = to_device
