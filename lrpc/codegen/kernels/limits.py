"""What a program does where memory is short: fewer seeds at a time, then fewer images."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lrpc.codegen.kernels.loading import ProgramError
from lrpc.codegen.kernels.results import Ledger, Relevance


def out_of_memory(error: RuntimeError) -> bool:
    """Whether an allocation failed, on a GPU or on the CPU."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def say(text: str) -> None:
    """Tell the caller what the program does instead."""
    warnings.warn(text, RuntimeWarning, stacklevel=4)


def most_live(rows: Sequence[Sequence[int]], batch: int, seeds: int) -> int:
    """The bytes that a plan's rows [a, b, c, d] give for so many images and seeds in one sweep."""
    return max(a + b * batch + c * seeds + d * seeds * batch for a, b, c, d in rows)


@dataclass(frozen=True)
class Limits:
    """How much a program takes at once: `chunk` seeds through a block, `sweep` in one sweep, and
    under a `budget` as many images as its `plans` allow; plans are rows by composite and target."""

    chunk: int
    sweep: int
    budget: int
    axes: Mapping[str, int]  # of the images in each input; empty where they cannot be taken apart
    plans: Mapping[str, Mapping[str, Sequence[Sequence[int]]]]

    @staticmethod
    def of(manifest: Mapping[str, Any], inputs: Mapping[str, Any]) -> Limits:
        """Those that a manifest states; `inputs` has the dtype and shape of each."""
        axes = batch_axes({name: shape for name, (_, shape) in inputs.items()})
        own = {str(manifest.get("composite", "")): manifest, **manifest.get("composites", {})}
        plans = {
            name: {
                target: plan["live_bytes"]
                for target, plan in said.get("plan", manifest["plan"])["targets"].items()
            }
            for name, said in own.items()
        }
        said = manifest["memory"]
        whole = axes if len(axes) == len(inputs) else {}
        chunk = said["chunk"]
        return Limits(chunk, said["sweep"] or chunk, said["budget"] or 0, whole, plans)

    def images(self, batch: int) -> int:
        """How many of the images to take at once, at least one."""
        if not self.budget or not self.axes:
            return batch
        plans = [rows for targets in self.plans.values() for rows in targets.values()]
        while batch > 1 and max(most_live(rows, batch, 1) for rows in plans) > self.budget:
            batch -= 1
        return batch

    def seeds(self, composite: str, target: str, batch: int) -> tuple[int, int]:
        """How many seeds to take through a block, and in one sweep. The plan is for one image;
        more of them leave less room."""
        if not self.budget or batch == 1:
            return self.chunk, self.sweep
        rows, count = self.plans[composite][target], self.chunk
        while count > 1 and most_live(rows, batch, count) > self.budget:
            count -= 1
        return count, count

    def fewer(self, batch: int, what: str) -> int:
        """Half as many images as do not fit into memory. Raises ProgramError for one."""
        if batch == 1 or not self.axes:
            raise ProgramError(
                f"out of memory: {what}, one image; compile with LRPC.MEMORY.CHECKPOINT block, a"
                " smaller LRPC.MEMORY.BUDGET or smaller LRPC.SHAPES"
            ) from None
        say(f"out of memory: {what}, goes on with {batch // 2} of {batch} images at a time")
        return batch // 2


def batch_axes(shapes: Mapping[str, Sequence[int | str]]) -> dict[str, int]:
    """The axis of the images in each tensor that has one."""
    return {name: shape.index("B") for name, shape in shapes.items() if "B" in shape}


def apart(inputs: Mapping[str, Tensor], axes: Mapping[str, int], count: int) -> Iterator[Any]:
    """The inputs of `count` images at a time."""
    batch = next(inputs[name].shape[axis] for name, axis in axes.items())
    for first in range(0, batch, count):
        size = min(count, batch - first)
        yield {name: t.narrow(axes[name], first, size) for name, t in inputs.items()}


def of_images(
    at: Any, seeds: Tensor | None, axis: int, first: int, count: int
) -> tuple[Any, Tensor | None]:
    """Where relevance starts in some of the images; `axis` is theirs in the target."""
    if at is not None and (index := torch.as_tensor(at)).dim() == 3:
        at = index.narrow(1, first, count)
    return at, None if seeds is None else seeds.narrow(axis + 1, first, count)


def side_by_side(parts: Sequence[Relevance]) -> Relevance:
    """Relevance of some images after that of others: each [K, B, …]."""
    first = parts[0]
    inputs = {name: torch.cat([p.inputs[name] for p in parts], 1) for name in first.inputs}
    layers = {name: torch.cat([p.layers[name] for p in parts], 1) for name in first.layers}
    books = [p.ledger for p in parts if p.ledger is not None]
    return Relevance(inputs, layers, _one_book(books, 1) if books else None)


def joined(parts: Iterator[tuple[int, Relevance]], seeds: int) -> Relevance:
    """Sweeps of so many seeds put together, each as it comes, so that none waits for the others."""
    whole: Relevance | None = None
    books: list[Ledger] = []
    first = 0
    for count, part in parts:
        if count == seeds:
            return part
        if whole is None:
            whole = Relevance(_wide(part.inputs, seeds), _wide(part.layers, seeds), None)
        for into, given in ((whole.inputs, part.inputs), (whole.layers, part.layers)):
            for name in given:
                into[name][first : first + count] = given[name]
        books += [] if part.ledger is None else [part.ledger]
        first += count
        del part, given
    if whole is None:
        raise AssertionError("no sweep")
    whole.ledger = _one_book(books, 0) if books else None
    return whole


def _wide(parts: Mapping[str, Tensor], seeds: int) -> dict[str, Tensor]:
    return {name: t.new_empty((seeds, *t.shape[1:])) for name, t in parts.items()}


def _one_book(books: Sequence[Ledger], axis: int) -> Ledger:
    """Ledgers put together along the seeds (0) or the images (1)."""
    rows = [
        (*row[:3], torch.cat([book.rows[i][3] for book in books], axis))
        for i, row in enumerate(books[0].rows)
    ]
    start = torch.cat([book.start for book in books], axis)
    return Ledger(start, torch.cat([book.end for book in books], axis), rows)


def whole_outputs(
    parts: Sequence[Mapping[str, Tensor]], types: Mapping[str, str]
) -> dict[str, Tensor]:
    """The outputs for some images after those for others; `types` are as in f32[B,300,80]."""
    axes = batch_axes({k: v.split("[")[1][:-1].split(",") for k, v in types.items()})
    return {
        name: torch.cat([part[name] for part in parts], axes[name]) if name in axes else value
        for name, value in parts[0].items()
    }
