"""A pickle machine that calls nothing: plain values, and descriptions of tensors and arrays.

Neither `pickle` nor `torch.load` holds what a stream claims against what the file has: forty bytes
make them allocate gigabytes, or hash for hours. Here every length is checked against the bytes that
are left, the memo is a table of what was put there, keys of mappings are text or small numbers, and
the number of operations is bounded, so that time and memory are linear in the file. A class or
function that is not known is never looked up: it is a `Foreign` with its name, and so is whatever
the stream makes of it; what the stream puts into it is left out.
"""

from __future__ import annotations

import codecs
import struct
from collections.abc import Callable, Mapping
from typing import Any

from lrpc.models.checkpoints.records import Array, Broken, DType, Foreign, Known

#: Operations of one file: some hundred thousand tensors. A large checkpoint has about 10⁵.
OPERATIONS = 5_000_000
_DIGITS = 1000  # of a number, in characters or bytes
_KEY_RANGE = 2**31  # whole numbers in it hash to themselves: no two collide for long
_COPIED = 4096  # bytes
_NAME = 200  # characters of a name with its module: three bytes may join two long texts again
_PROTOCOL = 5

Persistent = Callable[[Any], Any]


class Machine:
    """Runs one pickle stream in `data` from `at` on; `names` are the known names."""

    def __init__(
        self, data: bytes, at: int, names: Mapping[str, Known], persistent: Persistent | None
    ) -> None:
        self._data = data
        self._view = memoryview(data)
        self.at = at
        self._names = names
        self._persistent = persistent
        self._stack: list[Any] = []
        self._marks: list[list[Any]] = []
        self._memo: dict[int, Any] = {}

    def run(self, table: Mapping[int, Callable[[Machine], Any]], stop: int) -> Any:
        """The value of the stream: `table` holds what each operation does, `stop` ends it. `at` is
        then behind it. Raises Broken, or a ValueError for numbers and text that are none."""
        data = self._data
        for _ in range(OPERATIONS):
            if self.at >= len(data):
                raise Broken("it ends too early")
            code = data[self.at]
            self.at += 1
            if code == stop:
                return self.pop()
            step = table.get(code)
            if step is None:
                raise Broken("it holds an operation that checkpoints have no use for")
            step(self)
        raise Broken(f"it holds more than {OPERATIONS} operations")

    # -- bytes ---------------------------------------------------------------------------------

    def take(self, count: int) -> memoryview:
        if count < 0 or count > len(self._data) - self.at:
            raise Broken("a length reaches beyond its end")
        self.at += count
        return self._view[self.at - count : self.at]

    def number(self, form: str) -> Any:
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def line(self) -> bytes:
        end = self._data.find(b"\n", self.at)
        if end < 0:
            raise Broken("it ends too early")
        line = self._data[self.at : end]
        self.at = end + 1
        return line

    # -- the stack -----------------------------------------------------------------------------

    def pop(self) -> Any:
        if not self._stack:
            raise Broken("its operations do not fit together")
        return self._stack.pop()

    def drop(self) -> None:
        """What POP does: a mark goes where nothing lies above it."""
        if self._stack or not self._marks:
            self.pop()
        else:
            self._stack = self._marks.pop()

    def pop_mark(self) -> list[Any]:
        if not self._marks:
            raise Broken("its operations do not fit together")
        items, self._stack = self._stack, self._marks.pop()
        return items

    def push(self, value: Any) -> None:
        self._stack.append(value)

    def top(self, kind: type[Any]) -> Any:
        if not self._stack or not isinstance(self._stack[-1], kind):
            raise Broken("its operations do not fit together")
        return self._stack[-1]

    def mark(self) -> None:
        self._marks.append(self._stack)
        self._stack = []

    def dup(self) -> None:
        self.push(self.top(object))

    # -- values --------------------------------------------------------------------------------

    def int_line(self) -> None:
        line = self.line()
        if line in (b"00", b"01"):
            return self.push(line == b"01")
        if len(line) > _DIGITS:
            raise Broken("a number has too many digits")
        return self.push(int(line.rstrip(b"L")))

    def long(self, form: str) -> None:
        count = self.number(form)
        if count > _DIGITS:
            raise Broken("a number has too many digits")
        self.push(int.from_bytes(self.take(count), "little", signed=True))

    def float_line(self) -> None:
        line = self.line()
        if len(line) > _DIGITS:
            raise Broken("a number has too many digits")
        self.push(float(line))

    def string_line(self) -> None:
        line = self.line().strip()
        if len(line) < 2 or line[:1] not in (b"'", b'"') or line[-1:] != line[:1]:
            raise Broken("a text lacks its quotes")
        self.push(codecs.escape_decode(line[1:-1])[0].decode("latin1"))

    def text(self, form: str) -> None:
        self.push(str(self.take(self.number(form)), "utf-8", "surrogatepass"))

    def latin(self, form: str) -> None:
        self.push(str(self.take(self.number(form)), "latin1"))

    def blob(self, form: str) -> None:
        """Bytes: of many as they lie in the file, of few a copy, which takes less."""
        data = self.take(self.number(form))
        self.push(data if len(data) > _COPIED else bytes(data))

    def tuple(self, count: int) -> None:
        if len(self._stack) < count:
            raise Broken("its operations do not fit together")
        items = tuple(self._stack[len(self._stack) - count :])
        del self._stack[len(self._stack) - count :]
        self.push(items)

    def _filled(self, kind: type[Any]) -> Any:
        """The container on the stack; one that nobody keeps where it is of a class not known."""
        return kind() if isinstance(self.top(object), Foreign) else self.top(kind)

    def _put_items(self, target: dict[Any, Any], items: list[Any]) -> None:
        if len(items) % 2:
            raise Broken("a mapping lacks a value")
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[_key(key)] = value

    def dict(self) -> None:
        items, made = self.pop_mark(), dict[Any, Any]()
        self._put_items(made, items)
        self.push(made)

    def setitem(self) -> None:
        value, key = self.pop(), self.pop()
        self._filled(dict)[_key(key)] = value

    def setitems(self) -> None:
        items = self.pop_mark()
        self._put_items(self._filled(dict), items)

    def append(self) -> None:
        value = self.pop()
        self._filled(list).append(value)

    def extend(self) -> None:
        items = self.pop_mark()
        self._filled(list).extend(items)

    # -- names and what they make --------------------------------------------------------------

    def _global(self, module: object, name: object) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise Broken("a name is no text")
        module = "builtins" if module == "__builtin__" else module
        if len(module) + len(name) > _NAME:
            raise Broken("a name is too long")
        known = self._names.get(f"{module}.{name}")
        found = known or Foreign(f"{module}.{name}")
        self.push(found if known is None or known.value is None else known.value)

    def global_line(self) -> None:
        module, name = self.line(), self.line()
        self._global(module.decode("utf-8"), name.decode("utf-8"))

    def stack_global(self) -> None:
        name, module = self.pop(), self.pop()
        self._global(module, name)

    def reduce(self) -> None:
        arguments, called = self.pop(), self.pop()
        self._call(called, arguments)

    def new_with_names(self) -> None:
        _, arguments, called = self.pop(), self.pop(), self.pop()
        self._call(called if isinstance(called, Foreign) else None, arguments)

    def inst(self) -> None:
        arguments = tuple(self.pop_mark())
        self.global_line()
        self._call(self.pop(), arguments)

    def obj(self) -> None:
        called, *arguments = self.pop_mark() or [None]
        self._call(called, tuple(arguments))

    def _call(self, called: Any, arguments: Any) -> None:
        """Push what a known name makes of its arguments, or what is not known as it is."""
        if isinstance(called, Known) and called.make and isinstance(arguments, tuple):
            called = called.make(arguments)
        elif not isinstance(called, Foreign):
            raise Broken("it calls what cannot be called")
        self.push(called)

    def build(self) -> None:
        """State of arrays and their types; that of mappings (a state dict's versions) is left."""
        state = self.pop()
        target = self.top(object)
        if isinstance(target, Array):
            if not isinstance(state, tuple) or len(state) not in (4, 5):
                raise Broken("an array's state has another form")
            target.shape, target.dtype, fortran, target.data = state[-4:]
            target.fortran = fortran is True or fortran == 1
        elif isinstance(target, DType):
            if not isinstance(state, tuple) or len(state) < 2 or not isinstance(state[1], str):
                raise Broken("an array type's state has another form")
            target.order = state[1]

    def persistent_id(self) -> None:
        if self._persistent is None:
            raise Broken("it refers to data outside of it")
        self.push(self._persistent(self.pop()))

    # -- memo ----------------------------------------------------------------------------------

    def put(self, index: int) -> None:
        self._memo[index] = self.top(object)

    def memoize(self) -> None:
        self.put(len(self._memo))

    def get(self, index: int) -> None:
        try:
            self.push(self._memo[index])
        except KeyError:
            raise Broken("it refers to a value that it never made") from None

    def memo_line(self) -> int:
        line = self.line()
        if len(line) > 20:
            raise Broken("a number has too many digits")
        return int(line)

    def check_protocol(self) -> None:
        if self.number("<B") > _PROTOCOL:
            raise Broken("its protocol is unknown")


def _key(key: Any) -> Any:
    """A key as it is if it is cheap to hash and no two unequal ones collide, else one of a kind."""
    if type(key) is str or (isinstance(key, int) and abs(key) < _KEY_RANGE):
        return key
    return Foreign("a key that is neither text nor a number")
