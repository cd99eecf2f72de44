"""Fourier transforms: NumPy's are the reference, Parseval and inverses the laws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dynjax as torch
from tests.ops.common import assert_close, tensor

RNG = np.random.default_rng(0)
REAL = RNG.normal(size=(3, 4, 6))
COMPLEX = REAL + 1j * RNG.normal(size=REAL.shape)
ALONG_ONE = ["fft", "ifft", "rfft", "irfft", "hfft", "ihfft"]
FROM_REAL = ("rfft", "rfft2", "rfftn", "ihfft")


def signal(name):
    return REAL if name in FROM_REAL else COMPLEX


@pytest.mark.parametrize("norm", [None, "ortho", "forward"])
@pytest.mark.parametrize("name", ALONG_ONE)
def test_along_one_dimension(name, norm):
    x, reference = signal(name), getattr(np.fft, name)
    t = torch.from_numpy(x)
    assert_close(getattr(torch.fft, name)(t, dim=1, norm=norm), reference(x, None, 1, norm))
    assert_close(getattr(torch.fft, name)(t, 9, norm=norm), reference(x, 9, -1, norm))


@pytest.mark.parametrize("name", ["fft", "ifft", "rfft", "irfft"])
def test_along_several_dimensions(name):
    x, t = signal(name), torch.from_numpy(signal(name))
    two, several = getattr(torch.fft, name + "2"), getattr(torch.fft, name + "n")
    assert_close(two(t, (2, 8)), getattr(np.fft, name + "2")(x, (2, 8)))
    assert_close(several(t, dim=(2, 0)), getattr(np.fft, name + "n")(x, axes=(2, 0)))
    whole = 10 if name == "irfft" else 6
    assert_close(several(t, (5, -1)), getattr(np.fft, name + "n")(x, (5, whole), (1, 2)))


def test_more_than_three_dimensions():
    x = RNG.normal(size=(2, 3, 2, 3, 2))
    assert_close(torch.fft.fftn(torch.from_numpy(x)), np.fft.fftn(x))


@pytest.mark.parametrize("norm", [None, "ortho", "forward"])
def test_the_hermitian_forms_invert_each_other(norm):
    x = torch.from_numpy(REAL)
    half = torch.fft.ihfftn(x, norm=norm)
    assert_close(torch.fft.hfftn(half, x.shape, norm=norm), REAL)
    half = torch.fft.ihfft2(x, norm=norm)
    assert_close(torch.fft.hfft2(half, x.shape[1:], norm=norm), REAL)


def test_gradients_are_those_of_jax():
    def loss(fft, x):
        return (abs(fft.rfftn(x, (4, 5))) ** 2).sum() + fft.irfft(fft.fft(x, 3) * 1j, 8).sum()

    x = RNG.normal(size=(3, 6)).astype(np.float32)
    leaf = tensor(x, torch.float32, requires_grad=True)
    loss(torch.fft, leaf).backward()
    assert_close(leaf.grad, jax.grad(lambda a: loss(jnp.fft, a))(x), rtol=1e-4, atol=1e-4)


def test_types():
    assert torch.fft.fft(torch.arange(3)).dtype is torch.complex64
    assert torch.fft.rfft(torch.zeros(3, dtype=torch.float64)).dtype is torch.complex128
    assert torch.fft.irfft(torch.zeros(3)).dtype is torch.float32


def test_frequencies_and_shifts():
    for n in (5, 6):
        assert_close(torch.fft.fftfreq(n, 0.5), np.fft.fftfreq(n, 0.5).astype(np.float32))
        assert_close(torch.fft.rfftfreq(n, 2), np.fft.rfftfreq(n, 2).astype(np.float32))
    for dim in (None, 1, (0, 2)):
        shifted = torch.fft.fftshift(torch.from_numpy(REAL), dim)
        assert_close(shifted, np.fft.fftshift(REAL, dim))
        assert_close(torch.fft.ifftshift(shifted, dim), REAL)


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda f, x: f.fft(x, 0), RuntimeError, r"data points \(0\)"),
        (lambda f, x: f.irfft(x[:, :1]), RuntimeError, r"data points \(0\)"),
        (lambda f, x: f.fft(x, norm="best"), RuntimeError, '"best"'),
        (lambda f, x: f.fft(x.half()), RuntimeError, "Unsupported dtype Half"),
        (lambda f, x: f.rfft(x + 0j), RuntimeError, "ComplexFloat"),
        (lambda f, x: f.fft(x, dim=2), IndexError, "got 2"),
        (lambda f, x: f.fftn(x, dim=(0, -2)), RuntimeError, "unique"),
        (lambda f, x: f.fftn(x, (1, 2, 3)), RuntimeError, "3 values .* 2 dimensions"),
        (lambda f, x: f.fftn(x, (1, 2), (0,)), RuntimeError, "same length"),
        (lambda f, x: f.irfftn(x, dim=()), RuntimeError, "at least one axis"),
        (lambda f, x: f.fftfreq(4, dtype=torch.int64), RuntimeError, "floating point"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call(torch.fft, torch.ones(2, 4))


def test_an_unknown_name_suggests_one():
    with pytest.raises(AttributeError, match="did you mean 'rfft"):
        torch.fft.rfft_  # noqa: B018


# --- short time ---------------------------------------------------------------------------------

WINDOW = torch.hann_window(8)
NOISE = torch.from_numpy(RNG.normal(size=(2, 40)).astype(np.float32))


def test_frames_are_transforms_of_windows():
    result = torch.stft(NOISE, 8, 4, window=WINDOW, center=False, return_complex=True)
    x, w = NOISE.numpy(), WINDOW.numpy()
    for k in range(result.shape[-1]):
        expected = np.fft.rfft(x[:, 4 * k : 4 * k + 8] * w).astype(np.complex64)
        assert_close(result[..., k], expected, rtol=1e-4, atol=1e-5)


def test_centring_reflects_the_ends():
    centred = torch.stft(NOISE, 8, 4, window=WINDOW, return_complex=True)
    padded = torch.from_numpy(np.pad(NOISE.numpy(), ((0, 0), (4, 4)), mode="reflect"))
    plain = torch.stft(padded, 8, 4, window=WINDOW, center=False, return_complex=True)
    assert_close(centred, plain.numpy())


@pytest.mark.parametrize(
    "options",
    [
        {"hop_length": 4},
        {"hop_length": 2, "normalized": True},
        {"hop_length": 2, "onesided": False},
        {"hop_length": 2, "win_length": 6, "window": torch.hamming_window(6)},
    ],
)
def test_the_inverse_returns_the_signal(options):
    options = {"window": WINDOW} | options
    spectrum = torch.stft(NOISE, 8, return_complex=True, **options)
    assert_close(torch.istft(spectrum, 8, length=40, **options), NOISE.numpy(), atol=1e-5)


def test_pairs_of_parts():
    with pytest.warns(UserWarning, match="return_complex=False is deprecated"):
        pairs = torch.stft(NOISE, 8, window=WINDOW, return_complex=False)
    whole = torch.stft(NOISE, 8, window=WINDOW, return_complex=True)
    assert_close(pairs, np.stack([whole.real.numpy(), whole.imag.numpy()], -1))


def test_a_missing_window_is_said():
    with pytest.warns(UserWarning, match="rectangular window"):
        torch.stft(NOISE, 8, return_complex=True)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"n_fft": 50, "center": False}, "0 < n_fft < 40, but got n_fft=50"),
        ({"n_fft": 8, "hop_length": 0}, "hop_length=0"),
        ({"n_fft": 8, "win_length": 9}, "win_length=9"),
        ({"n_fft": 8, "window": torch.ones(7)}, "win_length=8, but got window with size"),
        ({"n_fft": 8, "return_complex": None}, "return_complex parameter"),
        ({"n_fft": 8, "align_to_window": True}, "align_to_window"),
    ],
)
def test_bad_short_time_input(options, message):
    options = {"window": torch.ones(options.get("win_length", options["n_fft"]))} | options
    with pytest.raises(RuntimeError, match=message):
        torch.stft(NOISE, **{"return_complex": True} | options)


def test_the_inverse_needs_complex_numbers_of_the_right_count():
    with pytest.raises(RuntimeError, match="complex-valued"):
        torch.istft(torch.ones(5, 3), 8, window=WINDOW)
    with pytest.raises(RuntimeError, match="but got 4"):
        torch.istft(torch.ones(4, 3) + 0j, 8, window=WINDOW)
