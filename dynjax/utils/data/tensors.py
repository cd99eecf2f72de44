"""Tensors among samples, told from others without loading what makes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...core.later import load, loaded

if TYPE_CHECKING:
    from ...tensor.tensor import Tensor


def plain_types() -> tuple[type, ...]:
    """Tensor and Parameter; none where they are not loaded, as nothing can be one."""
    package = loaded()
    return (package.Tensor, package.nn.Parameter) if package else ()


def is_tensor(obj: Any) -> bool:
    """Whether it is a Tensor."""
    return isinstance(obj, plain_types()[:1])


def from_host(array: np.ndarray) -> Tensor:
    """A tensor that uses a NumPy array's memory, which nobody will write to."""
    load()
    from ...tensor.tensor import from_host

    return from_host(array)
