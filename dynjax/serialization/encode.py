"""State as a pickle that PyTorch's `torch.load(weights_only=True)` reads, and its storages.

The pickle is written opcode by opcode: only what is listed here can be in it, and what a loader
would refuse is refused while the state still exists.
"""

from __future__ import annotations

import struct
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np

from ..core.devices import device as Device
from ..core.dtypes import dtype as DType
from ..core.size import Size
from ..engine.trace import runner
from ..engine.value import concrete
from ..tensor.parameter import Parameter
from ..tensor.tensor import Tensor, wrap
from .contents import contents
from .names import STORAGE_OF
from .strided import Part, part_of, row_major


class Encoded:
    """A state's pickle and storages.

    Attributes:
        pickle: protocol 2.
        storages: the elements of each storage, 1-dim, in the order of their names "0", "1", ...
    """

    def __init__(self, state: Any) -> None:
        self._out: list[bytes] = [b"\x80\x02"]
        self._memo: dict[Any, int] = {}
        self._kept: list[Any] = []  # ids in the memo stay taken
        self.storages: list[np.ndarray] = []
        self._storage_of: dict[int, tuple[int, Part]] = _storages(state, self.storages)
        self._save(state, "the state")
        self._out.append(b".")
        self.pickle = b"".join(self._out)

    # --- pieces

    def _save(self, x: Any, where: str) -> None:
        if isinstance(x, np.generic) and type(x.item()) in (bool, int, float, complex, str):
            x = x.item()
        if x is None or type(x) is bool:
            self._out.append(b"N" if x is None else b"\x88" if x else b"\x89")
            return
        if self._recall(id(x)):
            return
        save = _SAVE.get(Tensor if isinstance(x, Tensor) else type(x))
        if save is None:
            raise TypeError(f"can't save {where}: {_advice(x)}")
        save(self, x, where)

    def _recall(self, key: Any) -> bool:
        index = self._memo.get(key)
        if index is not None:
            self._out.append(b"h%c" % index if index < 256 else b"j" + struct.pack("<I", index))
        return index is not None

    def _memoize(self, key: Any, x: Any = None) -> None:
        index = self._memo[key] = len(self._memo)
        self._kept.append(x)
        self._out.append(b"q%c" % index if index < 256 else b"r" + struct.pack("<I", index))

    def _name(self, module: str, name: str) -> None:
        if not self._recall((module, name)):
            self._out.append(f"c{module}\n{name}\n".encode())
            self._memoize((module, name))

    def _int(self, x: int, where: str = "") -> None:
        if 0 <= x < 1 << 8:
            self._out.append(b"K%c" % x)
        elif 0 <= x < 1 << 16:
            self._out.append(struct.pack("<cH", b"M", x))
        elif -(1 << 31) <= x < 1 << 31:
            self._out.append(struct.pack("<ci", b"J", x))
        else:
            data = x.to_bytes(x.bit_length() // 8 + 1, "little", signed=True)
            if len(data) > 255:
                raise OverflowError(f"can't save {where}: an integer of {len(data)} bytes")
            self._out.append(b"\x8a%c" % len(data) + data)

    def _float(self, x: float, where: str = "") -> None:
        self._out.append(struct.pack(">cd", b"G", x))

    def _str(self, x: str, where: str = "") -> None:
        if self._recall(x):
            return
        data = x.encode("utf-8", "surrogatepass")
        self._out += [b"X", struct.pack("<I", len(data)), data]
        self._memoize(x)

    def _bytes(self, x: bytes, where: str = "") -> None:
        self._call("_codecs", "encode", x.decode("latin1"), "latin1")
        self._memoize(id(x), x)

    def _bytearray(self, x: bytearray, where: str) -> None:
        self._call("__builtin__", "bytearray", bytes(x))
        self._memoize(id(x), x)

    def _complex(self, x: complex, where: str) -> None:
        self._call("__builtin__", "complex", x.real, x.imag)

    def _call(self, module: str, name: str, *arguments: Any) -> None:
        self._name(module, name)
        self._items(arguments, f"{module}.{name}")
        self._out.append(b"R")

    def _items(self, items: Any, where: str) -> None:
        self._out.append(b"(")
        for k, item in enumerate(items):
            self._save(item, f"{where}[{k}]")
        self._out.append(b"t")

    def _tuple(self, x: tuple, where: str) -> None:
        self._items(x, where)
        if self._memo.get(id(x)) is None:
            self._memoize(id(x), x)

    def _list(self, x: list, where: str) -> None:
        self._out.append(b"]")
        self._memoize(id(x), x)
        self._out.append(b"(")
        for k, item in enumerate(x):
            self._save(item, f"{where}[{k}]")
        self._out.append(b"e")

    def _dict(self, x: dict, where: str) -> None:
        self._out.append(b"}")
        self._memoize(id(x), x)
        self._entries(x, where)

    def _entries(self, x: dict, where: str) -> None:
        self._out.append(b"(")
        for key, value in x.items():
            self._save(key, f"a key of {where}")
            self._save(value, f"{where}[{key!r}]" if type(key) in (str, int) else where)
        self._out.append(b"u")

    def _ordered(self, x: OrderedDict, where: str) -> None:
        self._call("collections", "OrderedDict")
        self._memoize(id(x), x)
        self._entries(x, where)
        if vars(x):
            self._dict(vars(x), f"attributes of {where}")
            self._out.append(b"b")

    def _counter(self, x: Counter, where: str) -> None:
        self._call("collections", "Counter", dict(x))
        self._memoize(id(x), x)

    def _set(self, x: set, where: str) -> None:
        self._call("__builtin__", "set", list(x))
        self._memoize(id(x), x)

    def _size(self, x: Size, where: str) -> None:
        self._call("torch", "Size", tuple(x))
        self._memoize(id(x), x)

    def _device(self, x: Device, where: str) -> None:
        self._call("torch", "device", x.type, *([] if x.index is None else [x.index]))
        self._memoize(id(x), x)

    def _dtype(self, x: DType, where: str) -> None:
        self._name("torch", x.name)

    def _tensor(self, x: Tensor, where: str) -> None:
        attributes = vars(x)
        if type(x) is Parameter:
            name = "_rebuild_parameter" + ("_with_state" if attributes else "")
            self._name("torch._utils", name)
            self._out.append(b"(")
            self._plain(x, False)
        elif attributes:
            self._name("torch._tensor", "_rebuild_from_type_v2")
            self._out.append(b"(")
            self._name("torch._utils", self._way(x))
            self._name("torch", "Tensor")
            self._arguments(x, x.requires_grad)
        else:
            self._plain(x, x.requires_grad)
        if type(x) is Parameter:
            self._save(x.requires_grad, where)
            self._no_hooks()
        if attributes:
            self._dict(attributes, f"attributes of {where}")
        if attributes or type(x) is Parameter:
            self._out.append(b"tR")
        self._memoize(id(x), x)

    def _plain(self, x: Tensor, requires_grad: bool) -> None:
        self._name("torch._utils", self._way(x))
        self._arguments(x, requires_grad)
        self._out.append(b"R")

    def _way(self, x: Tensor) -> str:
        return "_rebuild_tensor_v2" if x.dtype in STORAGE_OF else "_rebuild_tensor_v3"

    def _arguments(self, x: Tensor, requires_grad: bool) -> None:
        key, part = self._storage_of[id(x)]
        typed = x.dtype in STORAGE_OF
        flat = self.storages[key]
        self._out.append(b"((")
        self._str("storage")
        if typed:
            self._name("torch", STORAGE_OF[x.dtype])
        else:
            self._name("torch.storage", "UntypedStorage")
        self._str(str(key))
        self._str(str(x.device))
        self._int(flat.size if typed else flat.nbytes)
        self._out.append(b"tQ")
        self._int(part.offset)
        self._items(part.size, "size")
        self._items(part.stride, "stride")
        self._save(requires_grad, "requires_grad")
        self._no_hooks()
        if not typed:
            self._dtype(x.dtype, "dtype")
        self._out.append(b"t")

    def _no_hooks(self) -> None:
        self._call("collections", "OrderedDict")


_SAVE: dict[type, Callable[[Encoded, Any, str], None]] = {
    str: Encoded._str,
    int: Encoded._int,
    float: Encoded._float,
    Tensor: Encoded._tensor,
    dict: Encoded._dict,
    list: Encoded._list,
    tuple: Encoded._tuple,
    OrderedDict: Encoded._ordered,
    Counter: Encoded._counter,
    set: Encoded._set,
    Size: Encoded._size,
    DType: Encoded._dtype,
    Device: Encoded._device,
    bytes: Encoded._bytes,
    bytearray: Encoded._bytearray,
    complex: Encoded._complex,
}


def _advice(x: Any) -> str:
    kind = f"{type(x).__module__}.{type(x).__qualname__}"
    if hasattr(x, "state_dict"):
        return f"{kind} is an object with code; save its state_dict()"
    if isinstance(x, np.ndarray):
        return "an array of NumPy; save torch.from_numpy(array)"
    known = ", ".join(cls.__name__ for cls in _SAVE)
    return f"{kind} is none of {known}, None and bool, which can be loaded without running code"


def _tensors(state: Any) -> list[Tensor]:
    """Every tensor in a state, once."""
    return [x for x in contents(state) if isinstance(x, Tensor)][::-1]


def _storages(state: Any, storages: list[np.ndarray]) -> dict[int, tuple[int, Part]]:
    """The storage and the part of it that each tensor is, by the tensor's id.

    Tensors that share a storage are parts of one, where they have such a form; a tensor that shares
    its storage with nothing in the state has one of its own, however large that was.

    Args:
        state: what is to be saved.
        storages: to be filled.
    """
    groups: dict[int, list[Tensor]] = {}
    tensors = _tensors(state)
    for tensor in tensors:
        owner = tensor if tensor._alias is None else tensor._alias.storage
        groups.setdefault(id(owner), []).append(tensor)
    found: dict[int, tuple[int, Part]] = {}
    for group in groups.values():
        if len(group) > 1:
            found |= _shared(group, storages)
        for tensor in group:
            if id(tensor) not in found:
                host = tensor._host()
                size = tuple(host.shape)
                found[id(tensor)] = (len(storages), Part(0, size, row_major(size)))
                storages.append(_flat(host))
    return found


def _shared(group: list[Tensor], storages: list[np.ndarray]) -> dict[int, tuple[int, Part]]:
    """Tensors of one storage as parts of it; without those that can't be."""
    value = group[0]._alias.storage.value
    known = concrete(runner.materialize(value), value.kind.with_grad(False, False))
    flat = _flat(wrap(known)._host())
    found: dict[int, tuple[int, Part]] = {}
    for tensor in group:
        host, part = tensor._host(), part_of(tensor._alias)
        if part is not None and host.dtype == flat.dtype:
            # A view may change values on the way, as that of a complex conjugate does.
            if part.of(flat).tobytes() == host.tobytes():
                found[id(tensor)] = (len(storages), part)
    if found:
        storages.append(flat)
    return found


def _flat(host: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(host).reshape(-1)
