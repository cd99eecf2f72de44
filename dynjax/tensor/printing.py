"""The text of a tensor, character by character as PyTorch prints it.

One rule governs the numbers: all of a tensor's entries have one notation and one width, chosen
from the finite non-zero entries (of those that are shown, if the tensor is summarised).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..core import dtypes
from ..core.devices import device as Device

__all__ = ["format_tensor", "get_printoptions", "printoptions", "set_printoptions"]


@dataclass
class _Options:
    precision: int = 4
    threshold: float = 1000
    edgeitems: int = 3
    linewidth: int = 80
    sci_mode: bool | None = None


_options = _Options()
_PROFILES: dict[str, dict[str, Any]] = {
    "default": {"precision": 4, "threshold": 1000, "edgeitems": 3, "linewidth": 80},
    "short": {"precision": 2, "threshold": 1000, "edgeitems": 2, "linewidth": 80},
    "full": {"precision": 4, "threshold": math.inf, "edgeitems": 3, "linewidth": 80},
}


def set_printoptions(
    precision: int | None = None,
    threshold: float | None = None,
    edgeitems: int | None = None,
    linewidth: int | None = None,
    profile: str | None = None,
    sci_mode: bool | None = None,
) -> None:
    """Sets how tensors print. What is None stays, except for ``sci_mode``.

    Args:
        precision: digits after the point (4).
        threshold: number of elements above which only the edges are printed (1000).
        edgeitems: elements printed at either end of each dimension then (3).
        linewidth: characters a line (80).
        profile: ``"default"``, ``"short"`` or ``"full"``; the other arguments override it.
        sci_mode: scientific notation always (True), never (False), or by size (None).
    """
    given = {
        "precision": precision,
        "threshold": threshold,
        "edgeitems": edgeitems,
        "linewidth": linewidth,
    }
    changes = dict(_PROFILES.get(profile, {})) if profile is not None else {}
    changes |= {name: value for name, value in given.items() if value is not None}
    for name, value in changes.items():
        setattr(_options, name, value)
    _options.sci_mode = sci_mode


def get_printoptions() -> dict[str, Any]:
    """The options in force, as arguments for :func:`set_printoptions`."""
    return asdict(_options)


@contextmanager
def printoptions(**kwargs: Any) -> Iterator[None]:
    """Sets options (those of :func:`set_printoptions`) for a ``with`` block."""
    before = get_printoptions()
    set_printoptions(**kwargs)
    try:
        yield
    finally:
        set_printoptions(**before)


def format_tensor(
    array: np.ndarray,
    dtype: dtypes.dtype,
    *,
    requires_grad: bool = False,
    grad_fn_name: str | None = None,
    device: Device | None = None,
    is_parameter: bool = False,
    prefix: str = "tensor(",
    contents: str | None = None,
) -> str:
    """What ``repr`` of a tensor says.

    Args:
        array: its values.
        dtype: its type.
        requires_grad: whether it requires gradients; not said where there is a `grad_fn_name`.
        grad_fn_name: name of the tape's node that made it.
        device: where it is; not said for the CPU or if None.
        is_parameter: whether it is a Parameter.
        prefix: the opening, ``"Name("`` for a subclass called Name.
        contents: text to stand for the values.
    """
    suffixes = []
    if device is not None and device.type != "cpu":
        suffixes.append(f"device='{device}'")
    default = dtypes.get_default_dtype()
    if array.size == 0:
        if array.ndim != 1:
            suffixes.append(f"size={array.shape}")
        # No entry shows the type, so that even int64 is said.
        if dtype is not default:
            suffixes.append(f"dtype={dtype}")
    else:
        if not _options.edgeitems:
            suffixes.append(f"size={array.shape}")
        default_complex = dtypes.complex128 if default is dtypes.float64 else dtypes.complex64
        if dtype not in (default, default_complex, dtypes.int64, dtypes.bool_):
            suffixes.append(f"dtype={dtype}")
    if grad_fn_name is not None:
        suffixes.append(f"grad_fn=<{grad_fn_name}>")
    elif requires_grad:
        suffixes.append("requires_grad=True")

    indent = len(prefix)
    if contents is None:
        contents = _values(array, dtype, indent)
    text = _with_suffixes(prefix + contents, suffixes, indent)
    return f"Parameter containing:\n{text}" if is_parameter else text


def _with_suffixes(text: str, suffixes: list[str], indent: int) -> str:
    # PyTorch counts the first line one too long, and every later one exactly.
    width = len(text) - text.rfind("\n") + 1
    for suffix in suffixes:
        # "dynjax" is longer than "torch"; lines are to break where PyTorch's do.
        length = len(suffix.replace("dtype=dynjax.", "dtype=torch."))
        if width + length + 2 > _options.linewidth:
            text += f",\n{' ' * indent}{suffix}"
            width = indent + length
        else:
            text += f", {suffix}"
            width += length + 2
    return text + ")"


# --- values -------------------------------------------------------------------------------------


@dataclass
class _Notation:
    """How all entries of a tensor (or all real or imaginary parts) are written."""

    width: int
    write: Callable[[Any], str]

    def __call__(self, value: Any) -> str:
        return self.write(value).rjust(self.width)


def _plain(shown: np.ndarray) -> _Notation:
    return _Notation(max((len(str(v)) for v in shown.tolist()), default=1), str)


def _floating(shown: np.ndarray) -> _Notation:
    """The notation for floating-point entries, given in their own precision."""
    counted = shown[np.isfinite(shown) & (shown != 0)]
    sizes = np.abs(counted).astype(np.float64)
    whole = bool((counted == np.ceil(counted)).all())
    scientific = bool(counted.size) and _is_scientific(sizes.min(), sizes.max())
    point = _options.precision
    if scientific:
        spec = f".{point}e"
    elif whole:
        spec = ".0f"
    else:
        spec = f".{point}f"
    # The point after a whole number counts towards the width, but inf and nan get none.
    dot = "." if whole and not scientific else ""
    width = max((len(format(v, spec) + dot) for v in counted.tolist()), default=1)
    return _Notation(width, lambda v: format(v, spec) + (dot if math.isfinite(v) else ""))


def _is_scientific(smallest: float, largest: float) -> bool:
    if _options.sci_mode is not None:
        return bool(_options.sci_mode)
    return bool(largest / smallest > 1000 or largest > 1e8 or smallest < 1e-4)


def _complex(real: _Notation, imag: _Notation) -> _Notation:
    def write(value: complex) -> str:
        tail = imag(value.imag).lstrip() + "j"
        return real(value.real) + (tail if tail[0] in "+-" else "+" + tail)

    # Zero width: parts are aligned one by one, and a sum of unequal parts stays ragged.
    return _Notation(0, write)


def _values(array: np.ndarray, dtype: dtypes.dtype, indent: int) -> str:
    if array.size == 0:
        return "[]"
    cut = array.size > _options.threshold
    shown = _edges(array).reshape(-1) if cut else array.reshape(-1)
    if dtype.is_complex:
        real, imag = _floating(shown.real), _floating(shown.imag)
        notation = _complex(real, imag)
        entry_width = real.width + imag.width + 1
    else:
        notation = _floating(shown) if dtype.is_floating_point else _plain(shown)
        entry_width = notation.width
    if array.ndim == 0:
        return notation(array.item())
    return _nested(array, indent, cut, notation, entry_width)


def _edges(array: np.ndarray) -> np.ndarray:
    """The entries that a summary shows."""
    edge = _options.edgeitems
    for axis, size in enumerate(array.shape):
        if size > 2 * edge:
            ends = np.r_[:edge, size - edge : size]
            array = np.take(array, ends, axis)
    return array


def _nested(
    array: np.ndarray, indent: int, cut: bool, notation: _Notation, entry_width: int
) -> str:
    edge = _options.edgeitems
    cut_here = cut and len(array) > 2 * edge
    head, tail = (array[:edge], array[len(array) - edge :]) if cut_here else (array, array[:0])
    if array.ndim > 1:
        parts = [_nested(row, indent + 1, cut, notation, entry_width) for row in head]
        parts += ["..."] if cut_here else []
        parts += [_nested(row, indent + 1, cut, notation, entry_width) for row in tail]
        return "[" + f",{chr(10) * (array.ndim - 1)}{' ' * (indent + 1)}".join(parts) + "]"
    if cut and not edge:
        parts = ["..."]
    else:
        parts = [notation(v) for v in head.tolist()]
        parts += [" ..."] if cut_here else []
        parts += [notation(v) for v in tail.tolist()]
    a_line = max(1, (_options.linewidth - indent) // (entry_width + 2))
    lines = [", ".join(parts[i : i + a_line]) for i in range(0, len(parts), a_line)]
    return "[" + f",\n{' ' * (indent + 1)}".join(lines) + "]"
