"""What a program does where memory is short: fewer seeds at a time, then fewer images."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import torch
from torch import Tensor

from lrpc.runtime.loading import ProgramError
from lrpc.runtime.result_buffers import batch_axes


def out_of_memory(error: RuntimeError) -> bool:
    """Whether an allocation failed, on a GPU or on the CPU."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def say(text: str) -> None:
    """Tell the caller what the program does instead."""
    warnings.warn(text, RuntimeWarning, stacklevel=4)


def most_live(rows: Sequence[Sequence[int]], batch: int, seeds: int, chunk: int = 0) -> int:
    """The bytes that a plan's rows [a, b, c, d, ...] give for so many images, and seeds in one
    pass: a + b·B + c·K + d·K·B, with + e·C + f·C·B for C seeds at a time through a block."""
    sizes = (1, batch, seeds, seeds * batch, chunk, chunk * batch)
    return max(sum(a * n for a, n in zip(row, sizes, strict=False)) for row in rows)


@dataclass(frozen=True)
class Split:
    """How a call runs: so many images at a time, `per_pass` seeds from block to block together, and
    `chunk` of them at once through a block."""

    images: int
    per_pass: int
    chunk: int


@dataclass(frozen=True)
class Call:
    """A relevance call: what decides how much memory it takes."""

    composite: str
    target: str
    places: frozenset[str]
    ledger: bool
    batch: int
    seeds: int

    def __str__(self) -> str:
        end = ", with its ledger" if self.ledger else ""
        return f"relevance of {self.target} for {counted(self.seeds, self.batch)}{end}"


def counted(seeds: int, images: int) -> str:
    """`8 seeds and 1 image`."""
    return f"{seeds} seed{'s' * (seeds > 1)} and {images} image{'s' * (images > 1)}"


@dataclass(frozen=True)
class Planned:
    """What calls hold at some `sizes` of inputs that vary, by composite and target, and the bytes
    of the outputs for one image. Of smaller sizes they hold no more."""

    sizes: Mapping[str, int]
    plans: Mapping[str, Mapping[str, Mapping[str, Any]]]
    outputs: int = 0

    @staticmethod
    def all_of(manifest: Mapping[str, Any]) -> tuple[Planned, ...]:
        """Those that a manifest states."""
        own = {str(manifest.get("composite", "")): manifest, **manifest.get("composites", {})}
        every = {name: said.get("plan", manifest["plan"])["targets"] for name, said in own.items()}

        def plans(number: int) -> dict[str, dict[str, Mapping[str, Any]]]:
            return {
                name: {target: plan["budget"][number] for target, plan in targets.items()}
                for name, targets in every.items()
            }

        held = manifest["memory"].get("held", ())
        return tuple(Planned(x["sizes"], plans(i), x["outputs"]) for i, x in enumerate(held))

    def covers(self, sizes: Mapping[str, int]) -> bool:
        """Whether none of some sizes is larger."""
        return all(self.sizes[name] >= length for name, length in sizes.items())

    def __str__(self) -> str:
        return "×".join(map(str, self.sizes.values()))


@dataclass(frozen=True)
class Limits:
    """How much a program takes at once: `chunk` seeds through a block, `per_pass` in a pass; under
    a `budget`, fewer of them or fewer images where the plan of a call says that it would hold more.
    `blocks`: seeds may go through blocks fewer at a time."""

    chunk: int
    per_pass: int
    budget: int
    axes: Mapping[str, int]  # of the images in each input; empty where they cannot be taken apart
    planned: tuple[Planned, ...]
    blocks: bool = False

    @staticmethod
    def of(manifest: Mapping[str, Any], inputs: Mapping[str, Any]) -> Limits:
        """Those that a manifest states; `inputs` has the dtype and shape of each."""
        axes = batch_axes({name: shape for name, (_, shape) in inputs.items()})
        said = manifest["memory"]
        whole = axes if len(axes) == len(inputs) else {}
        chunk, per_pass, budget = said["chunk"], said["per_pass"], said["budget"] or 0
        planned = Planned.all_of(manifest) if budget else ()
        return Limits(chunk, per_pass or chunk, budget, whole, planned, per_pass > 0)

    def at(self, sizes: Mapping[str, int]) -> Limits:
        """Those for inputs of these sizes. Raises ProgramError where the budget is not kept for so
        large ones."""
        if not self.budget or not sizes:
            return self
        larger = [x for x in self.planned if x.covers(sizes)]
        if not larger:
            said = ", ".join(f"{name} = {length}" for name, length in sizes.items())
            known = ", ".join(map(str, self.planned))
            raise ProgramError(
                f"{said}: LRPC.MEMORY.BUDGET is kept for sizes up to {known}; resize the images, or"
                " compile with this size among LRPC.SHAPES"
            )
        best = min(larger, key=lambda x: prod(x.sizes.values()))
        return replace(self, planned=(best, *(x for x in self.planned if x is not best)))

    def keeps(self, sizes: Mapping[str, int]) -> bool:
        """Whether calls with inputs of these sizes keep the budget, if there is one."""
        return not self.budget or any(x.covers(sizes) for x in self.planned)

    @property
    def own(self) -> Planned:
        """What calls hold at the present sizes."""
        return self.planned[0]

    def images(self, batch: int) -> int:
        """How many of the images `forward` takes at once, such that one seed of any target fits
        beside what is saved. Raises ProgramError where the budget does not hold their outputs."""
        if not self.budget:
            return batch
        every = self.own.plans.values()
        plans = [plan["plain"] for targets in every for plan in targets.values()]
        for count in self._counts(batch):
            needed = max(held(plan, count, 1, 1) for plan in plans)
            needed += self.own.outputs * batch if count < batch else 0
            if needed <= self.budget:
                return count
        raise ProgramError(
            f"forward of {batch} images: {needed:,} bytes are needed at least,"
            f" {self.own.outputs * batch:,} of them for outputs, and LRPC.MEMORY.BUDGET is"
            f" {self.budget:,}; give it fewer images at a time"
        )

    def split(self, call: Call, most: int) -> Split:
        """How to run a call so that it keeps the budget, `most` images at a time. Raises
        ProgramError where it cannot: its results are the caller's, and held to the end."""
        if not self.budget:
            return Split(most, self.per_pass, self.chunk)
        for images in self._counts(most):
            for split in self._splits(call, images):
                if self.needs(call, split) <= self.budget:
                    return split
        raise ProgramError(self._too_much(call))

    def at_once(self, call: Call) -> int:
        """How many of the call's seeds keep the budget, 0 where no one does."""
        if not self.budget:
            return call.seeds
        fewer = (Call(call.composite, call.target, call.places, call.ledger, call.batch, k)
                 for k in range(call.seeds, 0, -1))  # fmt: skip
        least = self.least(call)
        return next((c.seeds for c in fewer if self.needs(c, least) <= self.budget), 0)

    def least(self, call: Call) -> Split:
        """That of the least memory."""
        return Split(1 if self.axes else call.batch, 1, 1)

    def needs(self, call: Call, split: Split) -> int:
        """The bytes that a call holds at most, from the forward pass on."""
        plan = self.own.plans[call.composite][call.target]
        needed = held(
            plan["ledger" if call.ledger else "plain"], split.images, split.per_pass, split.chunk
        )
        if split.images < call.batch or split.per_pass < call.seeds:
            needed += self.results(call, split)
        return needed + (self.own.outputs * call.batch if split.images < call.batch else 0)

    def results(self, call: Call, split: Split) -> int:
        """The bytes of the results of all seeds and images."""
        plan = self.own.plans[call.composite][call.target]
        count, part = call.seeds * call.batch, split.per_pass * split.images
        room = int(sum(plan["results"][place] for place in call.places) * count)
        return room + (8 * (int(plan["records"]) + 2) * (count + part) if call.ledger else 0)

    def _counts(self, batch: int) -> Sequence[int]:
        return range(batch, 0, -1) if self.axes else (batch,)

    def _splits(self, call: Call, images: int) -> Iterator[Split]:
        """From the fastest to that of the least memory."""
        for per_pass in shares(min(self.per_pass, call.seeds)):
            for chunk in shares(min(self.chunk, per_pass)) if self.blocks else (per_pass,):
                yield Split(images, per_pass, chunk)

    def _too_much(self, call: Call) -> str:
        least = self.least(call)
        fits = self.at_once(call)
        asked = f"at most {fits} seed{'s' * (fits > 1)} at a time" if fits else "fewer images"
        return (
            f"{call}: {self.needs(call, least):,} bytes are needed at least,"
            f" {self.results(call, least):,} of them for results, and LRPC.MEMORY.BUDGET is"
            f" {self.budget:,}; ask for {asked}, or for fewer places (read=[...])"
        )

    def fewer(self, batch: int, what: str) -> int:
        """Half as many images as do not fit into memory. Raises ProgramError for one."""
        if batch == 1 or not self.axes:
            raise ProgramError(
                f"out of memory: {what}, one image; compile with LRPC.MEMORY.CHECKPOINT block, a"
                " smaller LRPC.MEMORY.BUDGET or smaller LRPC.SHAPES"
            ) from None
        say(f"out of memory: {what}, goes on with {batch // 2} of {batch} images at a time")
        return batch // 2


def held(plan: Mapping[str, Any], images: int, per_pass: int, chunk: int) -> int:
    """The most bytes of `forward` and one pass of relevance by a plan: by its rows, or by what is
    exact for `one` image, where these are no more seeds."""
    most_seeds, most_chunk, exact = plan["one"]
    known = [exact] if images == 1 and per_pass <= most_seeds and chunk <= most_chunk else []
    return int(min([most_live(plan["rows"], images, per_pass, chunk), *known]))


def shares(count: int) -> list[int]:
    """All of so many, then what is at a time where that takes 2 turns, 3, …, down to one."""
    return sorted({-(-count // turns) for turns in range(1, count + 1)}, reverse=True)


def of_images(
    at: Any, seeds: Tensor | None, axis: int, first: int, count: int
) -> tuple[Any, Tensor | None]:
    """Where relevance starts in some of the images; `axis` is theirs in the target."""
    if at is not None and (index := torch.as_tensor(at)).dim() == 3:
        at = index.narrow(1, first, count)
    return at, None if seeds is None else seeds.narrow(axis + 1, first, count)
