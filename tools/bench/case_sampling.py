"""The sampling op of deformable attention, path by path."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from lrpc.commands.bench.machine import machine
from lrpc.ir.ops import TABLE
from lrpc.models.maskdino.pixel_decoder import POINTS
from lrpc.runtime.kernels import cells, deformable
from lrpc.runtime.kernels.triton_support import has_triton
from tools.bench.contest import Candidate, Contest, Ready, Row
from tools.bench.encoder import Layout, chosen, offset_pattern, references
from tools.bench.settings import Options

Table = tuple[Tensor, Tensor, Tensor]
LIMITS = {torch.float32: 1e-4, torch.bfloat16: 3e-2}


def drawn(layout: Layout, batch: int, seeds: int) -> list[Tensor]:
    """g [K, B, N, C], value [B, N, H, D], locations [B, N, H, L, P, 2] and weights without the 2,
    as in a model: the initial pattern and one pixel of noise."""
    generator = torch.Generator().manual_seed(0)
    anchors = references(layout.levels)
    rows, count, heads = layout.tokens, len(layout.levels), layout.heads
    sizes = torch.tensor([(x, y) for y, x in layout.levels]).view(count, 1, 2)
    noise = torch.randn(batch, rows, heads, count, POINTS, 2, generator=generator)
    places = anchors.view(1, rows, 1, 1, 1, 2) + (offset_pattern(heads, count) + noise) / sizes
    weights = torch.randn(batch, rows, heads, count * POINTS, generator=generator).softmax(-1)
    g = torch.randn(seeds, batch, rows, layout.width, generator=generator)
    value = torch.randn(batch, rows, heads, layout.width // heads, generator=generator)
    return [g, value, places, weights.view(noise.shape[:-1])]


class Op:
    """The op's tensors, what its paths should give, and the paths."""

    def __init__(
        self, layout: Layout, batch: int, seeds: int, device: str, dtype: torch.dtype
    ) -> None:
        self.levels, self.limit = layout.levels, LIMITS[dtype]
        self.g, self.value, self.places, self.weights = (
            t.to(device, dtype) for t in drawn(layout, batch, seeds)
        )
        self.fast = has_triton(self.value)
        self.sizes = deformable.level_sizes(self.levels)
        b, q, h = self.places.shape[:3]
        self.rows = b * q * h

    def expected(self) -> dict[str, Callable[[], Tensor]]:
        """In double precision, by the reference semantics of the op table. Seeds are alike in what
        is done with them: the last one is checked."""
        g, value, places, weights = (
            t.double() for t in (self.g[-1:], self.value, self.places, self.weights)
        )
        sample, splat = TABLE["deform_sample"].reference, TABLE["deform_splat"].reference
        mixed = TABLE["deform_weight_transpose"].reference
        return {
            "sample": lambda: sample(value, places, weights, levels=self.levels),
            "splat": lambda: splat(g, places, weights, levels=self.levels),
            "to weights": lambda: mixed(g, value, places, levels=self.levels),
        }

    def entries(self) -> Callable[[], Table]:
        """What sorts the entries by row; what it sorts is there already."""
        if self.fast:
            from lrpc.runtime.kernels import triton_deformable

            found = triton_deformable.triton_entries(self.places, self.weights, self.sizes, False)
            return partial(deformable.deform_transposed, *found, self.rows, self.rows)
        corners = cells.deform_corners(self.places, self.levels)
        heads = self.places.shape[2]
        return partial(cells.deform_sorted, *corners, self.weights, self.levels, heads)

    def sample(self, kept: dict[str, Any] | None) -> Tensor:
        more = () if kept is None else (kept, "x")
        made: Tensor = deformable.deform_sample(
            self.value, self.places, self.weights, self.levels, *more
        )
        return made

    def splat(self) -> Tensor:
        found: Tensor = deformable.deform_splat(self.g, self.places, self.weights, self.levels)
        return found[-1:]

    def sorting(self) -> Ready:
        """What the first splat on a state pays once."""
        call = self.entries()
        return Ready(call, checked=lambda: self.gathered(call()))

    def gather(self) -> Ready:
        table = self.entries()()
        return Ready(lambda: self.gathered(table))

    def gathered(self, table: Table) -> Tensor:
        flat = self.g.reshape(self.g.shape[0], self.rows, -1)
        if self.fast:
            from lrpc.runtime.kernels import triton_deformable

            found: Tensor = triton_deformable.triton_gather(flat, *table)
        else:
            found = cells.deform_add(flat, *table, self.levels, self.places.shape[2])
        return found.view(*self.g.shape[:1], *self.value.shape)[-1:]

    def atomics(self) -> Tensor:
        from lrpc.runtime.kernels import triton_deformable

        found: Tensor = triton_deformable.triton_splat(
            self.g, self.places, self.weights, self.sizes
        )
        return found[-1:]

    def to_weights(self, kept: dict[str, Any]) -> Tensor:
        found: Tensor = deformable.deform_weight_transpose(
            self.g, self.value, self.places, self.levels, kept, "x"
        )
        return found[-1:]

    def candidates(self) -> list[Candidate]:
        kept: dict[str, Any] = {}
        paths: dict[str, tuple[str, Callable[[], Tensor]]] = {
            "sample: indices, coefficients, sum": ("sample", partial(self.sample, None)),
            "sample, state kept: the sum": ("sample", partial(self.sample, kept)),
            "splat, first: entries, sorting, sum": ("splat", self.splat),
            "to weights, state kept": ("to weights", partial(self.to_weights, kept)),
        }
        if self.fast:
            paths["splat by atomics"] = ("splat", self.atomics)
        found = [
            Candidate(n, partial(Ready, c), e, self.limit, ours=True) for n, (e, c) in paths.items()
        ]
        more = [
            Candidate("of that, sorting the entries", self.sorting, "splat", self.limit, ours=True),
            Candidate(
                "splat by gather, entries sorted", self.gather, "splat", self.limit, ours=True
            ),
        ]
        return [*found[:3], *more, *found[3:]]


def run(options: Options) -> dict[str, Any]:
    """The case as JSON holds it: a table for one image and seed, for many seeds, for a batch."""
    layout = chosen(options.levels, options.quick)
    several = 2 if options.quick else 32 if options.gpu else 4
    sizes = [(1, 1), (1, several)] + ([(options.batch, 1)] if options.batch > 1 else [])
    dtypes = (torch.float32, torch.bfloat16) if options.gpu else (torch.float32,)
    tables = []
    for dtype, (batch, seeds) in itertools.product(dtypes, sizes):
        name = str(dtype).removeprefix("torch.")
        options.tell(f"sampling: {name}, B={batch}, K={seeds}")
        op = Op(layout, batch, seeds, options.device, dtype)
        with torch.no_grad():
            rows: list[Row] = Contest(
                options.device, op.expected(), options.repeats, options.tell, until=options.until
            ).run(op.candidates())
        title = f"one sampling, {layout.tokens:,} queries, {layout.heads} heads of "
        title += f"{layout.width // layout.heads}, {POINTS} points, {name}, B={batch}, K={seeds}"
        tables.append({"title": title, "rows": [row.to_json() for row in rows]})
        options.show(tables[-1])
    return {
        "machine": machine(options.device),
        "settings": {"levels": [list(x) for x in layout.levels], "repeats": options.repeats},
        "tables": tables,
        "verdicts": [],
    }
