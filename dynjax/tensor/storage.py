"""What several tensors share: storages, views of views, versions.

Every Value is immutable. A storage says which value is the content now; a write through any of
its tensors records the inverse of that tensor's views and so makes the next content. Tensors that
share the storage notice by its stamp and derive their own value again when they are next used.

Tensors that share gradients too (a base and its views) form a family; `detach()` and `.data`
begin a new family over the same storage.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

from ..engine.kernel import Kernel, kernels
from ..engine.trace import state
from ..engine.value import Kind, Value, concrete


class Versions:
    """A storage's count of in-place operations; values refer to it, not to the storage that refers
    to them, so that what is dropped is gone at once.
    """

    __slots__ = ("now",)

    def __init__(self) -> None:
        self.now = 0


class Storage:
    """The content that tensors share.

    Attributes:
        value: the content, as its first tensor sees it.
        versions: in-place operations so far, as PyTorch counts them.
        stamp: changes so far, those through `.data` included.
        mark: the versions and one of them, the last that was asked for.
    """

    __slots__ = ("value", "versions", "stamp", "mark")

    def __init__(self, value: Value) -> None:
        self.value = value
        self.versions, self.stamp = Versions(), 0
        self.mark = self.versions, 0

    def watch(self) -> tuple[Versions, int]:
        """The present version, to be remembered with a value that is this content."""
        mark = self.mark
        if mark[1] != self.versions.now:
            mark = self.mark = self.versions, self.versions.now
        return mark


class ViewStep:
    """One view operation of a chain: how to read through it, and how to write back.

    Attributes:
        read: kernel from base to view.
        write: makes the kernel from (base, new view) to new base; raises where that is refused.
    """

    __slots__ = ("read", "write")

    def __init__(self, read: Kernel, write: Callable[[], Kernel]) -> None:
        self.read, self.write = read, write


class Alias:
    """A tensor's place in a storage.

    Attributes:
        storage: what it shares.
        base: the tensor whose gradient family it belongs to; None if it is that tensor.
        chain: the views from the storage to it.
        seen: the storage's stamp when its value was last derived.
        tracked: whether the view was made with gradients recorded.
        silent: whether its writes leave the version alone (`.data`).
        plain: whether it is the storage's own tensor, no view.
        many: (node name, output number) if it is one of several views made by one call.
    """

    __slots__ = ("storage", "base", "chain", "seen", "tracked", "silent", "many", "plain")

    def __init__(
        self, storage: Storage, base: Any, chain: tuple[ViewStep, ...], tracked: bool = True
    ) -> None:
        self.storage, self.base, self.chain = storage, base, chain
        self.seen = storage.stamp
        self.tracked, self.silent, self.many = tracked, False, None
        self.plain = base is None and not chain


def alias_kernel(kind: Kind) -> Kernel:
    """The kernel that yields its input as another value."""
    key = ("alias", kind.shape, kind.dtype)
    aval = kind.aval
    return kernels.get(
        key,
        lambda: Kernel("alias", key, lambda x: (x,), [aval], is_alias=True, out_avals=(aval,)),
    )


@jax.custom_vjp
def _graft(old: Any, new: Any) -> Any:
    return new


_graft.defvjp(lambda old, new: (new, None), lambda _, g: (g, jax.numpy.zeros_like(g)))


def _graft_kernel(kind: Kind) -> Kernel:
    key = ("graft", kind.shape, kind.dtype)
    aval = kind.aval
    return kernels.get(
        key, lambda: Kernel("graft", key, lambda old, new: (_graft(old, new),), [aval, aval])
    )


def detached(value: Value) -> Value:
    """The same array, cut from the tape."""
    kind = value.kind
    if not kind.requires_grad:
        return value
    if value.array is not None:
        return concrete(value.array, kind.with_grad(False, False))
    return state.trace.record(alias_kernel(kind), [value], grad=False)[0]


def as_leaf(value: Value, node: Any) -> Value:
    """The same array as a leaf that requires grad, owned by the tensor that `node` refers to."""
    kind = value.kind
    if value.trace is None:
        return concrete(value.array, kind.with_grad(True, True), node)
    leaf = state.trace.record(alias_kernel(kind), [value], grad=False, mark="leaf")[0]
    leaf.node = state.trace.owners[leaf.idx] = node
    return leaf


def share(tensor: Any) -> Alias:
    """The alias of a tensor, made when it first gets a view or is first written to."""
    alias = tensor._alias
    if alias is None:
        storage = Storage(tensor._v)
        alias = tensor._alias = Alias(storage, None, ())
        tensor._v.watch = storage.watch()
    return alias


def refresh(tensor: Any) -> Value:
    """The value of a tensor whose storage may have changed since it was derived."""
    alias = tensor._alias
    storage = alias.storage
    if alias.seen == storage.stamp:
        return tensor._v
    base = alias.base
    if base is not None:
        value = refresh(base)
        grad = alias.tracked and base._v.kind.requires_grad
        for step in alias.chain[len(base._alias.chain) :]:
            value = state.trace.record(step.read, [value], grad=grad)[0]
    else:
        data = detached(storage.value)
        for step in alias.chain:
            data = state.trace.record(step.read, [data], grad=False)[0]
        value = _regrafted(tensor._v, data)
    tensor._v = value
    alias.seen = storage.stamp
    value.watch = storage.watch()
    return value


def _regrafted(old: Value, data: Value) -> Value:
    """New data in the tape position of an old value."""
    kind = old.kind
    if not kind.requires_grad:
        return data
    if kind.leaf:
        return as_leaf(data, old.node)
    return state.trace.record(_graft_kernel(kind), [old, data], grad=True)[0]


def _overwritten(old: Value, new: Value) -> Value:
    """New data that takes the place of a value on the tape: no gradient reaches the old one."""
    if not state.trace.grad:
        return _regrafted(old, new)
    kind = old.kind
    key = ("overwrite", kind.shape, kind.dtype)
    aval = kind.aval
    kernel = kernels.get(key, lambda: Kernel("copy", key, lambda old, new: (new,), [aval, aval]))
    return state.trace.record(kernel, [old, new])[0]


def replace(tensor: Any, value: Value, changes: int, stamps: int) -> None:
    """Make `value` the content of a tensor that has all of its storage.

    Args:
        tensor: no view.
        value: of its kind.
        changes, stamps: how much the storage's version and stamp grow.
    """
    alias = tensor._alias or share(tensor)
    storage = alias.storage
    storage.value = tensor._v = value
    alias.seen = storage.stamp = storage.stamp + stamps
    storage.versions.now += changes
    value.watch = storage.watch()


def write(tensor: Any, value: Value) -> None:
    """Make `value` (of the tensor's shape and type) the content of a tensor, its views and bases.

    The caller has checked that this is allowed (see `autograd.inplace`).
    """
    trace = state.trace
    alias = tensor._alias
    if alias is None:
        alias = share(tensor)
    storage = alias.storage
    old = tensor._v
    if not value.kind.requires_grad and old.kind.requires_grad:
        value = _overwritten(old, value)
    base, chain = alias.base, alias.chain
    if base is None:
        base, first = tensor, value
    else:
        start = len(base._alias.chain)
        first = _write_back(refresh(base), value, chain[start:], trace.grad)
        if not first.kind.requires_grad and base._v.kind.requires_grad:
            first = _regrafted(base._v, first)
    content = first
    if base._alias.chain:
        content = _write_back(storage.value, detached(first), base._alias.chain, False)
    if state.trace.owns(old):
        state.trace.mark("inplace", state.trace.ref(old))
    # From here on nothing can fail: all of the change, or none of it.
    storage.value = content
    storage.stamp += 1
    if not alias.silent:
        storage.versions.now += 1
    watch = storage.watch()
    base._v = first
    base._alias.seen = storage.stamp
    first.watch = watch
    tensor._v = value
    alias.seen = storage.stamp
    value.watch = watch


def _write_back(content: Value, value: Value, chain: tuple[ViewStep, ...], grad: bool) -> Value:
    """The base's new content after `value` was written through a chain of views of it."""
    record = state.trace.record
    through = [content]
    for step in chain[:-1]:
        through.append(record(step.read, [through[-1]], grad=grad)[0])
    for step, before in zip(reversed(chain), reversed(through), strict=True):
        value = record(step.write(), [before, value], grad=grad)[0]
    return value
