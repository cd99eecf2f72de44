"""Windows that weigh the points of a signal; made on the host.

Source: https://pytorch.org/docs/stable/signal.html
"""

import inspect
import math

import numpy as np

from ..core.dtypes import as_dtype, float32, float64, get_default_dtype
from .creation import finish
from .declare import composite

# --- their forms: `x` goes from 0 to 1 over a symmetric window of `count` points -----------------


def _cosines(x, count, a):
    return sum((-1) ** k * w * np.cos(2 * math.pi * k * x) for k, w in enumerate(a))


def _sum_of(a):
    return lambda x, count: _cosines(x, count, a)


def _general_cosine(x, count, *, a):
    if not isinstance(a, (list, tuple)):
        raise TypeError("Coefficients must be a list/tuple")
    if not a:
        raise ValueError("Coefficients cannot be empty")
    return _cosines(x, count, a)


def _general_hamming(x, count, *, alpha=0.54):
    return _cosines(x, count, (alpha, 1 - alpha))


def _kaiser(x, count, *, beta=12.0):
    if beta < 0:
        raise ValueError(f"beta must be non-negative, got: {beta} instead.")
    return np.i0(beta * np.sqrt(np.maximum(4 * x * (1 - x), 0))) / np.i0(beta)


def _gaussian(x, count, *, std=1.0):
    if std <= 0:
        raise ValueError(f"Standard deviation must be positive, got: {std} instead.")
    return np.exp(-0.5 * np.square((x - 0.5) * (count - 1) / std))


def _exponential(x, count, *, center=None, tau=1.0):
    if tau <= 0:
        raise ValueError(f"Tau must be positive, got: {tau} instead.")
    center = (count - 1) / 2 if center is None else center
    return np.exp(-np.abs(x * (count - 1) - center) / tau)


def _bartlett(x, count):
    return 1 - np.abs(2 * x - 1)


def _cosine(x, count):
    return np.sin(math.pi * (x * (count - 1) + 0.5) / count)


_HANN, _HAMMING, _BLACKMAN = (0.5, 0.5), (0.54, 0.46), (0.42, 0.5, 0.08)
_NUTTALL = (0.3635819, 0.4891775, 0.1365995, 0.0106411)

_FORMS = {
    "bartlett": (_bartlett, "A triangle."),
    "blackman": (_sum_of(_BLACKMAN), "Blackman's sum of three cosines."),
    "cosine": (_cosine, "Half a wave of a sine."),
    "exponential": (_exponential, "exp(-|k - center| / tau), by default around the middle."),
    "gaussian": (_gaussian, "The bell curve of this standard deviation around the middle."),
    "general_cosine": (_general_cosine, "The alternating sum of cosines weighted by `a`."),
    "general_hamming": (_general_hamming, "alpha - (1 - alpha) cos(2 pi x)."),
    "hamming": (_sum_of(_HAMMING), "Hamming's raised cosine."),
    "hann": (_sum_of(_HANN), "Hann's raised cosine."),
    "kaiser": (_kaiser, "Kaiser's window of this shape parameter."),
    "nuttall": (_sum_of(_NUTTALL), "Nuttall's sum of four cosines."),
}


def _points(form, size, periodic, **parameters):
    """The values of a form, in float64; a periodic window is a symmetric one without its last."""
    count = size + periodic if size > 1 else size
    values = form(np.arange(size) / max(count - 1, 1), count, **parameters)
    return np.ones(1) if size == 1 else values


# --- torch.signal.windows -----------------------------------------------------------------------


def _declare(name, form, doc):
    parameters = inspect.signature(form).parameters.values()
    known = {p.name for p in parameters if p.kind is p.KEYWORD_ONLY}

    def function(M: int, *, sym: bool = True, dtype=None, **options):
        if isinstance(M, bool) or not hasattr(M, "__index__"):
            raise TypeError(f"{name}(): argument 'M' must be int, not {type(M).__name__}")
        if M < 0:
            raise ValueError(f"{name} requires non-negative window length, got M={M}")
        dtype = get_default_dtype() if dtype is None else as_dtype(dtype, name)
        if dtype not in (float32, float64):
            raise ValueError(f"{name} expects float32 or float64 dtypes, got: {dtype}")
        if sym and options.get("center") is not None:
            raise ValueError("Center must be None for symmetric windows")
        given = {n: options.pop(n) for n in known & options.keys()}
        values = _points(form, M, not sym, **given)
        return finish(name, values.astype(dtype.np), **options)

    function.__doc__ = f"""{doc}

    Args:
        M: number of points.
        sym: symmetric; else periodic: the first `M` points of the symmetric one of M + 1.
        dtype: float32 or float64.

    Raises:
        ValueError: a negative length, another type, parameters out of range.
    """
    composite(name=name, module="signal.windows")(function)


for _name, (_form, _doc) in _FORMS.items():
    _declare(_name, _form, _doc)


# --- torch.hann_window and its like -------------------------------------------------------------


def _made(name, form, window_length, periodic, dtype, options, **parameters):
    if isinstance(window_length, bool) or not hasattr(window_length, "__index__"):
        raise TypeError(
            f"{name}(): argument 'window_length' (position 1) must be int, not "
            f"{type(window_length).__name__}"
        )
    if window_length < 0:
        raise RuntimeError(
            f"{name} requires non-negative window_length, got window_length={window_length}"
        )
    dtype = get_default_dtype() if dtype is None else as_dtype(dtype, name)
    if not dtype.is_floating_point:
        raise RuntimeError(f"{name} expects floating point dtypes, got: {dtype}")
    values = _points(form, window_length, periodic, **parameters)
    return finish(name, values.astype(dtype.np), **options)


def _declare_plain(kind):
    name, (form, doc) = f"{kind}_window", _FORMS[kind]

    def function(window_length: int, periodic: bool = True, *, dtype=None, **options):
        return _made(name, form, window_length, periodic, dtype, options)

    function.__doc__ = f"{doc} Raises RuntimeError for negative lengths and integer types."
    composite(name=name, method=False)(function)


for _name in ("bartlett", "blackman", "hann"):
    _declare_plain(_name)


@composite(method=False)
def hamming_window(
    window_length: int, periodic: bool = True, alpha: float = 0.54, beta: float = 0.46, *,
    dtype=None, **options,
):  # fmt: skip
    """alpha - beta cos(2 pi x). Raises RuntimeError for negative lengths and integer types."""
    return _made(
        "hamming_window", _cosines, window_length, periodic, dtype, options, a=(alpha, beta)
    )


@composite(method=False)
def kaiser_window(
    window_length: int, periodic: bool = True, beta: float = 12.0, *, dtype=None, **options
):
    """Kaiser's window of shape `beta`. Raises RuntimeError for negative lengths, integer types."""
    return _made("kaiser_window", _kaiser, window_length, periodic, dtype, options, beta=beta)
