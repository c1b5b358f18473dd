"""What a call's `condition` means: masks on relevance at places, for each seed and image."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from lrpc.runtime.arguments import is_integer, kind_of, meant, plain_tensor, whole_number
from lrpc.runtime.indices import is_list, shown
from lrpc.runtime.loading import ProgramError, check_finite
from lrpc.runtime.seeds import Start, Target
from lrpc.runtime.sizes import extent


@dataclass(frozen=True)
class Conditions:
    """The masks of a call in the order of the target's, each [K or 1, B or 1, its own axes].

    `shapes` has the full shape of each, with "K" and "B"; `count` is the number of seeds that
    differ in them, 1 where all seeds have the same.
    """

    masks: tuple[Tensor, ...] = ()
    shapes: tuple[tuple[int | str, ...], ...] = ()
    count: int = 1

    def some(self, seeds: range, batch: int, like: Tensor) -> list[Tensor]:
        """The masks of some seeds, as relevance functions take them: memory of their own, in the
        type of `like`."""
        found = []
        for mask, shape in zip(self.masks, self.shapes, strict=True):
            own = mask[seeds.start : seeds.stop] if len(mask) > 1 else mask
            own = own.to(like).expand(len(seeds), batch, *own.shape[2:])
            axis = shape.index("B")
            whole = [len(seeds) if s == "K" else batch if s == "B" else s for s in shape]
            rest = [int(s) for i, s in enumerate(whole) if i not in (0, axis)]
            whole_first = own.reshape(len(seeds), batch, *rest)
            found.append(whole_first.movedim(1, axis).contiguous().clone())
        return found

    def of_images(self, first: int, count: int) -> Conditions:
        """Those of some of the images."""
        own = (m if m.shape[1] == 1 else m.narrow(1, first, count) for m in self.masks)
        return replace(self, masks=tuple(own))


@dataclass(frozen=True)
class Masked:
    """Where relevance starts, and what passes: `some(first, count)` is G of some of the seeds, and
    their masks."""

    count: int
    some: Callable[[int, int], list[Tensor]]


def masked(seed: Start, conditions: Conditions, batch: int) -> Masked:
    """Seeds with their masks; one seed goes with each of several conditions."""
    count = max(seed.count, conditions.count)

    def some(first: int, number: int) -> list[Tensor]:
        own = range(first, min(first + number, count))
        if seed.count == count:
            g = seed.some(first, number)
        else:
            one = seed.some(0, 1)
            g = one.expand(len(own), *one.shape[1:]).contiguous()
        return [g, *conditions.some(own, batch, g)]

    return Masked(count, some)


def conditions_of(
    target: Target, name: str, given: Any, batch: int, sizes: Mapping[str, int]
) -> Conditions:
    """The masks that `condition` stands for: a mapping of places to what passes there, for all
    seeds, or a list of one for each. What is not named passes whole."""
    every = [given] if given is None or isinstance(given, Mapping) else given
    if not is_list(every) or isinstance(every, Tensor) or not len(every):
        raise ProgramError(f"{name}: {condition_takes(target)}; got {shown(given)}")
    known = list(target.masks)
    for one in every:
        if one is not None and not isinstance(one, Mapping):
            raise ProgramError(f"{name}: {condition_takes(target)}; got {shown(one)}")
        for place in one or ():
            if place not in target.masks:
                raise ProgramError(
                    f"{name}: no condition can be set at {place!r}{meant(place, known)}; this"
                    f" target passes: {', '.join(known) or 'none'} (compile with LRPC.CONDITIONS,"
                    " conditions=[...], for others)"
                )
    masks, shapes = [], []
    for place, mask in target.masks.items():
        shape = tuple(s if s in ("K", "B") else extent(s, sizes) for s in mask.shape)
        own = [int(shape[axis]) for axis in mask.axes]
        parts = [one_mask(f"{name}: {place}", (one or {}).get(place), own, batch) for one in every]
        images = max(part.shape[0] for part in parts)
        masks.append(torch.stack([p.expand(images, *own) for p in parts]))
        shapes.append(shape)
    return Conditions(tuple(masks), tuple(shapes), len(every))


def condition_takes(target: Target) -> str:
    """What `condition` may be, in words."""
    place = next(iter(target.masks), "encoder.layers.3")
    return (
        f'condition takes places and what passes there, as in condition={{"{place}": [7, 12]}}, or'
        " a list of such, one for each seed"
    )


def one_mask(what: str, given: Any, shape: Sequence[int], batch: int) -> Tensor:
    """What passes at a place for one seed, [B or 1, *shape]: 1 and 0, or the numbers of a mask.

    Whole numbers, or tuples of them, say where it is 1. A tensor of booleans or floating numbers
    is the mask, [*shape] or [B, *shape].
    """
    if given is None:
        return torch.ones(1, *shape, dtype=torch.float64, device="cpu")
    if isinstance(given, Tensor) and not is_integer(given.dtype):
        mask = plain_tensor(what, given).to("cpu", torch.float64)
        if list(mask.shape) == list(shape):
            mask = mask[None]
        if list(mask.shape) not in ([batch, *shape], [1, *shape]):
            raise ProgramError(
                f"{what}: a mask is {list(shape)} or {[batch, *shape]}, got {list(given.shape)}"
            )
        check_finite(mask, what, "give a finite mask")
        return mask
    alone = whole_number(given)
    entries = [alone] if alone is not None else list(given) if is_list(given) else None
    if entries is None:
        raise ProgramError(
            f"{what}: takes whole numbers or a mask {list(shape)}, got {kind_of(given)}"
        )
    mask = torch.zeros(1, *shape, dtype=torch.float64, device="cpu")
    for entry in entries:
        mask[(0, *where(what, entry, shape))] = 1.0
    return mask


def where(what: str, entry: Any, shape: Sequence[int]) -> tuple[int, ...]:
    """The place of an entry that passes: a number for each axis."""
    alone = whole_number(entry)
    given = [entry] if alone is not None else list(entry) if is_list(entry) else []
    found = [whole_number(part) for part in given]
    inside = len(found) == len(shape) and all(
        i is not None and 0 <= i < n for i, n in zip(found, shape, strict=True)
    )
    if not inside:
        ranges = ", ".join(f"0..{n - 1}" for n in shape)
        raise ProgramError(f"{what}: entries lie in {ranges}, got {shown(entry)}")
    return tuple(i for i in found if i is not None)


def seeds_of(name: str, count: int, conditions: Conditions, total: bool) -> int:
    """How many seeds a call has: as many as start, or as there are conditions where one starts."""
    if conditions.count == 1:
        return count
    if total:
        raise ProgramError(
            f"{name}: total=True sums seeds before they pass the model, so they have one condition"
            " in common; leave total out, and sum the results"
        )
    if count not in (1, conditions.count):
        raise ProgramError(
            f"{name}: {conditions.count} conditions are given for {count} seeds; give one for each"
        )
    return conditions.count
