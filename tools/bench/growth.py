"""How time and memory of the encoder's program grow with tokens, images, seeds and layers."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lrpc import compiler
from lrpc.backend.memory.run import Model
from lrpc.commands.bench.memory import peak
from lrpc.commands.bench.timing import finish, spread
from lrpc.commands.plan.load import open_model
from lrpc.errors import ProgramError
from tools.bench import offered
from tools.bench.contest import EPSILON, LIMITS, distance
from tools.bench.detached import detached, relevance
from tools.bench.encoder import Encoder, Layout, drawn
from tools.bench.growth_fit import fit
from tools.bench.settings import machine

COMPOSITE = "attnlrp"
TRACING = 40_000  # bytes of tracing for each token and layer of width 256, and more
AXES = ("tokens", "batch", "seeds", "layers")


@dataclass(frozen=True)
class Range:
    """The points along each axis; where the others lie is `base`. Tokens go by the side of the
    first level, of three that halve."""

    base: Layout
    sides: tuple[int, ...] = (28, 48, 68, 100, 140, 200)
    batches: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    seeds: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 100, 300)
    layers: tuple[int, ...] = (1, 2, 3, 6, 9, 12)

    def points(self, axis: str) -> list[Point]:
        """The points along one axis, in ascending order."""
        one = Point(self.base)
        if axis == "tokens":
            layouts = [replace(self.base, levels=halved(side)) for side in self.sides]
            return [replace(one, layout=layout) for layout in layouts]
        if axis == "batch":
            return [replace(one, batch=batch) for batch in self.batches]
        if axis == "seeds":
            return [replace(one, seeds=seeds) for seeds in self.seeds]
        return [replace(one, layout=replace(self.base, layers=n)) for n in self.layers]


@dataclass(frozen=True)
class Point:
    """What is measured at once."""

    layout: Layout
    batch: int = 1
    seeds: int = 1

    def along(self, axis: str) -> int:
        found = {"tokens": self.layout.tokens, "layers": self.layout.layers}
        return found.get(axis) or {"batch": self.batch, "seeds": self.seeds}[axis]


def halved(side: int) -> tuple[tuple[int, int], ...]:
    """Three levels, each half as wide and high as the one before."""
    return tuple((side // part, side // part) for part in (1, 2, 4))


RANGES = {"cpu": Range(Layout(halved(20))), "cuda": Range(Layout(halved(100)))}
QUICK = Range(
    Layout(halved(8), layers=2, width=32, ffn=64, heads=2),
    sides=(4, 8, 12), batches=(1, 2, 4), seeds=(1, 2, 4), layers=(1, 2, 3),
)  # fmt: skip


@dataclass
class Growth:
    """Measures along the axes for about `limit` seconds, a quarter of them on each.

    A point is measured where its time, as the point before lets expect, fits what is left, and its
    predicted peak fits into the memory. Peaks are predicted for every point whose program can be
    compiled in the memory that there is, until an axis has taken half of all the time.
    """

    device: str
    span: Range
    limit: float
    repeats: int = 3
    tell: Callable[[str], None] = print
    _programs: dict[Layout, tuple[Any, Any, Model]] = field(default_factory=dict)

    def run(self) -> dict[str, Any]:
        """The case as JSON holds it."""
        axes = {axis: self._axis(axis) for axis in AXES}
        base = self.span.base
        return {
            "machine": machine(self.device),
            "settings": {
                "composite": COMPOSITE,
                "base": {"tokens": base.tokens, "batch": 1, "seeds": 1, "layers": base.layers},
                "width": base.width,
                "ffn": base.ffn,
                "limit_s": self.limit,
                "repeats": self.repeats,
            },
            "axes": axes,
            "fits": {axis: fits(found) for axis, found in axes.items()},
        }

    def _axis(self, axis: str) -> list[dict[str, Any]]:
        begun, spent, rate, stopped = time.perf_counter(), 0.0, 0.0, False
        found: list[dict[str, Any]] = []
        for point in self.span.points(axis):
            x = point.along(axis)
            self.tell(f"growth: {axis} {x}")
            row: dict[str, Any] = {"x": x}
            row |= dict.fromkeys(("predicted", "forward", "relevance", "time", "peak"))
            late = bool(found) and time.perf_counter() - begun > self.limit / 2
            found.append(row)
            if point.layout not in self._programs and (late or not fits_tracing(point.layout)):
                continue
            _, program, model = self._program(point.layout)
            expected = predicted(model, point)
            cost = rate * x * (self.repeats + 3)
            stopped = stopped or spent + cost > self.limit / 4 or expected > 0.7 * free(self.device)
            row["predicted"] = expected
            if not stopped:
                begin = time.perf_counter()
                row |= self._measured(program, point)
                spent += time.perf_counter() - begin
                rate = row["time"]["median"] / x
        return found

    def _program(self, layout: Layout) -> tuple[Any, Any, Model]:
        """The program and its memory model, once checked; programs of other sizes are dropped."""
        if layout not in self._programs:
            for other in [one for one in self._programs if one != self.span.base]:
                del self._programs[other]
            model = Encoder(layout)
            tokens, weights = drawn(1, layout, 1)
            made = compiler.compile(model, (tokens,), composite=COMPOSITE, epsilon=EPSILON)
            directory = offered.place(made)
            program = offered.load(directory, self.device, {})
            self._check(model, program, tokens.to(self.device), weights.to(self.device))
            self._programs[layout] = made, program, open_model(directory)
        return self._programs[layout]

    def _check(self, model: Encoder, program: Any, tokens: Tensor, weights: Tensor) -> None:
        """Refuse a program whose relevance is not that of autograd through the detached model."""
        dtype = torch.float64 if self.device.startswith("cuda") else torch.float32
        other = detached(model, COMPOSITE).to(self.device, dtype)
        expected = relevance(other, tokens.to(dtype), weights.to(dtype))
        state = program.forward(tokens)
        found = program.relevance(state, seeds=state.outputs * weights).input
        error = distance(found, expected.cpu())
        if not error < LIMITS["fp32"]:
            raise ProgramError(f"growth: the program's relevance differs by {error:.1e}: not timed")

    def _measured(self, program: Any, point: Point) -> dict[str, Any]:
        tokens, weights = drawn(point.batch, point.layout, point.seeds)
        tokens, weights = tokens.to(self.device), weights.to(self.device)
        seeds = weights.mul_(program.forward(tokens).outputs)

        def both() -> Any:
            return program.relevance(program.forward(tokens), seeds=seeds)

        halves: list[tuple[float, float]] = []
        for _ in range(self.repeats + 1):
            begin = self._now()
            state = program.forward(tokens)
            middle = self._now()
            found = program.relevance(state, seeds=seeds)
            halves.append((middle - begin, self._now() - middle))
            del state, found
        forward, back = zip(*halves[1:], strict=True)  # the first one warms up
        return {
            "forward": spread(forward).to_json(),
            "relevance": spread(back).to_json(),
            "time": spread([sum(one) for one in halves[1:]]).to_json(),
            "peak": peak(both, self.device),
        }

    def _now(self) -> float:
        finish(self.device)
        return time.perf_counter()


def predicted(model: Model, point: Point) -> int:
    """The most bytes by the program's plan, weights and inputs apart."""
    return max(model.timeline(0, point.seeds, model.forward(point.batch)).live)


def fits_tracing(layout: Layout) -> bool:
    """Whether a program of this size can be compiled in the memory that is free."""
    return free("cpu") > TRACING * layout.tokens * layout.layers


def free(device: str) -> int:
    """Bytes that are free on the device, or can be made free."""
    if device.startswith("cuda"):
        torch.cuda.empty_cache()
        return torch.cuda.mem_get_info(device)[0]
    table = Path("/proc/meminfo")  # Linux; elsewhere what is free right now
    for line in table.read_text().splitlines() if table.exists() else ():
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            return int(value.split()[0]) * 1024
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def fits(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Exponents of time, of the measured and of the predicted peak."""
    measured = [row for row in rows if row["time"] is not None]
    xs = [row["x"] for row in measured]
    known = [row for row in rows if row["predicted"] is not None]
    found = {
        "time": fit(xs, [row["time"]["median"] for row in measured]),
        "peak": fit(xs, [row["peak"] for row in measured]),
        "predicted": fit([row["x"] for row in known], [row["predicted"] for row in known]),
    }
    return {name: None if one is None else one.to_json() for name, one in found.items()}
