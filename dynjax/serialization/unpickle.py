"""An interpreter of pickles that imports nothing and calls nothing but what it is given.

A pickle is a program for a small stack machine. Here its names are looked up in one table, exactly,
and only what stands in that table is ever called: there is no import, no attribute look-up, no
`__setstate__`, no registry of extensions. Opcodes that PyTorch's files don't need are refused.

Source: the opcodes, as the standard library's `pickletools` documents them.
"""

from __future__ import annotations

import io
import os
import struct
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from pickle import UnpicklingError
from typing import Any, BinaryIO

# What a key may be made of; tuples so deep or so wide that hashing them never ends are not keys.
_MAX_KEY_PARTS = 1000
_MAX_KEY_DEPTH = 8
# What calls may be given altogether, beyond twice the file: each may copy it, and a few bytes call.
_MAX_COPIED = 1 << 20
_SIZED = (str, bytes, bytearray, list, tuple, dict, OrderedDict, Counter, set, frozenset)


class Global:
    """A name of the allow-list that stands for something to call, or for a class.

    Args:
        name: as the file says it.
        call: what makes the object; None if the name can only be mentioned.
    """

    __slots__ = ("call", "name")

    def __init__(self, name: str, call: Callable[..., Any] | None = None) -> None:
        self.name, self.call = name, call


class Source:
    """A file that is read forwards and never asked for more than it has.

    Args:
        file: at the position to begin at; must be able to seek.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.read = file.read
        self.here = file.tell()
        self.size = file.seek(0, os.SEEK_END)
        file.seek(self.here)

    def left(self) -> int:
        """Bytes from here to the end."""
        return self.size - self.file.tell()

    def take(self, n: int) -> bytes:
        """The next `n` bytes.

        Raises:
            EOFError: there are fewer.
        """
        if n > 4096 and n > self.left():
            raise EOFError(f"{n} bytes are announced, {self.left()} are there: the file is cut off")
        data = self.read(n)
        if len(data) != n:
            raise EOFError(f"{n} bytes are announced, {len(data)} are there: the file is cut off")
        return data

    def line(self) -> str:
        """The next line, without its end.

        Raises:
            EOFError: there is none.
        """
        line = self.file.readline(1 << 16)
        if not line.endswith(b"\n"):
            raise EOFError("a line does not end: the file is cut off")
        return line[:-1].decode("utf-8")


def refuse(what: str) -> UnpicklingError:
    """The error for what is not on the list."""
    return UnpicklingError(
        f"{what}. dynjax.load rebuilds tensors, containers, numbers and text, and never runs code "
        "that a file names; nothing was executed."
    )


def shown(value: Any) -> str:
    """A value of a file for a message: of containers the type, since their text may never end."""
    if type(value) in (str, bytes):
        return repr(value[:200])
    return repr(value) if value is None or type(value) is float else type(value).__name__


class Unpickler:
    """Runs one pickle.

    Args:
        source: where the pickle begins.
        names: the allow-list: "module.name" to the object that it stands for, or a `Global`.
        persistent: answers the file's references to what lies outside of the pickle.
        build: `build(object, state)` gives an object the rest of its state, or raises.
        encoding: of Python 2's strings; "bytes" leaves them bytes.
    """

    def __init__(
        self,
        source: Source,
        names: Mapping[str, Any],
        persistent: Callable[[Any], Any] | None = None,
        build: Callable[[Any, Any], None] | None = None,
        encoding: str = "utf-8",
    ) -> None:
        self.source, self.names, self.encoding = source, names, encoding
        self.persistent, self.build = persistent, build
        self.stack: list[Any] = []
        self.outer: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.room = 2 * source.size + _MAX_COPIED

    def load(self) -> Any:
        """The object that the pickle describes.

        Raises:
            pickle.UnpicklingError: a name or an opcode that is not allowed, or no valid pickle.
            EOFError: the file ends before the pickle does.
        """
        read, run = self.source.read, _OPCODES
        opcode = b""
        try:
            while (opcode := read(1)) != b".":
                run[opcode](self)
            if len(self.stack) != 1 or self.outer:
                raise UnpicklingError("the pickle ends with more or less than one object")
            return self.stack[0]
        except (EOFError, UnpicklingError, RecursionError):
            raise
        except Exception as error:  # what a program written by anyone can do to a stack machine
            if opcode == b"":
                raise EOFError("the pickle does not end: the file is cut off") from None
            if opcode not in run:
                raise refuse(f"Unsupported opcode {_opcode_name(opcode)}") from None
            raise UnpicklingError(
                f"damaged or malicious pickle: {_opcode_name(opcode)} failed with "
                f"{type(error).__name__}: {str(error)[:200]}"
            ) from error

    def pop_mark(self) -> list[Any]:
        """What was pushed since the last mark."""
        items = self.stack
        self.stack = self.outer.pop()
        return items

    def find(self, module: str, name: str) -> Any:
        """What a global name stands for.

        Raises:
            pickle.UnpicklingError: it is not on the list.
        """
        full = f"{module}.{name}"
        if module == "__builtin__":  # Python 2's name, which protocol 2 writes
            full = f"builtins.{name}"
        if full not in self.names:
            raise refuse(f"Unsupported global: {full[:200]!r} is not an allowed name")
        return self.names[full]

    def text(self, data: bytes) -> str | bytes:
        """A string of Python 2."""
        return data if self.encoding == "bytes" else data.decode(self.encoding)

    # --- the opcodes that are more than a line

    def call(self) -> None:
        """REDUCE, NEWOBJ: call what is below the arguments."""
        arguments = self.stack.pop()
        function = self.stack[-1]
        if type(arguments) is not tuple:
            raise UnpicklingError(f"arguments must be a tuple, not {type(arguments).__name__}")
        if type(function) is not Global or function.call is None:
            name = function.name if type(function) is Global else type(function).__name__
            raise refuse(f"Unsupported call of {name!r}")
        self.pay(arguments)
        try:
            self.stack[-1] = function.call(*arguments)
        except TypeError as error:
            raise UnpicklingError(f"{function.name}: wrong arguments: {error}") from None

    def set_state(self) -> None:
        """BUILD."""
        state = self.stack.pop()
        target = self.stack[-1]
        if self.build is None:
            raise refuse(f"Unsupported state for {type(target).__name__}")
        self.pay((state,))
        self.build(target, state)

    def pay(self, given: tuple[Any, ...]) -> None:
        """Count what a call is given, which it may copy.

        Raises:
            pickle.UnpicklingError: all calls together were given far more than the file holds.
        """
        self.room -= sum(len(x) for x in given if isinstance(x, _SIZED))
        if self.room < 0:
            raise UnpicklingError(
                f"the pickle copies its objects to far more than the file's {self.source.size} "
                "bytes: refused"
            )

    def persistent_load(self) -> None:
        """BINPERSID."""
        if self.persistent is None:
            raise refuse("Unsupported reference to something outside of the pickle")
        self.stack.append(self.persistent(self.stack.pop()))

    def stack_global(self) -> None:
        """STACK_GLOBAL."""
        name, module = self.stack.pop(), self.stack.pop()
        if type(name) is not str or type(module) is not str:
            raise UnpicklingError("STACK_GLOBAL needs two strings")
        self.stack.append(self.find(module, name))

    def instance(self) -> None:
        """INST: never needed, but the name is worth saying."""
        module, name = self.source.line(), self.source.line()
        raise refuse(f"Unsupported opcode INST for {f'{module}.{name}'[:200]!r}")

    def extend(self, items: list[Any]) -> None:
        """APPEND, APPENDS."""
        target = self.stack[-1]
        if type(target) is not list:
            raise UnpicklingError(f"can't append to {type(target).__name__}")
        target.extend(items)

    def add(self) -> None:
        """ADDITEMS."""
        items = self.pop_mark()
        target = self.stack[-1]
        if type(target) is not set:
            raise UnpicklingError(f"can't add to {type(target).__name__}")
        target.update(map(as_key, items))

    def set_items(self, items: list[Any]) -> None:
        """SETITEM, SETITEMS."""
        target = self.stack[-1]
        if type(target) not in (dict, OrderedDict, Counter):
            raise UnpicklingError(f"can't set items of {type(target).__name__}")
        for key, value in pairs(items):
            target[key] = value

    def text_int(self) -> int | bool:
        """INT, which also wrote True and False once."""
        line = self.source.line()
        return {"00": False, "01": True}[line] if line in ("00", "01") else int(line)

    def text_string(self) -> str | bytes:
        """STRING: Python 2's repr; what is escaped in it is not needed by anybody."""
        line = self.source.line()
        if len(line) < 2 or line[0] != line[-1] or line[0] not in "'\"" or "\\" in line:
            raise UnpicklingError("the STRING opcode's text is not quoted, or is escaped")
        return self.text(line[1:-1].encode())

    def mark(self) -> None:
        """MARK."""
        self.outer.append(self.stack)
        self.stack = []

    def pop(self) -> None:
        """POP."""
        if self.stack:
            self.stack.pop()
        else:
            self.pop_mark()

    def number(self, form: str) -> Any:
        """A number of fixed size."""
        return struct.unpack(form, self.source.take(struct.calcsize(form)))[0]

    def block(self, form: str) -> bytes:
        """Bytes that say first how many they are."""
        return self.source.take(self.number(form))

    def unicode(self, form: str) -> str:
        """Text that says first how many bytes it has."""
        return str(self.block(form), "utf-8", "surrogatepass")


def as_key(key: Any) -> Any:
    """An object to be hashed: refused where hashing could recurse or run without end."""
    if not isinstance(key, tuple | frozenset):
        return key
    level, count = [key], 0
    for _ in range(_MAX_KEY_DEPTH):
        level = [part for x in level if isinstance(x, tuple | frozenset) for part in x]
        count += len(level)
        if not level:
            return key
        if count > _MAX_KEY_PARTS:
            break
    raise UnpicklingError("a tuple is too deep or too large to be a key")


def pairs(items: list[Any]) -> list[tuple[Any, Any]]:
    """Keys and values that alternate, as pairs."""
    if len(items) % 2:
        raise UnpicklingError("a key has no value")
    return list(zip(map(as_key, items[::2]), items[1::2], strict=True))


def _opcode_name(opcode: bytes) -> str:
    from pickletools import code2op  # large, and only needed to say what is wrong

    known = code2op.get(opcode.decode("latin1"))
    return known.name if known else repr(opcode)


def _long(data: bytes) -> int:
    return int.from_bytes(data, "little", signed=True)


def _put(machine: Unpickler, index: int) -> None:
    machine.memo[index] = machine.stack[-1]


def _tuple(n: int) -> Callable[[Unpickler], None]:
    def run(m: Unpickler) -> None:
        if len(m.stack) < n:
            raise IndexError("the stack is empty")
        m.stack[-n:] = [tuple(m.stack[-n:])]

    return run


def _push(make: Callable[[Unpickler], Any]) -> Callable[[Unpickler], None]:
    def run(m: Unpickler) -> None:
        made = make(m)  # which may replace the stack
        m.stack.append(made)

    return run


_PUSHED: dict[bytes, Callable[[Unpickler], Any]] = {
    b"N": lambda m: None,
    b"\x88": lambda m: True,
    b"\x89": lambda m: False,
    b"I": Unpickler.text_int,
    b"J": lambda m: m.number("<i"),
    b"K": lambda m: m.source.take(1)[0],
    b"M": lambda m: m.number("<H"),
    b"L": lambda m: int(m.source.line().rstrip("L")),
    b"\x8a": lambda m: _long(m.block("<B")),
    b"\x8b": lambda m: _long(m.block("<I")),
    b"F": lambda m: float(m.source.line()),
    b"G": lambda m: m.number(">d"),
    b"S": Unpickler.text_string,
    b"T": lambda m: m.text(m.block("<I")),
    b"U": lambda m: m.text(m.block("<B")),
    b"X": lambda m: m.unicode("<I"),
    b"\x8c": lambda m: m.unicode("<B"),
    b"\x8d": lambda m: m.unicode("<Q"),
    b"B": lambda m: m.block("<I"),
    b"C": lambda m: m.block("<B"),
    b"\x8e": lambda m: m.block("<Q"),
    b"\x96": lambda m: bytearray(m.block("<Q")),
    b"]": lambda m: [],
    b")": lambda m: (),
    b"}": lambda m: {},
    b"\x8f": lambda m: set(),
    b"l": Unpickler.pop_mark,
    b"t": lambda m: tuple(m.pop_mark()),
    b"d": lambda m: dict(pairs(m.pop_mark())),
    b"\x91": lambda m: frozenset(map(as_key, m.pop_mark())),
    b"c": lambda m: m.find(m.source.line(), m.source.line()),
    b"g": lambda m: m.memo[int(m.source.line())],
    b"h": lambda m: m.memo[m.source.take(1)[0]],
    b"j": lambda m: m.memo[m.number("<I")],
    b"2": lambda m: m.stack[-1],
}
_OPCODES: dict[bytes, Callable[[Unpickler], Any]] = {
    **{opcode: _push(make) for opcode, make in _PUSHED.items()},
    b"\x80": lambda m: m.number("<B"),  # PROTO
    b"\x95": lambda m: m.number("<Q"),  # FRAME
    b"(": Unpickler.mark,
    b"0": Unpickler.pop,
    b"1": lambda m: m.pop_mark(),
    b"\x85": _tuple(1),
    b"\x86": _tuple(2),
    b"\x87": _tuple(3),
    b"a": lambda m: m.extend([m.stack.pop()]),
    b"e": lambda m: m.extend(m.pop_mark()),
    b"s": lambda m: m.set_items([m.stack.pop(-2), m.stack.pop()]),
    b"u": lambda m: m.set_items(m.pop_mark()),
    b"\x90": Unpickler.add,
    b"p": lambda m: _put(m, int(m.source.line())),
    b"q": lambda m: _put(m, m.source.take(1)[0]),
    b"r": lambda m: _put(m, m.number("<I")),
    b"\x94": lambda m: _put(m, len(m.memo)),
    b"\x93": Unpickler.stack_global,
    b"R": Unpickler.call,
    b"\x81": Unpickler.call,
    b"b": Unpickler.set_state,
    b"Q": Unpickler.persistent_load,
    b"i": Unpickler.instance,
}


def loads(data: bytes, names: Mapping[str, Any], **options: Any) -> Any:
    """The object that a pickle in memory describes; `Unpickler` says what the arguments are."""
    return Unpickler(Source(io.BytesIO(data)), names, **options).load()
