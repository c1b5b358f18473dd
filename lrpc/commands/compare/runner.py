"""What `lrpc compare` makes of each image: the same targets under several composites or programs,
one picture for each target."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from lrpc.commands.compare.comparison import figures
from lrpc.commands.compare.sheet import Panel, Words, sheet
from lrpc.commands.drawing.pictures import map_of, marks_of, title_of, warning_of
from lrpc.commands.drawing.segments import segmented
from lrpc.commands.session.calls import Explained
from lrpc.commands.session.changes import change_of
from lrpc.commands.session.images import LoadedImage
from lrpc.commands.session.labels import labels_of
from lrpc.commands.session.members import member, names_of
from lrpc.commands.session.metrics import pairwise, positive_share
from lrpc.commands.session.names import identity
from lrpc.commands.session.options import Options
from lrpc.commands.session.record import (
    image_record,
    owner_of,
    program_record,
    request_of,
    target_record,
    write_maps,
)
from lrpc.commands.session.seeds import Seed
from lrpc.commands.session.session import Result
from lrpc.commands.session.writing import Outcome, WritingSession
from lrpc.errors import ProgramError
from lrpc.program.protocol import Program
from lrpc.results import colour
from lrpc.support.files import complete, make_folder, shown

Record = dict[str, Any]
RECORD = "comparison.json"


class ComparisonRunner(WritingSession):
    """Some program directories, opened side by side; of all composites, or of those named.

    `records` and `failed` hold what became of the images so far. Raises ProgramError where the
    programs take images of different sizes, or lack a target or a composite.
    """

    doing, does, did = "comparing", "compares", "compared"

    def __init__(
        self,
        programs: Mapping[Path, Program],
        options: Options,
        composites: Sequence[str] | None = None,
    ) -> None:
        labels = labels_of({path: program.manifest for path, program in programs.items()})
        members = [
            member(name, program, options.device, own, path)
            for path, program in programs.items()
            for name, own in names_of(labels[path], program.manifest, composites).items()
        ]
        for one in members:
            if one.facts.sizing.takes != members[0].facts.sizing.takes:
                raise ProgramError(
                    f"{one.directory}: takes images of another size than"
                    f" {members[0].directory}; compile both with the same INPUT, LRPC.SHAPES and"
                    " LRPC.DYNAMIC"
                )
        super().__init__(members, options)
        self.records: dict[Path, Record] = {}
        self.failed: dict[Path, str] = {}
        self._before = _written(options.output / RECORD)
        self._earlier = self._read_earlier() if options.resume else {}

    def owner(self, stem: str) -> str | None:
        """Which image an earlier call compared under the stem."""
        return self._before[stem][0] if stem in self._before else None

    def explained_before(self, path: Path, stem: Path) -> bool:
        """Whether an earlier call's record, asked the same, has the image, and all its pictures
        are there; the record is taken over."""
        told = self._earlier.get(shown(path))
        files = [] if told is None else [target["file"] for target in told["targets"]]
        files += [told["tensors"]] if files and told is not None else []
        named = all(file.startswith(f"{stem.name}.") for file in files)
        if told is None or not named or not all((stem.parent / f).is_file() for f in files):
            return False
        self.records[path] = told
        return True

    def write(self, image: LoadedImage, stem: Path, result: Result) -> Outcome:
        """A picture for each target, to `STEM.SLUG.compare.png`, and maps at the image's own size,
        to `STEM.compare.safetensors`; the record is kept for later."""
        make_folder(stem.parent)
        for name in self._before.get(stem.name, ("", []))[1]:  # perhaps of other targets
            (stem.parent / name).unlink(missing_ok=True)
        targets = [
            self._target(image, stem, [result.found[one.name][i] for one in self.members])
            for i in range(len(result.seeds))
        ]
        tensors = stem.with_name(f"{stem.name}.compare.safetensors")
        if targets or result.segmentations:
            write_maps(tensors, image, result.found, result.segmentations)
        told = {
            "image": image_record(image),
            "path_id": identity(image.path),
            "stem": stem.name,
            "note": result.note,
            "tensors": tensors.name if targets or result.segmentations else None,
            "targets": targets,
            **segmented(stem, result.segmentations, image, self.facts),
        }
        self.records[image.path] = told
        return Outcome(image.path, len(targets), result.note, change=change_of(image))

    def write_failure(self, path: Path, stem: Path, error: str) -> str:
        """Kept for the record of all images."""
        self.failed[path] = error
        return error

    def about(self) -> Record:
        """What was compared, for the record of all images."""
        return {
            "composites": {
                one.name: program_record(one.directory, one.facts) for one in self.members
            },
            "run": self.options.record()
            | {"correlations": "of heat maps: relevance summed over channels, padding left out"},
        }

    # -- helpers ---------------------------------------------------------------------------------

    def _read_earlier(self) -> dict[str, Record]:
        """The records of an earlier call in the same folder, by file; none where it was another."""
        try:
            told = json.loads((self.options.output / RECORD).read_bytes())
            if _asked(told) != _asked(json.loads(json.dumps(self.about()))):
                return {}
            for one in told["images"]:
                list(rows_of(one))  # has all that is read of it
            return {str(one["image"]["file"]): one for one in told["images"]}
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return {}  # no record, or not one of ours

    def _target(self, image: LoadedImage, stem: Path, found: Sequence[Explained]) -> Record:
        """The picture and the record of one target, `found` in the order of the members."""
        height, width = image.valid
        wholes = [map_of(one, image, 0.0) for one in found]
        maps = [values[:height, :width] for values in wholes]
        alike = pairwise([torch.from_numpy(values) for values in maps])
        seed, first = found[0].seed, self.members[0]
        told: Record = {}
        parts: Record = {}
        panels = []
        for i, (one, result, values) in enumerate(zip(self.members, found, maps, strict=True)):
            found_in = None if seed.detection is None or seed.detection.whole else seed.detection
            inside = positive_share(torch.from_numpy(values), found_in.box) if found_in else None
            same = (alike["spearman"][0][i], alike["cosine"][0][i]) if i else None
            told = target_record(result, image, one.facts)
            start = None if result.ledger is None else result.ledger.start
            facts = figures(told["relevance"]["sum"], start, inside, same, first.name)
            panels.append(self._panel(one.name, result, image, facts))
            parts[one.name] = {
                **told["relevance"],
                "positive_share_in_box": inside,
                "full_colour_at": panels[-1].scale,
                "ledger": told["ledger"],
            }
        file = self._draw(image, stem, seed, panels)
        keys = ("target", "layer", "index", "value", "detection")
        return {**{key: told[key] for key in keys}, "file": file, "composites": parts, **alike}

    def _panel(
        self, name: str, result: Explained, image: LoadedImage, facts: Sequence[str]
    ) -> Panel:
        """One heat map with its padding, in full colour at a percentile of the image's part."""
        display, (height, width) = self.options.display, image.valid
        whole = map_of(result, image, display.smooth)
        scale = colour.robust_scale(whole[:height, :width], display.percentile)
        return Panel(name, whole, scale, tuple(facts))

    def _draw(self, image: LoadedImage, stem: Path, seed: Seed, panels: Sequence[Panel]) -> str:
        """Write the picture of one target; its name."""
        smooth = self.options.display.smooth
        visible = image.valid if image.valid != image.frame else None
        said = [shown(image.path.name)] + ([] if visible is None else ["hatched: padding"])
        said += ["red for, blue against", "each panel has its own scale"]
        said += [f"smoothed, {smooth:g} px"] if smooth else []
        warning = warning_of(image, any(one.facts.random_weights for one in self.members))
        words = Words(title_of(seed, self.facts), "  ·  ".join(said), warning)
        marks = marks_of(seed, self.facts)
        path = stem.with_name(f"{stem.name}.{seed.slug}.compare.png")
        with complete(path) as part:
            page = sheet(image.whole(), panels, marks, words, visible)
            page.save(part, format="PNG")
        return path.name


def _asked(record: Mapping[str, Any]) -> Any:
    """Programs and request, without what does not change results."""
    programs = {n: one | {"directory": None} for n, one in record["composites"].items()}
    return list(programs.items()), request_of(record)


def _written(record: Path) -> dict[str, tuple[str | None, list[str]]]:
    """Stem → the image that an earlier call wrote under it, and the names of its files."""
    try:
        images = json.loads(record.read_bytes())["images"]
        found = {}
        for one in images:
            files = [target["file"] for target in one["targets"]]
            files += [one["tensors"]] if one["tensors"] else []
            stem = str(one.get("stem") or Path(one["image"]["file"]).stem)
            own = [n for n in files if Path(n).name == n and n.startswith(f"{stem}.")]
            found[stem] = (owner_of(one), own)
        return found
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}  # no record, or not one of ours


def rows_of(record: Record) -> Iterator[Record]:
    """One row for every target and composite of an image."""
    for target in record["targets"]:
        names = list(target["composites"])
        for i, (name, part) in enumerate(target["composites"].items()):
            ledger = part["ledger"] or {}
            yield {
                "image": record["image"]["file"],
                "target": target["target"],
                "layer": target["layer"],
                "index": " ".join(map(str, target["index"])),
                "composite": name,
                "start": ledger.get("start"),
                "sum": part["sum"],
                "positive_share_in_box": part["positive_share_in_box"],
                "positive_share_in_mask": part.get("positive_share_in_mask"),
                "ledger_closure": ledger.get("closure"),
                **{
                    f"{kind} with {other}": target[kind][i][j]
                    for kind in ("spearman", "cosine")
                    for j, other in enumerate(names)
                },
            }
