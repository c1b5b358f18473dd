"""What `lrpc run` writes of each image: pictures, raw relevance and a record."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from lrpc.commands.drawing.attention import written_looks
from lrpc.commands.drawing.pictures import account, write_pictures
from lrpc.commands.drawing.segments import segmented
from lrpc.commands.session.batches import TROUBLE, line_of
from lrpc.commands.session.calls import Explained
from lrpc.commands.session.changes import change_of
from lrpc.commands.session.images import LoadedImage
from lrpc.commands.session.members import member
from lrpc.commands.session.names import identity
from lrpc.commands.session.options import Options
from lrpc.commands.session.record import (
    amplification,
    failure_record,
    finished,
    image_record,
    program_record,
    read_owner,
    remove_earlier,
    target_record,
    write_json,
    write_tensors,
)
from lrpc.commands.session.session import Result
from lrpc.commands.session.units import count
from lrpc.commands.session.writing import Outcome, WritingSession
from lrpc.program.protocol import Program
from lrpc.support.files import make_folder


class Runner(WritingSession):
    """One composite of one program; `run` explains images, each with files of its own."""

    def __init__(self, program: Program, directory: Path, options: Options) -> None:
        composite = options.request.composite
        super().__init__([member("", program, options.device, composite, directory)], options)
        self.accounts: list[str] = []  # where relevance went, as text, if that was asked for

    def owner(self, stem: str) -> str | None:
        """Which image has a record under the stem."""
        return read_owner(self.options.output / stem)

    def explained_before(self, path: Path, stem: Path) -> bool:
        """Whether the image has its record and all files, of the same program asked the same."""
        return finished(stem, self._about())

    def write(self, image: LoadedImage, stem: Path, result: Result) -> Outcome:
        """All files of one image; the record comes last, so where it stands all else does."""
        make_folder(stem.parent)
        remove_earlier(stem)
        results = result.found.get("", ())
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            targets = list(pool.map(partial(self._target, image, stem), results))
        tensors = stem.with_name(stem.name + ".relevance.safetensors")
        if results or result.segmentations:
            write_tensors(tensors, image, results, result.segmentations)
        record = {
            "image": image_record(image),
            "path_id": identity(image.path),
            **self._about(),
            "note": result.note,
            "error": None,
            "tensors": tensors.name if results or result.segmentations else None,
            "targets": targets,
            **segmented(stem, result.segmentations, image, self.facts),
            **written_looks(stem, result.looks, image),
        }
        write_json(_record_of(stem), record)
        if self.options.display.waterfall:
            self.accounts += [account(one, image.path.name) for one in results]
        worst, grown = worst_closure(results), most_amplified(results)
        change = change_of(image)
        note = result.note
        if image.frames > 1:
            many = f"the first of {image.frames} frames"
            note = f"{note}, {many}" if note else f"{count(len(results), 'target')} of {many}"
        return Outcome(image.path, len(results), note, "", worst, change, grown)

    def write_failure(self, path: Path, stem: Path, error: str) -> str:
        """The image's record, which says why it has nothing else."""
        try:
            make_folder(stem.parent)
            remove_earlier(stem)
            told = failure_record(path, error) | {"path_id": identity(path)}
            write_json(_record_of(stem), told | self._about())
        except TROUBLE as other:
            return f"{error}; it has no record: {line_of(other)}"
        return error

    def _about(self) -> dict[str, Any]:
        """The program and what was asked of it, for records."""
        program = program_record(self.members[0].directory, self.facts)
        return {"program": program, "run": self.options.record()}

    def _target(self, image: LoadedImage, stem: Path, result: Explained) -> dict[str, Any]:
        """Pictures and record of one target."""
        said = target_record(result, image, self.facts)
        return said | write_pictures(stem, result, image, self.facts, self.options.display)


def worst_closure(results: Sequence[Explained]) -> float | None:
    """The largest closure of some ledgers; None where there is none."""
    return max((one.ledger.closure for one in results if one.ledger is not None), default=None)


def most_amplified(results: Sequence[Explained]) -> float:
    """The largest amplification of some targets; 0 where none is known."""
    return max((amplification(one) or 0.0 for one in results), default=0.0)


def _record_of(stem: Path) -> Path:
    return stem.with_name(f"{stem.name}.json")
