"""Tensors from what a file says of them: first all that it says, then, checked, their elements.

While the pickle is read no element is: tensors are made without values, and noted as parts of
storages. So a file's claims are checked, and added up, before they cost memory.
"""

from __future__ import annotations

import math
import weakref
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pickle import UnpicklingError
from typing import Any

import numpy as np

from ..core import dtypes
from ..core.devices import device as Device
from ..core.size import Size
from ..engine.value import kind_of
from ..tensor.parameter import Parameter
from ..tensor.storage import Alias, Storage
from ..tensor.tensor import Tensor, host_value
from .contents import contents
from .names import NAMES, PARAMETER, TENSOR, Missing, NumpyType, StorageType
from .strided import Part, view_of
from .unpickle import Global, refuse, shown

# Tensors can be larger than their file: expanded ones, and overlapping views. This much, in bytes.
MAX_EXPANSION = 1 << 28
_MAX_DIMS = 64  # NumPy's


class Stored:
    """A storage that a file holds, or a stretch of one.

    Attributes:
        key: its name in the file.
        location: the device that it was on, in PyTorch's words.
        nbytes: its size.
        dtype: of its elements; None where its tensors say it.
        start: where it begins in the storage of this name, in bytes.
        whole: the storage that it is a stretch of, or itself.
        tensors: what is made of it.
    """

    __slots__ = ("key", "location", "nbytes", "dtype", "start", "whole", "tensors")

    def __init__(self, key: str, location: str, nbytes: int, dtype: dtypes.dtype | None) -> None:
        self.key, self.location, self.nbytes, self.dtype = key, location, nbytes, dtype
        self.start, self.whole = 0, self
        self.tensors: list[Rebuilt] = []

    def stretch(self, start: int, nbytes: int) -> Stored:
        """A storage within this one, in bytes."""
        if start < 0 or nbytes < 0 or start + nbytes > self.nbytes:
            raise UnpicklingError(
                f"bytes {start} to {start + nbytes} of a storage that has {self.nbytes}"
            )
        inner = Stored(self.key, self.location, nbytes, self.dtype)
        inner.start, inner.whole = start, self
        return inner


class Rebuilt:
    """A tensor without a value, and where its value will be.

    Attributes:
        tensor: a weak reference to it, so that only those somebody holds are filled.
        part: the elements of the storage that it has.
        dtype: its elements.
        stored: that storage.
        requires_grad: what to set.
        conj, neg: whether PyTorch left conjugating or negating to the reader.
    """

    __slots__ = ("tensor", "part", "dtype", "requires_grad", "conj", "neg", "stored")

    def __init__(self, stored: Stored, part: Part, dtype: dtypes.dtype) -> None:
        self.stored, self.part, self.dtype = stored, part, dtype
        self.requires_grad = self.conj = self.neg = False


class Rebuilder:
    """What makes the objects of one file.

    Attributes:
        names: the allow-list for this file.
        stored: the storages that it refers to, by name.
        held: the tensors made so far, by id, and where their values will be.
    """

    def __init__(self) -> None:
        self.stored: dict[str, Stored] = {}
        self.held: dict[int, tuple[Tensor, Rebuilt]] = {}
        calls = {
            "torch._utils._rebuild_tensor": self._tensor,
            "torch._utils._rebuild_tensor_v2": self._tensor_v2,
            "torch._utils._rebuild_tensor_v3": self._tensor_v3,
            "torch._utils._rebuild_parameter": self._parameter,
            "torch._utils._rebuild_parameter_with_state": self._parameter_with_state,
            "torch._tensor._rebuild_from_type_v2": self._from_type,
        }
        made = {name: Global(name, call) for name, call in calls.items()}
        # `Parameter(data, requires_grad)` is how the oldest files make one.
        made[PARAMETER] = Global(PARAMETER, self._parameter)
        self.names: Mapping[str, Any] = {**NAMES, **made}

    # --- storages

    def storage(self, kind: Any, key: Any, location: Any, numel: Any, view: Any = None) -> Stored:
        """The storage that a file refers to.

        Args:
            kind: its class.
            key: its name in the file.
            location: the device it was on.
            numel: how many elements it has.
            view: (key, offset, size) of a stretch of it, in elements, in the legacy format.

        Raises:
            pickle.UnpicklingError: one of them is of another type, or contradicts what was said.
        """
        if type(kind) is Missing:
            raise _no_such_type(kind)
        if type(kind) is not StorageType:
            name = repr(kind.name) if isinstance(kind, Global) else shown(kind)
            raise refuse(f"Unsupported storage of type {name}")
        if type(key) is int:
            key = str(key)
        if type(key) is not str or type(location) is not str or type(numel) is not int:
            raise UnpicklingError("a storage is named by text, and has a number of elements")
        size = 1 if kind.dtype is None else kind.dtype.itemsize
        if not 0 <= numel < 1 << 60:
            raise UnpicklingError("a storage's number of elements is out of range")
        found = self.stored.get(key)
        if found is None:
            found = self.stored[key] = Stored(key, location, numel * size, kind.dtype)
        elif (found.nbytes, found.dtype, found.location) != (numel * size, kind.dtype, location):
            raise UnpicklingError(f"storage {key[:50]!r} is described in two ways")
        if view is None:
            return found
        if type(view) is not tuple or len(view) != 3 or type(view[0]) not in (str, int):
            raise UnpicklingError("a view of a storage is its key, offset and size")
        name = f"{key} {view[0]}"
        start, count = _ints(view[1:], "a view of a storage")
        if name not in self.stored:
            self.stored[name] = found.stretch(start * size, count * size)
        return self.stored[name]

    # --- tensors

    def _tensor(self, storage: Any, offset: Any, size: Any, stride: Any) -> Tensor:
        return self._made(storage, offset, size, stride, None)

    def _tensor_v2(
        self,
        storage: Any,
        offset: Any,
        size: Any,
        stride: Any,
        requires_grad: Any,
        hooks: Any,
        metadata: Any = None,
    ) -> Tensor:
        _no_hooks(hooks)
        return self._made(storage, offset, size, stride, None, requires_grad, metadata)

    def _tensor_v3(
        self,
        storage: Any,
        offset: Any,
        size: Any,
        stride: Any,
        requires_grad: Any,
        hooks: Any,
        dtype: Any,
        metadata: Any = None,
    ) -> Tensor:
        _no_hooks(hooks)
        if type(dtype) is Missing:
            raise _no_such_type(dtype)
        if type(dtype) is not dtypes.dtype:
            raise UnpicklingError(f"{type(dtype).__name__} is no element type")
        return self._made(storage, offset, size, stride, dtype, requires_grad, metadata)

    def _made(
        self,
        stored: Any,
        offset: Any,
        size: Any,
        stride: Any,
        dtype: dtypes.dtype | None,
        requires_grad: Any = False,
        metadata: Any = None,
    ) -> Tensor:
        if type(stored) is not Stored:
            raise UnpicklingError(f"a tensor of {type(stored).__name__} instead of a storage")
        dtype = dtype or stored.dtype
        if dtype is None:
            raise UnpicklingError("a tensor that does not say the type of its elements")
        part = Part(*_ints((offset,), "offset"), _ints(size, "size"), _ints(stride, "stride"))
        if len(part.size) != len(part.stride) or len(part.size) > _MAX_DIMS:
            raise UnpicklingError(
                f"a tensor of {len(part.size)} dimensions with {len(part.stride)} strides"
            )
        if part.end * dtype.itemsize > stored.nbytes:
            raise UnpicklingError(
                f"a tensor of size {list(part.size)}, stride {list(part.stride)} and offset "
                f"{part.offset} does not fit into a storage of {stored.nbytes} bytes"
            )
        if math.prod(max(n, 1) for n in part.size) * dtype.itemsize >= 1 << 63:  # an empty one
            raise UnpicklingError(f"a tensor of size {list(part.size)} is too large")
        made = Rebuilt(stored, part, dtype)
        made.requires_grad = _flag(requires_grad, dtype)
        if metadata is not None:
            if type(metadata) is not dict or not metadata.keys() <= {"conj", "neg"}:
                raise UnpicklingError("a tensor's metadata are its conjugate and negative bits")
            made.conj, made.neg = bool(metadata.get("conj")), bool(metadata.get("neg"))
        return self._note(made, Tensor)

    def _note(self, made: Rebuilt, cls: type[Tensor]) -> Tensor:
        tensor = object.__new__(cls)
        tensor._alias = tensor._grad = tensor._meta = None
        made.tensor = weakref.ref(tensor)
        self.held[id(tensor)] = (tensor, made)
        return tensor

    def _parameter(self, data: Any, requires_grad: Any = True, hooks: Any = None) -> Tensor:
        if hooks is not None:
            _no_hooks(hooks)
        if id(data) not in self.held:
            raise UnpicklingError(f"a Parameter of {type(data).__name__} instead of a tensor")
        of = self.held[id(data)][1]
        made = Rebuilt(of.stored, of.part, of.dtype)
        made.conj, made.neg = of.conj, of.neg
        made.requires_grad = _flag(requires_grad, of.dtype)
        return self._note(made, Parameter)

    def _parameter_with_state(
        self, data: Any, requires_grad: Any, hooks: Any, state: Any
    ) -> Tensor:
        made = self._parameter(data, requires_grad, hooks)
        self.build(made, state)
        return made

    def _from_type(self, function: Any, cls: Any, arguments: Any, state: Any) -> Tensor:
        """A tensor with attributes, or of a subclass."""
        name = cls.name if type(cls) is Global else shown(cls)
        if name not in (TENSOR, PARAMETER):
            raise refuse(f"Unsupported tensor type {name[:200]!r}")
        if type(function) is not Global or function.name not in self.names or not function.call:
            raise refuse("Unsupported way to make a tensor")
        if type(arguments) is not tuple:
            raise UnpicklingError("arguments must be a tuple")
        made = function.call(*arguments)
        if id(made) not in self.held:
            raise refuse(f"{function.name!r} makes no tensor")
        self.build(made, state)
        return made

    def build(self, target: Any, state: Any) -> None:
        """Give an object its attributes.

        Raises:
            pickle.UnpicklingError: it is none that has some, or one would hide a method.
        """
        if type(target) is NumpyType:
            target.build(state)
            return
        if type(target) not in (OrderedDict, Tensor, Parameter):
            raise refuse(f"Unsupported state for {type(target).__name__}")
        if type(state) is not dict:
            raise UnpicklingError(f"attributes are a dictionary, not {type(state).__name__}")
        for name in state:
            if type(name) is not str or name.startswith("__") or hasattr(type(target), name):
                raise refuse(f"Unsupported attribute {shown(name)}")
        vars(target).update(state)

    # --- elements

    def fill(
        self,
        read: Callable[[Stored], Callable[[], np.ndarray]],
        place: Callable[[str, np.ndarray], Device],
    ) -> None:
        """Give all tensors that somebody holds their values.

        Args:
            read: begins to read a storage; what it returns waits for its bytes, as an array that
                nobody will write to.
            place: the device for a storage that was at a location; may be asked with the elements.

        Raises:
            pickle.UnpicklingError: the tensors are far larger than the storages, or one storage
                is read as several types.
        """
        everything = [made for _, made in self.held.values()]
        self.held.clear()
        groups: dict[str, list[Rebuilt]] = {}
        for made in everything:
            if made.tensor() is not None:
                groups.setdefault(made.stored.key, []).append(made)
        for key, group in groups.items():
            if len({made.dtype for made in group}) > 1:
                raise UnpicklingError(f"storage {key[:50]!r} is read as several types")
        expanded = sum(
            made.part.numel * made.dtype.itemsize
            for group in groups.values()
            for made in group
            if not made.part.is_whole(made.stored.nbytes // made.dtype.itemsize)
        )
        room = sum(group[0].stored.whole.nbytes for group in groups.values()) + MAX_EXPANSION
        if expanded > room:
            raise UnpicklingError(
                f"the file's tensors take {expanded} bytes more than its storages: refused, "
                f"since over {room}"
            )
        begun = [(group, read(group[0].stored.whole)) for group in groups.values()]
        for group, data in begun:
            _fill(group, data(), place)


def _fill(
    group: list[Rebuilt],
    data: np.ndarray,
    place: Callable[[str, np.ndarray], Device],
) -> None:
    """Give the tensors of one storage their values."""
    stored, dtype = group[0].stored.whole, group[0].dtype
    flat = data[: len(data) // dtype.itemsize * dtype.itemsize].view(dtype.np)
    if dtype is dtypes.bool_ and data.max(initial=0) > 1:
        raise UnpicklingError(f"storage {stored.key[:50]!r} has truth values other than 0 and 1")
    device = place(stored.location, flat)
    shared: list[tuple[Tensor, Part]] = []
    for made in group:
        tensor = made.tensor()
        skip, odd = divmod(made.stored.start, dtype.itemsize)
        if odd:
            raise UnpicklingError("a storage begins in the middle of an element")
        part = made.part._replace(offset=made.part.offset + skip)
        host = part.of(flat)
        if made.conj or made.neg:
            host = np.conj(host) if made.conj else host
            host = np.negative(host) if made.neg else host
        else:
            shared.append((tensor, part))
        tensor._v = host_value(host, device)
        if made.requires_grad:
            tensor.requires_grad_()
    if len(shared) > 1:
        _share(shared, flat, device)


def _share(tensors: list[tuple[Tensor, Part]], flat: np.ndarray, device: Device) -> None:
    """Make tensors that have their values already share one storage."""
    whole = next((t for t, part in tensors if part.is_whole(len(flat))), None)
    if whole is None:
        value = host_value(flat, device)
    else:
        kind = whole._v.kind
        value = host_value(whole._v.array, device)
        value.kind = kind_of(kind.shape, kind.dtype, kind.device)
    storage = Storage(value)
    for tensor, part in tensors:
        same = part.is_whole(len(flat)) and part.size == value.kind.shape
        tensor._alias = Alias(storage, None, () if same else (view_of(value.kind, part),))
        tensor._v.watch = storage.watch()


def _ints(values: Any, what: str) -> tuple[int, ...]:
    if type(values) not in (tuple, list, Size) or not all(type(n) is int for n in values):
        raise UnpicklingError(f"{what} must be whole numbers")
    if any(not 0 <= n < 1 << 62 for n in values):
        raise UnpicklingError(f"{what} is out of range: {list(values)}"[:200])
    return tuple(values)


def _flag(requires_grad: Any, dtype: dtypes.dtype) -> bool:
    if type(requires_grad) is not bool:
        raise UnpicklingError("requires_grad must be True or False")
    if requires_grad and not (dtype.is_floating_point or dtype.is_complex):
        raise UnpicklingError(f"a tensor of {dtype.name} can't require grad")
    return requires_grad


def _no_hooks(hooks: Any) -> None:
    if type(hooks) not in (OrderedDict, type(None)) or hooks:
        raise refuse("Unsupported hooks of a tensor")


def _no_such_type(missing: Missing) -> UnpicklingError:
    return UnpicklingError(f"{missing.name}: there are no tensors of this type here")


def check_finished(result: Any) -> None:
    """See that nothing but finished objects is in what a file made.

    Raises:
        pickle.UnpicklingError: a class, a function or a storage by itself is in it.
    """
    for x in contents(result):
        if isinstance(x, Global | Stored | NumpyType):
            name = f"storage {x.key}" if isinstance(x, Stored) else x.name
            raise refuse(f"Unsupported value {name[:200]!r}")
