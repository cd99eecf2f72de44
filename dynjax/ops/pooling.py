"""Maximum and average pooling.

The kernels work channels-last, as the convolutions do, so that the transposes between them
cancel. The maximum keeps the position of PyTorch's choice in each window (the first of equal
values), and its gradient is a masked copy of that position: JAX's own rule for
`reduce_window` (select-and-scatter) is several times slower on a CPU, and splits ties.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .declare import Bool, Int, Ints, Tensor, op
from .windows import Geometry, output_size, taps

# Windows of more elements are gathered into one array instead of unrolled.
_MAX_UNROLLED = 64

_AXES = "DHW"


# --------------------------------------------------------------------------------------------
# Kernels on (N, *spatial, C).


def _tiles(x: jax.Array, kernel: tuple[int, ...], geometry: Geometry) -> bool:
    """Whether the windows lie side by side without gap, overlap or padding."""
    return (
        geometry.stride == kernel
        and all(n == 1 for n in geometry.dilation)
        and all(low <= 0 and high <= 0 for low, high in geometry.padding)
    )


def _tile(x: jax.Array, kernel: tuple[int, ...]) -> jax.Array:
    """Reshape (N, H, W, C) to (N, H / k, k, W / k, k, C), the remainder cut off."""
    size = [n // k for n, k in zip(x.shape[1:-1], kernel, strict=True)]
    x = x[(slice(None), *(slice(n * k) for n, k in zip(size, kernel, strict=True)))]
    split = itertools.chain.from_iterable(zip(size, kernel, strict=True))
    return x.reshape(x.shape[0], *split, x.shape[-1])


def _lowest(dtype: jnp.dtype) -> float | int:
    return -np.inf if jnp.issubdtype(dtype, jnp.floating) else int(jnp.iinfo(dtype).min)


def _first_valid(x: jax.Array, kernel: tuple[int, ...], geometry: Geometry) -> np.ndarray:
    """Return per window the number of the first position outside of the padding."""
    size = output_size(x.shape[1:-1], kernel, geometry)
    first = np.zeros((1,) * len(size), np.int64)
    for axis, n in enumerate(size):
        start = np.arange(n) * geometry.stride[axis] - geometry.padding[axis][0]
        skip = np.maximum(0, -(start // geometry.dilation[axis]))
        shape = [1] * len(size)
        shape[axis] = n
        first = first * kernel[axis] + skip.reshape(shape)
    return first


def _choose(
    x: jax.Array, kernel: tuple[int, ...], geometry: Geometry, exact: bool
) -> tuple[jax.Array, jax.Array]:
    """Return the maxima and the numbers of the positions they are at, as float32.

    A window with a NaN has NaN as its maximum; only where `exact` is its position the last
    NaN's, as PyTorch has it, for that test takes 0.3 of the 0.37 ms of 32x6x28x28, 2x2.
    """
    parts = enumerate(taps(x, kernel, geometry, _lowest(x.dtype)))
    _, (value, _) = next(parts)
    choice = jnp.zeros(value.shape, jnp.float32)
    if any(low for low, _ in geometry.padding):
        first = _first_valid(x, kernel, geometry)[None, ..., None]
        choice = jnp.broadcast_to(jnp.asarray(first**2, jnp.float32), value.shape)
    for number, (part, _) in parts:
        better = part > value
        if exact and jnp.issubdtype(x.dtype, jnp.floating):
            better |= jnp.isnan(part)
        value = lax.max(value, part)
        choice = jnp.where(better, jnp.float32(number**2), choice)
    # Squares and a root, because XLA stores what an "expensive" operation made and repeats
    # cheap ones in each user: the gradient takes 0.07 ms for 32x6x28x28, 2x2, else 1.25.
    return value, lax.sqrt(choice)


@functools.partial(jax.custom_jvp, nondiff_argnums=(1, 2, 3))
def _max_unrolled(
    x: jax.Array, kernel: tuple[int, ...], geometry: Geometry, exact: bool
) -> tuple[jax.Array, jax.Array]:
    return _choose(x, kernel, geometry, exact)


@_max_unrolled.defjvp
def _max_unrolled_jvp(kernel, geometry, exact, primals, tangents):
    (x,), (dx,) = primals, tangents
    value, choice = _max_unrolled(x, kernel, geometry, exact)
    if _tiles(x, kernel, geometry):
        # Backwards a broadcast and compare; the slices below transpose to padding, 0.37 ms.
        # The numbers are computed (iota): from a constant array it takes 0.67.
        spread = tuple(2 * axis + 2 for axis in range(len(kernel)))
        inside = [n for k in kernel for n in (1, k)] + [1]
        numbers = jnp.arange(math.prod(kernel), dtype=jnp.float32).reshape(inside)
        mask = jnp.expand_dims(choice, spread) == numbers
        tangent = jnp.where(mask, _tile(dx, kernel), 0).sum(spread)
    else:
        parts = enumerate(taps(dx, kernel, geometry))
        tangent = sum(jnp.where(choice == number, part, 0) for number, (part, _) in parts)
    return (value, choice), (tangent, jnp.zeros_like(choice))


def _gather(x: jax.Array, index: list[np.ndarray]) -> jax.Array:
    """Gather the windows of per-dimension positions (output, k) as (N, *output, C, K)."""
    dims = len(index)
    for axis, positions in enumerate(index):
        x = jnp.take(x, positions, axis=1 + 2 * axis, mode="clip")
    outputs, inside = range(1, 2 * dims, 2), range(2, 2 * dims + 1, 2)
    x = jnp.transpose(x, (0, *outputs, 2 * dims + 1, *inside))
    return x.reshape(*x.shape[: dims + 2], -1)


def _valid(index: list[np.ndarray], valid: list[np.ndarray]) -> np.ndarray:
    """Return which elements of the gathered windows count, (*output, 1, K)."""
    dims = len(valid)
    mask = np.ones((1,) * (2 * dims), bool)
    for axis, part in enumerate(valid):
        shape = [1] * (2 * dims)
        shape[axis], shape[dims + axis] = part.shape
        mask = mask & part.reshape(shape)
    return mask.reshape(*mask.shape[:dims], 1, -1)


def max_gathered(x: jax.Array, index: list[np.ndarray], valid: list[np.ndarray]) -> tuple:
    windows = _gather(x, index)
    mask = _valid(index, valid)
    best = jnp.where(mask, lax.stop_gradient(windows), _lowest(x.dtype)).max(-1, keepdims=True)
    hit = windows == best
    if jnp.issubdtype(x.dtype, jnp.floating):
        hit |= jnp.isnan(windows)
    choice = jnp.argmax(hit & mask, axis=-1)
    return jnp.take_along_axis(windows, choice[..., None], -1)[..., 0], choice


def flat_index(
    choice: jax.Array, index: list[np.ndarray], size: tuple[int, ...], kernel: tuple[int, ...]
) -> jax.Array:
    """Turn the chosen window positions into indices into the flattened spatial dimensions."""
    dims = len(index)
    start = np.zeros((1,) * dims, np.int64)
    step = np.zeros((1,) * dims, np.int64)
    for axis, positions in enumerate(index):
        shape = [1] * dims
        shape[axis] = -1
        start = start * size[axis] + positions[:, 0].reshape(shape)
        step = step * size[axis] + (positions[0] - positions[0, 0]).reshape(shape)
    offset = jnp.take(jnp.asarray(step.reshape(-1)), choice.astype(jnp.int32), mode="clip")
    return offset + jnp.asarray(start)[None, ..., None]


def _positions(size, kernel, geometry) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return per dimension the positions (output, k) of the windows and which are inside."""
    index, valid = [], []
    outputs = output_size(size, kernel, geometry)
    for n, out, k, stride, (low, _), dilation in zip(size, outputs, kernel, *geometry, strict=True):
        position = np.arange(out)[:, None] * stride - low + np.arange(k) * dilation
        index.append(position)
        valid.append((position >= 0) & (position < n))
    return index, valid


def max_windows(x: jax.Array, kernel: tuple[int, ...], geometry: Geometry, indices: bool):
    index, valid = _positions(x.shape[1:-1], kernel, geometry)
    if math.prod(kernel) <= _MAX_UNROLLED:
        if jnp.issubdtype(x.dtype, jnp.floating):
            value, choice = _max_unrolled(x, kernel, geometry, indices)
        else:
            value, choice = _choose(x, kernel, geometry, indices)
    else:
        value, choice = max_gathered(x, index, valid)
    return value, flat_index(choice, index, x.shape[1:-1], kernel) if indices else None


def sum_windows(x: jax.Array, kernel: tuple[int, ...], geometry: Geometry) -> jax.Array:
    if _tiles(x, kernel, geometry):
        return _tile(x, kernel).sum(tuple(2 * axis + 2 for axis in range(len(kernel))))
    if math.prod(kernel) <= _MAX_UNROLLED:
        return sum(part for part, _ in taps(x, kernel, geometry))
    return lax.reduce_window(
        x,
        np.zeros((), x.dtype),
        lax.add,
        (1, *kernel, 1),
        (1, *geometry.stride, 1),
        ((0, 0), *geometry.padding, (0, 0)),
    )


# --------------------------------------------------------------------------------------------
# Checks, in PyTorch's words.

_WORDS = {1: "one int", 2: "two ints", 3: "three ints"}


def _expand(value, dims: int, name: str, what: str) -> tuple[int, ...]:
    values = (value,) if isinstance(value, int) else tuple(value)
    if len(values) == 1:
        return values * dims
    if len(values) == dims:
        return values
    if dims == 1 and name.startswith("max"):
        raise RuntimeError(
            f"{name}() {what} must be an int, list of ints or tuple of ints of size 1 but got "
            f"size {len(values)}"
        )
    if dims == 1:
        raise RuntimeError(f"{name}() argument '{what}' should contain one int (got {len(values)})")
    omitted = "omitted, " if what == "stride" else ""
    verb = "be either" if what == "dilation" else "either be"
    raise RuntimeError(
        f"{name}: {what} must {verb} {omitted}a single int, or a tuple of {_WORDS[dims]}"
    )


def _check_rank(shape: tuple[int, ...], dims: int, name: str) -> None:
    if len(shape) in (dims + 1, dims + 2):
        empty = 0 in shape[len(shape) - dims - 1 :]
        if not empty:
            return
        raise RuntimeError(
            f"Expected {dims + 1}D or {dims + 2}D (batch mode) tensor with optional 0 dim batch "
            f"size for input, but got:{list(shape)}"
        )
    if name == "avg_pool2d" and len(shape) < 3:
        raise IndexError(
            f"Dimension out of range (expected to be in range of [{-len(shape)}, "
            f"{len(shape) - 1}], but got -3)"
        )
    if name == "max_pool1d":
        raise RuntimeError(
            "max_pool1d: Expected 2D or 3D (batch mode) tensor with optional 0 dim batch size "
            f"for input, but got:{list(shape)}"
        )
    if dims == 1:
        raise RuntimeError(
            f"Expected 2 to 3 dimensions, but got {len(shape)}-dimensional tensor for argument "
            f"#1 'self' (while checking arguments for {name})"
        )
    raise RuntimeError(
        f"non-empty {dims + 1}D or {dims + 2}D (batch mode) tensor expected for input"
    )


_TYPE_NAMES = {
    "bool": "Bool",
    "int8": "Char",
    "uint8": "Byte",
    "int16": "Short",
    "int32": "Int",
    "int64": "Long",
    "complex64": "ComplexFloat",
    "complex128": "ComplexDouble",
}


def refuse(name: str, dtype: jnp.dtype, accepted: tuple[str, ...] = ()) -> None:
    if dtype.name in _TYPE_NAMES and dtype.name not in accepted:
        raise NotImplementedError(f"\"{name}\" not implemented for '{_TYPE_NAMES[dtype.name]}'")


def _geometry(input, kernel_size, stride, padding, dilation, ceil_mode, name):
    """Check a pooling call; return the kernel, the geometry and the padding asked for."""
    dims = int(name[-2])
    kernel = _expand(kernel_size, dims, name, "kernel_size")
    stride = kernel if stride in (None, ()) else _expand(stride, dims, name, "stride")
    padding = _expand(padding, dims, name, "padding")
    dilation = _expand(dilation, dims, name, "dilation")
    if any(n <= 0 for n in kernel) and dims == 1:
        raise RuntimeError(f"{name}() kernel_size must be greater than zero, but got {kernel[0]}")
    if any(n <= 0 for n in stride):
        if dims == 1:
            raise RuntimeError(f"{name}() stride must be greater than zero, but got {stride[0]}")
        raise RuntimeError("stride should not be zero")
    if any(n <= 0 for n in kernel):
        raise RuntimeError(f"kernel size should be greater than zero, but got {list(kernel)}")
    if any(n <= 0 for n in dilation):
        text = " ".join(
            f"dilation{axis}: {n}" for axis, n in zip(_AXES[-dims:], dilation, strict=True)
        )
        raise RuntimeError(f"dilation should be greater than zero, but got {text}")
    for pad, k, d in zip(padding, kernel, dilation, strict=True):
        if pad < 0:
            raise RuntimeError(f"pad must be non-negative, but got pad: {pad}")
        if pad > (d * (k - 1) + 1) // 2:
            if name == "max_pool1d":
                raise RuntimeError(
                    "max_pool1d() padding should be at most half of kernel size, but got "
                    f"padding={pad} and kernel_size={k}"
                )
            raise RuntimeError(
                "pad should be at most half of effective kernel size, but got "
                f"pad={pad}, kernel_size={k} and dilation={d}"
            )
    _check_rank(input.shape, dims, name)
    size = input.shape[input.ndim - dims :]
    pads, out = [], []
    for n, k, s, pad, d in zip(size, kernel, stride, padding, dilation, strict=True):
        reach = d * (k - 1) + 1
        count = (n + 2 * pad - reach + (s - 1 if ceil_mode else 0)) // s + 1
        if ceil_mode and (count - 1) * s >= n + pad:
            count -= 1
        out.append(count)
        pads.append((pad, (count - 1) * s + reach - n - pad))
    if any(n < 1 for n in out):
        channels = input.shape[-dims - 1]
        sizes, outs = ("x".join(map(str, (channels, *values))) for values in (size, out))
        if name == "max_pool1d":
            raise RuntimeError(f"max_pool1d() Invalid computed output size: {out[0]}")
        raise RuntimeError(
            f"Given input size: ({sizes}). Calculated output size: ({outs}). "
            "Output size is too small"
        )
    # A negative high padding only says that the last elements meet no window.
    pads = tuple((low, max(high, 0)) for low, high in pads)
    return kernel, Geometry(stride, pads, dilation), padding


def channels_last(input: jax.Array, dims: int) -> jax.Array:
    x = input[None] if input.ndim == dims + 1 else input
    return jnp.moveaxis(x, 1, -1)


def channels_first(result: jax.Array, input: jax.Array) -> jax.Array:
    result = jnp.moveaxis(result, -1, 1)
    return result if result.ndim == input.ndim else result[0]


# --------------------------------------------------------------------------------------------
# Operations.


def _max_pooling(input, kernel_size, stride, padding, dilation, ceil_mode, indices, name):
    refuse(name, input.dtype, () if name == "max_pool1d" else tuple(_TYPE_NAMES)[1:6])
    kernel, geometry, _ = _geometry(input, kernel_size, stride, padding, dilation, ceil_mode, name)
    x = channels_last(input, len(kernel))
    value, index = max_windows(x, kernel, geometry, indices)
    value = channels_first(value, input)
    return (value, channels_first(index, input)) if indices else value


def _divisor(size, kernel, geometry, padding, include_pad) -> np.ndarray | int:
    """Return how many elements each window counts, (*output, 1), or one number for all."""
    counts = np.ones((1,) * len(kernel), np.int64)
    outputs = output_size(size, kernel, geometry)
    for axis, (n, out, k, pad) in enumerate(zip(size, outputs, kernel, padding, strict=True)):
        start = np.arange(out) * geometry.stride[axis] - pad
        stop = np.minimum(start + k, n + pad)
        if not include_pad:
            start, stop = np.maximum(start, 0), np.minimum(stop, n)
        shape = [1] * len(kernel)
        shape[axis] = out
        counts = counts * (stop - start).reshape(shape)
    return int(counts.flat[0]) if (counts == counts.flat[0]).all() else counts[..., None]


def _avg_pooling(
    input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override, name
):
    dims = int(name[-2])
    kernel, geometry, padding = _geometry(input, kernel_size, stride, padding, 1, ceil_mode, name)
    if divisor_override == 0:
        raise RuntimeError("divisor must be not zero")
    refuse("avg_pool2d" if dims == 1 else name, input.dtype, ("int64",))
    half = input.dtype in (jnp.float16, jnp.bfloat16)
    x = channels_last(input, dims).astype(jnp.float32 if half else input.dtype)
    divisor = divisor_override
    if divisor is None:
        divisor = _divisor(x.shape[1:-1], kernel, geometry, padding, count_include_pad)
    total = sum_windows(x, kernel, geometry)
    divisor = jnp.asarray(divisor, x.dtype)
    # lax.div rounds integers towards zero, as PyTorch does.
    mean = lax.div(total, jnp.broadcast_to(divisor, total.shape))
    return channels_first(mean.astype(input.dtype), input)


SHAPES = {1: "(N, C, W) or (C, W)", 2: "(N, C, H, W) or (C, H, W)"}
SHAPES[3] = "(N, C, D, H, W) or (C, D, H, W)"

_MAX_DOC = """Take the maximum of each window of `input`, {shape}.

Args:
    kernel_size, stride, padding, dilation: an int or one per dimension; stride defaults to
        the kernel's size, the padding counts as minus infinity.
    ceil_mode: also use a last window that reaches past the padded input.
    return_indices: also return where the maxima lie in the flattened spatial dimensions.

Returns: the maxima, or (maxima, int64 indices). The first of equal values is chosen, and gets
the whole gradient.

Raises:
    RuntimeError: shapes or settings do not fit, in PyTorch's words.

Source: torch.nn.functional.max_pool{dims}d.
"""

_AVG_DOC = """Average each window of `input`, {shape}.

Args:
    kernel_size, stride, padding: an int or one per dimension; stride defaults to the kernel's.
    ceil_mode: also use a last window that reaches past the padded input.
    count_include_pad: divide by the window's size, its padding included.
    divisor_override: divide by this number instead.

Returns: the means, in the type of `input`.

Raises:
    RuntimeError: shapes or settings do not fit, in PyTorch's words.

Source: torch.nn.functional.avg_pool{dims}d.
"""


def _declare_max(dims: int) -> Callable:
    name = f"max_pool{dims}d"
    doc = _MAX_DOC.format(shape=SHAPES[dims], dims=dims)
    node = "SqueezeBackward1" if dims == 1 else f"MaxPool{dims}DWithIndicesBackward0"

    @op(name=name, module="nn.functional", grad_name=node, doc=doc)
    def max_pool(
        input: Tensor,
        kernel_size: Ints,
        stride: Ints | None = None,
        padding: Ints = 0,
        dilation: Ints = 1,
        ceil_mode: Bool = False,
        return_indices: Bool = False,
    ):
        return _max_pooling(
            input, kernel_size, stride, padding, dilation, ceil_mode, return_indices, name
        )

    return max_pool


def _declare_avg(dims: int) -> Callable:
    name = f"avg_pool{dims}d"
    doc = _AVG_DOC.format(shape=SHAPES[dims], dims=dims)

    if dims == 1:

        @op(name=name, module="nn.functional", grad_name="SqueezeBackward1", doc=doc)
        def avg_pool1d(
            input: Tensor,
            kernel_size: Ints,
            stride: Ints | None = None,
            padding: Ints = 0,
            ceil_mode: Bool = False,
            count_include_pad: Bool = True,
        ):
            return _avg_pooling(
                input, kernel_size, stride, padding, ceil_mode, count_include_pad, None, name
            )

        return avg_pool1d

    grad_name = f"AvgPool{dims}DBackward0"

    @op(name=name, module="nn.functional", out=True, grad_name=grad_name, doc=doc)
    def avg_pool(
        input: Tensor,
        kernel_size: Ints,
        stride: Ints | None = None,
        padding: Ints = 0,
        ceil_mode: Bool = False,
        count_include_pad: Bool = True,
        divisor_override: Int | None = None,
    ):
        return _avg_pooling(
            input,
            kernel_size,
            stride,
            padding,
            ceil_mode,
            count_include_pad,
            divisor_override,
            name,
        )

    return avg_pool


max_pool1d, max_pool2d, max_pool3d = map(_declare_max, (1, 2, 3))
avg_pool1d, avg_pool2d, avg_pool3d = map(_declare_avg, (1, 2, 3))
