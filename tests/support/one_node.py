"""One operation with one rule, lowered and run by the reference interpreter: what goes where."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from lrpc.ir.builder import Builder
from lrpc.ir.graph import Graph, Module, Node, Value
from lrpc.ir.interpreter import run_node
from lrpc.ir.types import DTYPES, NAMES, B, TensorType
from lrpc.ir.verifier import verify
from lrpc.program.interpreted import read_out
from lrpc.rules import make
from passes.lower_relevance import LowerRelevance
from passes.reachable import relevance_reachable

Run = Callable[
    [Node, Mapping[str, Tensor], tuple[Tensor, ...], Mapping[str, int]], tuple[Tensor, ...]
]


@dataclass(frozen=True)
class Case:
    """An operation on `inputs` (batch first); `weights` by attribute; `constants` are inputs that
    hang on no graph input, at the places their numbers say. An activation may stand before it, and
    behind it a linear map of the last axis with rule `pass`, through which relevance arrives as
    R and not as G, or `after` it an activation."""

    op: str
    inputs: tuple[Tensor, ...]
    attrs: dict[str, Any] = field(default_factory=dict)
    weights: dict[str, Tensor] = field(default_factory=dict)
    constants: dict[int, Tensor] = field(default_factory=dict)
    role: str = ""
    before: str = ""
    behind: Tensor | None = None
    after: str = ""

    def node(self, builder: Builder, given: list[Value], rule: Any) -> tuple[Value, ...]:
        values = list(given)
        if self.before:
            activation = make(self.before, "pass")
            values[0] = builder.one(self.before, values[0], rule=activation)
        for place, _ in sorted(self.constants.items()):
            values.insert(place, builder.one("constant", weight=f"c{place}"))
        named: dict[str, Any] = {key: f"w_{key}" for key in self.weights}
        return builder.op(
            self.op, *values, hint="z", role=self.role, rule=rule, **self.attrs, **named
        )


@dataclass(frozen=True)
class Flow:
    """R at every input that carries it, the ledger's sums by kind, each [K, B], and the nodes that
    ran; what was `given` to an input, per unit of its activation or as R itself, by name."""

    z: Tensor
    inputs: list[Tensor]
    booked: dict[str, Tensor]
    given: dict[str, Tensor]
    nodes: tuple[Node, ...]

    @property
    def sinks(self) -> dict[str, Tensor]:
        return {k: v for k, v in self.booked.items() if k not in ("start", "out", "in", "end")}


def flow(
    case: Case,
    rule: str,
    g: Tensor,
    itself: bool = False,
    run: Run = run_node,
    offset: float = 0.0,
    **params: object,
) -> Flow:
    """Send the relevance z ⊙ g, g [K, *z.shape], through `case` under `rule`; with a map behind it,
    the relevance (that map's output) ⊙ g.

    It arrives per unit of activation, or `itself`, as R = (z + offset) ⊙ g; behind a map as R.
    `run` computes one node; amounts are read and booked in float64.
    """
    tensors = {f"w_{k}": t for k, t in case.weights.items()}
    tensors |= {f"c{k}": t for k, t in case.constants.items()}
    if case.behind is not None:
        tensors["w_behind"] = case.behind
    given = [Value(f"x{i}", _type(t, batch=True)) for i, t in enumerate(case.inputs)]
    builder = Builder({k: _type(t) for k, t in tensors.items()}, [v.name for v in given])
    z = case.node(builder, given, make(case.op, rule, params))[0]
    end = _as_relevance(builder, z, tensors, offset) if itself else z
    if case.behind is not None:
        end = builder.one("linear", z, weight="w_behind", rule=make("linear", "pass"))
    if case.after:
        end = builder.one(case.after, z, rule=make(case.after, "pass"))
    weights = tuple((k, _type(t)) for k, t in tensors.items())
    graph = Graph("one", tuple(given), tuple(builder.nodes), (("z", end),), weights)
    names = relevance_reachable(graph)
    able_inputs = [v for v in given if v.name in names]
    places = (("end", end), *((v.name, v) for v in able_inputs))
    graph = replace(graph, places=places)
    verify(graph, "the test")
    lower = LowerRelevance("end", tuple(v.name for v in able_inputs), ledger=True)
    lowered = lower.run(Module(graph, tensors))
    joint = lowered.graph
    verify(joint, "lower_relevance")
    values = {v.name: t for v, t in zip(given, case.inputs, strict=True)}
    values[joint.inputs[-1].name] = g
    read = [v.name for v in able_inputs]
    return _run(joint, lowered.tensors, values, z.name, read, g.shape[0], run)


def _as_relevance(builder: Builder, z: Value, tensors: dict[str, Tensor], offset: float) -> Value:
    """z + offset under a rule that gives R itself to z."""
    tensors["offset"] = torch.full((1,), offset, dtype=DTYPES[z.type.dtype])
    builder.weights["offset"] = _type(tensors["offset"])
    constant = builder.one("constant", weight="offset")
    return builder.one("add", z, constant, hint="itself", rule=make("add", "skip"))


def _run(
    joint: Graph,
    tensors: Mapping[str, Tensor],
    values: dict[str, Tensor],
    z: str,
    names: list[str],
    seeds: int,
    run: Run,
) -> Flow:
    batch = next(iter(values.values())).shape[0]
    read: dict[str, Tensor] = {}
    booked: dict[str, Tensor] = {}
    given: dict[str, Tensor] = {}
    last = torch.zeros(())  # the row before
    for node in joint.nodes:
        inputs = tuple(values[v.name] for v in node.inputs)
        if node.op == "read":
            read[str(node.attr("name"))] = read_out(tuple(v.double() for v in inputs))
            given[str(node.attr("name"))] = inputs[0]
        elif node.op == "record":
            if node.attr("node") == "itself":  # the node added behind
                continue
            amount = (inputs[0].double() * inputs[1].double()).masked_fill(inputs[0] == 0, 0.0)
            axis = node.integer("batch")
            rest = [i for i in range(1, amount.dim()) if i != axis or not axis]
            total = amount.sum(rest) if rest else amount
            total = total if axis else total[:, None]
            kind = str(node.attr("kind"))
            amount = last - total if node.attr("rest") else total
            last = -amount if node.attr("negative") else amount
            booked[kind] = booked.get(kind, torch.zeros(())) + last
        else:
            made = run(node, tensors, inputs, {"B": batch, "K": seeds})
            values.update((v.name, t) for v, t in zip(node.outputs, made, strict=True))
    nothing = torch.zeros(seeds, dtype=torch.float64)
    held = [read.get(name, nothing) for name in names]
    return Flow(values[z], held, booked, given, joint.nodes)


def _type(t: Tensor, batch: bool = False) -> TensorType:
    shape = (B, *t.shape[1:]) if batch else tuple(t.shape)
    return TensorType(NAMES[t.dtype], shape)
