"""Relevance calls for a batch: seeds grouped by target, padded to one tensor, dealt out again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from lrpc.errors import ProgramError
from lrpc.run.protocol import Program, Relevance, State
from lrpc.run.seeds import Seed


@dataclass(frozen=True)
class Request:
    """What to ask of every relevance call; `chunk` bounds the seeds per call (0: all at once)."""

    read: tuple[str, ...] = ()
    norm: str | None = None
    ledger: bool = True
    chunk: int = 0


@dataclass(frozen=True, eq=False)
class Explained:
    """The relevance of one seed in one image, on the CPU.

    `input` [3, H, W] at the normalised image; `layers` name → [N, C]; `ledger` the flat sums.
    """

    seed: Seed
    input: Tensor
    layers: Mapping[str, Tensor] = field(default_factory=dict)
    ledger: Mapping[str, float] | None = None


def explain(
    program: Program, state: State, seeds: Sequence[Sequence[Seed]], request: Request
) -> list[list[Explained]]:
    """The relevance of every seed of every image in the batch, in the order of the seeds.

    Seeds of one target (and layer) go together: `at` is [K, B, n], where an image with fewer seeds
    repeats its last, and the repeats are dropped. Raises ProgramError where a result is not
    finite or not of the shape it should be.
    """
    done: list[dict[str, Explained]] = [{} for _ in seeds]
    groups = dict.fromkeys((s.kind, s.layer) for image in seeds for s in image)
    for kind, layer in groups:
        mine = [[s for s in image if (s.kind, s.layer) == (kind, layer)] for image in seeds]
        longest = max(len(image) for image in mine)
        step = request.chunk or longest
        for first in range(0, longest, step):
            part = [image[first : first + step] for image in mine]
            for b, results in enumerate(_call(program, state, kind, layer, part, request)):
                done[b].update((r.seed.slug, r) for r in results)
    return [[done[b][s.slug] for s in image] for b, image in enumerate(seeds)]


def _call(
    program: Program,
    state: State,
    kind: str,
    layer: int | None,
    seeds: Sequence[Sequence[Seed]],
    request: Request,
) -> list[list[Explained]]:
    at = _at(seeds).to(next(iter(state.outputs.values())).device)
    options: dict[str, Any] = {}
    if layer is not None:
        options["layer"] = layer
    if request.read:
        options["read"] = list(request.read)
    if request.norm is not None:
        options["norm"] = request.norm
    if request.ledger:
        options["ledger"] = True
    result = program.relevance(state, kind, at=at, **options)
    if result.input.dim() != 5 or result.input.shape[:2] != at.shape[:2]:
        raise ProgramError(
            f"relevance of '{kind}' came as {list(result.input.shape)}, not "
            f"[{at.shape[0]}, {at.shape[1]}, 3, H, W]"
        )
    return [[_one(result, k, b, s) for k, s in enumerate(image)] for b, image in enumerate(seeds)]


def _at(seeds: Sequence[Sequence[Seed]]) -> Tensor:
    """Indices [K, B, n]; short images repeat their last seed, empty ones point at zero."""
    longest = max(len(image) for image in seeds)
    width = next(len(s.index) for image in seeds for s in image)
    at = torch.zeros(longest, len(seeds), width, dtype=torch.int64)
    for b, image in enumerate(seeds):
        for k in range(longest if image else 0):
            at[k, b] = torch.tensor(image[min(k, len(image) - 1)].index)
    return at


def _one(result: Relevance, k: int, b: int, seed: Seed) -> Explained:
    pixels = result.input[k, b].detach().cpu().clone()
    if not bool(torch.isfinite(pixels).all()):
        raise ProgramError(f"the relevance of {seed.slug} is not finite")
    layers = {name: value[k, b].detach().cpu().clone() for name, value in result.layers.items()}
    ledger = None if result.ledger is None else flatten_ledger(result.ledger, k, b)
    return Explained(seed, pixels, layers, ledger)


def flatten_ledger(ledger: Mapping[str, Any], k: int, b: int) -> dict[str, float]:
    """The sum of each sink for seed k of image b: entries of one name, however deep they stand
    (per node, per layer), are added up. Leaves are tensors [K, B], or numbers."""
    sums: dict[str, float] = {}
    for name, value in ledger.items():
        if isinstance(value, Mapping):
            inner = flatten_ledger(value, k, b)
        else:
            leaf = value[k, b] if isinstance(value, Tensor) and value.dim() >= 2 else value
            inner = {str(name): float(leaf)}
        for sink, amount in inner.items():
            sums[sink] = sums.get(sink, 0.0) + amount
    return sums
