"""Folds batch norm in evaluation mode into the convolution or linear map before it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from lrpc.ir.graph import Graph, Module, Node, Value
from lrpc.ir.ops import Family, of_family
from passes.rewrite import Rewriter, rewrite

FOLDABLE = of_family(Family.LINEAR, Family.CONVOLUTION)


@dataclass(frozen=True)
class FoldBatchNorm:
    """y = γ(Wx + b − μ)/σ + β becomes W'x + b', W' = γ/σ W, b' = γ/σ (b − μ) + β.

    Folds where the map's output is used by the batch norm alone; computed in float64.
    """

    name: ClassVar[str] = "fold_batch_norm"

    def run(self, module: Module) -> Module:
        graph = module.graph
        pairs = {n.out.name: m for n in graph.nodes if (m := _map_before(graph, n)) is not None}
        merged = {m.out.name for m in pairs.values()}
        moved: dict[str, Value] = {}  # output of a map that is dropped → its input in the new graph

        def emit(node: Node, new: Rewriter) -> tuple[Value, ...] | None:
            if node.out.name in merged:
                moved[node.out.name] = node.inputs[0]
                return node.outputs  # read by the batch norm alone, which is replaced
            before = pairs.get(node.out.name)
            if before is None:
                return None
            weight, bias = _folded(node, before, new)
            attrs = dict(before.attrs) | {"weight": weight, "bias": bias}
            source = moved[before.out.name]
            return new.like(before, source, hint=before.out.name, attrs=attrs)

        return rewrite(module, emit) if pairs else module


def _map_before(graph: Graph, node: Node) -> Node | None:
    if node.op != "batch_norm":
        return None
    before = graph.producers.get(node.inputs[0].name)
    if before is None or before.op not in FOLDABLE:
        return None
    # Batch norm works on axis 1; a linear map's channels are the last axis.
    if before.op == "linear" and before.out.type.rank != 2:
        return None
    ends = {v.name for _, v in (*graph.outputs, *graph.places)}
    alone = len(graph.users[before.out.name]) == 1 and before.out.name not in ends
    return before if alone else None


def _folded(norm: Node, before: Node, new: Rewriter) -> tuple[str, str]:
    def tensor(node: Node, key: str) -> Tensor:
        return new.tensors[str(node.attr(key))].double()

    name = str(before.attr("weight"))
    dtype = new.tensors[name].dtype
    weight = tensor(before, "weight")
    scale = tensor(norm, "weight") / torch.sqrt(tensor(norm, "var") + norm.number("eps"))
    bias = tensor(before, "bias") if before.attr("bias") is not None else torch.zeros_like(scale)
    bias = (bias - tensor(norm, "mean")) * scale + tensor(norm, "bias")
    return (
        new.weight(f"{name}@folded", _scaled(before, weight, scale).to(dtype)),
        new.weight(f"{name.removesuffix('weight')}bias@folded", bias.to(dtype)),
    )


def _scaled(before: Node, weight: Tensor, scale: Tensor) -> Tensor:
    if before.op != "conv_transpose2d":
        return weight * scale.reshape(-1, *[1] * (weight.dim() - 1))
    groups = before.integer("groups")
    each = weight.reshape(groups, -1, *weight.shape[1:])  # [groups, in, out, height, width]
    return (each * scale.reshape(groups, 1, -1, 1, 1)).reshape(weight.shape)
