"""What a rule uses to emit relevance: the relevance that arrived, the builder, and the ledger.

Relevance has two forms. G is relevance per unit of activation, R = value ⊙ G. Rules that are
gradients of a partly detached graph propagate it; it needs no division. R is relevance itself, from
rules that do not distribute it in proportion to the activation. A value may receive both; its
relevance is then value ⊙ G + R. Both have the axis of seeds, K, in front of the axes of the value,
so elementwise products with forward values broadcast.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from lrpc.ir.blocks import block_of
from lrpc.ir.builder import Builder
from lrpc.ir.graph import Graph, Loc, Node, Value
from lrpc.rules.ledger import LedgerRows


@dataclass(frozen=True)
class Arrived:
    """Relevance that reached a value: per unit of activation (`g`), as such (`r`), or both."""

    g: Value | None = None
    r: Value | None = None


class Context(LedgerRows):
    """The state of one backward walk. Rules read what arrived at their node and propagate it."""

    def __init__(
        self,
        graph: Graph,
        builder: Builder,
        reachable: frozenset[str],
        dependent: frozenset[str],
        ledger: bool,
        tensors: Mapping[str, Tensor],
    ) -> None:
        super().__init__(graph, builder, ledger, tensors)
        self._reachable, self._dependent = reachable, dependent
        self._parts: dict[tuple[str, str], list[tuple[str, Value]]] = {}
        self._start = ""

    # -- walking ---------------------------------------------------------------------------------

    def enter(self, node: Node) -> None:
        """Work on behalf of `node` from now on; leaving a block sums what it propagated."""
        if block_of(node.loc.module) != block_of(self._loc.module):
            self.flush()
        self._loc, self._node, self._rule = node.loc, node.outputs[0].name, node.rule

    def mask(self, name: str, node: Node, value: Value, mask: Value) -> None:
        """Let pass of what arrived at `value`, which `node` made, what a mask [K, …] does; the rest
        goes to sink `condition`. Rows of the ledger are those of the condition's own `name`.

        What crosses blocks is masked between them, so that equal blocks share a function.
        """
        came = self.take(value)
        assert came is not None
        inside = block_of(node.loc.module) == block_of(self._loc.module)
        self._loc, self._node, self._rule = (node.loc if inside else Loc()), name, None
        if came.g is not None:
            self._parts["g", value.name] = [
                (block_of(self._loc.module), self._masked(came.g, mask))
            ]
            self.record("out", came.g, value)
            self.record("condition", self._parts["g", value.name][0][1], value, rest=True)
            self.record("in", self._parts["g", value.name][0][1], value)
        if came.r is not None:
            r = self.op("mul", came.r, mask)
            self._parts["r", value.name] = [(block_of(self._loc.module), r)]
            self.record_relevance("out", came.r)
            self.absorb_relevance("condition", came.r)
            self.absorb_relevance("condition", r, negative=True)
            self.record_relevance("in", r)

    def _masked(self, g: Value, mask: Value) -> Value:
        """`g` times a mask, before the gate of a ReLU: its output may still stand for its input."""
        gate = self.builder.made_by(g)
        if gate is None or gate.op != "gate":
            return self.op("mul", g, mask)
        return self.op("gate", self.op("mul", gate.inputs[0], mask), gate.inputs[1])

    def leave(self) -> None:
        """No node is being worked on any more."""
        self.flush()
        self._loc, self._node, self._rule = Loc(), "", None

    def flush(self) -> None:
        """Sum the contributions of different blocks, outside of both."""
        loc, rule = self._loc, self._rule
        self._loc, self._rule = Loc(), None
        for key, parts in self._parts.items():
            if len(parts) > 1:
                total = parts[0][1]
                for _, part in parts[1:]:
                    total = self.op("add", total, part)
                self._parts[key] = [("", total)]
        self._loc, self._rule = loc, rule

    def seed(self, value: Value, g: Value) -> None:
        """Start relevance at `value`, per unit of its activation."""
        self._parts["g", value.name] = [("", g)]
        self._start = value.name

    def take(self, value: Value) -> Arrived | None:
        """All that arrived at `value`, or None where nothing did."""
        g, r = self._total("g", value), self._total("r", value)
        return None if g is None and r is None else Arrived(g, r)

    def _total(self, form: str, value: Value) -> Value | None:
        parts = self._parts.get((form, value.name))
        if parts is None:
            return None
        if len(parts) > 1:
            self.flush()
            parts = self._parts[form, value.name]
        return parts[0][1]

    # -- what arrived ----------------------------------------------------------------------------

    def arrived(self, node: Node, output: int = 0) -> Arrived:
        """Relevance that reached an output of `node`, with the axis K in front."""
        found = self.take(node.outputs[output])
        if found is None:
            raise KeyError(node.outputs[output].name)
        return found

    def per_output(self, node: Node, eps: float) -> Value:
        """s = R_z / stab_ε(z), which the ε rule propagates through the transposed map.

        In G-form it is G ⊙ |z| / (|z| + ε), without a division by an activation. The share of ε
        goes to sink `epsilon`, as does relevance of an output that is exactly 0.
        """
        came, z = self.arrived(node), self.output(node)
        parts = [] if came.g is None else [self.stabilised(came.g, z, eps)]
        if came.r is not None:
            s = self.op("ratio", came.r, z, eps=eps)
            self.absorb_relevance("epsilon", came.r)
            self.record("epsilon", s, z, negative=True)
            parts.append(s)
        return self.total(parts)

    def divided(self, node: Node, divisor: Value, eps: float) -> Value:
        """R_z / stab_ε(divisor), 0 where that is 0: for rules with another denominator."""
        came = self.arrived(node)
        parts = []
        if came.g is not None:
            share = self.op("ratio", self.wide(self.output(node)), self.wide(divisor), eps=eps)
            s = self.op("mul", self.wide(came.g), share)
            parts.append(self.narrow(s, node.out.type.dtype))
        if came.r is not None:
            parts.append(self.op("ratio", came.r, divisor, eps=eps))
        return self.total(parts)

    def output(self, node: Node) -> Value:
        """The output of `node` as far as what arrived there can tell: its ReLU's output, 0 where it
        is below 0, if all relevance came per unit of activation through that. The ReLU's output is
        needed anyway; so the node's own need not be kept."""
        came = self.arrived(node)
        return node.out if came.g is None or came.r is not None else self.seen(came.g, node.out)

    def nothing_below_zero(self, node: Node) -> bool:
        """Whether no relevance can have reached entries of the output of `node` that are below 0:
        it came per unit of activation, all of it through a ReLU."""
        return self.output(node) != node.out

    def relevance(self, node: Node) -> Value:
        """R at the output of `node`, [K, *z]."""
        came = self.arrived(node)
        parts = [] if came.g is None else [self.op("mul", came.g, self.output(node))]
        return self.total(parts if came.r is None else [*parts, came.r])

    def wide_relevance(self, node: Node) -> Value:
        """R at the output of `node`, in float32 where the model is in half precision."""
        came = self.arrived(node)
        parts = (
            []
            if came.g is None
            else [self.op("mul", self.wide(came.g), self.wide(self.output(node)))]
        )
        return self.total(parts if came.r is None else [*parts, self.wide(came.r)])

    # -- what rules use --------------------------------------------------------------------------

    def carries(self, value: Value) -> bool:
        """Whether relevance may flow into `value`."""
        return value.name in self._reachable

    def propagate(self, value: Value, g: Value, kind: str = "") -> None:
        """Propagate `g`, per unit of activation, to `value`; `g` broadcasts to its shape.

        If no relevance can flow into `value`, the share goes to sink `kind`: by default `bias` for
        a constant, and `detached` for what depends on the input.
        """
        if not self.carries(value):
            self.absorb(kind or self._sink(value), g, value)
            return
        self.record("in", g, value)
        self._add("g", value, self.sum_to(g, value.type.shape))

    def propagate_relevance(self, value: Value, r: Value, kind: str = "") -> None:
        """Propagate relevance `r` itself to `value`, as `propagate` does; r is [K, *a shape that
        `value` broadcasts to]."""
        if not self.carries(value):
            self.absorb_relevance(kind or self._sink(value), r)
            return
        self.record_relevance("in", r)
        self._add("r", value, self.sum_to(r, value.type.shape))

    def hand_out(self, node: Node, kind: str, *shares: tuple[Value, Value, str]) -> None:
        """Propagate R to each (value, R, sink) of `shares`; the rest of what arrived at `node`
        goes to sink `kind`."""
        self.absorb_all(node, kind)
        for value, wide, sink in shares:
            r = self.narrow(wide, value.type.dtype)
            self.absorb_relevance(kind, r, negative=True)
            self.propagate_relevance(value, r, sink)

    def move(
        self, node: Node, value: Value, transpose: Callable[[Value], Value], whole: bool = False
    ) -> None:
        """Propagate what arrived at `node` through a map that only moves entries, in either form;
        all of them, each to one place, if `whole`."""
        came = self.arrived(node)
        if came.g is not None:
            g = transpose(came.g)
            if whole:
                self.moves(came.g, node.out, g, value)
            self.propagate(value, g)
        if came.r is not None:
            self.propagate_relevance(value, transpose(came.r))

    def absorb_all(self, node: Node, kind: str) -> None:
        """Book everything that arrived at `node` in sink `kind`."""
        came = self.arrived(node)
        if came.g is not None:
            self.absorb(kind, came.g, node.out)
        if came.r is not None:
            self.absorb_relevance(kind, came.r)

    def record_arrived(self, kind: str, value: Value) -> None:
        """Ledger rows for all that arrived at `value`."""
        came = self.take(value)
        assert came is not None
        if came.g is not None:
            self.record(kind, came.g, value)
        if came.r is not None:
            self.record_relevance(kind, came.r)

    def _add(self, form: str, value: Value, part: Value) -> None:
        parts = self._parts.setdefault((form, value.name), [])
        block = block_of(self._loc.module)
        if parts and parts[-1][0] == block:
            parts[-1] = (block, self.op("add", parts[-1][1], part))
        else:
            parts.append((block, part))

    def _sink(self, value: Value) -> str:
        return "detached" if value.name in self._dependent else "bias"

    def stabilised(self, g: Value, z: Value, eps: float) -> Value:
        """s = G ⊙ z / stab_ε(z) = G ⊙ |z| / (|z| + ε); the rest goes to sink `epsilon`."""
        if eps == 0:
            return g
        s = self.op("mul", g, self.op("stab_ratio", z, eps=eps))
        if self.ledger:
            if self.just_booked(g, z):
                self.record("epsilon", s, z, rest=True)
            else:
                self.absorb("epsilon", self.op("sub", self.ungated(g, z), s), z)
        return s


def dependents(graph: Graph) -> frozenset[str]:
    """Names of the values that depend on a graph input at all."""
    found = {v.name for v in graph.inputs}
    for node in graph.nodes:
        if any(v.name in found for v in node.inputs):
            found.update(v.name for v in node.outputs)
    return frozenset(found)
