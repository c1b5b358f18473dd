"""A graph of forward and relevance as a module that torch.export can trace."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lrpc.backend.expression import render
from lrpc.backend.quoting import quoted
from lrpc.export.kernels import KERNELS
from lrpc.ir.graph import Graph, Module
from lrpc.ir.ops import TABLE
from lrpc.runtime.kernels import boxes, grids, linears, ratios, slopes, transposes


def source(graph: Graph) -> str:
    """A function `run(w, …)` of weights by name and the inputs of `graph`: a line for each node."""
    names = {value.name: f"v{i}" for i, value in enumerate(graph.values())}
    lines = [f"def run(w, {', '.join(names[v.name] for v in graph.inputs)}):"]
    lines += [f"    {name} = {text}" for name, text in _sizes(graph, names).items()]
    lines += [f"    device = {names[graph.inputs[0].name]}.device", "    s = {}"]
    for node in graph.nodes:
        at = TABLE[node.op].operand("locations")
        kept = "" if at is None else f", s, {quoted(names[node.inputs[at].name])}"
        inputs = [names[v.name] for v in node.inputs]
        text = render(node, inputs, lambda name: f"w[{quoted(str(name))}]", kept)
        lines.append(f"    {', '.join(names[v.name] for v in node.outputs)} = {text}")
    found = (f"{quoted(name)}: {names[value.name]}" for name, value in graph.outputs)
    lines.append(f"    return {{{', '.join(found)}}}")
    return "\n".join(lines)


def _sizes(graph: Graph, names: dict[str, str]) -> dict[str, str]:
    """Where B, K and the sizes that vary are found, by name."""
    wanted, found = {"B", "K", *(size.name for size in graph.sizes)}, dict[str, str]()
    for value in graph.inputs:
        for axis, dim in enumerate(value.type.shape):
            if str(dim) in wanted:
                found.setdefault(str(dim), f"{names[value.name]}.shape[{axis}]")
    return found


class Traced(nn.Module):
    """Runs a graph on its inputs in order; the outputs by name. Weights are buffers."""

    def __init__(self, module: Module) -> None:
        super().__init__()
        space: dict[str, Any] = {"torch": torch, "F": F}
        for kernels in (boxes, grids, linears, ratios, slopes, transposes):
            space |= {name: it for name, it in vars(kernels).items() if callable(it)}
        space |= KERNELS
        exec(source(module.graph), space)
        self.run = space["run"]
        self.keys = {name: f"weight{i}" for i, (name, _) in enumerate(module.graph.weights)}
        for name, key in self.keys.items():
            self.register_buffer(key, module.tensors[name])

    def forward(self, *inputs: Tensor) -> dict[str, Tensor]:
        weights = {name: getattr(self, key) for name, key in self.keys.items()}
        found: dict[str, Tensor] = self.run(weights, *inputs)
        return found
