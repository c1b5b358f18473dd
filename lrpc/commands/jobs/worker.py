"""From an image's bytes to all that is stored of it."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save

from lrpc.commands.jobs.sources.items import Item
from lrpc.commands.jobs.spec import Spec
from lrpc.commands.session.batches import REQUEST_ERRORS, TROUBLE, line_of
from lrpc.commands.session.calls import Explained
from lrpc.commands.session.images import LoadedImage, load_image
from lrpc.commands.session.record import failure_record, image_record, target_record
from lrpc.commands.session.session import Result, Session
from lrpc.errors import ImageError
from lrpc.program.attention import token_levels
from lrpc.program.protocol import Box, Detection, Program, Size
from lrpc.results import layout, maps
from lrpc.support.files import write_bytes


@dataclass(frozen=True, eq=False)
class Read:
    """An image that was read, or why it was not."""

    number: int
    item: Item
    image: LoadedImage | None = None
    sha256: str | None = None
    error: str = ""


class Note(NamedTuple):
    """What is said of an image that is done: its targets, why it failed, the worst of its
    ledgers, the largest amplification, and the seconds that it took."""

    name: str
    targets: int
    error: str
    closure: float
    amplification: float = 0.0
    seconds: float = 0.0


@dataclass(frozen=True, eq=False)
class Done:
    """All of one image: its record, its tensors by name, and the seconds that it took."""

    record: Mapping[str, Any]
    tensors: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def note(self) -> Note:
        """What is said of it."""
        told = self.record
        ledgers = [one["ledger"]["closure"] for one in told["targets"] if one["ledger"]]
        grown = [one["relevance"]["amplification"] or 0.0 for one in told["targets"]]
        closure, most = max(ledgers, default=0.0), max(grown, default=0.0)
        name, number = told["name"], len(told["targets"])
        return Note(name, number, told["error"] or "", closure, most, self.seconds)

    def write_new(self, where: layout.Layout) -> bool:
        """Write it, whole or not at all, where it is not written yet; whether it was not."""
        if where.image(self.record["number"]).is_file():
            return False
        self.write(where)
        return True

    def write(self, where: layout.Layout) -> None:
        """Write it, whole or not at all."""
        text = json.dumps(self.record, ensure_ascii=False, allow_nan=False)
        notes = {"record": text.encode("utf-8", "backslashreplace").decode()}
        notes["seconds"] = repr(self.seconds)
        path = where.image(self.record["number"])
        write_bytes(path, save(dict(self.tensors), metadata=notes))


class Worker:
    """A loaded program that explains a job's images. Raises what `Session` does."""

    def __init__(self, spec: Spec, program: Program | None = None) -> None:
        if spec.threads:
            torch.set_num_threads(spec.threads)
        members = spec.members(spec.load() if program is None else program)
        self.spec, self.session = spec, Session(members, spec.options)
        facts = self.session.facts
        self.sizing = replace(facts.sizing, pad=spec.options.pad)
        self._known_levels: dict[Size, list[list[int]]] = {}

    def read(self, number: int, item: Item) -> Read:
        """Read, decode and resize an image."""
        sha256 = None
        try:
            data = item.read()
            sha256 = hashlib.sha256(data).hexdigest()
            image = load_image(Path(item.name), self.sizing, data)
        except ImageError as error:
            return Read(number, item, None, sha256, line_of(error))
        return Read(number, item, image, sha256)

    def explain(self, unit: Sequence[Read]) -> list[Done]:
        """All of each image of a unit. What an image fails with becomes its record; where images
        fail together each is tried alone. Raises REQUEST_ERRORS, and with `debug` every error."""
        good = [(one, one.image) for one in unit if one.image is not None]
        failed = [self._failed(one, one.error) for one in unit if one.image is None]
        if not good:
            return failed
        begun = time.perf_counter()
        try:
            results = self.session.explain([image for _, image in good])
            each = (time.perf_counter() - begun) / len(good)
            found = zip(good, results, strict=True)
            return failed + [self._done(*pair, result, each) for pair, result in found]
        except REQUEST_ERRORS:
            raise
        except TROUBLE as error:
            if self.spec.options.debug:
                raise
            if len(unit) > 1:
                return [done for one in unit for done in self.explain([one])]
            return [self._failed(unit[0], line_of(error))]

    def _failed(self, read: Read, error: str) -> Done:
        about = failure_record(Path(read.item.name), error)
        return Done(self._about(read) | about | {"note": ""})

    def _about(self, read: Read) -> dict[str, Any]:
        item = read.item
        truth = None
        if item.truth is not None:
            truth = [{"class": one.label, "box": list(one.box)} for one in item.truth]
        return {"number": read.number, "name": item.name, "sha256": read.sha256, "truth": truth}

    def _done(self, read: Read, image: LoadedImage, result: Result, seconds: float) -> Done:
        """The record and tensors of an image under every composite."""
        tensors: dict[str, NDArray[Any]] = {}
        targets = []
        members = self.session.members
        for ones in zip(*(result.found.get(one.name, ()) for one in members), strict=True):
            for member, one in zip(members, ones, strict=True):
                record = target_record(one, image, member.facts)
                name = f"{read.number}/{one.seed.slug}"
                stored = self._tensors(f"{name}/{member.facts.composite}", one, image, tensors)
                stored["mask"] = self._mask(str(read.number), one.seed.detection, tensors)
                record |= {"slug": one.seed.slug, "composite": member.facts.composite}
                record |= stored | _overlap(read.item, record["detection"])
                del record["tensors"]
                targets.append(record)
        about: dict[str, Any] = {"image": image_record(image), "note": result.note, "error": None}
        about["levels"] = self._levels(image.frame) if self.spec.options.request.read else []
        return Done(self._about(read) | about | {"targets": targets}, tensors, seconds)

    def _levels(self, frame: Size) -> list[list[int]]:
        """The maps that the tokens of an encoder are of."""
        if frame not in self._known_levels:
            found = token_levels(self.session.members[0].program, frame)
            self._known_levels[frame] = [list(size) for size in found]
        return self._known_levels[frame]

    def _tensors(
        self, name: str, one: Explained, image: LoadedImage, tensors: dict[str, NDArray[Any]]
    ) -> dict[str, Any]:
        """Store a target's map, and relevance at places summed over channels; what they are called,
        and the map's scale."""
        precision = self.spec.precision
        if precision == "none":
            return {"map": None, "map_scale": None, "layers": []}
        height, width = image.valid
        values = one.input[:, :height, :width].double().sum(0).float().numpy()
        tensors[name], scale = maps.encode(values, precision)
        layers = []
        for place, value in one.layers.items():
            layers.append(f"{name}/{place}")
            channels = 0 if value.dim() == 3 else -1  # of maps [C, h, w], of tokens [N, C]
            tensors[layers[-1]] = value.double().sum(channels).float().numpy()
        return {"map": name, "map_scale": scale, "layers": layers}

    def _mask(
        self, name: str, found: Detection | None, tensors: dict[str, NDArray[Any]]
    ) -> str | None:
        """Store an object's mask; its name."""
        if found is None or found.original_mask is None:
            return None
        name = f"{name}/masks/q{found.query}-c{found.label}"
        tensors[name] = maps.runs(np.asarray(found.original_mask))
        return name


def _overlap(item: Item, found: Mapping[str, Any] | None) -> dict[str, Any]:
    """The source's object that overlaps a detection's box most."""
    none = {"truth_class": None, "truth_iou": None}
    if found is None or found["box_image"] is None or not item.truth:
        return none
    best = max(item.truth, key=lambda one: _iou(one.box, found["box_image"]))
    iou = _iou(best.box, found["box_image"])
    return {"truth_class": best.label, "truth_iou": iou} if iou > 0 else none


def _iou(one: Box, other: Sequence[float]) -> float:
    """Intersection over union of two boxes (x0, y0, x1, y1)."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in (one, other)]
    return width * height / (sum(areas) - width * height)
