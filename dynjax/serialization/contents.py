"""What a state that is saved or was loaded holds."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

from ..tensor.tensor import Tensor

_HOLDERS = (Tensor, list, tuple, dict, set, frozenset)


def contents(state: Any) -> Iterator[Any]:
    """Everything in a state, itself included: tensors and containers once, the last member first.

    Attributes of tensors and ordered dictionaries count as their members.
    """
    seen, pending = set(), [state]
    while pending:
        x = pending.pop()
        if isinstance(x, _HOLDERS):
            if id(x) in seen:
                continue
            seen.add(id(x))
            if isinstance(x, Tensor | OrderedDict):
                pending += vars(x).values()
            if isinstance(x, dict):
                pending += x.keys()
                pending += x.values()
            elif not isinstance(x, Tensor):
                pending += x
        yield x
