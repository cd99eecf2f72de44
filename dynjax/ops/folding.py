"""Blocks of images as columns and back; channels as pixels and back.

Source: https://pytorch.org/docs/stable/nn.functional.html#vision-functions
"""

import math

import jax
import jax.numpy as jnp
from jax import lax

from .checks import check_kind
from .declare import Int, Ints, Tensor, composite, op

_BOTH = ("torch", "nn.functional")


# --- sliding blocks -----------------------------------------------------------------------------


def _pair(value, name):
    pair = (value, value) if isinstance(value, int) else value
    if len(pair) != 2:
        raise RuntimeError(f"It is expected {name} equals to 2, but got size {len(pair)}")
    return pair


def _settings(kernel_size, dilation, padding, stride):
    """The four settings as pairs (height, width). Raises RuntimeError."""
    named = {"kernel_size": kernel_size, "dilation": dilation, "padding": padding, "stride": stride}
    pairs = {name: _pair(value, name) for name, value in named.items()}
    for name, (height, width) in pairs.items():
        if min(height, width) < (name != "padding"):
            rule = "non-negative" if name == "padding" else "greater than zero"
            short = {"kernel_size": "kernel", "padding": "pad"}.get(name, name)
            raise RuntimeError(
                f"{name.replace('_', ' ')} should be {rule}, but got "
                f"{short}_height: {height} {short}_width: {width}"
            )
    return tuple(pairs.values())


def _counts(size, kernel, dilation, padding, stride):
    """How many blocks there are along height and width."""
    return tuple(
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, k, d, p, s in zip(size, kernel, dilation, padding, stride, strict=True)
    )


def _text(**pairs):
    return ", ".join(f"{name}={tuple(pair)}" for name, pair in pairs.items())


def _blocks(x, kernel, dilation, padding, stride):
    """The blocks of (N, C, H, W) as (N, C * kernel, blocks); one slice per row and per column."""
    counts = _counts(x.shape[2:], kernel, dilation, padding, stride)
    pads = [(p, p) for p in padding]
    x = jnp.pad(x, [(0, 0), (0, 0), *pads])
    for axis, k, d, s, n in zip((2, 4), kernel, dilation, stride, counts, strict=True):
        rows = [lax.slice_in_dim(x, i * d, i * d + (n - 1) * s + 1, s, axis) for i in range(k)]
        x = jnp.stack(rows, axis)
    n, c, kh, oh, kw, ow = x.shape
    return x.transpose(0, 1, 2, 4, 3, 5).reshape(n, c * kh * kw, oh * ow)


def _batched(input, ndim, words):
    """`input` with a batch dimension. Raises RuntimeError."""
    if input.ndim not in (ndim - 1, ndim) or 0 in input.shape[input.ndim - ndim + 1 :]:
        raise RuntimeError(f"Expected {ndim - 1}D or {ndim}D (batch mode) tensor {words}, but got: "
                           f"{list(input.shape)}")  # fmt: skip
    return input if input.ndim == ndim else input[None]


@op(name="im2col", function=False, method=False, grad_name="Im2ColBackward0")
def _im2col(input: Tensor, kernel_size: Ints, dilation: Ints, padding: Ints, stride: Ints):
    """`nn.functional.unfold`."""
    if input.ndim < 3:
        raise IndexError(
            f"Dimension out of range (expected to be in range of [{-input.ndim}, "
            f"{input.ndim - 1}], but got {input.ndim})"
        )
    settings = _settings(kernel_size, dilation, padding, stride)
    words = "with possibly 0 batch size and other non-zero dimensions for input"
    x = _batched(input, 4, words)
    counts = _counts(x.shape[2:], *settings)
    if min(counts) < 1:
        kernel, dilation, padding, _ = settings
        text = _text(kernel_size=kernel, dilation=dilation, padding=padding)
        raise RuntimeError(
            f"Given input with spatial size {x.shape[2:]}, {text}, calculated shape of the array "
            f"of sliding blocks as {counts}, but its components must be at least one."
        )
    check_kind(input, "i", "im2col_out_cpu")
    columns = _blocks(x, *settings)
    return columns if input.ndim == 4 else columns[0]


@composite(module="nn.functional", method=False)
def unfold(input, kernel_size, dilation=1, padding=0, stride=1):
    """The sliding blocks of an image, as columns.

    Args:
        input: (N, C, H, W) or (C, H, W).
        kernel_size, dilation, padding, stride: an int, or (height, width).

    Returns:
        (N, C * height * width of the kernel, number of blocks), or that without N.

    Raises:
        RuntimeError: shapes or settings do not fit.
    """
    return _im2col(input, kernel_size, dilation, padding, stride)


@op(name="col2im", function=False, method=False, grad_name="Col2ImBackward0")
def _col2im(
    input: Tensor, output_size: Ints, kernel_size: Ints, dilation: Ints, padding: Ints, stride: Ints
):
    """`nn.functional.fold`."""
    size = _pair(output_size, "output_size")
    settings = kernel, dilation, padding, stride = _settings(kernel_size, dilation, padding, stride)
    words = "for input with possibly 0 batch size and non-zero dimensions for input"
    columns = _batched(input, 3, words)
    if columns.shape[1] % math.prod(kernel):
        raise RuntimeError(
            "Expected size of input's dimension 1 to be divisible by the product of kernel_size, "
            f"but got input.size(1)={columns.shape[1]} and kernel_size={kernel}."
        )
    counts = _counts(size, *settings)
    if columns.shape[2] != math.prod(counts) or min(counts) < 1:
        given = _text(output_size=size, kernel_size=kernel, dilation=dilation, padding=padding)
        raise RuntimeError(
            f"Given {given}, stride={stride}, expected size of input's dimension 2 to match the "
            f"calculated number of sliding blocks {counts[0]} * {counts[1]} = "
            f"{math.prod(counts)}, but got input.size(2)={columns.shape[2]}."
        )
    check_kind(input, "i", "col2im_out_cpu")
    shape = (columns.shape[0], columns.shape[1] // math.prod(kernel), *size)
    as_bool = input.dtype == bool  # booleans have no transpose
    columns = columns.astype(jnp.float32) if as_bool else columns
    image = jax.ShapeDtypeStruct(shape, columns.dtype)
    (result,) = jax.linear_transpose(lambda x: _blocks(x, *settings), image)(columns)
    result = result.astype(bool) if as_bool else result
    return result if input.ndim == 3 else result[0]


@composite(module="nn.functional", method=False)
def fold(input, output_size, kernel_size, dilation=1, padding=0, stride=1):
    """The image that is the sum of sliding blocks: the transpose of `unfold`.

    Args:
        input: (N, C * height * width of the kernel, number of blocks), or that without N.
        output_size: an int, or (height, width).
        kernel_size, dilation, padding, stride: as for `unfold`.

    Returns:
        (N, C, *output_size), or that without N.

    Raises:
        RuntimeError: shapes or settings do not fit.
    """
    return _col2im(input, output_size, kernel_size, dilation, padding, stride)


# --- channels and pixels ------------------------------------------------------------------------


def _check_scale(input, factor, what):
    name = f"pixel_{'un' if what == 'down' else ''}shuffle"
    if input.ndim < 3:
        raise RuntimeError(
            f"{name} expects input to have at least 3 dimensions, but got input with "
            f"{input.ndim} dimension(s)"
        )
    if factor <= 0:
        raise RuntimeError(f"{name} expects a positive {what}scale_factor, but got {factor}")


@op(module=_BOTH, method=False)
def pixel_shuffle(input: Tensor, upscale_factor: Int):
    """(*, C * r * r, H, W) to (*, C, H * r, W * r), r the factor (arXiv:1609.05158).

    Raises:
        RuntimeError: the channels are not divisible by r * r, r is not positive.
    """
    r = upscale_factor
    _check_scale(input, r, "up")
    *lead, channels, height, width = input.shape
    if channels % (r * r):
        raise RuntimeError(
            "pixel_shuffle expects its input's 'channel' dimension to be divisible by the square "
            f"of upscale_factor, but input.size(-3)={channels} is not divisible by {r * r}"
        )
    x = input.reshape(math.prod(lead), channels // (r * r), r, r, height, width)
    return x.transpose(0, 1, 4, 2, 5, 3).reshape(*lead, channels // (r * r), height * r, width * r)


@op(module=_BOTH, method=False)
def pixel_unshuffle(input: Tensor, downscale_factor: Int):
    """(*, C, H * r, W * r) to (*, C * r * r, H, W): the inverse of `pixel_shuffle`.

    Raises:
        RuntimeError: height or width is not divisible by r, r is not positive.
    """
    r = downscale_factor
    _check_scale(input, r, "down")
    *lead, channels, height, width = input.shape
    for name, size, dim in (("height", height, -2), ("width", width, -1)):
        if size % r:
            raise RuntimeError(
                f"pixel_unshuffle expects {name} to be divisible by downscale_factor, but "
                f"input.size({dim})={size} is not divisible by {r}"
            )
    x = input.reshape(math.prod(lead), channels, height // r, r, width // r, r)
    return x.transpose(0, 1, 3, 5, 2, 4).reshape(*lead, channels * r * r, height // r, width // r)


@op(module=_BOTH, method=False, aliases=("native_channel_shuffle",))
def channel_shuffle(input: Tensor, groups: Int):
    """(N, C, *) with its C channels, seen as groups of C / groups, in transposed order.

    Raises:
        RuntimeError: C is not divisible by groups, fewer than three dimensions.
    """
    if input.ndim < 3:
        raise RuntimeError(
            f"channel_shuffle expects input with > 2 dims, but got input with sizes "
            f"{list(input.shape)}"
        )
    if groups <= 0:
        raise RuntimeError(
            f"Number of groups to divide channels in must be positive. Value of groups:{groups}"
        )
    n, channels, *rest = input.shape
    if channels % groups:
        raise RuntimeError(
            f"Number of channels must be divisible by groups. Got {channels} channels and "
            f"{groups} groups."
        )
    x = input.reshape(n, groups, channels // groups, *rest)
    return jnp.swapaxes(x, 1, 2).reshape(input.shape)
