"""What runs where a program computes its large maps in bfloat16."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import Tensor

from lrpc.ir.graph import Graph, Module
from lrpc.manifest import Lowered
from passes import run_pipeline
from passes.mixed_precision import MixedPrecision


def narrowed(one: Lowered) -> Lowered:
    """The same code with its large maps in bfloat16; `tensors` keep the model's own besides."""
    names = frozenset(v.name for v in one.graph.values())
    forward = run_pipeline(Module(one.graph, one.tensors[0]), (MixedPrecision(),))
    tensors = [one.tensors[0], forward.tensors]

    def joint(graph: Graph, own: Mapping[str, Tensor]) -> Graph:
        module = run_pipeline(Module(graph, own), (MixedPrecision(forward=names),))
        tensors.append(module.tensors)
        return module.graph

    codes = tuple(
        replace(code, plain=joint(code.plain, own[0]), booked=joint(code.booked, own[1]))
        for code, own in zip(one.codes, _pairs(one.tensors[1:]), strict=True)
    )
    return replace(one, graph=forward.graph, codes=codes, tensors=tuple(tensors))


def _pairs(parts: Sequence[Mapping[str, Tensor]]) -> list[tuple[Mapping[str, Tensor], ...]]:
    """Each target's weights, without and with ledger."""
    return list(zip(parts[::2], parts[1::2], strict=True))
