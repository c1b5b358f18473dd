"""One node as a Python expression, from the template of its operation."""

from __future__ import annotations

import string
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from lrpc.backend.emission import EMISSION
from lrpc.backend.quoting import literal
from lrpc.errors import ProgramError
from lrpc.ir.ops import TABLE
from lrpc.ir.types import TensorType

TORCH_DTYPES = {
    "f64": "torch.float64",
    "f32": "torch.float32",
    "bf16": "torch.bfloat16",
    "f16": "torch.float16",
    "i64": "torch.int64",
    "i32": "torch.int32",
    "u8": "torch.uint8",
    "bool": "torch.bool",
}


class _Template(string.Formatter):
    def format_field(self, value: Any, spec: str) -> str:
        if spec != "bare":
            return str(value)
        name = str(value).strip('"')  # of a function in torch: the reference knows it
        if not (name.isascii() and name.isidentifier()):
            raise ProgramError(f"{value} names no operation")
        return name


class Operation(Protocol):
    """A node, or what a schedule has for one."""

    @property
    def op(self) -> str: ...

    @property
    def inputs(self) -> Sequence[Typed]: ...

    def attr(self, key: str) -> Any:
        """An attribute by name."""

    def integer(self, key: str) -> int:
        """An attribute that is an integer."""


class Typed(Protocol):
    """An operand."""

    @property
    def type(self) -> TensorType: ...


def render(
    node: Operation,
    inputs: Sequence[str],
    weight: Callable[[Any], str],
    kept: str = "",
    over: int | None = None,
) -> str:
    """The expression that computes `node` from the named `inputs`; `weight` renders a weight's
    name. `kept` ends the arguments of operations that keep a part of their work in the state;
    `over` is the operand to write the result over."""
    row = TABLE[node.op]
    fields: dict[str, str] = {
        key: _attr(row.kind(key), node.attr(key), weight) for key in row.attrs
    }
    fields["inputs"], fields["kept"] = ", ".join(inputs), kept
    if node.op == "slice":
        fields["slice"] = _slice(node)
    emission = EMISSION[node.op]
    text = emission.text if over is None else emission.over[over]
    return _Template().vformat(text, tuple(inputs), fields)


def _attr(kind: str, value: Any, weight: Callable[[Any], str]) -> str:
    if value is None:
        return "None"
    if kind == "weight":
        return weight(value)
    if kind == "dtype":
        return TORCH_DTYPES[str(value)]
    return literal(value)


def _slice(node: Operation) -> str:
    dim, start, stop, step = (node.integer(k) for k in ("dim", "start", "stop", "step"))
    kind = node.inputs[0].type
    size, dim = kind.shape[dim], dim if dim < 0 else dim - kind.rank
    first = str(start) if start else ""
    last = "" if stop == size else str(stop)
    middle = f"{first}:{last}" + (f":{step}" if step != 1 else "")
    return ", ".join(["...", middle, *[":"] * (-1 - dim)])
