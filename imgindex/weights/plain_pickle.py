"""Pickles as plain data, never unpickled.

A pickle is a program, and it is never run here. Its opcodes are read one by one by a small
interpreter that knows only those that build plain data, and the few names torch writes for tensors
(those of its first releases included); anything else is refused. What comes out is dictionaries,
lists, tuples, numbers, text, and `Tensor` records that say where their numbers lie.
"""

from __future__ import annotations

import pickletools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from imgindex.graph import brief, printable

if TYPE_CHECKING:
    import io
    from collections.abc import Iterable

DTYPES = {
    "torch.FloatStorage": "<f4",
    "torch.DoubleStorage": "<f8",
    "torch.HalfStorage": "<f2",
    "torch.BFloat16Storage": "<u2",
    "torch.LongStorage": "<i8",
    "torch.IntStorage": "<i4",
    "torch.ShortStorage": "<i2",
    "torch.CharStorage": "<i1",
    "torch.ByteStorage": "<u1",
    "torch.BoolStorage": "<u1",
}
_REBUILD = {"torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2"}
_PARAMETER = {"torch._utils._rebuild_parameter", "torch.nn.parameter.Parameter"}
_NAMES = {"collections.OrderedDict", "torch.Size", *DTYPES, *_REBUILD, *_PARAMETER}
_LITERALS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_VALUES = frozenset(
    {
        "INT",
        "BININT",
        "BININT1",
        "BININT2",
        "LONG",
        "LONG1",
        "LONG4",
        "FLOAT",
        "BINFLOAT",
        "STRING",
        "BINSTRING",
        "SHORT_BINSTRING",
        "UNICODE",
        "BINUNICODE",
        "SHORT_BINUNICODE",
        "BINUNICODE8",
        "BINBYTES",
        "SHORT_BINBYTES",
    }
)
_EMPTY = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_MOST_SIDES = 64


class RefusedError(Exception):
    """The pickle holds something that is not plain data; the text says what."""


@dataclass(frozen=True, slots=True)
class _Name:
    """A global the pickle names; never looked up, never called."""

    text: str


@dataclass(frozen=True, slots=True)
class Storage:
    """A run of ``count`` numbers kept beside the pickle under ``key``."""

    kind: str
    key: str
    count: int

    @property
    def bytes(self) -> int:
        """Its length in the file."""
        return self.count * np.dtype(DTYPES[self.kind]).itemsize


@dataclass(frozen=True, slots=True)
class Tensor:
    """A view of a storage; offset and strides count elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def load(file: io.BytesIO) -> Any:
    """Read one pickle as plain data.

    Raises:
        RefusedError: it holds an opcode or a name that plain data does not need.
        ValueError: it is damaged.
    """
    machine = _Machine()
    try:
        for opcode, argument, _ in pickletools.genops(file):
            if opcode.name == "STOP":
                return machine.pop()
            machine.step(opcode.name, argument)
    except (IndexError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"its pickle is damaged ({brief(error)})") from error
    raise ValueError("its pickle is cut off")


class _Machine:
    """The stack of a pickle, for the opcodes that build plain data."""

    def __init__(self) -> None:
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}

    def pop(self) -> Any:
        return self._stack.pop()

    def _since_mark(self) -> list[Any]:
        start = self._marks.pop()
        items = self._stack[start:]
        del self._stack[start:]
        return items

    def step(self, name: str, argument: Any) -> None:  # noqa: C901, PLR0912, PLR0915 - an arm an opcode
        push = self._stack.append
        match name:
            case "PROTO" | "FRAME":
                pass
            case "MARK":
                self._marks.append(len(self._stack))
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                self._memo[argument] = self._stack[-1]
            case "MEMOIZE":
                self._memo[len(self._memo)] = self._stack[-1]
            case "GET" | "BINGET" | "LONG_BINGET":
                push(self._memo[argument])
            case "TUPLE":
                push(tuple(self._since_mark()))
            case "APPEND":
                item = self.pop()
                _of(list, self._stack[-1]).append(item)
            case "APPENDS":
                items = self._since_mark()
                _of(list, self._stack[-1]).extend(items)
            case "SETITEM":
                value, key = self.pop(), self.pop()
                _fill(_of(dict, self._stack[-1]), [(key, value)])
            case "SETITEMS":
                items = self._since_mark()
                pairs = zip(items[::2], items[1::2], strict=True)
                _fill(_of(dict, self._stack[-1]), pairs)
            case "GLOBAL":
                push(_name(argument.replace(" ", ".")))
            case "STACK_GLOBAL":
                attribute, module = self.pop(), self.pop()
                push(_name(f"{_of(str, module)}.{_of(str, attribute)}"))
            case "BINPERSID":
                push(_storage(self.pop()))
            case "REDUCE" | "NEWOBJ":
                arguments, called = self.pop(), self.pop()
                push(_build(called, arguments))
            case "BUILD":
                # A state_dict's own attributes, or a parameter's flags: neither holds weights.
                self.pop()
                if not isinstance(self._stack[-1], dict | Tensor):
                    raise RefusedError(
                        "a state set on something that is no tensor and no dictionary"
                    )
            case _ if name in _LITERALS:
                push(_LITERALS[name])
            case _ if name in _VALUES:
                push(argument)
            case _ if name in _EMPTY:
                push(_EMPTY[name]())
            case _ if name in _TUPLES:
                items = self._stack[-_TUPLES[name] :]
                if len(items) != _TUPLES[name]:
                    raise IndexError("stack is too short")
                self._stack[-_TUPLES[name] :] = [tuple(items)]
            case _:
                raise RefusedError(f"pickle opcode {name}, which plain weights do not need")


def _of(kind: type, value: Any) -> Any:
    if type(value) is not kind:
        raise TypeError(f"a {type(value).__name__} where a {kind.__name__} belongs")
    return value


def _fill(table: dict[Any, Any], pairs: Iterable[Any]) -> None:
    """Add entries; a key that is a structure could take for ever to hash, or overflow the stack."""
    for key, value in pairs:
        if type(key) not in {str, int}:
            raise RefusedError(f"a dictionary's key that is a {type(key).__name__}")
        table[key] = value


def _name(text: str) -> _Name:
    if text not in _NAMES:
        raise RefusedError(
            f"it calls for '{printable(text)}'; weights need no such thing, and it was not run"
        )
    return _Name(text)


def _storage(persistent: Any) -> Storage:
    match persistent:
        case ("storage", _Name(text=kind), str(key), _, int(count), *views) if kind in DTYPES:
            if count < 0 or any(view is not None for view in views):
                raise RefusedError(f"storage {printable(key)} of a negative length, or with a view")
            return Storage(kind, key, count)
    raise RefusedError("a reference to something that is no storage")


def _build(called: Any, arguments: Any) -> Any:
    name = called.text if isinstance(called, _Name) else None
    match name, arguments:
        case "collections.OrderedDict", ():
            return {}
        case "collections.OrderedDict", (list(pairs),):
            table: dict[Any, Any] = {}
            _fill(table, pairs)
            pairs.clear()  # they have moved: one list called for many times would fill the memory
            return table
        case "torch.Size", (list() | tuple() as sides,) if len(sides) <= _MOST_SIDES:
            return tuple(sides)
        case _, (Storage() as storage, int(offset), shape, strides, *_) if name in _REBUILD:
            if not len(shape) == len(strides) <= _MOST_SIDES:
                raise RefusedError("a tensor with another number of strides than of sides")
            shape, strides = (tuple(_of(int, side) for side in sides) for sides in (shape, strides))
            if any(side < 0 for side in shape):
                raise RefusedError("a tensor with a negative side")
            return Tensor(storage, offset, shape, strides)
        case _, (Tensor() as tensor, *_) if name in _PARAMETER:
            return tensor
    raise RefusedError(f"a call of {name or 'a value'} with arguments that no tensor has")
