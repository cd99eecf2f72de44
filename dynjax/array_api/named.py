"""The name and docstring of a function of the array API standard."""

from __future__ import annotations

from collections.abc import Callable


def named(function: Callable, name: str, ours: str) -> Callable:
    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"The standard's `{name}`: `dynjax.{ours}`."
    return function
