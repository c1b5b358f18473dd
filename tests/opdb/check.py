"""What the compiler makes of one call: right, refused, said, or a fault."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lrpc.errors import LrpcError
from lrpc.frontend import Imported, import_model
from lrpc.ir.interpreter import interpret
from lrpc.ir.types import B, Sym
from lrpc.runtime.results import rebuild
from tests.opdb.calls import Call
from tests.opdb.samples import copied

SIZES = (1, 2, 5)

#: What a user must not meet in a message: our classes, files and private words.
PRIVATE = re.compile(
    r"Proxy|\bSym\b|Sym\(|Stored|ImageNumbers|Missing\b|\bRef\(|FakeTensor|meta tensor|lrpc[/.]\w|"
    r"row in the|its row|op table|IRError|\b10007\b|\b10009\b|nearest supported|"
    r"object at 0x|Traceback"
)
PLACE = re.compile(r"\bat (?:[\w.]*, )?[\w/]+\.py:\d+|^input 'x\d'|model returns")


@dataclass(frozen=True)
class Verdict:
    """`kind`: right, refused, said (fixed to the example, and noted), skipped (torch itself does
    not take it), unchecked, random; or a fault: wrong, raw, private, placeless, mixed."""

    kind: str
    text: str = ""

    @property
    def fault(self) -> bool:
        return self.kind in ("wrong", "raw", "private", "placeless", "unchecked", "mixed")


def verdict(call: Call) -> Verdict:
    """Import the call's model, and hold the graph against it on other values and batch sizes."""
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        images = 2 if call.way[1] == "own" else 1
        example = call.example(images)
        wanted = _eager(call, example)
        declined = isinstance(wanted, dict) and wanted["found"] == "NotImplemented"
        if isinstance(wanted, Exception) or declined:
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
    if "empty" in call.name:  # numbers that nobody has set: anything is right
        return Verdict("right")
    if imported.decisions:
        return Verdict("said", imported.decisions[0])
    if not _same(_eager(call, example), _eager(call, example)):
        return Verdict("wrong", "no two of these calls agree, and it was accepted")
    first = _compared(call, imported, example)
    if first.kind != "right":
        return first
    checked = 0
    for beside in (False, True):
        for size in SIZES:
            found = _compared(call, imported, call.other(size, 100 * size, beside))
            if found.kind == "right":
                checked += 1
            elif found.kind != "skipped":
                return found
        if checked:
            return _apart(call, imported) or Verdict("right")
    return Verdict("unchecked", "no other values fit the call")


def _compared(call: Call, imported: Imported, inputs: dict[str, Tensor]) -> Verdict:
    wanted = _eager(call, inputs)
    if isinstance(wanted, Exception):
        return Verdict("skipped")
    try:
        values = interpret(imported.module.graph, imported.module.tensors, copied(inputs))
    except Exception as error:
        return Verdict("raw", f"the graph does not run: {type(error).__name__}: {error}")
    found = rebuild(imported.structure, values)
    if not _same(found, wanted):
        return Verdict("wrong", f"{_short(found)} is not {_short(wanted)}")
    return Verdict("right")


def _apart(call: Call, imported: Imported) -> Verdict | None:
    """A fault where what the graph says of an image depends on the images beside it."""
    graph, tensors = imported.module.graph, imported.module.tensors
    batched = [k for k in call.like if k not in call.unbatched]
    inputs = call.other(3, 7, beside=False)
    if not batched:
        return None
    together = interpret(graph, tensors, copied(inputs))
    for i in range(3):
        one = {k: x.narrow(0, i, 1) if k in batched else x for k, x in inputs.items()}
        alone = interpret(graph, tensors, copied(one))
        for name, value in graph.outputs:
            axes = [a for a, extent in enumerate(value.type.shape) if extent == B]
            folded = any(isinstance(e, Sym) and e != B for e in value.type.shape)
            whole = together[name].narrow(axes[0], i, 1) if axes else together[name]
            if len(axes) < 2 and not folded and not _same(whole, alone[name]):
                return Verdict("mixed", "the result of an image depends on others")
    return None


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
