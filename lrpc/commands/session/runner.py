"""Images through a program, in batches; one image's trouble is not another's."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

from lrpc.commands.drawing.pictures import Display, write_pictures
from lrpc.commands.session.calls import Explained, Request, check_outputs, explain, forward
from lrpc.commands.session.changes import Change, change_of
from lrpc.commands.session.detect import best_probability, find_detections
from lrpc.commands.session.facts import Facts, read_facts
from lrpc.commands.session.images import LoadedImage, load_image
from lrpc.commands.session.names import output_stems
from lrpc.commands.session.record import (
    failure_record,
    finished,
    image_record,
    program_record,
    target_record,
    write_json,
    write_tensors,
)
from lrpc.commands.session.seeds import Scene, Seed, resolve
from lrpc.commands.session.targets import TargetError, TargetSpec
from lrpc.errors import ImageError, LrpcError
from lrpc.program.loading import under_composite
from lrpc.program.protocol import Detector, Program, Size
from lrpc.support.files import make_folder, shown
from lrpc.support.signals import finishing

#: One image's failure: the disk's, torch's and NumPy's own errors among them.
TROUBLE = (LrpcError, OSError, RuntimeError, ValueError, MemoryError)


@dataclass(frozen=True)
class Options:
    """Everything `lrpc run` was asked for, beside the images."""

    directory: Path
    output: Path
    device: str = "cpu"
    targets: tuple[TargetSpec, ...] = (TargetSpec("class_logit"),)
    score: float = 0.5
    top: int = 5
    batch_size: int = 1
    request: Request = field(default_factory=Request)
    display: Display = field(default_factory=Display)
    detector: Detector | None = None  # None: as the released code
    resume: bool = False  # leave out what has its record already
    debug: bool = False


@dataclass(frozen=True)
class Outcome:
    """What became of one image: targets explained, a note, or the error's one line."""

    path: Path
    targets: int = 0
    note: str = ""
    error: str = ""
    closure: float | None = None  # the worst of its ledgers
    change: Change | None = None


@dataclass(frozen=True, eq=False)
class Job:
    """One image that was read, and the stem of its outputs."""

    image: LoadedImage
    stem: Path


class Runner:
    """One program, one set of options; call `run` with the images."""

    def __init__(self, program: Program, options: Options) -> None:
        self.program, self.options = program, options
        own = under_composite(program.manifest, options.request.composite)
        self.facts: Facts = read_facts(own)
        for spec in options.targets:
            spec.check_compiled(tuple(self.facts.places.of))
            self.facts.places.check_input(spec.name)
        self.facts.places.check(options.request.read)
        standard = partial(find_detections, score_masks=self.facts.score_masks)
        self._detector: Detector = options.detector or standard

    def run(self, paths: Sequence[Path], report: Callable[[Outcome], None]) -> list[Outcome]:
        """Explain every image and write its files; `report` hears of each as it is done.

        A trouble with one image ends as its outcome's error, and the rest go on. Raises
        TargetError for a target outside the model, and everything where `debug` is set.
        """
        outcomes: list[Outcome] = []

        def tell(outcome: Outcome) -> None:
            outcomes.append(outcome)
            report(outcome)

        waiting: dict[Size, list[Job]] = {}
        for path, stem in zip(paths, output_stems(paths), strict=True):
            target = self.options.output / stem
            if self.options.resume and finished(target, self._about()):
                tell(Outcome(path, note="explained before"))
                continue
            try:
                image = load_image(path, self.facts.sizing)
            except ImageError as error:
                tell(self._failed(path, target, error))
                continue
            batch = waiting.setdefault(image.frame, [])
            batch.append(Job(image, target))
            if len(batch) == self.options.batch_size:
                self._batch(waiting.pop(image.frame), tell)
        for batch in waiting.values():
            self._batch(batch, tell)
        return outcomes

    def _batch(self, jobs: Sequence[Job], tell: Callable[[Outcome], None]) -> None:
        """Explain some images of one shape together; alone, where together they fail."""
        try:
            results = self._explain(jobs)
        except TargetError:
            raise
        except TROUBLE as error:
            if len(jobs) == 1:
                tell(self._failed(jobs[0].image.path, jobs[0].stem, error))
                return
            if self.options.debug:
                raise
            for job in jobs:
                self._batch([job], tell)
            return
        for job, (explained, note) in zip(jobs, results, strict=True):
            with finishing():
                try:
                    outcome = self._write(job, explained, note)
                except TROUBLE as error:
                    outcome = self._failed(job.image.path, job.stem, error)
                tell(outcome)

    def _failed(self, path: Path, stem: Path, error: Exception) -> Outcome:
        """An image's failure with its record; raises the error where `debug` is set."""
        if self.options.debug:
            raise error
        line = line_of(error)
        try:
            with finishing():
                make_folder(stem.parent)
                about = failure_record(path, line) | self._about()
                write_json(stem.with_name(f"{stem.name}.json"), about)
        except TROUBLE as other:
            line += f"; it has no record: {line_of(other)}"
        return Outcome(path, error=line)

    def _about(self) -> dict[str, Any]:
        """The program and what was asked of it, for records."""
        program = program_record(self.options.directory, self.facts)
        return {"program": program, "run": self._run_record()}

    def _explain(self, jobs: Sequence[Job]) -> list[tuple[list[Explained], str]]:
        """Forward, detections, seeds, relevance; with a note where there was nothing to do."""
        pixels = torch.stack([job.image.pixels for job in jobs])  # [B, 3, H, W]
        extents = [job.image.valid for job in jobs]
        state = forward(self.program, self.facts, pixels, extents, self.options.device)
        check_outputs(state)
        seeds: list[list[Seed]] = []
        notes: list[str] = []
        for b, job in enumerate(jobs):
            outputs = {name: value[b].detach() for name, value in state.outputs.items()}
            frame, valid = job.image.frame, job.image.valid
            found = self._detector(outputs, frame, valid, self.options.score, self.options.top)
            mine = resolve(self.options.targets, Scene(outputs, frame, valid, found))
            seeds.append(mine)
            notes.append("" if mine else self._nothing(best_probability(outputs)))
        request, places = self.options.request, self.facts.places
        explained = explain(self.program, state, seeds, request, places)
        return list(zip(explained, notes, strict=True))

    def _nothing(self, best: float) -> str:
        score = self.options.score
        return f"no detection above {score:g} (largest class probability {best:.2f})"

    def _write(self, job: Job, results: Sequence[Explained], note: str) -> Outcome:
        """All files of one image; the record comes last, so where it stands all else does."""
        image = job.image
        make_folder(job.stem.parent)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            targets = list(pool.map(lambda result: self._target(job, result), results))
        tensors = job.stem.with_name(job.stem.name + ".relevance.safetensors")
        if results:
            write_tensors(tensors, image, results)
        record = {
            "image": image_record(image),
            **self._about(),
            "note": note,
            "error": None,
            "tensors": tensors.name if results else None,
            "targets": targets,
        }
        write_json(job.stem.with_name(job.stem.name + ".json"), record)
        ledgers = [target["ledger"] for target in targets if target["ledger"]]
        closures = [one["closure"] for one in ledgers if one["closure"] is not None]
        worst, change = max(closures, default=None), change_of(image)
        return Outcome(image.path, len(results), note, closure=worst, change=change)

    def _target(self, job: Job, result: Explained) -> dict[str, Any]:
        """Pictures and record of one target."""
        said = target_record(result, job.image, self.facts)
        shown = self.options.display
        return said | write_pictures(job.stem, result, job.image, self.facts, shown)

    def _run_record(self) -> dict[str, Any]:
        options = self.options
        return {
            "targets": [str(spec) for spec in options.targets],
            "score": options.score,
            "top": options.top,
            "batch_size": options.batch_size,
            "device": options.device,
            "request": asdict(options.request) | {"read": list(options.request.read)},
            "display": asdict(options.display),
            "torch": str(torch.__version__),
        }


def line_of(error: BaseException) -> str:
    """The error's first line, with its type where it is none of our own."""
    text = shown(next(iter(str(error).strip().splitlines()), ""))
    if isinstance(error, LrpcError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
