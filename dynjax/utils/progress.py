"""A bar that shows how far a loop over a loader is."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

T = TypeVar("T")


def progress(loader: Iterable[T], desc: str | None = None, **options: Any) -> Iterable[T]:
    """The batches of a loader, with a progress bar (tqdm's) that knows their number.

    Args:
        loader: a DataLoader, or any iterable.
        desc: text before the bar.
        options: tqdm's; the object that is returned has tqdm's methods, `set_postfix` for one.

    Raises:
        ImportError: tqdm is not installed.
    """
    try:
        from tqdm.auto import tqdm
    except ImportError as error:
        raise ImportError(
            "progress needs tqdm, which is not installed: pip install 'dynjax[progress]'"
        ) from error
    return tqdm(loader, desc=desc, **options)
