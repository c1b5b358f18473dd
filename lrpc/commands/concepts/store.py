"""What is known of each image, in files of its own: a run that was stopped goes on with it.

OUT/concepts.json            the program, what was asked for, and the source
OUT/samples/N.safetensors    relevance and activation of every channel, detection by detection
OUT/maps/N.safetensors       of the concept maps that were made of image N
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from lrpc.commands.jobs.job import held
from lrpc.commands.jobs.sources.items import Item
from lrpc.commands.jobs.spec import differences
from lrpc.errors import ProgramError
from lrpc.results import layout
from lrpc.support.files import make_folder, shown, write_bytes

Vector = NDArray[np.float64]  # a number for each channel of a place
_ABOUT = "concepts.json"
_OWN = ("samples", "maps", "crops", "thumbs")


@dataclass(frozen=True, eq=False)
class Sample:
    """One explained detection: of each place, the relevance of every channel, summed over
    positions, and its activation in the image, the largest of all positions. `slug` is what was
    explained, `label` the number of its class."""

    image: int
    name: str
    slug: str
    label: int
    relevance: dict[str, Vector]
    activation: dict[str, Vector]

    def shares(self, place: str) -> Vector:
        """Relevance of the channels, divided by the sum of magnitudes."""
        found = self.relevance[place]
        return np.asarray(found / max(np.abs(found).sum(), 1e-300))


@dataclass(frozen=True)
class Pair:
    """A detection and a channel of a place that its relevance is to pass through."""

    sample: Sample
    place: str
    channel: int

    @property
    def key(self) -> str:
        """What it is called in the file of its image."""
        return f"{self.sample.slug}/{self.place}/{self.channel}"


@dataclass(frozen=True, eq=False)
class ConceptMap:
    """What is kept of a pair's map: the share of its positive part outside the object (None where
    there is none), the relevance of every channel at the next place below, and the picture, in the
    store's folder."""

    context: float | None
    below: Vector | None
    crop: str


@dataclass(frozen=True)
class Store:
    """The folder of a run. Files of an image count as long as it is the one that they were made
    of."""

    root: Path

    def samples(self, number: int, item: Item) -> list[Sample] | None:
        """The detections of an image; None where they are not known."""
        read = _read(self.root / "samples" / _name(number), item)
        if read is None:
            return None
        about, vectors = read
        return [
            Sample(
                *(number, item.name, str(slug), int(label)),
                {place: vectors[f"{slug}/{place}/relevance"] for place in about["places"]},
                {place: vectors[f"{slug}/{place}/activation"] for place in about["places"]},
            )
            for slug, label in about["samples"]
        ]

    def keep_samples(
        self, number: int, item: Item, found: Sequence[Sample], places: Sequence[str]
    ) -> None:
        """Write the detections of an image."""
        vectors = {
            f"{one.slug}/{place}/{kind}": values[place]
            for one in found
            for kind, values in (("relevance", one.relevance), ("activation", one.activation))
            for place in places
        }
        about = {"places": list(places), "samples": [[one.slug, one.label] for one in found]}
        _write(self.root / "samples" / _name(number), item, about, vectors)

    def maps(self, number: int, item: Item) -> dict[str, ConceptMap]:
        """The concept maps of an image, by the keys of their pairs."""
        read = _read(self.root / "maps" / _name(number), item)
        about, vectors = ({"maps": {}}, {}) if read is None else read
        return {
            key: ConceptMap(context, vectors.get(key), crop)
            for key, (context, crop) in about["maps"].items()
            if (self.root / crop).is_file()
        }

    def keep_maps(self, number: int, item: Item, found: Mapping[str, ConceptMap]) -> None:
        """Write the concept maps of an image."""
        about = {"maps": {key: [one.context, one.crop] for key, one in found.items()}}
        vectors = {key: one.below for key, one in found.items() if one.below is not None}
        _write(self.root / "maps" / _name(number), item, about, vectors)

    def drop_pages(self, crops: set[str]) -> None:
        """Take away the pages of before, and pictures other than `crops`."""
        for page in self.root.glob("class-*.html"):
            page.unlink()
        for picture in (self.root / "crops").glob("*"):
            if f"crops/{picture.name}" not in crops:
                picture.unlink()

    def drop(self) -> None:
        """Take away all that a run has made."""
        for name in _OWN:
            shutil.rmtree(self.root / name, ignore_errors=True)
        for pattern in ("*.html", "*.parquet", "style.css", "theme.js", _ABOUT):
            for path in self.root.glob(pattern):
                path.unlink()


@contextmanager
def opened(folder: Path, identity: Mapping[str, Any], overwrite: bool) -> Iterator[Store]:
    """The store of a run in a new folder, or one with what is known already. Raises ProgramError
    for a folder of other files, or of another question, and where another process has it."""
    store, about = Store(folder), folder / _ABOUT
    if about.is_file():
        changed = differences(layout.read(about), identity)
        if changed and not overwrite:
            more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
            raise ProgramError(
                f"{shown(folder)}: holds concepts of another question ({'; '.join(changed[:3])}"
                f"{more}); name a new folder, or give --overwrite"
            )
    elif folder.exists() and any(path.name != ".lock" for path in folder.iterdir()):
        raise ProgramError(f"{shown(folder)}: is there and not empty; name a new folder")
    with held(folder, folder / ".lock"):
        if overwrite:
            store.drop()
        for name in _OWN:
            make_folder(folder / name)
        layout.write(about, identity)
        yield store


def _name(number: int) -> str:
    return f"{number:08d}.safetensors"


def _write(path: Path, item: Item, about: Mapping[str, Any], vectors: Mapping[str, Vector]) -> None:
    """A file of an image, whole or not at all."""
    told = {"name": item.name, "stamp": list(item.place.stamp()), **about}
    notes = {"about": json.dumps(told, allow_nan=False)}
    write_bytes(path, save(dict(vectors), metadata=notes))


def _read(path: Path, item: Item) -> tuple[dict[str, Any], dict[str, Vector]] | None:
    """What a file says of an image; None where there is none of this very image."""
    try:
        with safe_open(path, framework="np") as file:
            about = json.loads((file.metadata() or {})["about"])
            if [about["name"], about["stamp"]] != [item.name, list(item.place.stamp())]:
                return None
            return about, {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return None
