"""The Fourier transforms of the array API standard."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..core.dtypes import dtype as DType
from ..ops.declare import NAMES
from ..tensor.tensor import Tensor

_F = NAMES["fft"]


def _one(name: str) -> Callable:
    def function(
        x: Tensor, /, *, n: int | None = None, axis: int = -1, norm: str = "backward"
    ) -> Tensor:
        return _F[name](x, n, axis, norm)

    return _named(function, name)


def _many(name: str) -> Callable:
    def function(
        x: Tensor, /, *, s: Any = None, axes: Any = None, norm: str = "backward"
    ) -> Tensor:
        return _F[name](x, s, axes, norm)

    return _named(function, name)


def _moved(name: str) -> Callable:
    def function(x: Tensor, /, *, axes: Any = None) -> Tensor:
        return _F[name](x, axes)

    return _named(function, name)


def _frequencies(name: str) -> Callable:
    def function(
        n: int, /, *, d: float = 1.0, dtype: DType | None = None, device: Any = None
    ) -> Tensor:
        return _F[name](n, d, dtype=dtype, device=device)

    return _named(function, name)


def _named(function: Callable, name: str) -> Callable:
    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"The standard's `{name}`: `dynjax.fft.{name}`."
    return function


fft, ifft, rfft, irfft, hfft, ihfft = map(_one, ("fft", "ifft", "rfft", "irfft", "hfft", "ihfft"))
fftn, ifftn, rfftn, irfftn = map(_many, ("fftn", "ifftn", "rfftn", "irfftn"))
fftshift, ifftshift = map(_moved, ("fftshift", "ifftshift"))
fftfreq, rfftfreq = map(_frequencies, ("fftfreq", "rfftfreq"))

__all__ = [
    "fft", "fftfreq", "fftn", "fftshift", "hfft", "ifft", "ifftn", "ifftshift", "ihfft", "irfft",
    "irfftn", "rfft", "rfftfreq", "rfftn",
]  # fmt: skip
