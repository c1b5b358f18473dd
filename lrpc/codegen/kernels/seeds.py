"""Where relevance starts in a generated program: one-hot, given outright, normalised."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lrpc.codegen.kernels.loading import ProgramError, check_finite


@dataclass(frozen=True)
class Target:
    """A value that relevance can start from. Axes count in the value, its batch axis included."""

    run: Callable[..., dict[str, Tensor]]
    run_ledger: Callable[..., dict[str, Tensor]]
    value: tuple[str, str]
    shape: tuple[int, ...]
    batch_axis: int
    index_axes: tuple[int, ...]
    index_names: tuple[str, ...]
    token_axis: int | None
    reads: tuple[str, ...]


def one_hot(goal: Target, value: Tensor, index: Tensor, token: int | None, name: str) -> Tensor:
    """G at the start: 1 at the indexed entries of each image, spread over the axes left open."""
    seeds, batch, _ = index.shape
    g = value.new_zeros((seeds, *value.shape))
    view = g.movedim(goal.batch_axis + 1, 1)
    axes = [a + 1 if a > goal.batch_axis else a + 2 for a in goal.index_axes]
    view = view.movedim(axes, list(range(2, 2 + len(axes))))
    amount = 1.0
    if goal.token_axis is not None and token is None:
        amount = 1.0 / value.shape[goal.token_axis]
    k = torch.arange(seeds, device=g.device)[:, None]
    b = torch.arange(batch, device=g.device)[None]
    where = (k, b, *index.unbind(-1))
    if goal.token_axis is not None and token is not None:
        if not 0 <= token < value.shape[goal.token_axis]:
            raise ProgramError(
                f"{name}: token must lie in 0..{value.shape[goal.token_axis] - 1}, got {token}"
            )
        where = (*where, torch.full_like(index[..., 0], token))
    view[where] = amount
    return g


def check_seeds(seeds: Tensor, value: Tensor, name: str) -> None:
    """Refuse relevance of another shape, not finite, or given to an exact zero, which cannot be
    carried."""
    if seeds.dim() != value.dim() + 1 or seeds.shape[1:] != value.shape:
        raise ProgramError(
            f"{name}: seeds must be [K, {', '.join(map(str, value.shape))}],"
            f" got {list(seeds.shape)}"
        )
    check_finite(seeds, f"seeds of {name}", "give finite relevance")
    zero = (value == 0).to(seeds.device)
    if any(bool((zero & (seed != 0)).any()) for seed in seeds):
        raise ProgramError(
            f"{name}: relevance is given to an activation that is exactly 0; set it to 0 there"
        )


def seeds_to_g(seeds: Tensor, value: Tensor) -> Tensor:
    """Given relevance per unit of activation, as a tensor of its own."""
    g = seeds / torch.where(value == 0, 1.0, value)
    return g.masked_fill_(seeds == 0, 0.0)


def normalised(g: Tensor, value: Tensor, norm: str, goal: Target) -> Tensor:
    """G scaled, in its place, so that each seed's relevance sums to 1, or to the number of tokens,
    in each image."""
    if norm == "none":
        return g
    if norm not in ("sum1", "sumT"):
        raise ProgramError(f"norm must be none, sum1 or sumT, got {norm!r}")
    axes = [a for a in range(g.dim() - 1) if a != goal.batch_axis]
    total = torch.stack([(seed * value).sum(axes, keepdim=True) for seed in g])
    if bool((total == 0).any()):
        raise ProgramError(f"norm={norm}: the relevance to start with sums to 0; use norm='none'")
    counted = goal.index_axes[:1] if goal.token_axis is None else (goal.token_axis,)
    tokens = value.shape[counted[0]] if norm == "sumT" and counted else 1  # tokens, queries
    return g.mul_(tokens / total)


def indices(goal: Target, name: str, value: Tensor, at: Sequence[Sequence[int]] | Tensor) -> Tensor:
    """`at` for each seed and image: [K, B, n]."""
    batch = value.shape[goal.batch_axis]
    index = torch.as_tensor(at, device=value.device)
    if index.dim() == 1 and len(goal.index_axes) == 1:
        index = index[:, None]
    if index.dim() == 2:
        index = index[:, None].expand(-1, batch, -1)
    if (
        index.dtype.is_floating_point
        or index.dim() != 3
        or (tuple(index.shape[1:]) != (batch, len(goal.index_axes)))
    ):
        raise ProgramError(
            f"{name}: at takes ({', '.join(goal.index_names)}) per seed, or an integer tensor"
            f" [K, {batch}, {len(goal.index_axes)}]; got shape"
            f" {list(torch.as_tensor(at).shape)}"
        )
    for i, axis in enumerate(goal.index_axes):
        low, high = int(index[..., i].min()), int(index[..., i].max())
        if low < 0 or high >= value.shape[axis]:
            raise ProgramError(
                f"{name}: {goal.index_names[i]} must lie in 0..{value.shape[axis] - 1}, got"
                f" {low if low < 0 else high}"
            )
    return index


def seed_count(at: Sequence[Sequence[int]] | Tensor | None, seeds: Tensor | None) -> int:
    """How many seeds are asked for, at least one."""
    given = at if seeds is None else seeds
    counts = isinstance(given, Sequence) or (isinstance(given, Tensor) and given.dim() > 0)
    return max(1, len(given)) if counts and given is not None else 1


@dataclass(frozen=True)
class Start:
    """Where relevance starts: `some(first, count)` is G of some of the seeds."""

    count: int
    some: Callable[[int, int], Tensor]

    def total(self, chunk: int) -> Start:
        """The sum over the seeds as one seed: relevance is linear in where it starts."""
        whole = self.some(0, chunk).sum(0, keepdim=True)
        for first in range(chunk, self.count, chunk):
            whole += self.some(first, chunk).sum(0)
        return Start(1, lambda first, count: whole)


def start(
    goal: Target,
    name: str,
    value: Tensor,
    at: Sequence[Sequence[int]] | Tensor | None,
    seeds: Tensor | None,
    token: int | None,
    norm: str,
) -> Start:
    """Seeds at the indices `at`, or of relevance given outright, normalised."""
    if at is not None:
        index = indices(goal, name, value, at)

        def some(first: int, count: int) -> Tensor:
            g = one_hot(goal, value, index[first : first + count], token, name)
            return normalised(g, value, norm, goal)

        return Start(index.shape[0], some)
    if seeds is None:
        raise ProgramError(f"{name}: give either at=[...] or seeds=S, and not both")
    given = seeds
    check_seeds(given, value, name)

    def part(first: int, count: int) -> Tensor:
        g = seeds_to_g(given[first : first + count].to(value), value)
        return normalised(g, value, norm, goal)

    return Start(given.shape[0], part)


def places_of(goal: Target, name: str, read: Sequence[str] | None) -> frozenset[str]:
    """The places to read, by default all of the target's."""
    if read is None:
        return frozenset(goal.reads)
    unknown = [place for place in read if place not in goal.reads]
    if unknown:
        raise ProgramError(
            f"{name}: no relevance can be read at {unknown[0]!r}; places: {', '.join(goal.reads)}"
        )
    return frozenset(read)


def find_target(
    targets: Mapping[str, Target], target: str, layer: int | None
) -> tuple[str, Target]:
    """The target of that name, or of a layer of it, by default the last."""
    found = target if target in targets and layer is None else None
    if found is None:
        layered = [t for t in targets if t.split(":")[0] == target]
        wanted = f"{target}:{layer}" if layer is not None else (layered[-1] if layered else target)
        found = wanted if wanted in targets else None
    if found is None:
        raise ProgramError(
            f"this program has no target"
            f" {target!r}{'' if layer is None else f' at layer {layer}'};"
            f" it starts from: {', '.join(targets)} (compile with LRPC.TARGETS for others)"
        )
    return found, targets[found]
