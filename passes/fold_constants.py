"""Evaluates, once and for all, what depends on no input."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from lrpc.ir.graph import Attr, Graph, Module, Node, Value
from lrpc.ir.interpreter import run_node
from lrpc.ir.types import Sym
from passes.rewrite import Rewriter, rewrite

# Left as they are where other nodes read them: shorter as text than as a weight, and smaller.
PLAIN = ("constant", "full", "expand")


@dataclass(frozen=True)
class FoldConstants:
    """Replaces nodes that depend on no graph input and on neither B nor K by `constant` weights.

    Values come from the reference interpreter; equal tensors share one weight.
    """

    name: ClassVar[str] = "fold_constants"

    def run(self, module: Module) -> Module:
        graph = module.graph
        values = _evaluated(module)
        known = {_content(t): name for name, t in _constants(module)}

        def emit(node: Node, new: Rewriter) -> tuple[Value, ...] | None:
            if node.op in PLAIN or not node.outputs or node.outputs[0].name not in values:
                return None
            if not _wanted(node, graph, values):
                return None
            return tuple(_emitted(node, v, values[v.name], known, new) for v in node.outputs)

        return rewrite(module, emit)


def _emitted(
    node: Node, value: Value, tensor: Tensor, known: dict[object, str], new: Rewriter
) -> Value:
    tensor = tensor.contiguous().clone()
    key = _content(tensor)
    if key not in known:
        known[key] = new.weight(f"{value.name}@constant", tensor)
    return new.one("constant", hint=value.name, loc=node.loc, weight=known[key])


def _evaluated(module: Module) -> dict[str, Tensor]:
    """The values of everything that depends on no input, by name."""
    values: dict[str, Tensor] = {}
    for node in module.graph.nodes:
        fixed = all(map(_fixed, node.outputs)) and not any(_symbolic(v) for _, v in node.attrs)
        if fixed and all(v.name in values for v in node.inputs):
            results = run_node(node, module.tensors, tuple(values[v.name] for v in node.inputs), {})
            values.update((v.name, r) for v, r in zip(node.outputs, results, strict=True))
    return values


def _wanted(node: Node, graph: Graph, constant: Mapping[str, Tensor]) -> bool:
    """Whether anything reads this value that is not itself folded."""
    ends = {v.name for _, v in (*graph.outputs, *graph.marks)}
    users = [user for v in node.outputs for user in graph.users.get(v.name, ())]
    return any(v.name in ends for v in node.outputs) or any(
        user.op in PLAIN or not user.outputs or user.outputs[0].name not in constant
        for user in users
    )


def _constants(module: Module) -> list[tuple[str, Tensor]]:
    names = [str(n.attr("weight")) for n in module.graph.nodes if n.op == "constant"]
    return [(name, module.tensors[name]) for name in dict.fromkeys(names)]


def _content(tensor: Tensor) -> object:
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    raw = flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b""
    return str(tensor.dtype), tuple(tensor.shape), hashlib.sha256(raw).digest()


def _fixed(value: Value) -> bool:
    return not _symbolic(value.type.shape)


def _symbolic(attr: Attr) -> bool:
    return isinstance(attr, Sym) or (isinstance(attr, tuple) and any(map(_symbolic, attr)))
