"""One node as a Python expression, from the template of its operation."""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol, cast

from lrpc.backend.broadcast import BROADCAST, repeated
from lrpc.backend.emission import EMISSION
from lrpc.backend.quoting import literal
from lrpc.errors import ProgramError
from lrpc.ir.ops import TABLE
from lrpc.ir.types import Dim, TensorType

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


#: The kinds of attributes that count or measure something.
SIZES = ("dim", "dims", "int", "ints", "count", "counts", "pairs")


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
    said: Mapping[str, str] | None = None,
    pair: Callable[[Any], str] | None = None,
) -> str:
    """The expression that computes `node` from the named `inputs`; `weight` renders a weight's
    name. `kept` ends the arguments of operations that keep a part of their work in the state;
    `over` is the operand to write the result over; `said` has the texts of some `sizes`; `pair`
    renders weight and bias in one, from `paired`."""
    row = TABLE[node.op]
    fields: dict[str, str] = {
        key: _attr(row.kind(key), node.attr(key), weight) for key in row.attrs
    }
    fields |= {key: literal(value) for key, value in sizes(node).items()}
    fields |= said or {}
    fields["inputs"], fields["kept"] = ", ".join(inputs), kept
    if node.op == "slice":
        fields["slice"] = _slice(node, fields)
    elif node.op == "reshape":
        method, axis, count = reshape_form(node)
        fields["form"] = f"{method}({', '.join([*axis, *[fields['shape']] * count])})"
    if "bias" in row.attrs and "weight" in row.attrs:
        both = paired(node) if pair is not None else None
        fields["affine"] = pair(both) if both and pair else "{weight}, {bias}".format(**fields)
        fields["weights"] = fields["affine"] if node.attr("bias") else fields["weight"]
    inputs = [_in_runs(text, *last) for text, last in zip(inputs, repeats(node), strict=True)]
    emission = EMISSION[node.op]
    more = [(key, fields[key]) for key, usual in emission.more if fields[key] != literal(usual)]
    fields["more"] = "".join(f", {key}={text}" for key, text in more)
    text = emission.text if over is None else emission.over[over]
    return _Template().vformat(text, tuple(inputs), fields)


def repeats(node: Operation) -> tuple[tuple[int, ...], ...]:
    """To which last axes each operand is repeated first."""
    types = [value.type for value in node.inputs]
    if node.op not in BROADCAST:
        return ((),) * len(types)
    return tuple(repeated(own, types) for own in types)


def _in_runs(text: str, *last: int) -> str:
    return f"in_runs({text}, {', '.join(map(str, last))})" if last else text


def paired(node: Operation) -> Any:
    """The name of the weight with a `*` where that of the bias differs, where that is all; or
    None."""
    row = TABLE[node.op]
    if "bias" not in row.attrs or "weight" not in row.attrs:
        return None
    weight, bias = node.attr("weight"), node.attr("bias")
    if weight is None or bias is None or type(weight) is not type(bias):
        return None
    own = isinstance(weight, str)
    first, second = (weight, bias) if own else (weight.name, bias.name)
    before, word, after = first.rpartition("weight")
    if not word or "*" in first or f"{before}bias{after}" != second:
        return None
    return f"{before}*{after}" if own else replace(weight, name=f"{before}*{after}")


def sizes(node: Operation) -> dict[str, Any]:
    """What the text of a node says of sizes and counts, by attribute."""
    row = TABLE[node.op]
    found = {key: node.attr(key) for key in row.attrs if row.kind(key) in SIZES}
    if node.op == "slice":
        dim, stop = node.integer("dim"), node.integer("stop")
        if stop == node.inputs[0].type.shape[dim]:
            del found["stop"]
        if not node.integer("start"):
            del found["start"]
    elif node.op == "reshape":
        method, _, _ = reshape_form(node)
        if method != "reshape":
            found = _split(node) if method == "unflatten" else {}
    return {key: value for key, value in found.items() if value is not None}


def reshape_form(node: Operation) -> tuple[str, list[str], int]:
    """How a reshape is written: the method, its axes, and whether a shape follows."""
    before, after = node.inputs[0].type.shape, _shape(node)
    ends = _same_ends(before, after)
    if len(after) < len(before) and len(after) - ends[0] - ends[1] == 1:
        last = len(before) - ends[1] - 1
        return "flatten", [str(_axis(ends[0], before)), str(_axis(last, before))], 0
    if len(after) > len(before) and len(before) - ends[0] - ends[1] == 1:
        return "unflatten", [str(_axis(ends[0], before))], 1
    return "reshape", [], 1


def _split(node: Operation) -> dict[str, Any]:
    """The extents that an axis is split into."""
    before, after = node.inputs[0].type.shape, _shape(node)
    first, last = _same_ends(before, after)
    shape = after[first : len(after) - last]
    large = [i for i, extent in enumerate(shape) if extent != 1]
    if len(large) == 1 and isinstance(shape[large[0]], int):
        shape = tuple(-1 if extent != 1 else 1 for extent in shape)  # as many as there are
    return {"shape": shape}


def _same_ends(before: Sequence[Dim], after: Sequence[Dim]) -> tuple[int, int]:
    """How many of the first and of the other last axes two shapes have in common."""
    most = min(len(before), len(after)) - 1
    first = next((i for i in range(most) if before[i] != after[i]), max(most, 0))
    last = next((i for i in range(most - first) if before[-1 - i] != after[-1 - i]), most - first)
    return first, max(last, 0)


def _axis(axis: int, shape: Sequence[Dim]) -> int:
    """An axis as it reads best: the last ones from the end."""
    return axis - len(shape) if axis >= 2 else axis


def _shape(node: Operation) -> tuple[Dim, ...]:
    return cast("tuple[Dim, ...]", node.attr("shape"))


def _attr(kind: str, value: Any, weight: Callable[[Any], str]) -> str:
    if value is None:
        return "None"
    if kind == "weight":
        return weight(value)
    if kind == "dtype":
        return TORCH_DTYPES[str(value)]
    return literal(value)


def _slice(node: Operation, fields: Mapping[str, str]) -> str:
    dim, step, size = node.integer("dim"), node.integer("step"), node.inputs[0].type
    dim = dim if dim < 0 else dim - size.rank
    own = sizes(node)
    first, last = (fields[key] if key in own else "" for key in ("start", "stop"))
    middle = f"{first}:{last}" + (f":{step}" if step != 1 else "")
    return ", ".join(["...", middle, *[":"] * (-1 - dim)])
