"""Convolutions and transposed convolutions in one, two and three dimensions.

PyTorch's arrays are channels-first; the kernels here work channels-last, for XLA's CPU
convolutions are several times faster so, and the transposes at the two ends of neighbouring
layers meet and cancel (XLA moves them through the elementwise operations between).

On a CPU no single lowering wins. The figures beside each form are milliseconds of
(forward, gradient by weight, gradient by input) on two cores at float32, by shape
``batch x channels x height x width -> output channels, kernel``:

==========================  ==================  ==================  ==================
form                        32x1x28x28 -> 6,5   32x6x14x14 -> 16,5  16x32x16x16 -> 64,3
==========================  ==================  ==================  ==================
``lax`` channels-last       1.47, 0.45, 3.8     0.62, 0.30, 0.62    1.8, 7.3, 1.9
one product over patches    0.67, 0.65, 0.81    0.50, 0.31, 0.45    2.5, 3.8, 2.4
one product a kernel tap    0.37, 3.6, 1.6      0.87, 0.39, 1.5     2.2, 3.2, 2.2
multiply and add, fused     0.34, 8.0, 8.6      -                   -
==========================  ==================  ==================  ==================

The forms are combined through ``jax.custom_jvp``: each tangent is written in the form whose
*transpose* is the fast gradient, so that gradients of every order stay JAX's own.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero

from .declare import Int, Ints, Static, Tensor, op
from .windows import Geometry, output_size, taps

# --------------------------------------------------------------------------------------------
# Forms. `x` is (N, *spatial, C), `w` is (*kernel, C, O), the result (N, *spatial, O).


def _output_shape(x: jax.Array, w: jax.Array, geometry: Geometry) -> tuple[int, ...]:
    size = output_size(x.shape[1:-1], w.shape[:-2], geometry)
    return (x.shape[0], *size, w.shape[-1])


def _taps(x: jax.Array, w: jax.Array, geometry: Geometry) -> Iterator[tuple]:
    return taps(x, w.shape[:-2], geometry)


def _by_lax(x: jax.Array, w: jax.Array, geometry: Geometry, groups: int = 1) -> jax.Array:
    spatial = "DHW"[-len(geometry.stride) :]
    return lax.conv_general_dilated(
        x,
        w,
        geometry.stride,
        geometry.padding,
        rhs_dilation=geometry.dilation,
        dimension_numbers=(f"N{spatial}C", f"{spatial}IO", f"N{spatial}C"),
        feature_group_count=groups,
    )


def _by_patches(x: jax.Array, w: jax.Array, geometry: Geometry) -> jax.Array:
    patches = jnp.concatenate([part for part, _ in _taps(x, w, geometry)], axis=-1)
    # Flattened: XLA's CPU runs a plain matrix product faster than one with more dimensions.
    product = patches.reshape(-1, patches.shape[-1]) @ w.reshape(-1, w.shape[-1])
    return product.reshape(*patches.shape[:-1], w.shape[-1])


def _by_taps(x: jax.Array, w: jax.Array, geometry: Geometry) -> jax.Array:
    product = sum(part.reshape(-1, w.shape[-2]) @ w[tap] for part, tap in _taps(x, w, geometry))
    return product.reshape(_output_shape(x, w, geometry))


def _in_blocks(
    form: Callable[..., jax.Array], x: jax.Array, w: jax.Array, geometry: Geometry
) -> jax.Array:
    """Run a form made of elementwise operations over blocks of the batch.

    The loop also keeps XLA from fusing, and so repeating, the whole convolution into each of
    its users: LeNet's step took 9.4 ms without it, 3.7 with (optimization_barrier is dropped
    before fusion on CPU).
    """
    blocks = 4 if x.shape[0] % 4 == 0 else 2
    parts = x.reshape(blocks, x.shape[0] // blocks, *x.shape[1:])
    result = lax.map(lambda part: form(part, w, geometry), parts)
    return result.reshape(x.shape[0], *result.shape[2:])


def _by_elements(x: jax.Array, w: jax.Array, geometry: Geometry) -> jax.Array:
    return sum(
        part[..., channel, None] * w[tap][channel]
        for part, tap in _taps(x, w, geometry)
        for channel in range(w.shape[-2])
    )


def _by_elements_depthwise(x: jax.Array, w: jax.Array, geometry: Geometry) -> jax.Array:
    # 16x32x16x16, 3x3: 0.15, 0.86, 0.15 ms; lax: 3.8, 1.6, 3.8, and 11 by input at stride 2.
    channels, features = x.shape[-1], w.shape[-1]
    kernel = w.reshape(*w.shape[:-2], channels, features // channels)
    result = sum(part[..., None] * kernel[tap] for part, tap in _taps(x, w, geometry))
    return result.reshape(*result.shape[:-2], features)


def _by_taps_grouped(x: jax.Array, w: jax.Array, geometry: Geometry, groups: int) -> jax.Array:
    channels, features = w.shape[-2:]

    def product(part: jax.Array, kernel: jax.Array) -> jax.Array:
        return jnp.einsum(
            "pgc,cgo->pgo",
            part.reshape(-1, groups, channels),
            kernel.reshape(channels, groups, features // groups),
        )

    result = sum(product(part, w[tap]) for part, tap in _taps(x, w, geometry))
    return result.reshape(_output_shape(x, w, geometry))


def _by_depth(x: jax.Array, w: jax.Array, geometry: Geometry) -> jax.Array:
    """In three dimensions: convolutions in two, over all depths at once, one for each of `w`."""
    deep, flat = (Geometry(*[part[cut] for part in geometry]) for cut in (_DEPTH, _PLANE))
    sheets = x.reshape(*x.shape[:2], -1, x.shape[-1])
    total = None
    for part, (tap, _) in taps(sheets, (w.shape[0], 1), _with_unit(deep)):
        n, depth = part.shape[:2]
        planes = part.reshape(n * depth, *x.shape[2:])
        result = _by_lax(planes, w[tap], flat)
        total = result if total is None else total + result
    return total.reshape(_output_shape(x, w, geometry))


_DEPTH, _PLANE = slice(0, 1), slice(1, None)


def _with_unit(geometry: Geometry) -> Geometry:
    """The same with one more dimension, in which windows are single elements."""
    return Geometry((*geometry.stride, 1), (*geometry.padding, (0, 0)), (*geometry.dilation, 1))


# --------------------------------------------------------------------------------------------
# Which form where.


def _forward(x: jax.Array, w: jax.Array, geometry: Geometry) -> jax.Array:
    if math.prod(w.shape[:-1]) <= 40 and x.shape[0] % 2 == 0:
        return _in_blocks(_by_elements, x, w, geometry)
    if w.ndim == 5:
        return _in_space(x, w, geometry)
    # Patches would be as fast for few channels, but each of their slices repeats whatever
    # XLA fuses into it; a convolution, like a product, takes its operands ready-made.
    return _by_lax(x, w, geometry)


def _in_space(x: jax.Array, w: jax.Array, geometry: Geometry) -> jax.Array:
    # 2x16x16x32x32 -> 32, 3x3x3: 12, 27, 26 ms; lax: 34, 107, 141; PyTorch: 8.3, 27 for both.
    # 8x4x12x12x12 -> 8 over patches: 0.54, 0.82, 1.5; by depth: 1.6, 2.0, 3.9; lax: 6.6, 12, 18.
    return (_by_patches if w.shape[-2] <= 4 else _by_depth)(x, w, geometry)


def _linear_in_input(x: jax.Array, w: jax.Array, geometry: Geometry) -> jax.Array:
    """The convolution in the form whose transpose by `x` is fast."""
    if w.ndim == 5:
        return _in_space(x, w, geometry)
    few = w.shape[-2] <= 4 and math.prod(w.shape[:-2]) <= 32
    return (_by_patches if few else _by_lax)(x, w, geometry)


def _linear_in_weight(x: jax.Array, w: jax.Array, geometry: Geometry) -> jax.Array:
    """The convolution in the form whose transpose by `w` is fast."""
    if w.ndim == 5:
        return _in_space(x, w, geometry)
    many = w.shape[-2] >= 8 and math.prod(w.shape[:-2]) <= 32
    return (_by_taps if many else _by_lax)(x, w, geometry)


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def _dense(x: jax.Array, w: jax.Array, geometry: Geometry) -> jax.Array:
    return _forward(x, w, geometry)


@functools.partial(_dense.defjvp, symbolic_zeros=True)
def _dense_jvp(geometry: Geometry, primals: tuple, tangents: tuple) -> tuple:
    x, w = primals
    dx, dw = tangents
    terms = []
    if not isinstance(dx, SymbolicZero):
        terms.append(_linear_in_input(dx, w, geometry))
    if not isinstance(dw, SymbolicZero):
        terms.append(_linear_in_weight(x, dw, geometry))
    value = _dense(x, w, geometry)
    return value, sum(terms) if terms else jnp.zeros_like(value)


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def _depthwise(x: jax.Array, w: jax.Array, geometry: Geometry) -> jax.Array:
    if x.shape[0] % 2:
        return _by_elements_depthwise(x, w, geometry)
    return _in_blocks(_by_elements_depthwise, x, w, geometry)


@_depthwise.defjvp
def _depthwise_jvp(geometry: Geometry, primals: tuple, tangents: tuple) -> tuple:
    (x, w), (dx, dw) = primals, tangents
    by_input = _by_elements_depthwise(dx, w, geometry)
    by_weight = _by_elements_depthwise(x, dw, geometry)
    return _depthwise(x, w, geometry), by_input + by_weight


def _convolve(
    x: jax.Array, w: jax.Array, geometry: Geometry, groups: int, linear: bool = False
) -> jax.Array:
    """Convolve channels-last by the fastest form; `linear` avoids custom rules, to transpose."""
    if 0 in x.shape:
        return jnp.zeros(_output_shape(x, w, geometry), x.dtype)
    if jax.default_backend() != "cpu":
        return _by_lax(x, w, geometry, groups)
    if math.prod(w.shape[:-2]) == 1 and groups == 1:
        # 16x32x32x32 -> 64: 0.40, 0.75, 0.40 ms; lax: 0.92, 6.1, 1.0.
        return _by_taps(x, w, geometry)
    if not jnp.issubdtype(x.dtype, jnp.floating):
        return _by_lax(x, w, geometry, groups)
    dense, depthwise = _dense, _depthwise
    if linear:
        dense, depthwise = _linear_in_input, _by_elements_depthwise
    if groups == 1:
        return dense(x, w, geometry)
    if w.shape[-2] == 1:
        return depthwise(x, w, geometry)
    if groups > 8:
        return _by_taps_grouped(x, w, geometry, groups)
    # 16x32x16x16 -> 64, 3x3, 4 groups: 1.3, 1.7, 1.4 ms; lax: 2.8, 89, 2.8.
    parts = zip(jnp.split(x, groups, axis=-1), jnp.split(w, groups, axis=-1), strict=True)
    return jnp.concatenate([dense(a, b, geometry) for a, b in parts], axis=-1)


def _compute_dtype(dtype: jnp.dtype) -> jnp.dtype:
    """Half precision is summed in single, as PyTorch does; XLA's CPU has no half products."""
    half = dtype in (jnp.float16, jnp.bfloat16) and jax.default_backend() == "cpu"
    return jnp.dtype(jnp.float32) if half else dtype


# --------------------------------------------------------------------------------------------
# Checks, in PyTorch's words.


def _expand(value: int | tuple[int, ...], dims: int, name: str) -> tuple[int, ...]:
    values = (value,) if isinstance(value, int) else tuple(value)
    if len(values) == 1:
        return values * dims
    if len(values) != dims:
        raise RuntimeError(
            f"expected {name} to be a single integer value or a list of {dims} values to match "
            f"the convolution dimensions, but got {name}={list(values)}"
        )
    return values


def _type_name(dtype: jnp.dtype) -> str:
    return {"float32": "float", "float64": "double", "float16": "c10::Half"}.get(
        dtype.name, "c10::BFloat16" if dtype.name == "bfloat16" else dtype.name
    )


def _check(
    input: jax.Array,
    weight: jax.Array,
    bias: jax.Array | None,
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    dilation: tuple[int, ...],
    groups: int,
    transposed: bool,
) -> None:
    if any(n < 0 for n in padding):
        raise RuntimeError("negative padding is not supported")
    if any(n <= 0 for n in stride):
        raise RuntimeError("non-positive stride is not supported")
    if any(n <= 0 for n in dilation):
        raise RuntimeError("non-positive dilation is not supported")
    if groups <= 0:
        raise RuntimeError("non-positive groups is not supported")
    shape, size = list(weight.shape), list(input.shape)
    if input.ndim != weight.ndim:
        raise RuntimeError(
            f"Expected {input.ndim}-dimensional input for {input.ndim}-dimensional weight "
            f"{shape}, but got {weight.ndim}-dimensional weight instead"
        )
    if shape[0] < groups:
        raise RuntimeError(
            f"Given groups={groups}, expected weight to be at least {groups} at dimension 0, "
            f"but got weight of size {shape} instead"
        )
    if shape[0] % groups:
        raise RuntimeError(
            f"Given groups={groups}, expected weight to be divisible by {groups} at dimension "
            f"0, but got weight of size [{shape}] instead"
        )
    given = f"transposed={int(transposed)}" if transposed else f"groups={groups}"
    channels = shape[0] if transposed else shape[1] * groups
    if size[1] != channels:
        raise RuntimeError(
            f"Given {given}, weight of size {shape}, expected input{size} to have {channels} "
            f"channels, but got {size[1]} channels instead"
        )
    features = shape[1] * groups if transposed else shape[0]
    if bias is not None and bias.shape != (features,):
        raise RuntimeError(
            f"Given {'transposed=1, ' if transposed else ''}weight of size {shape}, expected "
            f"bias to be 1-dimensional with {features} elements, but got bias of size "
            f"{list(bias.shape)} instead"
        )
    if input.dtype != weight.dtype:
        raise RuntimeError(
            f"Input type ({_type_name(input.dtype)}) and weight type "
            f"({_type_name(weight.dtype)}) should be the same"
        )
    if bias is not None and input.dtype != bias.dtype:
        raise RuntimeError(
            f"Input type ({_type_name(input.dtype)}) and bias type "
            f"({_type_name(bias.dtype)}) should be the same"
        )
    if input.dtype == jnp.bool_:
        raise NotImplementedError("\"slow_conv2d_cpu\" not implemented for 'Bool'")


def _batched(input: jax.Array, dims: int, name: str) -> jax.Array:
    """Return `input` with a batch dimension, which it may lack."""
    if input.ndim not in (dims + 1, dims + 2):
        raise RuntimeError(
            f"Expected {dims + 1}D (unbatched) or {dims + 2}D (batched) input to {name}, "
            f"but got input of size: {list(input.shape)}"
        )
    return input[None] if input.ndim == dims + 1 else input


def _same_padding(
    kernel: tuple[int, ...], stride: tuple[int, ...], dilation: tuple[int, ...]
) -> tuple[tuple[int, int], ...]:
    if any(n != 1 for n in stride):
        raise RuntimeError("padding='same' is not supported for strided convolutions")
    total = [n * (size - 1) for n, size in zip(dilation, kernel, strict=True)]
    return tuple((n // 2, n - n // 2) for n in total)


def _convolution(input, weight, bias, stride, padding, dilation, groups, name):
    dims = int(name[4])
    x = _batched(input, dims, name)
    kernel = weight.shape[2:]
    # A weight of the wrong rank is reported against the stride, as PyTorch does.
    stride = _expand(stride, dims, "stride")
    dilation = _expand(dilation, dims, "dilation")
    if weight.ndim != dims + 2:
        raise RuntimeError(
            f"expected stride to be a single integer value or a list of {weight.ndim - 2} "
            f"values to match the convolution dimensions, but got stride={list(stride)}"
        )
    if isinstance(padding, str):
        if padding not in ("same", "valid"):
            raise RuntimeError(f"Invalid padding string: '{padding}'")
        pads = ((0, 0),) * dims
        if padding == "same":
            pads = _same_padding(kernel, stride, dilation)
    else:
        pads = tuple((n, n) for n in _expand(padding, dims, "padding"))
    _check(x, weight, bias, stride, tuple(p for p, _ in pads), dilation, groups, False)
    geometry = Geometry(stride, pads, dilation)
    padded = [n + sum(pad) for n, pad in zip(x.shape[2:], pads, strict=True)]
    extent = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    if any(have < need for have, need in zip(padded, extent, strict=True)):
        raise RuntimeError(
            f"Calculated padded input size per channel: ({' x '.join(map(str, padded))}). "
            f"Kernel size: ({' x '.join(map(str, extent))}). "
            "Kernel size can't be greater than actual input size"
        )
    dtype = _compute_dtype(x.dtype)
    result = _convolve(
        jnp.moveaxis(x, 1, -1).astype(dtype),
        jnp.moveaxis(weight, (0, 1), (-1, -2)).astype(dtype),
        geometry,
        groups,
    )
    if bias is not None:
        result = result + bias.astype(dtype)
    result = jnp.moveaxis(result.astype(x.dtype), -1, 1)
    return result if input.ndim == dims + 2 else result[0]


def _check_output_padding(
    extra: tuple[int, ...], stride: tuple[int, ...], dilation: tuple[int, ...]
) -> None:
    if any(n < 0 for n in extra):
        raise RuntimeError("negative output_padding is not supported")
    if any(n >= s and n >= d for n, s, d in zip(extra, stride, dilation, strict=True)):
        sides = ("depth", "height", "width")[-len(extra) :]
        given = {"output_padding": extra, "stride": stride, "dilation": dilation}
        text = " ".join(
            f"{name}_{side}: {n}"
            for name, values in given.items()
            for side, n in zip(sides, values, strict=True)
        )
        raise RuntimeError(
            f"output padding must be smaller than either stride or dilation, but got {text}"
        )


def _pads_of_transpose(
    y: jax.Array, w: jax.Array, geometry: Geometry, shape: tuple[int, ...]
) -> tuple[tuple[int, int], ...]:
    """How a convolution of stride 1 has to pad `y` to yield what has that shape."""
    pads = []
    for n, m, k, (low, _), d in zip(
        shape[1:-1], y.shape[1:-1], w.shape[:-2], geometry.padding, geometry.dilation, strict=True
    ):
        reach = d * (k - 1)
        pads.append((reach - low, n - m + low))
    return tuple(pads)


def _transpose_of_convolution(
    y: jax.Array, w: jax.Array, geometry: Geometry, shape: tuple[int, ...], groups: int
) -> jax.Array:
    if groups == 1 and set(geometry.stride) == {1} and jax.default_backend() == "cpu":
        pads = _pads_of_transpose(y, w, geometry, shape)
        if min(map(min, pads)) >= 0:
            # 32x8x32x32 -> 16, 3x3, gradients: 7 ms; those of the transpose below: 25.
            flipped = jnp.flip(w, range(w.ndim - 2)).swapaxes(-1, -2)
            return _convolve(y, flipped, Geometry(geometry.stride, pads, geometry.dilation), 1)

    def forward(x: jax.Array) -> jax.Array:
        # Output padding beyond the stride leaves room for windows that meet no input.
        result = _convolve(x, w, geometry, groups, linear=True)
        return result[(slice(None), *map(slice, y.shape[1:-1]))]

    return jax.linear_transpose(forward, jax.ShapeDtypeStruct(shape, y.dtype))(y)[0]


def _transposed_integers(
    y: jax.Array, w: jax.Array, geometry: Geometry, size: tuple[int, ...], groups: int
) -> jax.Array:
    """The transpose spelled out, for types that JAX does not differentiate."""
    *kernel, features, channels = w.shape
    w = w.reshape(*kernel, features, groups, channels // groups)
    w = jnp.moveaxis(w, (-1, -2, -3), (-3, -2, -1))
    w = jnp.flip(w, range(len(kernel))).reshape(*kernel, channels // groups, -1)
    pads = []
    for n, m, k, s, (p, _), d in zip(size, y.shape[1:-1], kernel, *geometry, strict=True):
        low = d * (k - 1) - p
        pads.append((low, n + d * (k - 1) - ((m - 1) * s + 1) - low))
    spatial = "DHW"[-len(kernel) :]
    return lax.conv_general_dilated(
        y,
        w,
        (1,) * len(kernel),
        pads,
        lhs_dilation=geometry.stride,
        rhs_dilation=geometry.dilation,
        dimension_numbers=(f"N{spatial}C", f"{spatial}IO", f"N{spatial}C"),
        feature_group_count=groups,
    )


def _transposed(input, weight, bias, stride, padding, output_padding, groups, dilation, name):
    dims = int(name[-2])
    y = _batched(input, dims, name)
    stride = _expand(stride, dims, "stride")
    padding = _expand(padding, dims, "padding")
    extra = _expand(output_padding, dims, "output_padding")
    dilation = _expand(dilation, dims, "dilation")
    _check(y, weight, bias, stride, padding, dilation, groups, True)
    _check_output_padding(extra, stride, dilation)
    kernel = weight.shape[2:]
    size = tuple(
        (n - 1) * s - 2 * p + d * (k - 1) + e + 1
        for n, s, p, d, k, e in zip(
            y.shape[2:], stride, padding, dilation, kernel, extra, strict=True
        )
    )
    if any(n < 0 for n in size):
        raise RuntimeError(
            f"Given input size per channel: ({' x '.join(map(str, y.shape[2:]))}). "
            f"Calculated output size per channel: ({' x '.join(map(str, size))}). "
            "Output size is too small"
        )
    dtype = _compute_dtype(y.dtype)
    features = weight.shape[1] * groups
    shape = (y.shape[0], *size, features)
    if 0 in shape or 0 in y.shape:
        result = jnp.zeros(shape, dtype)
    else:
        # By definition the transpose of the convolution with the same weight, so it shares
        # that one's tuned forms. The weight is (in, out / groups, *kernel) of *this* operation.
        w = jnp.moveaxis(weight, (0, 1), (-1, -2)).astype(dtype)
        geometry = Geometry(stride, tuple((p, p) for p in padding), dilation)
        y = jnp.moveaxis(y, 1, -1).astype(dtype)
        if dtype.kind in "iu":
            result = _transposed_integers(y, w, geometry, size, groups)
        else:
            result = _transpose_of_convolution(y, w, geometry, shape, groups)
    if bias is not None:
        result = result + bias.astype(dtype)
    result = jnp.moveaxis(result.astype(input.dtype), -1, 1)
    return result if input.ndim == dims + 2 else result[0]


_CONV_DOC = """Convolve `input` with `weight` over {dims} spatial dimension(s).

Args:
    input: (N, C, {shape}) or, without a batch, (C, {shape}).
    weight: (O, C / groups, {kernel}).
    bias: (O,) or None.
    stride, padding, dilation: an int or one per dimension; padding also "valid" or "same"
        (which needs stride 1).
    groups: blocks of channels that are convolved apart; divides C and O.

Returns: (N, O, {shape}') or (O, {shape}'), in the type of `input`.

Raises:
    RuntimeError: shapes, types or settings do not fit, in PyTorch's words.

Source: torch.nn.functional.conv{dims}d.
"""

_TRANSPOSE_DOC = """Transposed convolution over {dims} spatial dimension(s).

The gradient of `conv{dims}d` by its input, for the same weight and settings.

Args:
    input: (N, C, {shape}) or, without a batch, (C, {shape}).
    weight: (C, O / groups, {kernel}).
    bias: (O,) or None.
    stride, padding, dilation: an int or one per dimension.
    output_padding: added to one side of the output; smaller than stride or dilation.
    groups: blocks of channels that are convolved apart; divides C.

Returns: (N, O, {shape}') or (O, {shape}'), in the type of `input`.

Raises:
    RuntimeError: shapes, types or settings do not fit, in PyTorch's words.

Source: torch.nn.functional.conv_transpose{dims}d.
"""


def _declare(dims: int) -> None:
    axes = {
        "dims": dims,
        "shape": ", ".join("DHW"[-dims:]),
        "kernel": ", ".join(f"k{axis}" for axis in "DHW"[-dims:]),
    }
    common = {"module": ("nn.functional", "torch"), "method": False}
    common["grad_name"] = "ConvolutionBackward0"
    conv, transpose = f"conv{dims}d", f"conv_transpose{dims}d"

    @op(name=conv, doc=_CONV_DOC.format(**axes), **common)
    def convolution(
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Ints = 1,
        padding: Static = 0,
        dilation: Ints = 1,
        groups: Int = 1,
    ):
        return _convolution(input, weight, bias, stride, padding, dilation, groups, conv)

    @op(name=transpose, doc=_TRANSPOSE_DOC.format(**axes), **common)
    def transposed(
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Ints = 1,
        padding: Ints = 0,
        output_padding: Ints = 0,
        groups: Int = 1,
        dilation: Ints = 1,
    ):
        return _transposed(
            input, weight, bias, stride, padding, output_padding, groups, dilation, transpose
        )


for _dims in (1, 2, 3):
    _declare(_dims)
