"""What the Python array API standard calls otherwise, or asks for beyond PyTorch.

Source: https://data-apis.org/array-api/2024.12. Names and arguments are the standard's; what runs
is dynjax's own operation of that meaning. Arrays of different types are promoted whatever their
number of dimensions, as the standard has it.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

from ..core import dtypes
from ..core.dtypes import dtype as DType
from ..engine.trace import state
from ..ops.declare import NAMES
from ..tensor.tensor import Tensor

_T = NAMES["torch"]
_builtin_bool, _builtin_all = bool, all


def unary(name: str, ours: str) -> Callable:
    """An elementwise function of one array."""
    run = _T[ours]

    def function(x: Tensor, /) -> Tensor:
        return run(x)

    return _named(function, name, ours)


def binary(name: str, ours: str) -> Callable:
    """An elementwise function of two arrays, or of one and a number."""
    run = _T[ours]

    def function(x1: Any, x2: Any, /) -> Tensor:
        return run(*promoted(x1, x2))

    return _named(function, name, ours)


def _named(function: Callable, name: str, ours: str) -> Callable:
    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"The standard's `{name}`: `dynjax.{ours}`."
    return function


def promoted(*operands: Any) -> list[Tensor]:
    """Arrays of one type; numbers take that of the arrays."""
    dtype = result_type(*operands)
    device = next(x.device for x in operands if isinstance(x, Tensor))
    return [
        x.to(dtype) if isinstance(x, Tensor) else _T["tensor"](x, dtype=dtype, device=device)
        for x in operands
    ]


# Types


def result_type(*arrays_and_dtypes: Any) -> DType:
    """The type that arrays, types and numbers promote to; numbers count last."""
    known, numbers = [], []
    for x in arrays_and_dtypes:
        if isinstance(x, (Tensor, DType)):
            known.append(x if isinstance(x, DType) else x.dtype)
        else:
            numbers.append(x)
    if not known:
        raise ValueError("result_type() needs an array or a type")
    kind = reduce(dtypes.promote_types, known)
    for x in numbers:
        kind = _T["result_type"](_T["empty"]((1,), dtype=kind), x)
    return kind


def can_cast(from_: Any, to: DType, /) -> bool:
    """Whether promotion leads from one type to the other."""
    own = from_.dtype if isinstance(from_, Tensor) else from_
    try:
        return dtypes.promote_types(own, to) is to
    except RuntimeError:  # types that do not promote
        return False


_KINDS: dict[str, Callable[[DType], bool]] = {
    "bool": lambda t: t is dtypes.bool,
    "signed integer": lambda t: _is_integer(t) and t.is_signed,
    "unsigned integer": lambda t: _is_integer(t) and not t.is_signed,
    "integral": lambda t: _is_integer(t),
    "real floating": lambda t: t.is_floating_point,
    "complex floating": lambda t: t.is_complex,
    "numeric": lambda t: t is not dtypes.bool,
}


def _is_integer(t: DType) -> bool:
    return t is not dtypes.bool and not t.is_floating_point and not t.is_complex


def isdtype(dtype: DType, kind: Any) -> bool:
    """Whether a type is of a kind, or of one of several."""
    if isinstance(kind, tuple):
        return any_(isdtype(dtype, k) for k in kind)
    if isinstance(kind, DType):
        return dtype is kind
    if kind not in _KINDS:
        raise ValueError(f"unknown kind of types {kind!r}; known: {', '.join(_KINDS)}")
    return _KINDS[kind](dtype)


any_ = any


def astype(
    x: Tensor, dtype: DType, /, *, copy: bool = True, device: Any = None
) -> Tensor:
    """The array with another type."""
    return x.to(device or x.device, dtype, copy=copy)


# Making arrays


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
        whole = _builtin_all(isinstance(n, int) for n in (start, stop, step))
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


def full(
    shape: Any, fill_value: Any, *, dtype: DType | None = None, device: Any = None
) -> Tensor:
    """An array of one number."""
    return _T["full"](_shape(shape), fill_value, dtype=dtype, device=device)


def _shape(shape: Any) -> tuple[int, ...]:
    return (shape,) if isinstance(shape, int) else tuple(shape)


def _of_shape(name: str) -> Callable:
    run = _T[name]

    def function(shape: Any, *, dtype: DType | None = None, device: Any = None) -> Tensor:
        return run(_shape(shape), dtype=dtype, device=device)

    return _named(function, name, name)


empty, ones, zeros = map(_of_shape, ("empty", "ones", "zeros"))


def _like(name: str) -> Callable:
    run = _T[name]

    def function(x: Tensor, /, *, dtype: DType | None = None, device: Any = None) -> Tensor:
        return run(x, dtype=dtype, device=device)

    return _named(function, name, name)


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
    from ..interop.dlpack import from_dlpack as take

    made = take(x)
    return made if device is None else made.to(device)


def tril(x: Tensor, /, *, k: int = 0) -> Tensor:
    """The lower triangle."""
    return x.tril(k)


def triu(x: Tensor, /, *, k: int = 0) -> Tensor:
    """The upper triangle."""
    return x.triu(k)


# Shapes


def broadcast_to(x: Tensor, /, shape: Sequence[int]) -> Tensor:
    """The array in a wider shape."""
    return x.expand(tuple(shape))


def broadcast_arrays(*arrays: Tensor) -> list[Tensor]:
    """Arrays in the shape of all."""
    return list(_T["broadcast_tensors"](*arrays))


def concat(arrays: Sequence[Tensor], /, *, axis: int | None = 0) -> Tensor:
    """Arrays one after another; flattened first for no axis."""
    same = promoted(*arrays)
    return _T["cat"]([x.reshape(-1) for x in same] if axis is None else same, axis or 0)


def stack(arrays: Sequence[Tensor], /, *, axis: int = 0) -> Tensor:
    """Arrays along a new axis."""
    return _T["stack"](promoted(*arrays), axis)


def unstack(x: Tensor, /, *, axis: int = 0) -> tuple[Tensor, ...]:
    """The parts of an array along an axis."""
    return tuple(x.unbind(axis))


def expand_dims(x: Tensor, /, axis: int | Sequence[int] = 0) -> Tensor:
    """An array with further axes of length one."""
    axes = (axis,) if isinstance(axis, int) else tuple(axis)
    n = x.ndim + len(axes)
    if not _builtin_all(-n <= a < n for a in axes):
        raise IndexError(f"axis {axis} is out of range for {n} dimensions")
    for a in sorted(a % n for a in axes):
        x = x.unsqueeze(a)
    return x


def squeeze(x: Tensor, /, axis: int | Sequence[int]) -> Tensor:
    """An array without axes of length one.

    Raises:
        ValueError: an axis is longer.
    """
    axes = (axis,) if isinstance(axis, int) else tuple(axis)
    if any_(x.shape[a] != 1 for a in axes):
        raise ValueError(f"axes {axes} of shape {tuple(x.shape)} are not all of length one")
    return x.squeeze(axes)


def flip(x: Tensor, /, *, axis: int | Sequence[int] | None = None) -> Tensor:
    """An array in reverse order."""
    return x.flip(tuple(range(x.ndim)) if axis is None else axis)


def roll(x: Tensor, /, shift: Any, *, axis: Any = None) -> Tensor:
    """An array with its elements moved round."""
    return x.roll(shift, axis)


def moveaxis(x: Tensor, source: Any, destination: Any, /) -> Tensor:
    """An array with axes moved."""
    return x.movedim(source, destination)


def permute_dims(x: Tensor, /, axes: Sequence[int]) -> Tensor:
    """An array with its axes in another order."""
    return x.permute(tuple(axes))


def matrix_transpose(x: Tensor, /) -> Tensor:
    """Matrices transposed."""
    if x.ndim < 2:
        raise ValueError(f"a matrix has two dimensions, not {x.ndim}")
    return x.mT


def reshape(x: Tensor, /, shape: Sequence[int], *, copy: bool | None = None) -> Tensor:
    """An array in another shape."""
    if copy:
        x = x.clone()
    return x.view(tuple(shape)) if copy is False else x.reshape(tuple(shape))


def repeat(x: Tensor, repeats: Any, /, *, axis: int | None = None) -> Tensor:
    """Every element several times."""
    return x.repeat_interleave(repeats, axis)


def tile(x: Tensor, repetitions: Sequence[int], /) -> Tensor:
    """The array several times."""
    return x.tile(tuple(repetitions))


# Elementwise


def clip(x: Tensor, /, min: Any = None, max: Any = None) -> Tensor:
    """Elements within bounds, which may be numbers or arrays."""
    shape = _T["broadcast_shapes"](*[tuple(b.shape) for b in (x, min, max) if isinstance(b, Tensor)])
    x = x.expand(shape).clone()
    for bound, least in ((min, "maximum"), (max, "minimum")):
        if bound is not None:
            bound = bound if isinstance(bound, Tensor) else _T["tensor"](bound, device=x.device)
            x = _T[least](x, bound.to(x.dtype))
    return x


def sign(x: Tensor, /) -> Tensor:
    """The sign, of complex numbers the direction; NaN of NaN."""
    if x.dtype.is_complex:
        return x.sgn()
    found = x.sign()
    return _T["where"](x.isnan(), x, found) if x.dtype.is_floating_point else found


def round(x: Tensor, /) -> Tensor:
    """The nearest whole numbers, ties to even."""
    if x.dtype.is_complex:
        return _T["complex"](x.real.round(), x.imag.round())
    return x.round()


def positive(x: Tensor, /) -> Tensor:
    """The array."""
    return x.clone()


def conj(x: Tensor, /) -> Tensor:
    """Complex conjugates."""
    return x.conj().resolve_conj() if x.dtype.is_complex else x


def where(condition: Tensor, x1: Any, x2: Any, /) -> Tensor:
    """Elements of one array or the other."""
    return _T["where"](condition, *promoted(x1, x2))


# Reductions


def _axes(x: Tensor, axis: Any) -> tuple[int, ...]:
    if axis is None:
        return tuple(range(x.ndim))
    return (axis,) if isinstance(axis, int) else tuple(axis)


def _kept(x: Tensor, keepdims: bool) -> Tensor:
    """A result without dimensions, of an array of none."""
    return x


def _summed(name: str, dtype_of: Callable[[DType], DType | None]) -> Callable:
    run = _T[name]

    def function(
        x: Tensor, /, *, axis: Any = None, dtype: DType | None = None, keepdims: bool = False
    ) -> Tensor:
        kind = dtype or dtype_of(x.dtype)
        axes = _axes(x, axis)
        if not axes:
            return x.to(kind, copy=True)
        for a in sorted([a % x.ndim for a in axes], reverse=True):
            x = run(x, a, keepdim=keepdims, dtype=kind)
        return x

    return _named(function, name, name)


def _accumulated(t: DType) -> DType:
    """In what integers are added up: unsigned ones as such."""
    if _is_integer(t) and not t.is_signed:
        return dtypes.uint64
    return dtypes.int64 if _is_integer(t) or t is dtypes.bool else t


sum, prod = _summed("sum", _accumulated), _summed("prod", _accumulated)


def _reduced(name: str, ours: str) -> Callable:
    run = _T[ours]

    def function(x: Tensor, /, *, axis: Any = None, keepdims: bool = False) -> Tensor:
        axes = _axes(x, axis)
        return run(x, axes, keepdim=keepdims) if axes else run(x.reshape(1), 0)

    return _named(function, name, ours)


max, min = _reduced("max", "amax"), _reduced("min", "amin")
mean = _reduced("mean", "mean")


def _truth(name: str) -> Callable:
    run = _T[name]

    def function(x: Tensor, /, *, axis: Any = None, keepdims: bool = False) -> Tensor:
        x = x != 0
        for a in sorted([a % x.ndim for a in _axes(x, axis)], reverse=True):
            x = run(x, a, keepdim=keepdims)
        return x

    return _named(function, name, name)


all, any = _truth("all"), _truth("any")


def _spread(name: str) -> Callable:
    run = _T[name]

    def function(
        x: Tensor, /, *, axis: Any = None, correction: float = 0.0, keepdims: bool = False
    ) -> Tensor:
        axes = _axes(x, axis)
        if not axes:
            return run(x.reshape(1), 0, correction=correction)
        return run(x, axes, correction=correction, keepdim=keepdims)

    return _named(function, name, name)


std, var = _spread("std"), _spread("var")


def _found(name: str) -> Callable:
    run = _T[name]

    def function(x: Tensor, /, *, axis: int | None = None, keepdims: bool = False) -> Tensor:
        found = run(x, axis, keepdim=keepdims if axis is not None else False)
        return found.reshape((1,) * x.ndim) if keepdims and axis is None else found

    return _named(function, name, name)


argmax, argmin = _found("argmax"), _found("argmin")


def count_nonzero(x: Tensor, /, *, axis: Any = None, keepdims: bool = False) -> Tensor:
    """How many elements are not zero."""
    return sum(x != 0, axis=axis, keepdims=keepdims, dtype=dtypes.int64)


def _cumulative(name: str, ours: str, first: int) -> Callable:
    run = _T[ours]

    def function(
        x: Tensor, /, *, axis: int | None = None, dtype: DType | None = None,
        include_initial: bool = False,
    ) -> Tensor:  # fmt: skip
        if axis is None:
            if x.ndim != 1:
                raise ValueError(f"{name}() of {x.ndim} dimensions needs an axis")
            axis = 0
        found = run(x, axis, dtype=dtype or _accumulated(x.dtype))
        if include_initial:
            shape = [1 if d == axis % x.ndim else n for d, n in enumerate(x.shape)]
            start = _T["full"](shape, first, dtype=found.dtype, device=x.device)
            found = _T["cat"]([start, found], axis)
        return found

    return _named(function, name, ours)


cumulative_sum = _cumulative("cumulative_sum", "cumsum", 0)
cumulative_prod = _cumulative("cumulative_prod", "cumprod", 1)


def diff(
    x: Tensor, /, *, axis: int = -1, n: int = 1, prepend: Tensor | None = None,
    append: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """Differences of neighbours."""
    return _T["diff"](x, n, axis, prepend, append)


# Searching, sorting, sets


def nonzero(x: Tensor, /) -> tuple[Tensor, ...]:
    """Where elements are not zero, an array an axis."""
    if x.ndim == 0:
        raise ValueError("nonzero() of no dimensions")
    return tuple(_T["nonzero"](x, as_tuple=True))


def searchsorted(
    x1: Tensor, x2: Tensor, /, *, side: str = "left", sorter: Tensor | None = None
) -> Tensor:
    """Where the elements of x2 belong in x1."""
    return _T["searchsorted"](x1, x2, side=side, sorter=sorter)


def sort(
    x: Tensor, /, *, axis: int = -1, descending: bool = False, stable: bool = True
) -> Tensor:
    """Elements in order."""
    return x.sort(dim=axis, descending=descending, stable=stable).values


def argsort(
    x: Tensor, /, *, axis: int = -1, descending: bool = False, stable: bool = True
) -> Tensor:
    """The order of elements."""
    return x.sort(dim=axis, descending=descending, stable=stable).indices


def take(x: Tensor, indices: Tensor, /, *, axis: int | None = None) -> Tensor:
    """Parts of an array along an axis."""
    if axis is None:
        if x.ndim != 1:
            raise ValueError(f"take() of {x.ndim} dimensions needs an axis")
        axis = 0
    return x.index_select(axis, indices.reshape(-1).remainder(x.shape[axis]))


def take_along_axis(x: Tensor, indices: Tensor, /, *, axis: int = -1) -> Tensor:
    """Elements of an array along an axis."""
    return _T["take_along_dim"](x, indices.to(dtypes.int64).remainder(x.shape[axis]), axis)


UniqueAll = namedtuple("unique_all_result", "values indices inverse_indices counts")
UniqueCounts = namedtuple("unique_counts_result", "values counts")
UniqueInverse = namedtuple("unique_inverse_result", "values inverse_indices")


def unique_values(x: Tensor, /) -> Tensor:
    """The distinct elements."""
    return _T["unique"](x)


def unique_counts(x: Tensor, /) -> Any:
    """The distinct elements, and how often each is there."""
    return UniqueCounts(*_T["unique"](x, return_counts=True))


def unique_inverse(x: Tensor, /) -> Any:
    """The distinct elements, and which of them each element is."""
    return UniqueInverse(*_T["unique"](x, return_inverse=True))


def unique_all(x: Tensor, /) -> Any:
    """The distinct elements, where each is first, which each element is, and how often."""
    values, inverse, counts = _T["unique"](x, return_inverse=True, return_counts=True)
    order = inverse.reshape(-1).sort(stable=True).indices
    begins = counts.cumsum(0) - counts
    return UniqueAll(values, order[begins], inverse, counts)


# Linear algebra of the main namespace


def matmul(x1: Tensor, x2: Tensor, /) -> Tensor:
    """The product of matrices."""
    return _T["matmul"](*promoted(x1, x2))


def tensordot(x1: Tensor, x2: Tensor, /, *, axes: Any = 2) -> Tensor:
    """The sum of products over axes."""
    return _T["tensordot"](*promoted(x1, x2), dims=axes)


def vecdot(x1: Tensor, x2: Tensor, /, *, axis: int = -1) -> Tensor:
    """The dot product of vectors, the first conjugated."""
    x1, x2 = promoted(x1, x2)
    return (conj(x1) * x2).sum(axis, dtype=x1.dtype)


def array_namespace(self: Tensor, /, *, api_version: str | None = None) -> Any:
    """The namespace of the array API standard that goes with this array.

    Raises:
        ValueError: a version of the standard that is not known.
    """
    from . import VERSIONS, namespace

    if api_version not in (None, *VERSIONS):
        raise ValueError(f"array API version {api_version!r} is not one of {', '.join(VERSIONS)}")
    return namespace()


def default_device() -> Any:
    """Where arrays are made."""
    return state.device()
