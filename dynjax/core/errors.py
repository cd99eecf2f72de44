"""Exceptions of dynjax's own."""

from __future__ import annotations


class OutOfMemoryError(RuntimeError):
    """A device has no room for what an operation needs."""


def failed(text: str) -> RuntimeError:
    """The error for work that failed on a device, of the kind that XLA's text tells."""
    return (OutOfMemoryError if "RESOURCE_EXHAUSTED" in text else RuntimeError)(text)
