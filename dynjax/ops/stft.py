"""The short-time Fourier transform and its inverse.

Source: https://pytorch.org/docs/stable/generated/torch.stft.html
"""

import warnings

import jax
import jax.numpy as jnp
from jax import lax

from ..engine.frames import user_stacklevel
from .checks import type_name
from .declare import PROMOTE, Bool, Int, Tensor, composite, op
from .shape import pad


def _warn(text):
    warnings.warn(text, UserWarning, stacklevel=user_stacklevel())


def _frames(x, size, hop):
    """(..., n) cut into windows: (..., frames, size)."""
    starts = jnp.arange(0, x.shape[-1] - size + 1, hop)
    cut = jax.vmap(lambda start: lax.dynamic_slice_in_dim(x, start, size, -1), out_axes=-2)
    return cut(starts)


def _overlapped(frames, n, hop):
    """The adjoint of `_frames`: windows added up where they came from, in n points."""
    signal = jax.ShapeDtypeStruct((*frames.shape[:-2], n), frames.dtype)
    (total,) = jax.linear_transpose(lambda x: _frames(x, frames.shape[-1], hop), signal)(frames)
    return total


def _window(window, length, n_fft, dtype):
    """The window in the middle of `n_fft` points; ones where there is none."""
    window = jnp.ones(length, dtype) if window is None else window
    left = (n_fft - length) // 2
    return jnp.pad(window, (left, n_fft - length - left))


@op(name="stft", types=PROMOTE, method=False, function=False, grad_name="TransposeBackward0")
def _stft(input: Tensor, window: Tensor | None, n_fft: Int, hop: Int, length: Int,
          normalized: Bool, onesided: Bool, as_complex: Bool):  # fmt: skip
    """(..., points) to (..., frequencies, frames), with a last dimension of 2 for two parts."""
    if input.dtype.itemsize == 2:
        raise RuntimeError(f"FFT doesn't support tensors of type: {type_name(input.dtype)}")
    frames = _frames(input, n_fft, hop) * _window(window, length, n_fft, input.dtype)
    transform = jnp.fft.rfft if onesided else jnp.fft.fft
    result = jnp.swapaxes(transform(frames, norm="ortho" if normalized else None), -1, -2)
    return result if as_complex else jnp.stack((result.real, result.imag), -1)


@composite()
def stft(
    input, n_fft: int, hop_length: int | None = None, win_length: int | None = None, window=None,
    center: bool = True, pad_mode: str = "reflect", normalized: bool = False,
    onesided: bool | None = None, return_complex: bool | None = None,
    align_to_window: bool | None = None,
):  # fmt: skip
    """The Fourier transforms of overlapping windows of a signal.

    Args:
        input: (points) or (batch, points), real or complex.
        n_fft: points of each transform.
        hop_length: points from one window to the next; n_fft // 4 by default.
        win_length: points of the window, which stands in the middle of each transform.
        window: a vector of `win_length` weights; ones by default.
        center: pad the signal, so that the windows' middles begin at its first point.
        pad_mode: how, as for `nn.functional.pad`.
        normalized: divide by the root of `n_fft`.
        onesided: only the frequencies from 0 to n_fft // 2; by default for real signals.
        return_complex: complex numbers, or pairs of parts; real signals must say which.
        align_to_window: without `center`, begin with the window rather than with the transform.

    Returns: ([batch,] frequencies, frames[, 2]).

    Raises:
        RuntimeError: sizes or windows that do not fit, integers.
    """
    if center and align_to_window is not None:
        raise RuntimeError("stft align_to_window should only be set when center = false")
    hop = n_fft // 4 if hop_length is None else hop_length
    length = n_fft if win_length is None else win_length
    if window is None:
        _warn(
            "A window was not provided. A rectangular window will be applied,which is known to "
            "cause spectral leakage. Other windows such as torch.hann_window or "
            "torch.hamming_window are recommended to reduce spectral leakage.To suppress this "
            "warning and use a rectangular window, explicitly set "
            "`window=torch.ones(n_fft, device=<device>)`."
        )
    mixed = input.is_complex() or (window is not None and window.is_complex())
    if return_complex is None and not mixed:
        raise RuntimeError(
            "stft requires the return_complex parameter be given for real inputs, and will "
            "further require that return_complex=True in a future PyTorch release."
        )
    if return_complex is False:
        _warn(
            "stft with return_complex=False is deprecated. In a future pytorch release, stft will "
            "return complex tensors for all inputs, and return_complex=False will raise an error."
            "\nNote: you can still call torch.view_as_real on the complex output to recover the "
            "old return format."
        )
    what = (
        f"stft(torch.{type_name(input.dtype.np)}Tensor{list(input.shape)}, n_fft={n_fft}, "
        f"hop_length={hop}, win_length={length}) :"
    )
    if not (input.is_floating_point() or input.is_complex()):
        raise RuntimeError(f"{what} expected a tensor of floating point or complex values")
    if input.ndim not in (1, 2):
        raise RuntimeError(f"{what} expected a 1D or 2D tensor")
    if center:
        input = pad(input[(None,) * (3 - input.ndim)], (n_fft // 2, n_fft // 2), pad_mode)[
            (0,) * (3 - input.ndim)
        ]
    if not 0 < n_fft <= input.shape[-1]:
        raise RuntimeError(f"{what} expected 0 < n_fft < {input.shape[-1]}, but got n_fft={n_fft}")
    if hop <= 0:
        raise RuntimeError(f"{what} expected hop_length > 0, but got hop_length={hop}")
    if not 0 < length <= n_fft:
        raise RuntimeError(f"{what} expected 0 < win_length <= n_fft, but got win_length={length}")
    if window is not None and tuple(window.shape) != (length,):
        raise RuntimeError(
            f"{what} expected a 1D window tensor of size equal to win_length={length}, but got "
            f"window with size {list(window.shape)}"
        )
    if onesided and mixed:
        raise RuntimeError("Cannot have onesided output if window or input is complex")
    if align_to_window:
        left = (n_fft - length) // 2
        input = pad(input, (left, n_fft - length - left))
    onesided = not mixed if onesided is None else onesided
    return _stft(
        input, window, n_fft, hop, length, normalized, onesided, return_complex is not False
    )


@op(name="istft", types=PROMOTE, method=False, function=False, grad_name="SliceBackward0")
def _istft(input: Tensor, window: Tensor | None, n_fft: Int, hop: Int, length: Int, start: Int,
           end: Int, normalized: Bool, onesided: Bool, as_complex: Bool):  # fmt: skip
    """(..., frequencies, frames) to (..., points from `start` to `end`)."""
    spectra, norm = jnp.swapaxes(input, -1, -2), "ortho" if normalized else None
    if as_complex:
        frames = jnp.fft.ifft(spectra, norm=norm)
    else:
        frames = jnp.fft.irfft(spectra[..., : n_fft // 2 + 1], n_fft, norm=norm)
    n = n_fft + hop * (input.shape[-1] - 1)
    # Promotion made a real window complex, as the spectra are.
    window = None if window is None else window if as_complex else window.real
    weights = _window(window, length, n_fft, frames.dtype)
    squares = jnp.broadcast_to(jnp.square(weights), frames.shape[-2:])
    total = lax.slice_in_dim(_overlapped(frames * weights, n, hop), start, min(end, n), axis=-1)
    shared = _overlapped(squares, n, hop)[start : min(end, n)]
    pads = [(0, 0)] * (total.ndim - 1) + [(0, max(end - n, 0))]
    return jnp.pad(total / shared, pads)


@composite()
def istft(
    input, n_fft: int, hop_length: int | None = None, win_length: int | None = None, window=None,
    center: bool = True, normalized: bool = False, onesided: bool | None = None,
    length: int | None = None, return_complex: bool = False,
):  # fmt: skip
    """The inverse of `stft`: the signal whose transforms come closest to these.

    A point that no window covers is infinite or NaN: PyTorch looks for those, which would wait
    for the device at every call.

    Args:
        input: ([batch,] frequencies, frames), complex.
        length: points of the signal; without it, those between the middles of the outer windows.
        return_complex: the signal is complex.
        The rest as for `stft`.

    Raises:
        RuntimeError: sizes or windows that do not fit, real numbers.
    """
    hop = n_fft // 4 if hop_length is None else hop_length
    size = n_fft if win_length is None else win_length
    if window is None:
        _warn(
            "A window was not provided. A rectangular window will be applied.Please provide the "
            "same window used by stft to make the inversion lossless.To suppress this warning and "
            "use a rectangular window, explicitly set "
            "`window=torch.ones(n_fft, device=<device>)`."
        )
    if not input.is_complex():
        raise RuntimeError(
            "istft requires a complex-valued input tensor matching the output from stft with "
            "return_complex=True."
        )
    what = (
        f"istft({type_name(input.dtype.np)}Type{list(input.shape)}, n_fft={n_fft}, "
        f"hop_length={hop}, win_length={size}) :"
    )
    if input.numel() == 0:
        raise RuntimeError(f"{what} input tensor cannot be empty.")
    if input.ndim not in (2, 3):
        raise RuntimeError(
            f"{what} expected a tensor with 3 or 4 dimensions, but got {input.ndim + 1}"
        )
    found = input.shape[-2]
    onesided = found != n_fft if onesided is None else onesided
    if found != (n_fft // 2 + 1 if onesided else n_fft):
        wanted = "n_fft / 2 + 1 when onesided=True" if onesided else "n_fft when onesided=False"
        raise RuntimeError(
            f"{what} expected the frequency dimension (3rd to the last) of the input tensor to "
            f"match {wanted}, but got {found}"
        )
    if not 0 < hop <= size:
        raise RuntimeError(f"{what} expected 0 < hop_length <= win_length")
    if not 0 < size <= n_fft:
        raise RuntimeError(f"{what} expected 0 < win_length <= n_fft")
    if window is not None and tuple(window.shape) != (size,):
        raise RuntimeError(
            f"{what} Invalid window shape. window has to be 1D and length of `win_length`"
        )
    if return_complex and onesided:
        raise RuntimeError("Cannot have onesided output if window or input is complex")
    if not return_complex and window is not None and window.is_complex():
        raise RuntimeError("Complex windows are incompatible with return_complex=False")
    n = n_fft + hop * (input.shape[-1] - 1)
    start = n_fft // 2 if center else 0
    end = n - start if length is None else start + length
    if end <= start:
        raise RuntimeError(f"{what} expected a signal of some length, but got {end - start} points")
    if end > n:
        _warn(
            "The length of signal is shorter than the length parameter. Result is being padded "
            "with zeros in the tail. Please check your center and hop_length settings"
        )
    return _istft(input, window, n_fft, hop, size, start, end, normalized, onesided, return_complex)
