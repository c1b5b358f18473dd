"""Builds graphs node by node: names values, infers their types, keeps program order."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache

from lrpc.errors import IRError
from lrpc.ir.graph import Attr, Loc, Node, Rule, Value
from lrpc.ir.ops import TABLE, infer
from lrpc.ir.ops.row import Op
from lrpc.ir.types import TensorType


class Builder:
    """Collects nodes; `op` appends one and returns its outputs.

    `weights` maps the names that weight attributes may use to their types. With `share=True` an
    operation already emitted on the same operands is returned instead of emitted again.
    """

    def __init__(
        self,
        weights: Mapping[str, TensorType],
        taken: Iterable[str] = (),
        share: bool = False,
    ) -> None:
        self.weights = dict(weights)
        self.nodes: list[Node] = []
        self._counts: dict[str, int] = {}
        self._taken = set(taken)
        self._known: dict[object, tuple[Value, ...]] | None = {} if share else None
        self._makers: dict[str, Node] = {}

    def name(self, hint: str) -> str:
        """A value name that is free, made from `hint`."""
        stem = _stem(hint)
        count = self._counts.get(stem, 0)
        name = stem if count == 0 else f"{stem}_{count}"
        while name in self._taken:
            count += 1
            name = f"{stem}_{count}"
        self._counts[stem] = count + 1
        self._taken.add(name)
        return name

    def op(
        self,
        op: str,
        *inputs: Value,
        hint: str = "",
        role: str = "",
        rule: Rule | None = None,
        loc: Loc | None = None,
        **attrs: Attr | None,
    ) -> tuple[Value, ...]:
        """Append one operation and return its outputs; attributes that are None are left out."""
        row = TABLE[op]
        kept = tuple((k, v) for k in row.attrs if (v := attrs.get(k)) is not None)
        if extra := attrs.keys() - row.attrs.keys():
            raise IRError(f"op {op} has no attribute {sorted(extra)[0]!r}")
        key = (op, inputs, kept)
        if self._known is not None and key in self._known:
            return self._known[key]
        found = weight_types(row, kept, self.weights)
        types = infer(row, tuple(v.type for v in inputs), kept, found)
        outputs = tuple(Value(self.name(hint or op), t) for t in types)
        node = Node(op, inputs, outputs, kept, role, rule, loc or Loc())
        node.found_right(found)
        self._append(node)
        if self._known is not None:
            self._known[key] = outputs
        return outputs

    def made_by(self, value: Value) -> Node | None:
        """The node that made `value`; None for an input."""
        return self._makers.get(value.name)

    def one(self, op: str, *inputs: Value, **options: object) -> Value:
        """`op`, for operations with one output."""
        return self.op(op, *inputs, **options)[0]  # type: ignore[arg-type]

    def _append(self, node: Node) -> None:
        self.nodes.append(node)
        for value in node.outputs:
            self._makers[value.name] = node

    def keep(self, node: Node) -> None:
        """Append a node that already has its values."""
        self._append(node)
        for value in node.outputs:
            self._taken.add(value.name)
        if self._known is not None:
            self._known.setdefault((node.op, node.inputs, node.attrs), node.outputs)


@lru_cache(maxsize=4096)
def _stem(hint: str) -> str:
    """What a name made from `hint` starts with: names of values become names in Python."""
    stem = re.sub(r"\W+", "_", hint).strip("_") or "v"
    return f"v{stem}" if stem[0].isdigit() else stem


def weight_types(
    row: Op,
    attrs: tuple[tuple[str, Attr], ...],
    weights: Mapping[str, TensorType],
) -> tuple[tuple[str, TensorType], ...]:
    """The types of the weight attributes among `attrs`, by attribute name."""
    if not row.weighted:
        return ()
    found = []
    for key, value in attrs:
        if row.kinds.get(key) == "weight":
            if value not in weights:
                raise IRError(f"weight {value!r} is not declared in this graph")
            found.append((key, weights[str(value)]))
    return tuple(found)
