"""`lrpc tune`: the search on calibration images, and its report on held-out ones."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lrpc.commands.evaluate.candidates import Recipe, compiled
from lrpc.commands.evaluate.measuring import Measured, measure_all
from lrpc.commands.evaluate.methods import Method, Relevance
from lrpc.commands.evaluate.model import class_count
from lrpc.commands.evaluate.objects import Found, find
from lrpc.commands.evaluate.plot import need_matplotlib
from lrpc.commands.evaluate.results import Results
from lrpc.commands.evaluate.scenes import read_scenes
from lrpc.commands.evaluate.settings import Settings, grid
from lrpc.commands.evaluate.trivial import Trivial
from lrpc.commands.evaluate.truth import Annotated
from lrpc.commands.session.members import Member
from lrpc.commands.session.options import check_output
from lrpc.commands.session.terminal import stopped, warn_random
from lrpc.commands.session.units import count
from lrpc.commands.tune.report import frontier, write
from lrpc.commands.tune.search import Criterion, Search
from lrpc.commands.tune.space import ROLES, Choice, parts_of
from lrpc.errors import ConfigError
from lrpc.ir.parser import read_graph
from lrpc.program.devices import device_of
from lrpc.support.files import make_folder
from lrpc.support.signals import Stopped, finishing
from lrpc.support.terminal import Terminal, say
from lrpc.support.untrusted import meant

_SHOWN = {"abpc": "ABPC ↑", "positive_in_box": "+ in box ↑", "class_correlation": "classes, |·| ↓"}


def main(args: argparse.Namespace, console: Console) -> int:
    """Tune; the exit code is 0. Raises LrpcError. Progress goes to stderr, tables to `console`.

    A signal ends the search; what was found until then is written.
    """
    _check(args)
    errors = Terminal(stderr=True)
    held, stop = None, None
    with tempfile.TemporaryDirectory(prefix="lrpc-") as folder:
        work = _Work(args, Path(folder), errors)
        make_folder(args.output)
        search = Search(work.measure, Criterion(args.weights), args.budget, args.contrast)
        parts = work.parts()
        say(errors, f"parts: {', '.join(parts)}")
        try:
            for part, best in search.run(args.bases, parts, args.gammas):
                told = f"{part}: {len(search.trials)} candidates, best {best.value:.3f}"
                say(errors, f"{told}: {best.choice.name}")
            held = work.held_out(search) if args.held_out is not None else None
        except Stopped as signal:
            if not search.trials:
                raise
            stop = signal
    with finishing() if stop is None else nullcontext():
        write(args, search, held, parts)
        if not args.no_plot:
            frontier(args.output, search, held)
    say(console, f"best on {args.scenes}: {search.best.choice.name}")
    console.print(_table(search))
    if held is not None:
        console.print(_held(args, held))
    say(console, f"{args.output}/composite.yaml holds it, for --variants and LRPC in a config")
    if stop is not None:
        how_far = f": {args.output} has the best of {count(len(search.trials), 'candidate')}"
        return stopped(errors, stop, how_far, "run it again for the whole search")
    return 0


def _check(args: argparse.Namespace) -> None:
    """Raise LrpcError for what cannot be, before anything is compiled."""
    if not args.no_plot:
        need_matplotlib()
    if args.held_out is not None and args.held_out.resolve() == args.scenes.resolve():
        raise ConfigError(f"--held-out {args.held_out}: these are the images that are tuned on")
    if args.budget < len(args.bases):
        raise ConfigError(
            f"--budget {args.budget}: there are {len(args.bases)} composites to begin with"
            " (--bases)"
        )
    check_output(args.output, [one for one in (args.scenes, args.held_out) if one is not None])


class _Work:
    """Candidates as programs, and their figures on the images."""

    def __init__(self, args: argparse.Namespace, folder: Path, errors: Console) -> None:
        self.args, self.folder, self.errors = args, folder, errors
        self.device = device_of(args.device)
        self.recipe = Recipe(args.config, tuple(args.overrides))
        self.settings = Settings(
            score=args.score,
            iou=args.iou,
            match=args.match,
            limit=args.limit,
            steps=args.steps,
            removed=args.removed,
            protocols=grid(args.order, args.patch, args.fill),
            batch=args.batch_size,
            pad=args.pad,
            seed=args.seed,
            sensitivity=True,
        )
        first = self.programs([Choice(args.bases[0])])[0]
        warn_random(errors, [first.facts])
        self.graph = read_graph(first.directory / "graph.lrp")
        scenes, held = self._scenes(first, args.scenes, args.annotations), []
        if args.held_out is not None:
            held = self._scenes(first, args.held_out, args.held_out_annotations)
        self.found, self.held = self._objects(first, args.scenes, scenes), held

    def parts(self) -> list[str]:
        """The parts that are tuned; ConfigError for one that holds no linear map or convolution."""
        for part in self.args.parts:
            maps = [n.loc.module for n in self.graph.nodes if n.role in ROLES]
            if not any(f"{module}.".startswith(f"{part}.") for module in maps):
                hint = meant(part, [*parts_of(self.graph, len(maps)), *maps])
                raise ConfigError(f"--parts: no linear map or convolution in {part!r}{hint}")
        return list(self.args.parts) or parts_of(self.graph, self.args.most_parts)

    def programs(self, choices: Sequence[Choice]) -> list[Member]:
        """Candidates, all in one program."""
        candidates = [one.candidate() for one in choices]
        return compiled(candidates, self.recipe, self.folder, self.device)

    def measure(self, choices: Sequence[Choice]) -> Results:
        """Their figures on the calibration images."""
        return self._figures(self.programs(choices), self.found)

    def held_out(self, search: Search) -> Results:
        """The figures of the best and of what the search began with, on the held-out images, beside
        the detection's own box and mask."""
        args = self.args
        every = [search.best.choice, *(Choice(base) for base in args.bases)]
        programs = self.programs(list({one.name: one for one in every}.values()))
        found = self._objects(programs[0], args.held_out, self.held)
        return self._figures(programs, found, [Trivial("own_box"), Trivial("own_mask")])

    def _figures(
        self, programs: Sequence[Member], found: Found, more: Sequence[Method] = ()
    ) -> Results:
        batch, chunk, against = self.settings.batch, self.args.seed_chunk, self.args.contrast
        methods: list[Method] = [Relevance(one, batch, chunk, against) for one in programs]
        measured = Measured()
        measure_all([*methods, *more], programs[0], found.pictures, self.settings, found=measured)
        about = {"explained": found.subjects, "images": len(found.pictures)}
        return Results(measured.rows, measured.seconds, measured.passes, measured.failed, (), about)

    def _scenes(self, model: Member, scenes: Path, annotations: Path | None) -> list[Annotated]:
        names, classes = model.facts.classes, class_count(model.program.manifest)
        boxes = self.settings.match == "box"
        return read_scenes(scenes, annotations, names, count=classes, boxes=boxes)

    def _objects(self, model: Member, scenes: Path, images: Sequence[Annotated]) -> Found:
        found = find(model, images, self.settings)
        told = f"{count(found.subjects, 'object')} in {count(len(found.pictures), 'image')}"
        say(self.errors, f"{scenes}: {told} detected, {len(found.unmatched)} not")
        return found


def _table(search: Search) -> Table:
    """The best candidates, and the composites that the search began with."""
    table = Table(title=f"candidates by {search.criterion.words()}", title_justify="left")
    table.add_column("rules", overflow="fold")
    for head in ("criterion", *_SHOWN.values()):
        table.add_column(head, justify="right", no_wrap=True)
    ranked = sorted(search.trials, key=lambda trial: -trial.value)
    plain = [trial for trial in ranked[8:] if not trial.choice.gammas]
    for trial in (*ranked[:8], *plain):
        cells = [str(trial.means[name]) if name in trial.means else "–" for name in _SHOWN]
        table.add_row(escape(trial.choice.name), f"{trial.value:.3f}", *cells)
    return table


def _held(args: argparse.Namespace, held: Results) -> Table:
    """Figures on the held-out images."""
    about: Any = held.about
    title = f"held out, {args.held_out}: {about['explained']} objects in {about['images']} images"
    table = Table(title=title, title_justify="left", caption_justify="left")
    table.add_column("rules", overflow="fold")
    for head in _SHOWN.values():
        table.add_column(head, justify="right", no_wrap=True)
    for method, means in held.summary().items():
        cells = [str(means[name]) if name in means else "–" for name in _SHOWN]
        table.add_row(escape(method), *cells)
    table.caption = "± is half of the 95 % interval, by bootstrap over images"
    return table
