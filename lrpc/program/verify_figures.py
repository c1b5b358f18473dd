"""What `lrpc verify` measures: distances, and the masks that it tries conditions with."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from lrpc.ir.graph import Graph, Value
from lrpc.ir.types import DTYPES, Sym
from lrpc.program.tolerance import Tolerance
from lrpc.program.verify_sizes import Check


def output_check(
    name: str, got: Tensor, expected: Tensor, allowed: Tolerance, by: str = "the interpreter"
) -> Check:
    """The largest difference of the share of entries that must be near; how many moved is
    stated."""
    what, kind = f"output {name}", f"outputs, against {by}"
    apart = (got.double() - expected.double()).abs().flatten()
    apart = apart / expected.double().abs().max().clamp_min(1e-300)
    if allowed.share == 1 or not bool(torch.isfinite(apart).all()):
        figure = distance(got, expected)
        return Check(what, figure, allowed.near, f"against {by}", kind)
    moved = int((apart > allowed.near).sum())
    figure = float(apart.sort().values[: max(1, round(allowed.share * apart.numel()))][-1])
    remark = f"; {moved} of {apart.numel()} entries differ, at near-ties" if moved else ""
    return Check(what, figure, allowed.near, f"against {by}{remark}", kind)


def distance(a: Tensor, b: Tensor) -> float:
    """Largest difference relative to the largest magnitude; infinity where one is not finite."""
    if a.numel() == 0:
        return 0.0
    rest = (a.double() - b.double()).abs().max() / b.double().abs().max().clamp_min(1e-300)
    return float(rest) if bool(torch.isfinite(rest)) else float("inf")


def random_masks(joint: Graph, sizes: Mapping[str, int]) -> dict[str, Tensor]:
    """For each condition of a joint graph, a mask for one seed that lets half of the entries pass,
    others in each image."""
    generator = torch.Generator().manual_seed(0)
    found = {}
    for name, value in joint.places:
        shape = value.type.sized({**sizes, "K": 1})
        half = torch.rand(shape, generator=generator) < 0.5
        found[name] = half.to(DTYPES[value.type.dtype])
    return found


def as_given(mask: Value, found: Tensor) -> Tensor:
    """A mask [1, ...] as `condition` takes it for one seed: the images first, then its own axes."""
    dims = mask.type.shape[1:]
    batch = next(i for i, d in enumerate(dims) if isinstance(d, Sym))
    own = [n for i, n in enumerate(found.shape[1:]) if i != batch and dims[i] != 1]
    moved = found[0].movedim(batch, 0)
    return moved.reshape(moved.shape[0], *own)
