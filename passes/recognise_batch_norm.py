"""Finds batch norm with frozen statistics, spelled as a product and a sum, and names it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from lrpc.ir.graph import Graph, Module, Node, Value
from passes.eliminate_dead import EliminateDead
from passes.kinds import CONVOLUTIONS
from passes.rewrite import Rewriter, rewrite


@dataclass(frozen=True)
class RecogniseBatchNorm:
    """Replaces γ·x + β by `batch_norm`, where γ and β are constants with a number for each channel
    and x is what a convolution makes, which nothing else reads.

    Detectors write it so, with γ and β computed from the statistics that their backbone was trained
    with.
    """

    name: ClassVar[str] = "recognise_batch_norm"

    def run(self, module: Module) -> Module:
        graph = module.graph
        found = {n.out.name: f for n in graph.nodes if (f := _spelled(graph, n)) is not None}
        if not found:
            return module

        def emit(node: Node, new: Rewriter) -> tuple[Value, ...] | None:
            frozen = found.get(node.out.name) if node.outputs else None
            return None if frozen is None else (frozen.emitted(node, new),)

        return EliminateDead().run(rewrite(module, emit))


@dataclass(frozen=True)
class _Frozen:
    source: Value
    gain: Node
    shift: Node

    def emitted(self, node: Node, new: Rewriter) -> Value:
        gain, shift = (_flat(new, constant) for constant in (self.gain, self.shift))
        like = new.tensors[gain]
        mean = new.weight(f"{gain}@mean", torch.zeros_like(like))
        var = new.weight(f"{gain}@var", torch.ones_like(like))
        source = new.now(self.source)
        return new.one("batch_norm", source, hint=node.out.name, loc=node.loc, weight=gain,
                       bias=shift, mean=mean, var=var, eps=0.0)  # fmt: skip


def _flat(new: Rewriter, constant: Node) -> str:
    name = str(constant.attr("weight"))
    return new.weight(f"{name}@channels", torch.flatten(new.tensors[name]))


def _spelled(graph: Graph, node: Node) -> _Frozen | None:
    if node.op != "add":
        return None
    for product, other in (node.inputs, node.inputs[::-1]):
        shift, times = _per_channel(graph, other, node.out), graph.producers.get(product.name)
        if shift is None or times is None or times.op != "mul" or not _alone(graph, product):
            continue
        for source, factor in (times.inputs, times.inputs[::-1]):
            gain, made = _per_channel(graph, factor, source), graph.producers.get(source.name)
            convolved = made is not None and made.op in CONVOLUTIONS
            if gain is not None and convolved and source.type == node.out.type:
                return _Frozen(source, gain, shift) if _alone(graph, source) else None
    return None


def _per_channel(graph: Graph, value: Value, like: Value) -> Node | None:
    """The node of a constant with a number for each entry of axis 1 of `like`, [B, C, H, W]."""
    node, shape = graph.producers.get(value.name), value.type.shape
    if node is None or node.op != "constant" or like.type.rank != 4 or len(shape) < 3:
        return None
    fits = shape[-3] == like.type.shape[1] and all(n == 1 for n in (*shape[:-3], *shape[-2:]))
    return node if fits else None


def _alone(graph: Graph, value: Value) -> bool:
    ends = {v.name for _, v in (*graph.outputs, *graph.places)}
    return len(graph.users[value.name]) == 1 and value.name not in ends
