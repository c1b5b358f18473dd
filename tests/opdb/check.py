"""What the compiler makes of one call: right, refused, said, or a fault."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lrpc.errors import LrpcError
from lrpc.frontend import Imported, import_model, rebuilt
from lrpc.ir.interpreter import interpret
from tests.opdb.calls import Call
from tests.opdb.samples import copied

SIZES = (1, 2, 5)

#: What a user must not meet in a message: our classes, files and private words.
PRIVATE = re.compile(
    r"Proxy|\bSym\b|Sym\(|Stored|ImageNumbers|Missing\b|\bRef\(|FakeTensor|meta tensor|lrpc[/.]\w|"
    r"row in the|its row|op table|IRError|\b10007\b|\b10009\b|nearest supported|object at 0x|Traceback"
)
PLACE = re.compile(r"\bat (?:[\w.]*, )?[\w/]+\.py:\d+|^input 'x\d'|the model returns")


@dataclass(frozen=True)
class Verdict:
    """`kind`: right, refused, said (fixed to the example, and noted), skipped (torch itself does
    not take it), unchecked, random; or a fault: wrong, raw, private, placeless."""

    kind: str
    text: str = ""

    @property
    def fault(self) -> bool:
        return self.kind in ("wrong", "raw", "private", "placeless", "unchecked")


def verdict(call: Call) -> Verdict:
    """Import the call's model, and hold the graph against it on other values and batch sizes."""
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        images = 2 if call.way[1] == "own" else 1
        example = call.example(images)
        if isinstance(_eager(call, example), Exception):
            return Verdict("skipped")
        try:
            imported = import_model(call.model, copied(example), unbatched=call.unbatched)
        except LrpcError as error:
            return _refusal(str(error))
        except Exception as error:
            return Verdict("raw", f"{type(error).__name__}: {error}")
        return _held(call, imported, example)


def _eager(call: Call, inputs: dict[str, Tensor]) -> Any:
    """What the model gives; the exception where it takes no such inputs."""
    try:
        return call.model(**copied(inputs))
    except Exception as error:
        return error


def _refusal(text: str) -> Verdict:
    if PRIVATE.search(text):
        return Verdict("private", text)
    return Verdict("refused" if PLACE.search(text) else "placeless", text)


def _held(call: Call, imported: Imported, example: dict[str, Tensor]) -> Verdict:
    first = _compared(call, imported, example)
    if first.kind != "right" or imported.decisions:
        return Verdict("said", imported.decisions[0]) if imported.decisions else first
    checked = 0
    for beside in (False, True):
        for size in SIZES:
            found = _compared(call, imported, call.other(size, 100 * size, beside))
            if found.kind == "right":
                checked += 1
            elif found.kind != "skipped":
                return found
        if checked:
            return Verdict("right")
    return Verdict("unchecked", "no other values fit the call")


def _compared(call: Call, imported: Imported, inputs: dict[str, Tensor]) -> Verdict:
    wanted, again = _eager(call, inputs), _eager(call, inputs)
    if isinstance(wanted, Exception):
        return Verdict("skipped")
    if not _same(wanted, again):
        return Verdict("wrong", "the call is random, and was accepted")
    try:
        values = interpret(imported.module.graph, imported.module.tensors, copied(inputs))
    except Exception as error:
        return Verdict("raw", f"the graph does not run: {type(error).__name__}: {error}")
    found = rebuilt(imported.structure, values)
    if not _same(found, wanted):
        return Verdict("wrong", f"{_short(found)} is not {_short(wanted)}")
    return Verdict("right")


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, (tuple, list)):
        return isinstance(b, (tuple, list)) and len(a) == len(b) and all(map(_same, a, b))
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(_same(a[k], b[k]) for k in a)
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        alike = a.dtype == b.dtype and a.shape == b.shape
        loose = 1e-9 if a.dtype in (torch.float64, torch.complex128) else 1e-3
        return alike and torch.allclose(a, b, rtol=loose, atol=loose / 100, equal_nan=True)
    return type(a) is type(b) and (a == b or (a != a and b != b))


def _short(found: Any) -> str:
    return str(found).replace("\n", " ")[:160]
