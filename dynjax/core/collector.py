"""Python's garbage collector, put off while much is made that is dropped soon."""

from __future__ import annotations

import gc
from typing import Any


class Unhurried:
    """Context manager: the collector does not run inside.

    Work on a graph of thousands of operations makes objects by the ten thousand, none of which
    outlives it and none of which is part of a cycle. Left on, the collector goes through all that
    the process holds about once for every graph, which costs as much as the work itself.
    """

    def __enter__(self) -> None:
        self.was_on = gc.isenabled()
        gc.disable()

    def __exit__(self, *exc: Any) -> None:
        if self.was_on:
            gc.enable()


__all__ = ["Unhurried"]
