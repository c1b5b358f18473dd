"""Computes, once and for all, what depends on no input."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from lrpc.ir.graph import Graph, Module, Node, Value
from lrpc.ir.ops import Family, of_family
from lrpc.ir.types import type_of
from passes.evaluate import evaluated
from passes.rewrite import Rewriter, rewrite

# Left as they are where other nodes read them: shorter as text than as a weight, and smaller.
PLAIN = of_family(Family.SOURCE) | {"expand"}


@dataclass(frozen=True)
class FoldConstants:
    """Replaces nodes that depend on no graph input, and on neither B nor K, by their values.

    A value is a `constant` weight, or `full` where all its entries are equal; with a batch axis it
    is stored for one image and expanded. Equal tensors share one weight.
    """

    name: ClassVar[str] = "fold_constants"

    def run(self, module: Module) -> Module:
        graph = module.graph
        values = evaluated(module)
        known = {_content(t): name for name, t in _constants(module)}

        def emit(node: Node, new: Rewriter) -> tuple[Value, ...] | None:
            names = [value.name for value in node.outputs]
            if node.op in PLAIN or not names or any(name not in values for name in names):
                return None
            if not _wanted(node, graph, values):
                return None
            return tuple(_emitted(node, v, values[v.name], known, new) for v in node.outputs)

        return rewrite(module, emit)


def _emitted(
    node: Node, value: Value, tensor: Tensor, known: dict[object, str], new: Rewriter
) -> Value:
    if (entry := _only_entry(tensor)) is not None:
        shape, dtype = value.type.shape, value.type.dtype
        return new.one("full", hint=value.name, loc=node.loc, shape=shape, value=entry, dtype=dtype)
    tensor = tensor.contiguous().clone()
    weight = known.setdefault(_content(tensor), f"{value.name}@constant")
    weight = new.weight(weight, tensor)
    if value.type == type_of(tensor):
        return new.one("constant", hint=value.name, loc=node.loc, weight=weight)
    once = new.one("constant", hint=f"{value.name}_once", loc=node.loc, weight=weight)
    return new.one("expand", once, hint=value.name, loc=node.loc, shape=value.type.shape)


def _only_entry(tensor: Tensor) -> float | int | bool | None:
    """The entry that all entries of `tensor` equal, or None; NaN equals nothing."""
    if tensor.numel() == 0 or not torch.equal(tensor, tensor.flatten()[0].expand_as(tensor)):
        return None
    entry: float | int | bool = tensor.flatten()[0].item()
    return entry


def _wanted(node: Node, graph: Graph, folded: Collection[str]) -> bool:
    """Whether anything reads a value of `node` that is not itself folded."""
    ends = {v.name for _, v in (*graph.outputs, *graph.places)}
    users = [user for v in node.outputs for user in graph.users.get(v.name, ())]
    return any(v.name in ends for v in node.outputs) or any(
        user.op in PLAIN or not all(v.name in folded for v in user.outputs) or not user.outputs
        for user in users
    )


def _constants(module: Module) -> list[tuple[str, Tensor]]:
    names = [str(n.attr("weight")) for n in module.graph.nodes if n.op == "constant"]
    return [(name, module.tensors[name]) for name in dict.fromkeys(names)]


def _content(tensor: Tensor) -> object:
    """A key that equal tensors have in common."""
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    raw = flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b""
    return str(tensor.dtype), tuple(tensor.shape), hashlib.sha256(raw).digest()
