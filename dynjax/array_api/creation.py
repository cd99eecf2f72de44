"""How arrays are made in the array API standard."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..core import dtypes
from ..core.dtypes import dtype as DType
from ..ops.declare import NAMES
from ..tensor.tensor import Tensor
from .named import named

_T = NAMES["torch"]
_all = all


def asarray(
    obj: Any, /, *, dtype: DType | None = None, device: Any = None, copy: bool | None = None
) -> Tensor:
    """An array of what may be one."""
    if copy is False and not isinstance(obj, Tensor):
        raise ValueError("only an array can be taken without a copy")
    if isinstance(obj, Tensor):
        changed = (dtype not in (None, obj.dtype)) or (device not in (None, obj.device))
        if copy is False and changed:
            raise ValueError("another type or device needs a copy")
        same = obj.to(device or obj.device, dtype or obj.dtype)
        return same.clone() if copy and same is obj else same
    made = _T["asarray"](obj, dtype=dtype, device=device)
    return made.clone() if copy else made


def arange(
    start: Any, /, stop: Any = None, step: Any = 1, *, dtype: DType | None = None,
    device: Any = None,
) -> Tensor:  # fmt: skip
    """Evenly spaced numbers; none where the step leads away from `stop`."""
    if stop is None:
        start, stop = 0, start
    if (stop - start) * step < 0 or stop == start:
        whole = _all(isinstance(n, int) for n in (start, stop, step))
        default = dtypes.int64 if whole else dtypes.get_default_dtype()
        return _T["empty"]((0,), dtype=dtype or default, device=device)
    return _T["arange"](start, stop, step, dtype=dtype, device=device)


def eye(
    n_rows: int, n_cols: int | None = None, /, *, k: int = 0, dtype: DType | None = None,
    device: Any = None,
) -> Tensor:  # fmt: skip
    """Ones on a diagonal."""
    n = n_rows if n_cols is None else n_cols
    ones = _T["ones"]((n_rows, n), dtype=dtypes.uint8, device=device)
    on = ones.triu(k).tril(k)
    return on.to(dtype or dtypes.get_default_dtype())


def linspace(
    start: Any, stop: Any, /, num: int, *, dtype: DType | None = None, device: Any = None,
    endpoint: bool = True,
) -> Tensor:  # fmt: skip
    """`num` evenly spaced numbers, with or without the last."""
    if endpoint:
        return _T["linspace"](start, stop, num, dtype=dtype, device=device)
    return _T["linspace"](start, stop, num + 1, dtype=dtype, device=device)[:-1]


def full(shape: Any, fill_value: Any, *, dtype: DType | None = None, device: Any = None) -> Tensor:
    """An array of one number."""
    return _T["full"](_shape(shape), fill_value, dtype=dtype, device=device)


def _shape(shape: Any) -> tuple[int, ...]:
    return (shape,) if isinstance(shape, int) else tuple(shape)


def _of_shape(name: str) -> Callable:
    run = _T[name]

    def function(shape: Any, *, dtype: DType | None = None, device: Any = None) -> Tensor:
        return run(_shape(shape), dtype=dtype, device=device)

    return named(function, name, name)


empty, ones, zeros = map(_of_shape, ("empty", "ones", "zeros"))


def _like(name: str) -> Callable:
    run = _T[name]

    def function(x: Tensor, /, *, dtype: DType | None = None, device: Any = None) -> Tensor:
        return run(x, dtype=dtype, device=device)

    return named(function, name, name)


empty_like, ones_like, zeros_like = map(_like, ("empty_like", "ones_like", "zeros_like"))


def full_like(
    x: Tensor, /, fill_value: Any, *, dtype: DType | None = None, device: Any = None
) -> Tensor:
    """An array of one number, of another's shape."""
    return _T["full"](x.shape, fill_value, dtype=dtype or x.dtype, device=device or x.device)


def meshgrid(*arrays: Tensor, indexing: str = "xy") -> list[Tensor]:
    """Coordinates of a grid."""
    return list(_T["meshgrid"](*arrays, indexing=indexing))


def from_dlpack(x: Any, /, *, device: Any = None, copy: bool | None = None) -> Tensor:
    """An array of another library's."""
    if isinstance(x, Tensor):
        return asarray(x, device=device, copy=copy)
    made = _T["from_dlpack"](x)
    return made if device is None else made.to(device)


def tril(x: Tensor, /, *, k: int = 0) -> Tensor:
    """The lower triangle."""
    return x.tril(k)


def triu(x: Tensor, /, *, k: int = 0) -> Tensor:
    """The upper triangle."""
    return x.triu(k)


__all__ = [
    "arange",
    "asarray",
    "empty",
    "empty_like",
    "eye",
    "from_dlpack",
    "full",
    "full_like",
    "linspace",
    "meshgrid",
    "ones",
    "ones_like",
    "tril",
    "triu",
    "zeros",
    "zeros_like",
]
