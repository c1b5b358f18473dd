"""A joint graph run by the reference interpreter: relevance at every read, every ledger row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from lrpc.ir.graph import Module, Node
from lrpc.ir.interpreter import run_node, sizes_of
from lrpc.program.build import Watch
from lrpc.program.interpreted import read_out
from passes import CLEANING, run_pipeline
from passes.lower_relevance import LowerRelevance


@dataclass(frozen=True)
class JointRun:
    """R by place, and the ledger's rows (node, kind, amount [K, B])."""

    places: dict[str, Tensor]
    rows: list[tuple[str, str, Tensor]]

    def total(self, *kinds: str) -> Tensor:
        """The rows of some kinds summed up; of none: of all sinks."""
        apart = ("start", "out", "in", "end")
        own = [a for _, kind, a in self.rows if (kind in kinds if kinds else kind not in apart)]
        return sum(own, torch.zeros_like(self.rows[0][2]))

    @property
    def largest(self) -> float:
        """The largest flow: of any row, and of the entries at any place."""
        amounts = [a.abs().max() for _, _, a in self.rows]
        places = [r.abs().max() for r in self.places.values() if r.numel()]
        return float(torch.stack([*amounts, *places]).max())

    @property
    def open(self) -> float:
        """|start − end − Σ sinks|, the largest of any seed and image."""
        return float((self.total("start") - self.total("end") - self.total()).abs().max())

    def open_nodes(self) -> dict[str, float]:
        """|out − in − Σ sinks| at every node."""
        rest: dict[str, Tensor] = {}
        for node, kind, amount in self.rows:
            if kind not in ("start", "end"):
                part = amount if kind == "out" else -amount
                rest[node] = rest[node] + part if node in rest else part
        return {node: float(r.abs().max()) for node, r in rest.items()}


def lowered(
    module: Module, target: str, ledger: bool, clean: bool = False, watch: Watch | None = None
) -> Module:
    """The joint module from the place `target` to every other place; with `clean` simplified."""
    lower = LowerRelevance(target, tuple(module.graph.value_at), (), ledger)
    steps = (lower, *(CLEANING if clean else ()))
    return run_pipeline(module, steps, lambda step, m: watch(step.name, m) if watch else None)


def run_joint(
    joint: Module,
    inputs: Mapping[str, Tensor],
    seed: Tensor,
    known: Mapping[str, Tensor] | None = None,
) -> JointRun:
    """Run all nodes of `joint` but those whose values are `known`."""
    given = {**inputs, joint.graph.inputs[-1].name: seed}
    values, sizes = {**(known or {}), **given}, sizes_of(joint.graph, given)
    places: dict[str, Tensor] = {}
    rows: list[tuple[str, str, Tensor]] = []
    with torch.no_grad():
        for node in joint.graph.nodes:
            operands = tuple(values[v.name] for v in node.inputs if v.name in values)
            if node.op == "read":
                places[str(node.attr("name"))] = read_out(operands)
            elif node.op == "record":
                amount = _amount(node, *operands)
                amount = rows[-1][2] - amount if node.attr("rest") else amount
                rows.append((str(node.attr("node")), str(node.attr("kind")), amount))
            elif any(v.name not in values for v in node.outputs):
                made = run_node(node, joint.tensors, operands, sizes)
                values.update((v.name, t) for v, t in zip(node.outputs, made, strict=True))
    return JointRun(places, rows)


def _amount(node: Node, g: Tensor, x: Tensor) -> Tensor:
    """Σ g ⊙ x by seed and image; of a merged axis by the order in which it counts images."""
    product, axis = torch.where(g == 0, 0.0, g * x), node.integer("batch")
    rest = [i for i in range(1, product.dim()) if i != axis or not axis]
    total = product.sum(rest) if rest else product
    total = total if axis else total[:, None]
    fold = node.integer("fold") if node.attr("fold") is not None else 1
    if fold > 1:
        total = total.unflatten(1, (-1, fold)).sum(2)
    if fold < -1:
        total = total.unflatten(1, (-fold, -1)).sum(1)
    return -total if node.attr("negative") else total
