"""`lrpc evaluate`: what is compared, in which order, and what is printed and written."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from lrpc.commands.evaluate.candidates import Candidate
from lrpc.commands.evaluate.contest import contest, programs_of
from lrpc.commands.evaluate.frontier import write_frontier
from lrpc.commands.evaluate.job import Job, read_job, split_words
from lrpc.commands.evaluate.measuring import Measured, measure_all
from lrpc.commands.evaluate.methods import Method, Relevance
from lrpc.commands.evaluate.model import class_count
from lrpc.commands.evaluate.objects import Found, find
from lrpc.commands.evaluate.plot import write_curves
from lrpc.commands.evaluate.randomise import Similarity, check, randomised
from lrpc.commands.evaluate.results import Results, write_results
from lrpc.commands.evaluate.scenes import read_scenes
from lrpc.commands.evaluate.tables import tables
from lrpc.commands.evaluate.truth import Annotated
from lrpc.commands.session.changes import change_of
from lrpc.commands.session.members import Member
from lrpc.commands.session.options import check_output
from lrpc.commands.session.record import program_record
from lrpc.commands.session.terminal import (
    stopped,
    warn_amplified,
    warn_changes,
    warn_random,
)
from lrpc.commands.session.units import count
from lrpc.support.files import make_folder
from lrpc.support.signals import Stopped, finishing
from lrpc.support.terminal import Terminal, say

_ALIAS = "--set KEY VALUE is written KEY VALUE, at the end; --set goes with the next release"
_WIDTH = 120  # of tables that go into a file or a pipe


def main(args: argparse.Namespace, console: Console) -> int:
    """Evaluate; the exit code is 0, or 1 where an image or a method failed. Raises LrpcError.

    Progress goes to stderr, tables to `console`.
    """
    errors = Terminal(stderr=True)
    if args.set:
        say(errors, f"note: {_ALIAS}", "yellow")
    with tempfile.TemporaryDirectory(prefix="lrpc-") as folder:
        job = read_job(args, Path(folder))
        found, results, stop = _evaluate(job, errors)
        with finishing() if stop is None else nullcontext():
            _write(job, results)
    if not console.is_terminal:
        console.width = _WIDTH
    for table in tables(results):
        console.print(table)
    say(console, _closing(job, found))
    for name, reason in results.failed.items():
        say(errors, f"{name} failed: {reason}", "red")
    if stop is not None:
        done, left = len(results.methods()), len(results.about["methods_left"])
        how_far = f": the figures are of {count(done, 'method')}, {left} left"
        return stopped(errors, stop, how_far, "run it again, --limit N takes fewer objects")
    return 1 if found.failed or results.failed else 0


def _evaluate(job: Job, errors: Console) -> tuple[Found, Results, Stopped | None]:
    """Programs, objects, every method, and the randomisation check where it was asked for; the
    signal that ended it before all were measured."""
    args, settings = job.args, job.settings
    check_output(args.output, [args.scenes])
    models = programs_of(job)
    notes: list[str] = []
    scenes = _scenes(job, models, notes)
    running = contest(job, models)
    notes += [f"{model.name}: {note}" for model in running.models for note in model.notes]
    for note in notes:
        say(errors, f"note: {note}", "yellow")
    first, methods = running.models[0], running.methods
    warn_random(errors, [first.facts])
    found = find(first, scenes, settings, debug=args.debug)
    for failure in found.failed:
        say(errors, failure, "red")
    say(errors, f"{found.subjects} objects detected, {len(found.unmatched)} not")
    changes = [change_of(picture.image) for picture in found.pictures]
    warn_changes(errors, changes, len(changes))
    measured, stop = Measured(), None
    likeness: tuple[Similarity, ...] = ()

    def told(name: str, what: str) -> None:
        say(errors, f"{name}: {what}")

    try:
        measure_all(methods, first, found.pictures, settings, told, measured)
        if args.randomise:
            whole = [method for method in methods if method.name not in measured.failed]
            likeness = _randomise(job, whole, found, measured.failed, errors)
    except Stopped as signal:
        if not measured.rows:
            raise
        stop = signal
    for method in methods:
        if isinstance(method, Relevance):
            warn_amplified(
                errors, max(method.amplified, default=0.0), f"relevance by {method.name}"
            )
    done = {*measured.seconds, *measured.failed}
    left = [method.name for method in methods if method.name not in done]
    about = _about(job, running.models, found) | {"notes": notes, "methods_left": left}
    rows, cost = measured.rows, (measured.seconds, measured.passes)
    return found, Results(rows, *cost, measured.failed, likeness, about), stop


def _scenes(job: Job, models: Sequence[Member], notes: list[str]) -> list[Annotated]:
    """The annotated images, in terms of the program's classes or of the config's."""
    if models:
        names, count = models[0].facts.classes, class_count(models[0].program.manifest)
    else:
        config = job.config()
        names, count = tuple(config.LRPC.CLASS_NAMES), config.MODEL.SEM_SEG_HEAD.NUM_CLASSES
    boxes = job.settings.match == "box"
    read = partial(read_scenes, count=count, boxes=boxes, tell=notes.append)
    return read(job.args.scenes, job.args.annotations, names)


def _randomise(
    job: Job, methods: Sequence[Method], found: Found, failed: dict[str, str], errors: Console
) -> tuple[Similarity, ...]:
    """The check for every candidate that --config made; errors go to `failed`."""
    candidates = {candidate.name: candidate for candidate in job.candidates}
    config = job.recipe().of(Candidate("randomised"))
    files = randomised(config, split_words(job.args.randomise), job.settings.seed, job.folder)
    some = [m for m in methods if isinstance(m, Relevance) and m.name in candidates]
    if not some:
        return ()
    load = partial(job.compile, [candidates[method.name] for method in some])
    checked = check(some, found.pictures, files, load)
    for method in some:
        error = checked.failed.get(method.name)
        say(errors, f"{method.name}, randomised: {error or 'done'}")
        if error is not None:
            failed[f"{method.name}, randomised"] = error
    return checked.likeness


def _about(job: Job, models: Sequence[Member], found: Found) -> dict[str, Any]:
    """How the figures came about. No folder of this machine but those that were named."""
    programs = {model.name: program_record(Path(), model.facts) for model in models}
    for program in programs.values():
        del program["directory"]
    return {
        "scenes": str(job.args.scenes),
        "annotations": None if job.args.annotations is None else str(job.args.annotations),
        "settings": asdict(job.settings),
        "ig_steps": job.args.ig_steps if "integrated_gradients" in job.baselines else None,
        "device": job.device,
        "torch": str(torch.__version__),
        "programs": programs,
        "explained": found.subjects,
        "not_detected": list(found.unmatched),
        "failed": list(found.failed),
    }


def _write(job: Job, results: Results) -> None:
    output: Path = job.args.output
    make_folder(output)
    write_results(output, results)
    if not job.args.no_plot:
        write_curves(output, results)
        write_frontier(output, results.summary())


def _closing(job: Job, found: Found) -> str:
    missed = len(found.unmatched)
    return (
        f"{found.subjects} objects in {len(found.pictures)} images; {missed} not detected "
        f"(score above {job.settings.score:g}, {job.settings.match} IoU from "
        f"{job.settings.iou:g}); figures in {job.args.output}"
    )
