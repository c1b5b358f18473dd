"""The ledger: what each node takes in, passes on and loses, as rows of Σ g ⊙ value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from lrpc.errors import RuleError
from lrpc.ir.blocks import block_of
from lrpc.ir.builder import Builder
from lrpc.ir.graph import Attr, Graph, Node, Value
from lrpc.rules.emission import Emission
from lrpc.rules.folds import batch_axis, folded, images_last

SINKS = (
    *("bias", "epsilon", "sign", "softmax", "position", "detached", "border", "rescale"),
    *("condition", "shared"),
)


class LedgerRows(Emission):
    """Emits ledger rows for the node that is worked for, where a ledger is asked for."""

    def __init__(
        self, graph: Graph, builder: Builder, ledger: bool, tensors: Mapping[str, Tensor]
    ) -> None:
        super().__init__(builder, tensors)
        self.graph, self.ledger = graph, ledger
        self._images_last = images_last(graph) if ledger else frozenset()
        self._moved: dict[tuple[Value, ...], tuple[Value, ...]] = {}
        self._row: Node | None = None  # the last one

    def absorb(self, kind: str, g: Value, value: Value, negative: bool = False) -> None:
        """Enter Σ g ⊙ value into the ledger as sink `kind`; RuleError for an unknown sink."""
        _known(kind)
        self.record(kind, g, value, negative)

    def absorb_relevance(self, kind: str, r: Value, negative: bool = False) -> None:
        """Enter Σ r into the ledger as sink `kind`; RuleError for an unknown sink."""
        _known(kind)
        self.record_relevance(kind, r, negative)

    def record_relevance(self, kind: str, r: Value, negative: bool = False) -> None:
        """A ledger row: Σ r per seed and image, or minus it."""
        if self.ledger:
            one = self.op("full", shape=(1,), value=1.0, dtype=r.type.dtype)
            self.record(kind, r, one, negative)

    def record(
        self, kind: str, g: Value, value: Value, negative: bool = False, rest: bool = False
    ) -> None:
        """A ledger row: Σ g ⊙ value per seed and image, or minus it, or the `rest` that it leaves
        of the row before."""
        if not self.ledger:
            return
        g, value = self._operands(g, value)
        axis, fold = batch_axis(g) or (0, 1)
        pairs: tuple[tuple[str, Attr], ...] = (
            ("batch", axis),
            ("negative", negative),
            ("node", self._node),
            ("kind", kind),
        )
        if fold != 1:  # an extent may be 1 for the example alone
            pairs = (*pairs, ("fold", -fold if self._last(value) else fold))
        pairs = (*pairs, ("rest", True)) if rest else pairs
        node = Node("record", (g, value), (), pairs, rule=self._rule, loc=self._loc)
        self._row = node if rest else self._as_before(node)
        self.builder.nodes.append(self._row)

    def moves(self, g: Value, value: Value, moved: Value, source: Value) -> None:
        """Note that `moved` and `source` have the entries of `g` and `value` in another order, so
        that rows of both are one amount."""
        if all(batch_axis(x) and folded(x) == 1 for x in (g, moved)):
            self._moved[moved, source] = self._moved.get((g, value), (g, value))

    def _as_before(self, row: Node) -> Node:
        """A row, or the same amount in the words of the row before, which then is computed once."""
        last = self._row
        same = last is not None and self._amount_of(last, row.inputs)
        if last is None or not same or last.attr("negative") != row.attr("negative"):
            return row
        attrs = {**dict(row.attrs), "batch": last.integer("batch")}
        return replace(row, inputs=last.inputs, attrs=tuple(attrs.items()))

    def _amount_of(self, row: Node, inputs: tuple[Value, ...]) -> bool:
        """Whether a row of the present block is Σ of the product of these, or minus it."""
        here = block_of(row.loc.module) == block_of(self._loc.module) and not row.attr("rest")
        return here and self._moved.get(row.inputs, row.inputs) == self._moved.get(inputs, inputs)

    def just_booked(self, g: Value, value: Value) -> bool:
        """Whether the row before is Σ g ⊙ value."""
        row = self._row
        own = row is not None and self._amount_of(row, self._operands(g, value))
        return row is not None and own and not row.attr("negative")

    def _operands(self, g: Value, value: Value) -> tuple[Value, Value]:
        """What a row of Σ g ⊙ value reads."""
        value = self.seen(g, value)
        return self.ungated(g, value), value

    def gate(self, g: Value, y: Value) -> Value:
        """`g` where `y` is above 0, and 0 elsewhere."""
        return self.op("gate", g, self.op("compare_scalar", y, kind="gt", value=0.0))

    def seen(self, g: Value, value: Value) -> Value:
        """`value`, or what its ReLU makes of it where `g` came through that: g is 0 wherever the
        two differ."""
        gate = self.builder.made_by(g)
        if gate is None or gate.op != "gate":
            return value
        mask = self.builder.made_by(gate.inputs[1])
        relu = None if mask is None else self.builder.made_by(mask.inputs[0])
        own = relu is not None and relu.op == "relu" and relu.inputs == (value,)
        return relu.out if relu is not None and own else value

    def ungated(self, g: Value, y: Value) -> Value:
        """What `g` was before the gate of a ReLU whose output is `y`: its product with that is the
        same."""
        gate, made = self.builder.made_by(g), self.builder.made_by(y)
        if gate is None or made is None or (gate.op, made.op) != ("gate", "relu"):
            return g
        mask = self.builder.made_by(gate.inputs[1])
        return gate.inputs[0] if mask is not None and _above_zero(mask, y) else g

    def _last(self, value: Value) -> bool:
        """Whether images count fastest in what the current node books about `value`."""
        node = self.graph.producers.get(self._node)
        near = () if node is None else (*node.inputs, *node.outputs)
        return any(v.name in self._images_last for v in (value, *near))


def _above_zero(mask: Node, y: Value) -> bool:
    limit = (mask.attr("kind"), mask.attr("value"))
    return mask.op == "compare_scalar" and mask.inputs == (y,) and limit == ("gt", 0)


def _known(kind: str) -> None:
    if kind not in SINKS:
        raise RuleError(f"no sink is called {kind!r}; there are: {', '.join(SINKS)}")
