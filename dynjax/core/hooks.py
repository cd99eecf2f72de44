"""The handle that registering a hook returns."""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any


class RemovableHandle:
    """Takes a hook out of its dictionary: `remove()`, or the end of a `with` block.

    It holds the dictionaries weakly and can be pickled together with them.

    Args:
        hooks_dict: the dictionary of hooks; put the hook under the handle's `id`.
        extra_dict: dictionaries from which the same `id` is taken out too.
    """

    id: int
    next_id: int = 0

    def __init__(self, hooks_dict: Any, *, extra_dict: Any = None) -> None:
        self.id = RemovableHandle.next_id
        RemovableHandle.next_id += 1
        if extra_dict is None:
            extra_dict = ()
        elif isinstance(extra_dict, dict):
            extra_dict = (extra_dict,)
        self._refer(hooks_dict, extra_dict)

    def _refer(self, hooks_dict: Any, extra: Iterable[Any]) -> None:
        self.hooks_dict_ref = weakref.ref(hooks_dict)
        self.extra_dict_ref = tuple(weakref.ref(each) for each in extra)

    def remove(self) -> None:
        """Take the hook out; again is harmless."""
        for ref in (self.hooks_dict_ref, *self.extra_dict_ref):
            hooks = ref()
            if hooks is not None:
                hooks.pop(self.id, None)

    def __getstate__(self) -> tuple:
        return self.hooks_dict_ref(), self.id, tuple(ref() for ref in self.extra_dict_ref)

    def __setstate__(self, saved: tuple) -> None:
        hooks_dict, self.id, extra = saved
        self._refer(OrderedDict() if hooks_dict is None else hooks_dict, extra)
        RemovableHandle.next_id = max(RemovableHandle.next_id, self.id + 1)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *exc: Any) -> None:
        self.remove()
