"""What calls hold at most, for any number of images and seeds: what programs keep a budget by.

At each step live bytes are sums of storages, whose sizes are products of the images and of the
seeds in a pass, or in a chunk of it: a few simulated sizes tell the coefficients. What one
operation holds inside may stop growing where it works in segments; it counts as the most of the
simulated sizes then.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from lrpc.backend.memory.effect import Strided
from lrpc.backend.memory.log import Place
from lrpc.backend.memory.run import Model

IMAGES = (2, 3)  # simulated, with so many seeds in a pass and in a chunk
ONCE, CHUNKS = ((2, 2), (3, 3)), ((4, 2), (6, 2), (6, 3))


@dataclass(frozen=True)
class Line:
    """Live bytes at each step of a call, and those of them that are held inside one operation."""

    live: list[int]
    work: list[int]


def most_tables(found: Iterable[Mapping[Place, int]]) -> dict[Place, int]:
    """What several calls add to the state: each table once."""
    most: dict[Place, int] = {}
    for tables in found:
        most |= {place: max(size, most.get(place, 0)) for place, size in tables.items()}
    return most


def results_of(model: Model, target: int) -> dict[str, int]:
    """The bytes of the relevance of one seed in one image, by the place where it is read."""
    found = {}
    for node in model.reading.parts[target][0]:
        if node.op == "read":
            kind = node.inputs[0].type
            sizes = {"B": 1, "K": 1, **model.sizes}
            found[str(node.attr("name"))] = Strided.contiguous(kind, sizes).bytes
    return found


def records_of(model: Model, target: int) -> int:
    """The rows of the ledger."""
    return sum(node.op == "record" for node in model.reading.parts[target][1])


def outputs_of(model: Model) -> int:
    """The bytes of the outputs for one image."""
    kinds = {name: v.type for name, v in model.graph.outputs}.values()
    return sum(Strided.contiguous(kind, {"B": 1, **model.sizes}).bytes for kind in kinds)


def held_at(model: Model, sizes: Mapping[str, int]) -> dict[str, Any]:
    """Sizes of images that a budget is kept for, as a manifest holds them."""
    return {"sizes": dict(sizes), "outputs": outputs_of(replace(model, sizes=sizes))}


class Bounds:
    """Bounds on the calls of a program that runs as `model` says."""

    def __init__(self, model: Model) -> None:
        self.model, self.codes = model, range(len(model.codes))
        self.after = {images: model.forward(images) for images in (1, *IMAGES)}

    def to_json(self) -> list[dict[str, Any]]:
        """Of each code, as the manifest holds them: bytes of its results by place, rows of its
        ledger; and of calls without ledger and with it: `one`, the seeds in a pass and in a chunk
        with the exact bytes for one image, and rows of coefficients for others."""
        model, most = self.model, self.model.per_pass or self.model.chunk
        runs = ((most, model.chunk), (1, 1))
        exact = self._lines(1, *runs)
        sizes = CHUNKS if model.per_pass else ONCE
        grid = [[self._lines(b, run, run, True) for run in sizes] for b in IMAGES]
        found = []
        for i in self.codes:
            said: dict[str, Any] = {
                "results": results_of(model, i),
                "records": records_of(model, i),
            }
            for kind, name in enumerate(("plain", "ledger")):
                own = [[at[kind][i] for at in line] for line in grid]
                said[name] = {"one": [*runs[kind], max(exact[kind][i].live)], "rows": rows(own)}
            found.append(said)
        return found

    def _lines(
        self, images: int, plain: tuple[int, int], ledger: tuple[int, int], brief: bool = False
    ) -> list[list[Line]]:
        """Calls of every target without and with ledger, each with so many seeds in its one pass
        and in a chunk."""
        found = []
        for with_ledger, (per_pass, chunk) in enumerate((plain, ledger)):
            own = replace(self.model, chunk=chunk, per_pass=per_pass if self.model.per_pass else 0)
            call = partial(own.timeline, seeds=per_pass, after=self.after[images])
            found.append([call(i, ledger=bool(with_ledger), brief=brief) for i in self.codes])
        tables = sum(most_tables(t.tables for part in found for t in part).values())
        return [[Line(t.after_others(tables), t.work) for t in part] for part in found]


def rows(grid: Sequence[Sequence[Line]]) -> list[list[int]]:
    """The coefficients of 1, B, K, K·B, and C and C·B where the grid has chunks, at all steps: but
    for those that others exceed everywhere. The grid has a line of IMAGES each."""
    lives = [zip(*(line.live for line in part), strict=True) for part in grid]
    works = [zip(*(line.work for line in part), strict=True) for part in grid]
    found = set()
    for *parts, few, many in zip(*lives, *works, strict=True):
        pairs = zip(parts, (few, many), strict=True)
        held = [[a - b for a, b in zip(*pair, strict=True)] for pair in pairs]
        inside = _solved([few, many])
        if min(inside) < 0:
            inside = [max(*few, *many), *[0] * (len(inside) - 1)]
        found.add(tuple(a + b for a, b in zip(_solved(held), inside, strict=True)))
    kept: list[tuple[int, ...]] = []
    for row in sorted(found, key=lambda r: (-sum(r), r)):
        if not any(all(a >= b for a, b in zip(other, row, strict=True)) for other in kept):
            kept.append(row)
    return [list(row) for row in kept]


def _solved(grid: Sequence[Sequence[int]]) -> list[int]:
    """The coefficients of the multilinear function through the values of a grid."""
    pairs = zip(*(_of_seeds(line) for line in grid), strict=True)
    return [x for few, many in pairs for x in (IMAGES[1] * few - IMAGES[0] * many, many - few)]


def _of_seeds(values: Sequence[int]) -> tuple[int, ...]:
    """Coefficients of 1 and K through the values at ONCE, or of 1, K and C through those at
    CHUNKS."""
    if len(values) == len(ONCE):
        few, many = values
        return (3 * few - 2 * many, many - few)
    first, longer, wider = values
    seeds, chunk = -((first - longer) // 2), wider - longer
    return (first - 4 * seeds - 2 * chunk, seeds, chunk)
