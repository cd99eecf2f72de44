"""Windows of signals, from their definitions."""

import math

import numpy as np
import pytest

import dynjax as torch
from tests.ops.common import assert_close

windows = torch.signal.windows
PARAMETERS = {"general_cosine": {"a": [0.5, 0.3, 0.2]}}
X = np.arange(7) / 6  # the points of a symmetric window


@pytest.mark.parametrize(
    "name, parameters, expected",
    [
        ("bartlett", {}, 1 - abs(2 * X - 1)),
        ("hann", {}, np.sin(math.pi * X) ** 2),
        ("hamming", {}, np.hamming(7)),
        ("blackman", {}, np.blackman(7)),
        ("kaiser", {"beta": 5.0}, np.kaiser(7, 5.0)),
        ("cosine", {}, np.sin(math.pi * (np.arange(7) + 0.5) / 7)),
        ("gaussian", {"std": 2.0}, np.exp(-(((np.arange(7) - 3) / 2) ** 2) / 2)),
        ("exponential", {"tau": 2.0}, np.exp(-abs(np.arange(7) - 3) / 2)),
        ("general_hamming", {"alpha": 0.6}, 0.6 - 0.4 * np.cos(2 * math.pi * X)),
        ("general_cosine", {"a": (0.5, 0.3)}, 0.5 - 0.3 * np.cos(2 * math.pi * X)),
    ],
)
def test_definitions(name, parameters, expected):
    result = getattr(windows, name)(7, dtype=torch.float64, **parameters)
    assert_close(result, expected, atol=1e-12)


@pytest.mark.parametrize("name", windows.__all__)
def test_lengths_and_symmetry(name):
    window, parameters = getattr(windows, name), PARAMETERS.get(name, {})
    assert window(0, **parameters).shape == (0,)
    assert window(1, **parameters).tolist() == window(1, sym=False, **parameters).tolist() == [1.0]
    symmetric = window(6, **parameters).numpy()
    np.testing.assert_allclose(symmetric, symmetric[::-1], atol=1e-6)
    np.testing.assert_array_equal(window(5, sym=False, **parameters).numpy(), symmetric[:5])


@pytest.mark.parametrize("name", ["bartlett", "blackman", "hamming", "hann", "kaiser"])
def test_the_main_namespace_has_periodic_ones(name):
    plain, full = getattr(torch, f"{name}_window"), getattr(windows, name)
    assert plain(9).tolist() == full(9, sym=False).tolist()
    assert (
        plain(9, periodic=False, dtype=torch.float64).tolist()
        == full(9, dtype=torch.float64).tolist()
    )


def test_options():
    w = windows.hann(4, dtype=torch.float64, requires_grad=True)
    assert w.dtype is torch.float64 and w.requires_grad and w.is_leaf
    assert_close(torch.hamming_window(5, False, 0.3, 0.2), 0.3 - 0.2 * np.cos(
        np.linspace(0, 2 * math.pi, 5)).astype(np.float32))  # fmt: skip
    centre = windows.exponential(4, center=1.0, sym=False).numpy()
    assert centre.argmax() == 1


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda: windows.hann(-1), ValueError, "M=-1"),
        (lambda: windows.hann(4.0), TypeError, "must be int, not float"),
        (lambda: windows.hann(4, dtype=torch.int64), ValueError, "int64"),
        (lambda: windows.kaiser(4, beta=-1.0), ValueError, "got: -1.0"),
        (lambda: windows.gaussian(4, std=0.0), ValueError, "got: 0.0"),
        (lambda: windows.exponential(4, tau=-2.0), ValueError, "got: -2.0"),
        (lambda: windows.exponential(4, center=1.0), ValueError, "Center must be None"),
        (lambda: windows.general_cosine(4, a=[]), ValueError, "empty"),
        (lambda: windows.general_cosine(4, a=3), TypeError, "list/tuple"),
        (lambda: windows.hann(4, beta=1.0), TypeError, "'beta'"),
        (lambda: torch.hann_window(-3), RuntimeError, "window_length=-3"),
        (lambda: torch.kaiser_window(3, dtype=torch.int64), RuntimeError, "int64"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
