"""Images through several composites or programs: the same targets, one picture for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from lrpc.commands.compare import similarity
from lrpc.commands.compare.comparison import columns, figures
from lrpc.commands.compare.sheet import Words, panel, sheet
from lrpc.commands.drawing import colour
from lrpc.commands.drawing.pictures import Display, marks_of, title_of, warning_of
from lrpc.commands.session.calls import Explained, Request, check_outputs, explain, forward
from lrpc.commands.session.changes import Change, change_of
from lrpc.commands.session.detect import best_probability, find_detections
from lrpc.commands.session.facts import Facts, read_facts
from lrpc.commands.session.images import LoadedImage, load_image
from lrpc.commands.session.record import image_record, program_record, target_record
from lrpc.commands.session.seeds import Scene, Seed, resolve
from lrpc.commands.session.targets import TargetSpec
from lrpc.errors import ProgramError
from lrpc.program.loading import under_composite
from lrpc.program.protocol import Program, State
from lrpc.support.files import complete, shown


@dataclass(frozen=True, eq=False)
class Column:
    """One composite of one program, under the name that it has in the comparison."""

    name: str
    label: str
    composite: str | None
    facts: Facts
    directory: Path


@dataclass(frozen=True)
class CompareOptions:
    """What to compare on which targets, and how to show it."""

    targets: tuple[TargetSpec, ...] = (TargetSpec("class_logit"),)
    score: float = 0.5
    top: int = 5
    device: str = "cpu"
    composites: tuple[str, ...] | None = None
    request: Request = field(default_factory=Request)
    display: Display = field(default_factory=Display)


class ComparisonRunner:
    """Some program directories, opened side by side; `of` compares them on one image.

    Detections, and so the targets, are those of the first program. Raises ProgramError where the
    programs take images of different sizes, or lack a target or a composite. `changes` are those
    of the images so far.
    """

    def __init__(self, programs: Mapping[Path, Program], choice: CompareOptions) -> None:
        self.choice = choice
        self.changes: list[Change] = []
        labels = _labels(list(programs))
        self.programs = {labels[path]: program for path, program in programs.items()}
        self.columns = [
            column
            for path, program in programs.items()
            for column in _columns(labels[path], path, program, choice)
        ]
        self.facts = self.columns[0].facts
        for column in self.columns:
            if column.facts.sizing.shapes != self.facts.sizing.shapes:
                raise ProgramError(
                    f"{column.directory}: takes images of another size than"
                    f" {self.columns[0].directory}; compile both with the same LRPC.SHAPES"
                )
            for spec in choice.targets:
                spec.check_compiled(tuple(column.facts.places.of))

    def of(self, path: Path, stem: Path) -> tuple[dict[str, Any], int, str]:
        """The image's record, how many targets it has, and a note where it has none; pictures are
        written to `STEM.SLUG.compare.png`."""
        image = load_image(path, self.facts.sizing)
        states = {label: self._forward(label, image) for label in self.programs}
        first = states[self.columns[0].label]
        seeds = self._seeds(image, {k: v[0].detach() for k, v in first.outputs.items()})
        note = "" if seeds else self._nothing(first.outputs)
        found: dict[str, list[Explained]] = {}
        for column in self.columns if seeds else ():
            request = replace(self.choice.request, composite=column.composite)
            program, state = self.programs[column.label], states[column.label]
            (found[column.name],) = explain(program, state, [seeds], request, column.facts.places)
        targets = [
            self._target(image, stem, {name: all_[i] for name, all_ in found.items()})
            for i in range(len(seeds))
        ]
        record = {"image": image_record(image), "note": note, "targets": targets}
        change = change_of(image)
        self.changes += [] if change is None else [change]
        return record, len(seeds), note

    def record(self) -> dict[str, Any]:
        """What was compared, for the run's record."""
        choice = self.choice
        return {
            "composites": {
                c.name: program_record(c.directory, c.facts) | {"composite": c.facts.composite}
                for c in self.columns
            },
            "run": {
                "targets": [str(spec) for spec in choice.targets],
                "score": choice.score,
                "top": choice.top,
                "device": choice.device,
                "display": asdict(choice.display),
                "correlations": "of heat maps: relevance summed over channels, padding left out",
            },
        }

    # -- helpers ---------------------------------------------------------------------------------

    def _forward(self, label: str, image: LoadedImage) -> State:
        facts = next(c.facts for c in self.columns if c.label == label)
        pixels, program = image.pixels[None], self.programs[label]
        state = forward(program, facts, pixels, [image.valid], self.choice.device)
        check_outputs(state)
        return state

    def _seeds(self, image: LoadedImage, outputs: Mapping[str, Any]) -> list[Seed]:
        detector = partial(find_detections, score_masks=self.facts.score_masks)
        frame, valid = image.frame, image.valid
        found = detector(outputs, frame, valid, self.choice.score, self.choice.top)
        return resolve(self.choice.targets, Scene(outputs, frame, valid, found))

    def _nothing(self, outputs: Mapping[str, Any]) -> str:
        best = best_probability(outputs)
        return f"no detection above {self.choice.score:g} (largest class probability {best:.2f})"

    def _target(
        self, image: LoadedImage, stem: Path, found: Mapping[str, Explained]
    ) -> dict[str, Any]:
        """The picture and the record of one target."""
        maps = {name: _visible(one, image) for name, one in found.items()}
        alike = similarity.pairwise(list(maps.values()))
        seed = next(iter(found.values())).seed
        box = seed.detection.box if seed.detection else None
        parts: dict[str, Any] = {}
        panels = []
        for i, column in enumerate(self.columns):
            one, values = found[column.name], maps[column.name]
            inside = None if box is None else similarity.share_inside(values, box)
            same = (alike["spearman"][0][i], alike["cosine"][0][i]) if i else None
            told = target_record(one, image, column.facts)
            start = None if one.ledger is None else one.ledger.start
            facts = figures(told["relevance"]["sum"], start, inside, same, self.columns[0].name)
            shown = colour.smooth(values, self.choice.display.smooth)
            panels.append(panel(column.name, shown, self.choice.display.percentile, facts))
            parts[column.name] = {
                **told["relevance"],
                "positive_share_in_box": inside,
                "full_colour_at": panels[-1].scale,
                "ledger": told["ledger"],
            }
        random = any(c.facts.random_weights for c in self.columns)
        warning = warning_of(image, random)
        words = Words(title_of(seed, self.facts), self._said(image), warning)
        path = stem.with_name(f"{stem.name}.{seed.slug}.compare.png")
        with complete(path) as part:
            page = sheet(image.photo(), panels, marks_of(seed, image, self.facts), words)
            page.save(part, format="PNG")
        keys = ("target", "layer", "index", "value", "detection")
        return {
            **{key: told[key] for key in keys},
            "file": path.name,
            "composites": parts,
            **alike,
        }

    def _said(self, image: LoadedImage) -> str:
        smooth = self.choice.display.smooth
        words = [shown(image.path.name), "red for, blue against", "each panel has its own scale"]
        return "  ·  ".join([*words, *([f"smoothed, {smooth:g} px"] if smooth else [])])


def _labels(paths: Sequence[Path]) -> dict[Path, str]:
    """How each directory is called: nothing where there is one, its name where that tells."""
    if len(paths) == 1:
        return {paths[0]: ""}
    names = [path.resolve().name for path in paths]
    unique = len(set(names)) == len(names)
    return {path: name if unique else str(path) for path, name in zip(paths, names, strict=True)}


def _columns(label: str, path: Path, program: Program, choice: CompareOptions) -> list[Column]:
    chosen = columns(label, program.manifest, choice.composites)
    return [
        Column(name, label, own, read_facts(under_composite(program.manifest, own)), path)
        for name, own in chosen.items()
    ]


def _visible(one: Explained, image: LoadedImage) -> colour.Map:
    height, width = image.valid
    return colour.signed_map(one.input.double().numpy())[:height, :width]
