"""What each operation of a pickle stream does to the machine that runs it."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from typing import Any

from lrpc.models.checkpoints.records import Known
from lrpc.models.checkpoints.stream import Machine, Persistent

_VALUES: dict[bytes, Callable[[Machine], Any]] = {
    pickle.NONE: lambda m: m.push(None),
    pickle.NEWTRUE: lambda m: m.push(True),
    pickle.NEWFALSE: lambda m: m.push(False),
    pickle.INT: Machine.int_line,
    pickle.LONG: Machine.int_line,
    pickle.BININT: lambda m: m.push(m.number("<i")),
    pickle.BININT1: lambda m: m.push(m.number("<B")),
    pickle.BININT2: lambda m: m.push(m.number("<H")),
    pickle.LONG1: lambda m: m.long("<B"),
    pickle.LONG4: lambda m: m.long("<i"),
    pickle.FLOAT: Machine.float_line,
    pickle.BINFLOAT: lambda m: m.push(m.number(">d")),
    pickle.STRING: Machine.string_line,
    pickle.BINSTRING: lambda m: m.latin("<i"),
    pickle.SHORT_BINSTRING: lambda m: m.latin("<B"),
    pickle.UNICODE: lambda m: m.push(m.line().decode("raw-unicode-escape")),
    pickle.BINUNICODE: lambda m: m.text("<I"),
    pickle.SHORT_BINUNICODE: lambda m: m.text("<B"),
    pickle.BINUNICODE8: lambda m: m.text("<Q"),
    pickle.BINBYTES: lambda m: m.blob("<I"),
    pickle.SHORT_BINBYTES: lambda m: m.blob("<B"),
    pickle.BINBYTES8: lambda m: m.blob("<Q"),
    pickle.BYTEARRAY8: lambda m: m.blob("<Q"),
}
_CONTAINERS: dict[bytes, Callable[[Machine], Any]] = {
    pickle.EMPTY_TUPLE: lambda m: m.push(()),
    pickle.TUPLE: lambda m: m.push(tuple(m.pop_mark())),
    pickle.TUPLE1: lambda m: m.tuple(1),
    pickle.TUPLE2: lambda m: m.tuple(2),
    pickle.TUPLE3: lambda m: m.tuple(3),
    pickle.EMPTY_LIST: lambda m: m.push([]),
    pickle.LIST: lambda m: m.push(m.pop_mark()),
    pickle.APPEND: Machine.append,
    pickle.APPENDS: Machine.extend,
    # Sets are lists here: their members would have to be hashed.
    pickle.EMPTY_SET: lambda m: m.push([]),
    pickle.ADDITEMS: Machine.extend,
    pickle.FROZENSET: lambda m: m.push(m.pop_mark()),
    pickle.EMPTY_DICT: lambda m: m.push({}),
    pickle.DICT: Machine.dict,
    pickle.SETITEM: Machine.setitem,
    pickle.SETITEMS: Machine.setitems,
}
_REST: dict[bytes, Callable[[Machine], Any]] = {
    pickle.PROTO: Machine.check_protocol,
    pickle.FRAME: lambda m: m.number("<Q"),
    pickle.POP: Machine.drop,
    pickle.POP_MARK: lambda m: m.pop_mark(),
    pickle.MARK: Machine.mark,
    pickle.DUP: Machine.dup,
    pickle.GLOBAL: Machine.global_line,
    pickle.STACK_GLOBAL: Machine.stack_global,
    pickle.REDUCE: Machine.reduce,
    pickle.NEWOBJ: Machine.reduce,
    pickle.NEWOBJ_EX: Machine.new_with_names,
    pickle.INST: Machine.inst,
    pickle.OBJ: Machine.obj,
    pickle.BUILD: Machine.build,
    pickle.BINPERSID: Machine.persistent_id,
    pickle.PUT: lambda m: m.put(m.memo_line()),
    pickle.BINPUT: lambda m: m.put(m.number("<B")),
    pickle.LONG_BINPUT: lambda m: m.put(m.number("<I")),
    pickle.MEMOIZE: Machine.memoize,
    pickle.GET: lambda m: m.get(m.memo_line()),
    pickle.BINGET: lambda m: m.get(m.number("<B")),
    pickle.LONG_BINGET: lambda m: m.get(m.number("<I")),
}
_TABLE = {code[0]: step for code, step in (_VALUES | _CONTAINERS | _REST).items()}


def read_stream(
    data: bytes, at: int, names: Mapping[str, Known], persistent: Persistent | None = None
) -> tuple[Any, int]:
    """The value of the pickle stream that starts at `at`, and where it ends.

    `names` are the names that stand for something, `persistent` turns a reference to data outside
    of the stream into a record. Raises Broken or ValueError.
    """
    machine = Machine(data, at, names, persistent)
    return machine.run(_TABLE, pickle.STOP[0]), machine.at
