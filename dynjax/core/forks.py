"""Processes that were forked from one in which JAX ran: its threads are not in them.

What is computed there waits for these threads for ever. So it is refused, where it would have to
run; what was computed before the fork can be read.
"""

from __future__ import annotations

import os

forked = False  # whether this is such a process
_watching = False


def watch() -> None:
    """JAX has started its threads, or is about to."""
    global _watching
    if not _watching and hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_in_child)
    _watching = True


def _in_child() -> None:
    global forked
    forked = True


def refusal() -> RuntimeError:
    """The error for what is to be computed in such a process."""
    return RuntimeError(
        "dynjax can't compute anything in a process that was forked after JAX had started: JAX's "
        "threads are not in it, so that it would hang. Start processes with multiprocessing's "
        "'spawn' or 'forkserver' method, or fork before the first tensor is made."
    )


__all__ = ["refusal", "watch"]
