"""lower_relevance: lets each node's rule emit its relevance computation into the same graph."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from lrpc.errors import RuleError
from lrpc.ir.builder import Builder
from lrpc.ir.graph import Graph, Loc, Module, Node, Value
from lrpc.ir.types import K, TensorType
from lrpc.rules import find
from lrpc.rules.conditions import Condition, condition
from lrpc.rules.context import Context, dependents
from lrpc.rules.derived import Derived
from passes.reachable import relevance_reachable

SEED = "seed"


@dataclass(frozen=True)
class LowerRelevance:
    """Relevance from the place `target` back to those in `reads`, none beyond `boundaries`.

    The graph gains the input %seed (K in front of the target's own axes, relevance per unit of the
    target's activation), a `read` for every place in `reads` that relevance reaches, with inputs G
    and the value, R, or all three, and with `ledger` a `record` for everything that each node takes
    in, passes on and loses. Weights that rules derive from the model's join the graph.

    Each of `conditions` that relevance reaches gives an input before %seed, a mask [K, …] that
    relevance is multiplied by where it has arrived at that place and has been read: the place of
    the joint graph of the same name.
    """

    target: str
    reads: tuple[str, ...]
    boundaries: tuple[str, ...] = ()
    ledger: bool = False
    conditions: tuple[str, ...] = ()
    name: ClassVar[str] = "lower_relevance"

    def run(self, module: Module) -> Module:
        return self.sharing(Derived(), module)

    def sharing(self, weights: Derived, module: Module) -> Module:
        """What `run` gives; weights that rules derive are those in `weights`, where they are."""
        graph = module.graph
        start = self._mark(graph, self.target)
        builder = Builder(graph.weight_types, [v.name for v in graph.inputs], share=True)
        for node in graph.nodes:
            builder.keep(node)
        seed = Value(builder.name(SEED), TensorType(start.type.dtype, (K, *start.type.shape)))
        ctx = Context(
            graph,
            builder,
            relevance_reachable(graph),
            dependents(graph),
            self.ledger,
            module.tensors,
        )
        ctx.weights = weights
        ctx.seed(start, seed)
        ctx.record("start", seed, start)
        masks = self._walk(graph, ctx)
        joint = replace(
            graph,
            inputs=(*graph.inputs, *(mask for _, mask in masks), seed),
            nodes=tuple(builder.nodes),
            outputs=(),
            weights=tuple(builder.weights.items()),
            places=masks,
        )
        return Module(joint, ctx.tensors)

    def _walk(self, graph: Graph, ctx: Context) -> tuple[tuple[str, Value], ...]:
        """Relevance from the last node to the first; the masks that it met, by condition."""
        found = {one.name: one for one in (condition(graph, name) for name in self.conditions)}
        masks: dict[str, Value] = {}
        reads: dict[str, list[str]] = {}
        for name in self.reads:
            reads.setdefault(self._mark(graph, name).name, []).append(name)
        boundaries = {self._mark(graph, name).name for name in self.boundaries}
        for node in reversed(graph.nodes):
            arrived = [v for v in node.outputs if ctx.take(v) is not None]
            if not arrived:
                continue
            for value in arrived:
                self._read(ctx, value, reads)
            if arrived[0].name in boundaries:
                self._finish(ctx, arrived[0])
                continue
            for one in found.values():
                if one.value in arrived:
                    masks[one.name] = self._mask(ctx, node, one)
            self._emit(ctx, node)
        ctx.leave()
        for value in graph.inputs:
            if ctx.take(value) is not None:
                self._read(ctx, value, reads)
                self._finish(ctx, value)
        return tuple((name, masks[name]) for name in found if name in masks)

    def _mask(self, ctx: Context, node: Node, one: Condition) -> Value:
        mask = Value(ctx.builder.name(f"mask_{one.name}"), one.mask)
        ctx.mask(one.name, node, one.value, mask)
        return mask

    def _emit(self, ctx: Context, node: Node) -> None:
        if node.rule is None:
            raise RuleError(
                f"relevance reaches {node.op} ({node.role or 'no role'}) at {node.loc}, which"
                f" has no rule;"
                " add an entry for it under LRPC.RULES"
            )
        _check_axes(node)
        ctx.enter(node)
        ctx.record_arrived("out", node.out)
        declaration = find(node.op, node.rule.name)
        # An edited graph may name a rule without all of its parameters, or with others.
        declaration.emit(ctx, node, declaration.make(dict(node.rule.params)))

    def _read(self, ctx: Context, value: Value, reads: dict[str, list[str]]) -> None:
        for name in reads.get(value.name, ()):
            came = ctx.take(value)
            assert came is not None
            parts = [] if came.g is None else [came.g, ctx.seen(came.g, value)]
            inputs = tuple(parts if came.r is None else [*parts, came.r])
            ctx.builder.nodes.append(Node("read", inputs, (), (("name", name),), loc=Loc()))

    def _finish(self, ctx: Context, value: Value) -> None:
        ctx.record_arrived("end", value)

    def _mark(self, graph: Graph, name: str) -> Value:
        if name not in graph.value_at:
            known = ", ".join(graph.value_at) or "none"
            raise RuleError(f"@{graph.name} has no place {name!r}; places: {known}")
        return graph.value_at[name]


def _check_axes(node: Node) -> None:
    """Relevance has the seeds axis in front: axes must be counted from the end."""
    if node.op == "permute":
        return
    axes = (*node.integers("dims"),) if node.attr("dims") is not None else ()
    if isinstance(node.attr("dim"), int):
        axes = (*axes, node.integer("dim"))
    if any(axis >= 0 for axis in axes):
        raise RuleError(
            f"%{node.out.name} = {node.op} counts its axis from the front, at {node.loc};"
            " in an edited graph, write it negative"
        )
