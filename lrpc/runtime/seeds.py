"""Where relevance starts in a generated program: one-hot, given outright, normalised."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from lrpc.runtime.arguments import plain_tensor
from lrpc.runtime.loading import ProgramError, check_finite


@dataclass(frozen=True)
class Mask:
    """A mask on relevance at a place: its shape, with "K" and "B", and the axes that differ from
    1, the images' aside."""

    shape: tuple[int | str, ...]
    axes: tuple[int, ...]


@dataclass(frozen=True)
class Target:
    """A value that relevance can start from. Axes count in the value, its batch axis included.

    `image_axes` is the axis of the images in results [K, ...] of places where it is not 1; `masks`
    are those that `run` takes after the seed, by condition.
    """

    run: Callable[..., dict[str, Tensor]]
    value: tuple[str, str]
    shape: tuple[int | str, ...]
    batch_axis: int
    index_axes: tuple[int, ...]
    index_names: tuple[str, ...]
    token_axis: int | None
    reads: tuple[str, ...]
    image_axes: Mapping[str, int] = field(default_factory=dict)
    masks: Mapping[str, Mask] = field(default_factory=dict)


def one_hot(target: Target, value: Tensor, index: Tensor, token: int | None) -> Tensor:
    """G at the start: 1 at the indexed entries of each image, spread over the axes left open."""
    seeds, batch, _ = index.shape
    g = value.new_zeros((seeds, *value.shape))
    view = g.movedim(target.batch_axis + 1, 1)
    axes = [a + 1 if a > target.batch_axis else a + 2 for a in target.index_axes]
    view = view.movedim(axes, list(range(2, 2 + len(axes))))
    amount = 1.0
    if target.token_axis is not None and token is None:
        amount = 1.0 / value.shape[target.token_axis]
    k = torch.arange(seeds, device=g.device)[:, None]
    b = torch.arange(batch, device=g.device)[None]
    where = (k, b, *index.unbind(-1))
    if target.token_axis is not None and token is not None:
        where = (*where, torch.full_like(index[..., 0], token))
    view[where] = amount
    return g


def given_seeds(name: str, seeds: Any, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Relevance given outright, [K, *shape of the target], in numbers that `dtype` holds."""
    given = plain_tensor(f"{name}: seeds", seeds)
    if given.dtype.is_complex or given.dtype == torch.bool:
        raise ProgramError(f"{name}: seeds must be real numbers, got {given.dtype}")
    if given.is_floating_point() and given.element_size() == 1:  # torch computes nothing in these
        given = given.float()
    if list(given.shape[1:]) != list(shape) or given.dim() != len(shape) + 1:
        raise ProgramError(
            f"{name}: seeds must be [K, {', '.join(map(str, shape))}], got {list(given.shape)}"
        )
    if given.shape[0] == 0:
        raise ProgramError(f"{name}: seeds are empty, K = 0; give at least one")
    check_finite(given, f"seeds of {name}", "give finite relevance")
    for seed in given if given.dtype != dtype else ():
        held = seed.to(dtype)
        if not bool(held.isfinite().all()) or bool(((held == 0) & (seed != 0)).any()):
            raise ProgramError(
                f"{name}: seeds hold numbers that are too large or too small for"
                f" {dtype}, in which this program computes"
            )
    return given


def check_seeds(seeds: Tensor, value: Tensor, name: str) -> None:
    """Refuse relevance given to an exact zero, which cannot be carried."""
    zero = (value == 0).to(seeds.device)
    if any(bool((zero & (seed != 0)).any()) for seed in seeds):
        raise ProgramError(
            f"{name}: relevance is given to an activation that is exactly 0; set it to 0 there"
        )


def seeds_to_g(seeds: Tensor, value: Tensor) -> Tensor:
    """Given relevance per unit of activation, as a tensor of its own."""
    g = seeds / torch.where(value == 0, 1.0, value)
    return g.masked_fill_(seeds == 0, 0.0)


def normalised(g: Tensor, value: Tensor, norm: str, target: Target) -> Tensor:
    """G scaled, in its place, so that each seed's relevance sums to 1, or to the number of tokens,
    in each image."""
    if norm == "none":
        return g
    axes = [a for a in range(g.dim() - 1) if a != target.batch_axis]
    sums = []
    for seed in g:
        part = seed * value
        sums.append((part.sum(axes, keepdim=True), part.norm(1, axes, keepdim=True)))
    total, size = (torch.stack(some) for some in zip(*sums, strict=True))
    if not bool(total.isfinite().all()):
        raise ProgramError(f"norm={norm}: the relevance to start with sums to infinity")
    if bool((total.abs() <= 8 * torch.finfo(total.dtype).eps * size).any()):  # all that rounding is
        raise ProgramError(f"norm={norm}: the relevance to start with sums to 0; use norm='none'")
    counted = target.index_axes[:1] if target.token_axis is None else (target.token_axis,)
    tokens = value.shape[counted[0]] if norm == "sumT" and counted else 1  # tokens, queries
    return g.mul_(tokens / total)


def seed_count(index: Tensor | None, seeds: Tensor | None) -> int:
    """How many seeds start at indices [K, B, n], or are given outright."""
    given = index if seeds is None else seeds
    return 1 if given is None else len(given)


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
    target: Target,
    name: str,
    value: Tensor,
    index: Tensor | None,
    seeds: Tensor | None,
    token: int | None,
    norm: str,
) -> Start:
    """Seeds at the indices [K, B, n], or of relevance given outright, normalised."""
    if index is not None:
        where = index.to(value.device)

        def some(first: int, count: int) -> Tensor:
            g = one_hot(target, value, where[first : first + count], token)
            return normalised(g, value, norm, target)

        return Start(where.shape[0], some)
    assert seeds is not None  # requests.starts_of has given one of the two
    given = seeds
    check_seeds(given, value, name)

    def part(first: int, count: int) -> Tensor:
        g = seeds_to_g(given[first : first + count].to(value), value)
        check_finite(g, f"{name}: seeds over activations", "give less relevance to small ones")
        return normalised(g, value, norm, target)

    return Start(given.shape[0], part)
