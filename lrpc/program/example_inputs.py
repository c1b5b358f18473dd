"""Inputs that programs are tried on, and where relevance starts there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lrpc.ir.graph import Graph
from lrpc.ir.types import DTYPES, Sym, whole
from passes.reachable import relevance_reachable


def example_inputs(
    graph: Graph, batch: int = 1, sizes: Mapping[str, int] | None = None, seed: int = 1
) -> dict[str, Tensor]:
    """Seeded random inputs of the example's sizes or others: images in 0–255, masks with the lower
    border padded, tokens below the lengths of the tables that they are looked up in."""
    generator = torch.Generator().manual_seed(seed)
    rows, tokens = _shortest_table(graph), relevance_reachable(graph)
    inputs = {}
    for value in graph.inputs:
        shape = value.type.sized({"B": batch, **(sizes or {})})
        if value.type.dtype == "bool":
            inputs[value.name] = torch.zeros(shape, dtype=torch.bool)
            inputs[value.name][:, shape[1] * 7 // 8 :] = True
        else:
            raw = torch.rand(shape, generator=generator, dtype=torch.float64) * 255
            number = raw.to(DTYPES[value.type.dtype])
            token = value.name in tokens and not value.type.is_float
            inputs[value.name] = number % rows if token else number
    return inputs


def _shortest_table(graph: Graph) -> int:
    tables = [str(n.attr("weight")) for n in graph.nodes if n.op == "embedding"]
    return min((whole(graph.weight_types[t].shape[0]) for t in tables), default=1)


def strongest(value: Tensor, target: Mapping[str, Any], shape: tuple[object, ...]) -> Tensor:
    """The indices [1, B, n] of the largest entry of each image that is not 0, where there is one:
    the logit of a class that no pixel has is 0, and has no relevance."""
    batch = next(i for i, d in enumerate(shape) if isinstance(d, Sym))
    rest = [i for i in range(value.dim()) if i != batch]
    axes = [rest[a] for a in target["axes"]]
    if not axes:  # one value for each image
        return torch.zeros(1, value.shape[batch], 0, dtype=torch.int64)
    others = [i for i in rest if i not in axes]
    score = value.sum(others, keepdim=True) if others else value
    ordered = score.permute([batch, *axes, *others]).flatten(1)
    sizes = [value.shape[a] for a in axes]
    some = ordered.isfinite() & (ordered != 0)
    best = torch.where(some, ordered, -torch.inf).argmax(1)
    best = torch.where(some.any(1), best, ordered.argmax(1))
    return torch.stack(torch.unravel_index(best, sizes), -1)[None]


def one_hot(value: Tensor, target: Mapping[str, Any], at: Tensor) -> Tensor:
    """G at the start for targets whose batch axis is first, written independently of the
    program."""
    g = torch.zeros(at.shape[0], *value.shape, dtype=value.dtype)
    for k in range(at.shape[0]):
        for b in range(value.shape[0]):
            where: list[Any] = [slice(None)] * (value.dim() - 1)
            for axis, index in zip(target["axes"], at[k, b].tolist(), strict=True):
                where[axis] = index
            g[(k, b, *where)] = 1.0
    if target["token"] is not None:
        g /= value.shape[target["token"] + 1]
    return g
