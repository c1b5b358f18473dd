"""Runs passes over the text of a graph, the verifier between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import get_type_hints

import torch
from torch import Tensor

from lrpc.commands.opt.options import OptError
from lrpc.ir.graph import Graph, Module
from lrpc.ir.printer import print_graph
from lrpc.ir.types import DTYPES, TensorType
from lrpc.ir.verifier import verify_tensors
from passes import AnyPass, JointPass, Joints, LowerRelevance, Pass
from passes.base import run_joint_pipeline, run_pipeline


@dataclass(frozen=True)
class Work:
    """A module on its way through passes. From `lower_relevance` on it is a joint graph, and
    `forward` is what it was made from, `with_ledger` the same with ledger, `start` where relevance
    starts. After a pass over all graphs of a program, all three are the result."""

    module: Module
    forward: Module | None = None
    with_ledger: Module | None = None
    start: str = ""
    joined: bool = False

    @property
    def text(self) -> str:
        """What is printed: one graph, or after a joint pass the forward and both joint graphs."""
        shown = [self.module]
        if self.joined and self.forward is not None and self.with_ledger is not None:
            shown = [self.forward, self.module, self.with_ledger]
        return "\n".join(print_graph(one.graph) for one in shown)


def run(graph: Graph, steps: Sequence[AnyPass], tensors: Mapping[str, Tensor] | None) -> Work:
    """`graph` after `steps`, each verified; LrpcError that names the pass where one fails.

    Without `tensors`, weights are random numbers, the same each time.
    """
    given = Module(graph, weights(graph) if tensors is None else tensors)
    work = Work(verify_tensors(given, "what is given as weights"))
    for step in steps:
        work = _joint(work, step) if _is_joint(step) else _plain(work, step)  # type: ignore[arg-type]
    return work


def _is_joint(step: AnyPass) -> bool:
    return Joints in get_type_hints(type(step).run).values()


def _plain(work: Work, step: Pass) -> Work:
    if work.joined:
        raise OptError(f"pass {step.name} comes after one over all graphs of a program")
    if isinstance(step, LowerRelevance):
        plain, ledger = (
            run_pipeline(work.module, (replace(step, ledger=wanted),))
            for wanted in (step.ledger, True)
        )
        start = work.module.graph.value_at[step.target].name
        return Work(plain, work.module, ledger, start)
    also = None if work.with_ledger is None else run_pipeline(work.with_ledger, (step,))
    return replace(work, module=run_pipeline(work.module, (step,)), with_ledger=also)


def _joint(work: Work, step: JointPass) -> Work:
    if work.forward is None or work.with_ledger is None:
        raise OptError(f"pass {step.name} works on relevance: it comes after lower_relevance")
    pair = (work.module.graph, work.with_ledger.graph)
    found = run_joint_pipeline(Joints(work.forward.graph, (pair,), (work.start,)), (step,))
    plain, ledger = found.pairs[0]
    return replace(
        work,
        module=work.module.with_graph(plain),
        forward=work.forward.with_graph(found.forward),
        with_ledger=work.with_ledger.with_graph(ledger),
        joined=True,
    )


def weights(graph: Graph) -> dict[str, Tensor]:
    """Random tensors for the weights that a graph declares, the same for the same declarations."""
    generator = torch.Generator().manual_seed(0)
    return {name: _random(kind, generator) for name, kind in graph.weights}


def _random(kind: TensorType, generator: torch.Generator) -> Tensor:
    shape = kind.sized({})
    if kind.is_float:
        wide = torch.randn(shape, generator=generator, dtype=torch.float64)
        return wide.to(DTYPES[kind.dtype])
    return torch.randint(0, 2, shape, generator=generator).to(DTYPES[kind.dtype])
