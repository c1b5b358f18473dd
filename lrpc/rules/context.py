"""What a rule sees while it emits relevance: adjoints, the builder, and the ledger.

A value's adjoint is G, the relevance per unit of activation: R = value ⊙ G (the G-form). It has the
seeds axis K in front of the value's own axes, so elementwise products with forward values
broadcast.
"""

from __future__ import annotations

from lrpc.errors import RuleError
from lrpc.ir.blocks import block_of
from lrpc.ir.builder import Builder
from lrpc.ir.graph import Attr, Graph, Loc, Node, Rule, Value
from lrpc.ir.types import Dim, K, Sym

SINKS = ("bias", "epsilon", "softmax", "position", "detached", "border", "rescale")


class Context:
    """Adjoints of one backward walk. Rules call `g`, `give`, `lose` and the op helpers."""

    def __init__(
        self,
        graph: Graph,
        builder: Builder,
        carrying: frozenset[str],
        dependent: frozenset[str],
        ledger: bool,
    ) -> None:
        self.graph, self.builder, self.ledger = graph, builder, ledger
        self._carrying, self._dependent = carrying, dependent
        self._adjoints: dict[str, list[tuple[str, Value]]] = {}
        self._loc = Loc()
        self._node = ""
        self._rule: Rule | None = None

    # -- walking ---------------------------------------------------------------------------------

    def enter(self, node: Node) -> None:
        """Work on behalf of `node` from now on; leaving a block sums what it gave."""
        if block_of(node.loc.module) != block_of(self._loc.module):
            self.flush()
        self._loc, self._node, self._rule = node.loc, node.outputs[0].name, node.rule

    def leave(self) -> None:
        """No node is being worked on any more."""
        self.flush()
        self._loc, self._node, self._rule = Loc(), "", None

    def flush(self) -> None:
        """Sum the contributions of different blocks, outside of both."""
        loc, rule = self._loc, self._rule
        self._loc, self._rule = Loc(), None
        for name, parts in self._adjoints.items():
            if len(parts) > 1:
                total = parts[0][1]
                for _, part in parts[1:]:
                    total = self.op("add", total, part)
                self._adjoints[name] = [("", total)]
        self._loc, self._rule = loc, rule

    def seed(self, value: Value, g: Value) -> None:
        """Start relevance at `value`."""
        self._adjoints[value.name] = [("", g)]

    def take(self, value: Value) -> Value | None:
        """The whole adjoint of `value`, or None where no relevance arrived."""
        parts = self._adjoints.get(value.name)
        if parts is None:
            return None
        if len(parts) > 1:
            self.flush()
            parts = self._adjoints[value.name]
        return parts[0][1]

    # -- what rules use --------------------------------------------------------------------------

    def g(self, node: Node, output: int = 0) -> Value:
        """The adjoint of an output of `node`, K in front."""
        found = self.take(node.outputs[output])
        if found is None:
            raise KeyError(node.outputs[output].name)
        return found

    def carries(self, value: Value) -> bool:
        """Whether relevance may flow into `value`."""
        return value.name in self._carrying

    def give(self, value: Value, g: Value, kind: str = "") -> None:
        """Send adjoint `g` (any broadcast of `value`) into `value`; what cannot enter it is lost.

        A value that carries no relevance turns its share into sink `kind`, by default `bias` for a
        constant and `detached` for anything that depends on the input.
        """
        if not self.carries(value):
            self.lose(kind or ("detached" if value.name in self._dependent else "bias"), g, value)
            return
        self.record("in", g, value)
        g = self.sum_to(g, value.type.shape)
        parts = self._adjoints.setdefault(value.name, [])
        block = block_of(self._loc.module)
        if parts and parts[-1][0] == block:
            parts[-1] = (block, self.op("add", parts[-1][1], g))
        else:
            parts.append((block, g))

    def lose(self, kind: str, g: Value, value: Value) -> None:
        """Enter Σ g ⊙ value into the ledger as sink `kind`; RuleError for an unknown sink."""
        if kind not in SINKS:
            raise RuleError(f"no sink is called {kind!r}; there are: {', '.join(SINKS)}")
        self.record(kind, g, value)

    def record(self, kind: str, g: Value, value: Value, negative: bool = False) -> None:
        """A ledger row: Σ g ⊙ value per seed and image, or minus it."""
        if not self.ledger:
            return
        pairs: tuple[tuple[str, Attr], ...] = (
            ("batch", self._batch_axis(g)),
            ("negative", negative),
            ("node", self._node),
            ("kind", kind),
        )
        node = Node("record", (g, value), (), pairs, rule=self._rule, loc=self._loc)
        self.builder.nodes.append(node)

    def op(self, name: str, *inputs: Value, hint: str = "", **attrs: Attr | None) -> Value:
        """Emit one operation of the relevance half."""
        return self.builder.one(
            name,
            *inputs,
            hint=hint or f"r_{name}",
            role="relevance",
            rule=self._rule,
            loc=self._loc,
            **attrs,
        )

    def stabilised(self, g: Value, z: Value, eps: float) -> Value:
        """s = G ⊙ z / stab_ε(z) = G ⊙ |z| / (|z| + ε); the difference goes to sink `epsilon`."""
        if eps == 0:
            return g
        s = self.op("mul", g, self.op("stab_ratio", z, eps=eps))
        if self.ledger:
            self.lose("epsilon", self.op("sub", g, s), z)
        return s

    def scaled(self, g: Value, by: float) -> Value:
        """`g` times a number."""
        return g if by == 1 else self.op("scale", g, by=by)

    def constant(self, weight: str) -> Value:
        """A weight as a value."""
        return self.op("constant", weight=weight, hint=weight.rsplit(".", 1)[-1])

    def reshape(self, x: Value, shape: tuple[Dim, ...]) -> Value:
        return x if x.type.shape == shape else self.op("reshape", x, shape=shape)

    def fold(self, g: Value) -> Value:
        """[K, B, …] → [K·B, …], for ops that allow one batch axis."""
        k, b, *rest = g.type.shape
        return self.reshape(g, (_product(k, b), *rest))

    def unfold(self, g: Value, like: Value) -> Value:
        """[K·B, …] → [K, B, …]."""
        return self.reshape(g, (K, like.type.shape[0], *g.type.shape[1:]))

    def sum_to(self, g: Value, shape: tuple[Dim, ...]) -> Value:
        """Sum `g` [K, …] over the axes along which a value of `shape` was broadcast."""
        rank = len(shape)
        extra = g.type.rank - 1 - rank
        if extra > 0:
            dims = tuple(range(-g.type.rank + 1, -rank))
            g = self.op("sum", g, dims=dims, keepdim=False)
        dims = tuple(i - rank for i, d in enumerate(shape) if d == 1 and g.type.shape[i + 1] != 1)
        return self.op("sum", g, dims=dims, keepdim=True) if dims else g

    def _batch_axis(self, g: Value) -> int:
        axes = [i for i, d in enumerate(g.type.shape) if isinstance(d, Sym) and d.batch]
        return axes[0] if axes else 0


def _product(a: Dim, b: Dim) -> Dim:
    return a * b if isinstance(a, Sym) or isinstance(b, Sym) else int(a) * int(b)


def dependents(graph: Graph) -> frozenset[str]:
    """Names of the values that depend on a graph input at all."""
    found = {v.name for v in graph.inputs}
    for node in graph.nodes:
        if any(v.name in found for v in node.inputs):
            found.update(v.name for v in node.outputs)
    return frozenset(found)
