"""The ledger: what each node takes in, passes on and loses, as rows of Σ g ⊙ value."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from lrpc.errors import RuleError
from lrpc.ir.builder import Builder
from lrpc.ir.graph import Attr, Graph, Node, Value
from lrpc.rules.emission import Emission
from lrpc.rules.folds import batch_axis, images_last

SINKS = ("bias", "epsilon", "softmax", "position", "detached", "border", "rescale")


class LedgerRows(Emission):
    """Emits ledger rows for the node that is worked for, where a ledger is asked for."""

    def __init__(
        self, graph: Graph, builder: Builder, ledger: bool, tensors: Mapping[str, Tensor]
    ) -> None:
        super().__init__(builder, tensors)
        self.graph, self.ledger = graph, ledger
        self._images_last = images_last(graph) if ledger else frozenset()

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

    def record(self, kind: str, g: Value, value: Value, negative: bool = False) -> None:
        """A ledger row: Σ g ⊙ value per seed and image, or minus it."""
        if not self.ledger:
            return
        axis, fold = batch_axis(g) or (0, 1)
        pairs: tuple[tuple[str, Attr], ...] = (
            ("batch", axis),
            ("negative", negative),
            ("node", self._node),
            ("kind", kind),
        )
        if fold > 1:
            pairs = (*pairs, ("fold", -fold if self._last(value) else fold))
        node = Node("record", (g, self.seen(g, value)), (), pairs, rule=self._rule, loc=self._loc)
        self.builder.nodes.append(node)

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

    def _last(self, value: Value) -> bool:
        """Whether images count fastest in what the current node books about `value`."""
        node = self.graph.producers.get(self._node)
        near = () if node is None else (*node.inputs, *node.outputs)
        return any(v.name in self._images_last for v in (value, *near))


def _known(kind: str) -> None:
    if kind not in SINKS:
        raise RuleError(f"no sink is called {kind!r}; there are: {', '.join(SINKS)}")
