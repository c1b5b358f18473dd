"""`lrpc evaluate`: what is compared, in which order, and what is printed and written."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from lrpc.commands.evaluate.arguments import add_arguments
from lrpc.commands.evaluate.candidates import Candidate
from lrpc.commands.evaluate.contest import contest, programs_of
from lrpc.commands.evaluate.job import Job, read_job, split_words
from lrpc.commands.evaluate.measuring import measure_all
from lrpc.commands.evaluate.methods import Method, Relevance
from lrpc.commands.evaluate.model import Model, class_count
from lrpc.commands.evaluate.objects import Found, find
from lrpc.commands.evaluate.plot import write_curves
from lrpc.commands.evaluate.randomise import Similarity, check, randomised
from lrpc.commands.evaluate.results import Results, write_results
from lrpc.commands.evaluate.scenes import read_scenes
from lrpc.commands.evaluate.tables import tables
from lrpc.commands.evaluate.truth import Annotated
from lrpc.commands.session.changes import change_of, notice
from lrpc.commands.session.facts import RANDOM_WARNING
from lrpc.commands.session.record import program_record
from lrpc.errors import LrpcError, ProgramError
from lrpc.support.files import make_folder
from lrpc.support.signals import Stopped, finishing
from lrpc.support.terminal import Terminal, say

__all__ = ["add_arguments", "main"]
_UNWRITTEN = "methods measured, nothing is written; run it again, --limit N takes fewer objects"
_WIDTH = 120  # of tables that go into a file or a pipe


def main(args: argparse.Namespace, console: Console) -> int:
    """Evaluate; the exit code is 0, 1 where an image or a method failed, 2 for an error.

    Progress goes to stderr, tables to `console`. With `args.debug` errors are raised instead.
    """
    errors = Terminal(stderr=True)
    progress = Progress()
    try:
        with tempfile.TemporaryDirectory(prefix="lrpc-") as folder:
            job = read_job(args, Path(folder))
            found, results = _evaluate(job, errors, progress)
            _write(job, results)
    except LrpcError as error:
        if getattr(args, "debug", False):
            raise
        say(errors, f"error: {error}", "red")
        return 2
    except Stopped as stop:
        count = f"{len(progress.done)} of {progress.methods or 'all'}"
        say(errors, f"stopped by {stop}: {count} {_UNWRITTEN}", "red")
        return stop.code
    if not console.is_terminal:
        console.width = _WIDTH
    for table in tables(results):
        console.print(table)
    say(console, _closing(job, found))
    for name, reason in results.failed.items():
        say(errors, f"{name} failed: {reason}", "red")
    return 1 if found.failed or results.failed else 0


@dataclass
class Progress:
    """How many methods there are, and which were measured."""

    methods: int = 0
    done: list[str] = field(default_factory=list)


def _evaluate(job: Job, errors: Console, progress: Progress) -> tuple[Found, Results]:
    """Programs, objects, every method, and the randomisation check where it was asked for."""
    args, settings = job.args, job.settings
    models = programs_of(job)
    notes: list[str] = []
    scenes = _scenes(job, models, notes)
    for note in notes:
        say(errors, f"note: {note}", "yellow")
    running = contest(job, models)
    first, methods = running.models[0], running.methods
    if first.facts.random_weights:
        say(errors, f"warning: {RANDOM_WARNING}", "bold red")
    found = find(first, scenes, settings)
    for failure in found.failed:
        say(errors, failure, "red")
    say(errors, f"{found.subjects} objects detected, {len(found.unmatched)} not")
    changes = [change_of(picture.image) for picture in found.pictures]
    changed = notice([change for change in changes if change is not None], len(changes))
    if changed:
        say(errors, changed, "yellow")
    progress.methods = len(methods)

    def told(name: str, what: str) -> None:
        progress.done.append(name)
        _tell(errors, name, what)

    measured = measure_all(methods, first, found.pictures, settings, told)
    failed = dict(measured.failed)
    likeness: tuple[Similarity, ...] = ()
    if args.randomise:
        whole = [method for method in methods if method.name not in failed]
        likeness = _randomise(job, whole, found, failed, errors)
    about = _about(job, running.models, found) | {"notes": notes}
    rows, seconds = measured.rows, measured.seconds
    return found, Results(rows, seconds, failed, likeness, about)


def _scenes(job: Job, models: Sequence[Model], notes: list[str]) -> list[Annotated]:
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
        _tell(errors, f"{method.name}, randomised", error or "done")
        if error is not None:
            failed[f"{method.name}, randomised"] = error
    return checked.likeness


def _about(job: Job, models: Sequence[Model], found: Found) -> dict[str, Any]:
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
    if output.resolve() == job.args.scenes.resolve():
        raise ProgramError(f"{output}: the scenes are read from this folder; name another for -o")
    with finishing():
        make_folder(output)
        write_results(output, results)
        if not job.args.no_plot:
            write_curves(output, results)


def _closing(job: Job, found: Found) -> str:
    missed = len(found.unmatched)
    return (
        f"{found.subjects} objects in {len(found.pictures)} images; {missed} not detected "
        f"(score above {job.settings.score:g}, {job.settings.match} IoU from "
        f"{job.settings.iou:g}); figures in {job.args.output}"
    )


def _tell(errors: Console, name: str, what: str) -> None:
    say(errors, f"{name}: {what}")
