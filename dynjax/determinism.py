"""Switches of what need not be deterministic, as PyTorch's.

What XLA compiles for the CPU and for TPUs gives the same bits each time. For GPUs it does with the
flag `--xla_gpu_deterministic_ops`, which has to be set before JAX begins: dynjax changes no setting
of others, so it says so.
"""

from __future__ import annotations

import os
import warnings

import jax

__all__ = [
    "are_deterministic_algorithms_enabled",
    "get_deterministic_debug_mode",
    "is_deterministic_algorithms_warn_only_enabled",
    "set_deterministic_debug_mode",
    "use_deterministic_algorithms",
]

_FLAG = "--xla_gpu_deterministic_ops=true"
_MODES = ("default", "warn", "error")
_mode = 0


def use_deterministic_algorithms(mode: bool, *, warn_only: bool = False) -> None:
    """Ask for the same bits each time a program runs on the same machine.

    Args:
        mode: whether to.
        warn_only: warn instead of raising where that needs a flag that is not set.

    Raises:
        TypeError: `mode` is no bool.
        RuntimeError: the accelerator is a GPU, and XLA's flag is not set.
    """
    if not isinstance(mode, bool):
        raise TypeError(
            "_set_deterministic_algorithms(): argument 'mode' (position 1) must be bool, not "
            f"{type(mode).__name__}"
        )
    _enter((1 if warn_only else 2) if mode else 0)


def _enter(mode: int) -> None:
    global _mode
    if mode and jax.default_backend() == "gpu" and _FLAG not in os.environ.get("XLA_FLAGS", ""):
        text = (
            "use_deterministic_algorithms: XLA's programs for GPUs are deterministic only with the "
            f"environment variable XLA_FLAGS={_FLAG}, set before the program starts"
        )
        if mode == 2:
            raise RuntimeError(text)
        warnings.warn(text, stacklevel=3)
    _mode = mode


def are_deterministic_algorithms_enabled() -> bool:
    """Whether `use_deterministic_algorithms` is in force."""
    return _mode > 0


def is_deterministic_algorithms_warn_only_enabled() -> bool:
    """Whether it is, and only warns."""
    return _mode == 1


def get_deterministic_debug_mode() -> int:
    """0: not asked for; 1: asked for, with a warning; 2: with an error."""
    return _mode


def set_deterministic_debug_mode(debug_mode: int | str) -> None:
    """The same switch as one value.

    Args:
        debug_mode: "default" or 0, "warn" or 1, "error" or 2.

    Raises:
        TypeError, RuntimeError: it is something else.
    """
    if not isinstance(debug_mode, (int, str)):
        raise TypeError(f"debug_mode must be str or int, but got {type(debug_mode)}")
    if isinstance(debug_mode, str):
        if debug_mode not in _MODES:
            raise RuntimeError(
                "invalid value of debug_mode, expected one of `default`, `warn`, `error`, but got "
                f"{debug_mode}"
            )
        debug_mode = _MODES.index(debug_mode)
    if debug_mode not in range(len(_MODES)):
        raise RuntimeError(
            f"invalid value of debug_mode, expected 0, 1, or 2, but got {debug_mode}"
        )
    _enter(debug_mode)
