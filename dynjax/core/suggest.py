"""What to say when a module or an object has no such name."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from .scope import out_of_scope


def missing(module: str, name: str, names: Iterable[str]) -> AttributeError:
    """The error for a module-level ``__getattr__`` to raise, with the closest public name.

    Args:
        module: the module's ``__name__``.
        name: what was asked for.
        names: what there is; private names are not suggested.

    Returns:
        An AttributeError in Python's words, with a suggestion where one is close, or with the
        reason why PyTorch's name is left out.
    """
    text = f"module {module!r} has no attribute {name!r}"
    if name.startswith("_"):  # what Python itself probes
        return AttributeError(text)
    why = out_of_scope(name)
    if why:
        return AttributeError(_LEFT_OUT.format(text=text, why=why))
    public = [n for n in names if not n.startswith("_")]
    close = get_close_matches(name, public, n=1, cutoff=0.75)
    if close:
        text += f"; did you mean {close[0]!r}?"
    # Without the attributes `name` and `obj`, so that Python adds no suggestion of its own.
    return AttributeError(text)


def missing_of(obj: object, name: str) -> AttributeError:
    """The error for an object's ``__getattr__`` to raise; what is close Python finds itself, and
    only where the error is shown: `hasattr` asks often.
    """
    text = f"{type(obj).__name__!r} object has no attribute {name!r}"
    why = None if name.startswith("_") else out_of_scope(name)
    if why:
        text = _LEFT_OUT.format(text=text, why=why)
    return AttributeError(text, name=name, obj=obj)


_LEFT_OUT = "{text}: it is out of scope: {why} (see docs/surface.md)"
