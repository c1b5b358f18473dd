"""The deformable encoder: programs against autograd, and many seeds of one image."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lrpc.commands.bench.machine import machine
from lrpc.commands.bench.memory import held
from lrpc.commands.bench.tf32 import matmuls
from lrpc.commands.bench.timing import Second
from tools.bench import offered
from tools.bench.contest import EPSILON, LIMITS, Candidate, Contest, Ready, Row
from tools.bench.detached import detached, relevance
from tools.bench.encoder import Encoder, Layout, chosen, drawn, with_attention
from tools.bench.floors import Ceilings, ceilings
from tools.bench.goals import figures, verdicts
from tools.bench.offered import Compiler
from tools.bench.peers import EXTENSION, ExtensionAttention, importable
from tools.bench.settings import Options

TITLE = "forward + pass back to the input"


class Encoders:
    """The model, its inputs and its programs, for one batch and number of seeds."""

    def __init__(
        self, layout: Layout, compiler: Compiler, batch: int, seeds: int, options: Options
    ) -> None:
        self.batch, self.seeds, self.options = batch, seeds, options
        self.device = options.device
        self.model, self.compiler = Encoder(layout), compiler  # with the same weights
        tokens, weights = drawn(batch, layout, seeds)
        self.tokens, self.weights = tokens.to(self.device), weights.to(self.device)
        self.inputs = held([self.tokens, self.weights])

    # -- what is expected --------------------------------------------------------------------------

    def reference(self, composite: str) -> Tensor:
        """Relevance in double precision, image by image and seed by seed: [K, B, N, C]."""
        model = detached(self.model, composite).double().to(self.device)
        images = [
            relevance(model, self.tokens[b : b + 1].double(), self.weights[:, b : b + 1].double())
            for b in range(self.batch)
        ]
        return torch.cat(images, 1)

    # -- alternatives ------------------------------------------------------------------------------

    def autograd(self, model: Encoder, compiled: bool) -> Ready:
        """Forward, and one gradient in the input for each seed."""
        held_bytes = held([*model.parameters(), *model.buffers()])
        run: Any = copy.deepcopy(model).to(self.device)
        if compiled:
            run = torch.compile(run)

        def call() -> Tensor:
            with matmuls(self.options.gpu):
                return relevance(run, self.tokens, self.weights)

        @torch.no_grad()
        def forward() -> Tensor:
            with matmuls(self.options.gpu):
                out: Tensor = run(self.tokens)
            return out

        return Ready(call, None if compiled else forward, weights=held_bytes, inputs=self.inputs)

    def extension(self) -> Ready:
        """The same with the compiled sampling of Deformable DETR."""
        if (reason := importable(EXTENSION)) is not None:
            raise offered.NotOfferedError(reason)
        return self.autograd(with_attention(self.model, ExtensionAttention), False)

    # -- ours --------------------------------------------------------------------------------------

    def program(self, composite: str, configuration: offered.Configuration) -> Ready:
        """Forward and relevance of a program, compiled and loaded as configured."""
        return self.ready(self.compiler.program(composite, configuration, self.device))

    def stored(self, directory: Path) -> Ready:
        """The same of a program that was compiled before, such as by another version."""
        return self.ready(offered.load(directory, self.device, {}))

    def ready(self, program: Any) -> Ready:
        tokens = self.tokens.to(offered.input_dtype(program))
        seeds = program.forward(tokens).outputs * self.weights  # the caller's, as weights are

        def forward() -> Any:
            return program.forward(tokens)

        def back(state: Any) -> Tensor:
            found: Tensor = program.relevance(state, seeds=seeds).input
            return found.float()

        def used() -> Any:
            state = forward()
            back(state)
            return state

        return Ready(
            lambda: back(forward()),
            forward,
            Second(used, back),
            weights=held(program.weights.values()),
            inputs=self.inputs,
        )


def compiler_of(layout: Layout, options: Options, seeds: int = 0) -> Compiler:
    """Compiles the encoder for `seeds` at once, by default up to 32."""
    tokens, _ = drawn(1, layout, 1)
    common = {"seeds": seeds or min(max(options.seeds, 8), 32), "epsilon": EPSILON}
    return Compiler(Encoder(layout), tokens, common, options.store)


def rows_of(
    made: Encoders, layout: Layout, options: Options, limits: Ceilings, goal: str
) -> list[Row]:
    """The table of one batch and number of seeds; `goal` is what its programs count for, "" for the
    precision that they are in."""
    seeds = made.seeds
    floor = layout.work(made.batch, seeds)
    precision = "tf32" if options.gpu else "fp32"
    mine = LIMITS[precision]
    gradient = "gradient_input"
    candidates = [
        Candidate(
            "autograd through grid_sample",
            lambda: made.autograd(made.model, False),
            gradient,
            mine,
            floor=limits.seconds(floor),
        ),
        Candidate("autograd, compiled extension", made.extension, gradient, mine),
    ]
    if options.torch_compile and seeds == 1:
        compiled = partial(made.autograd, made.model, True)
        candidates.insert(1, Candidate("autograd, torch.compile", compiled, gradient, mine))
    for composite in options.composites:
        for one in options.ways(composite == options.composites[0]):
            kind = one.name.split("+")[0]
            least = limits.seconds(floor, kind == "bf16")
            counts = goal or f"encoder/{kind}"
            if goal and kind == "bf16":
                counts = ""  # the goal for seeds is of tf32
            candidates.append(
                Candidate(
                    f"program, {composite}, {one.name}",
                    partial(made.program, composite, one),
                    composite,
                    LIMITS[kind],
                    ours=True,
                    goal=counts and f"{counts}/{composite}",
                    floor=least,
                )
            )
    candidates += _stored(made, options)
    references: dict[str, Callable[[], Tensor]] = {
        name: partial(made.reference, name) for name in {gradient, *options.composites}
    }
    rows = Contest(
        options.device, references, options.repeats, options.tell, until=options.until
    ).run(candidates)
    if options.save is not None and not options.save.exists():
        made.compiler.copy(options.composites[0], options.save)
        options.tell(f"saved to {options.save}")
    return rows


def _stored(made: Encoders, options: Options) -> list[Candidate]:
    if options.against is None:
        return []
    make = partial(made.stored, options.against)
    first = options.composites[0]
    limit = LIMITS["tf32" if options.gpu else "fp32"]
    return [Candidate(f"program in {options.against}", make, first, limit, ours=True)]


def run(options: Options) -> dict[str, Any]:
    """The case as JSON holds it: tables for the batch and for the seeds, goals and ceilings."""
    layout = chosen(options.levels, options.quick)
    limits = ceilings(options.device, tf32=options.gpu, quick=options.quick)
    few = {options.seeds} if options.gpu or options.quick else {4, options.seeds}
    several = [(1, seeds) for seeds in sorted(few - {1})]
    tables, rows, compiler = [], [], compiler_of(layout, options)
    for batch, seeds in [(options.batch, 1), *several]:
        options.tell(f"encoder: B={batch}, K={seeds}")
        goal = "" if seeds == 1 else "encoder/seeds" if options.gpu else f"encoder/{seeds}"
        encoders = Encoders(layout, compiler, batch, seeds, options)
        found = rows_of(encoders, layout, options, limits, goal)
        rows += found
        seeds_of = "" if seeds == 1 else f" of {seeds} seeds"
        table = {
            "title": f"{layout.described()}, B={batch}: {TITLE}{seeds_of}",
            "rows": [row.to_json() for row in found],
        }
        options.show(table)
        tables.append(table)
    return {
        "machine": machine(options.device),
        "settings": {
            "levels": [list(level) for level in layout.levels],
            "batch": options.batch,
            "seeds": [seeds for _, seeds in several],
            "repeats": options.repeats,
        },
        "ceilings": limits.to_json(),
        "tables": tables,
        "verdicts": _verdicts(rows, layout, options),
    }


def _verdicts(rows: list[Row], layout: Layout, options: Options) -> list[dict[str, Any]]:
    """Absolute figures are goals at the sizes that they were set for; ratios are everywhere."""
    if options.quick or (options.gpu and layout.tokens != 13_125):
        return []
    asked: list[dict[str, Any]] = []
    for composite in options.composites:
        keys = {row.goal for row in rows if row.goal.endswith(f"/{composite}")}
        if options.gpu and options.batch != 8:
            keys = {key for key in keys if "seeds" in key}
        if options.seeds != 32:
            keys = {key for key in keys if "seeds" not in key}
        found = figures(rows, sorted(keys))
        values = {key.removesuffix(f"/{composite}"): value for key, value in found.items()}
        for one in verdicts(values, options.gpu_name):
            asked.append({**one, "work": f"{one['work']}: {composite}"})
    return asked
