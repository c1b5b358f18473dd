"""One operation with one rule, lowered and run by the reference interpreter: what goes where."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from lrpc.ir.builder import Builder
from lrpc.ir.graph import Graph, Module, Value
from lrpc.ir.interpreter import run_node
from lrpc.ir.types import NAMES, B, TensorType
from lrpc.ir.verifier import verify
from lrpc.rules import make
from passes.lower_relevance import LowerRelevance


@dataclass(frozen=True)
class Case:
    """An operation on `inputs` (batch first); `weights` by attribute; `constants` are inputs that
    hang on no graph input, at the places their numbers say."""

    op: str
    inputs: tuple[Tensor, ...]
    attrs: dict[str, Any] = field(default_factory=dict)
    weights: dict[str, Tensor] = field(default_factory=dict)
    constants: dict[int, Tensor] = field(default_factory=dict)
    role: str = ""

    def node(self, builder: Builder, given: list[Value], rule: Any) -> tuple[Value, ...]:
        values = list(given)
        for place, _ in sorted(self.constants.items()):
            values.insert(place, builder.one("constant", weight=f"c{place}"))
        named: dict[str, Any] = {key: f"w_{key}" for key in self.weights}
        return builder.op(
            self.op, *values, hint="z", role=self.role, rule=rule, **self.attrs, **named
        )


@dataclass(frozen=True)
class Flow:
    """R at every float input, and the ledger's sums by kind, each [K, B]."""

    z: Tensor
    inputs: list[Tensor]
    booked: dict[str, Tensor]

    @property
    def sinks(self) -> dict[str, Tensor]:
        return {k: v for k, v in self.booked.items() if k not in ("start", "out", "in", "end")}


def flow(case: Case, rule: str, g: Tensor, **params: object) -> Flow:
    """Send the relevance z ⊙ g, g [K, *z.shape], through `case` under `rule`."""
    tensors = {f"w_{k}": t for k, t in case.weights.items()}
    tensors |= {f"c{k}": t for k, t in case.constants.items()}
    given = [Value(f"x{i}", _type(t, batch=True)) for i, t in enumerate(case.inputs)]
    builder = Builder({k: _type(t) for k, t in tensors.items()}, [v.name for v in given])
    z = case.node(builder, given, make(case.op, rule, params))[0]
    floats = [v for v in given if v.type.is_float]
    marks = (("z", z), *((v.name, v) for v in floats))
    weights = tuple((k, _type(t)) for k, t in tensors.items())
    graph = Graph("one", tuple(given), tuple(builder.nodes), (("z", z),), weights, marks)
    verify(graph, "the test")
    lower = LowerRelevance("z", tuple(v.name for v in floats), ledger=True)
    joint = lower.run(Module(graph, tensors)).graph
    verify(joint, "lower_relevance")
    values = {v.name: t for v, t in zip(given, case.inputs, strict=True)}
    values[joint.inputs[-1].name] = g
    return _run(joint, tensors, values, z.name, [v.name for v in floats], g.shape[0])


def _run(
    joint: Graph,
    tensors: dict[str, Tensor],
    values: dict[str, Tensor],
    z: str,
    names: list[str],
    seeds: int,
) -> Flow:
    batch = next(iter(values.values())).shape[0]
    read: dict[str, Tensor] = {}
    booked: dict[str, Tensor] = {}
    for node in joint.nodes:
        inputs = tuple(values[v.name] for v in node.inputs)
        if node.op == "read":
            read[str(node.attr("name"))] = inputs[0] * inputs[1]
        elif node.op == "record":
            amount = inputs[0] * inputs[1]
            axis = node.integer("batch")
            rest = [i for i in range(1, amount.dim()) if i != axis or not axis]
            total = amount.sum(rest) if rest else amount
            total = total if axis else total[:, None]
            kind = str(node.attr("kind"))
            sign = -1 if node.attr("negative") else 1
            booked[kind] = booked.get(kind, torch.zeros(())) + sign * total
        else:
            made = run_node(node, tensors, inputs, {"B": batch, "K": seeds})
            values.update((v.name, t) for v, t in zip(node.outputs, made, strict=True))
    nothing = torch.zeros(seeds, dtype=torch.float64)
    return Flow(values[z], [read.get(name, nothing) for name in names], booked)


def _type(t: Tensor, batch: bool = False) -> TensorType:
    shape = (B, *t.shape[1:]) if batch else tuple(t.shape)
    return TensorType(NAMES[t.dtype], shape)
