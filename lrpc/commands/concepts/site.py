"""Writes what `lrpc concepts` found: tables, crops, pages."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lrpc.commands.concepts import tables
from lrpc.commands.concepts.gather import Sample
from lrpc.commands.concepts.maps import ConceptMap, Pair, centre_of
from lrpc.commands.concepts.ranking import ClassRanking
from lrpc.commands.concepts.rows import BY, Findings
from lrpc.commands.jobs.sources.items import Item
from lrpc.errors import ProgramError
from lrpc.results import colour
from lrpc.support.files import write_text

_TEMPLATES = Path(__file__).parent / "templates"
_LOOK = Path(__file__).parents[1] / "report" / "templates"  # that of `lrpc report`
_CROP, _SHARE, _LEAST = 112, 0.3, 24  # pixels; edge of a crop in the image, at least so many
_EDGES = 4  # edges of each channel that a page draws


def write_site(
    folder: Path, findings: Findings, items: Sequence[Item], concepts: int, references: int
) -> None:
    """Write tables, crops and pages to an empty folder."""
    pages = _environment()
    crops = _crops(folder, findings.maps, items)
    wanted = {
        "concepts": findings.concepts(),
        "references": findings.references(concepts, references, crops),
        "edges": findings.edges(),
        "vectors": findings.vectors(),
        "prototypes": findings.prototypes(),
    }
    for name, rows in wanted.items():
        tables.write(folder, name, rows)
    for name in ("style.css", "theme.js"):
        write_text(folder / name, (_LOOK / name).read_text("utf-8"))
    edges = _edges(findings, concepts)
    thumbs = _thumbs(folder, findings, items)
    labels = list(dict.fromkeys(one.label for one in findings.ranked))
    names = {label: findings.name(label) for label in labels}
    for label in labels:
        parts = [
            _part(one, findings, crops, concepts, references, thumbs)
            for one in findings.ranked
            if one.label == label
        ]
        own = edges.get(label, [])
        page = pages.get_template("class.html").render(
            label=label, names=names, parts=parts, edges=own, files=tables.TABLES
        )
        write_text(folder / _page_of(label), page)
    index = pages.get_template("index.html").render(
        names=names, pages={label: _page_of(label) for label in labels}, files=tables.TABLES,
        counts={one.label: len(one.samples) for one in findings.ranked}, places=findings.places,
    )  # fmt: skip
    write_text(folder / "index.html", index)


def _page_of(label: int) -> str:
    return f"class-{label}.html"


def _part(
    one: ClassRanking,
    findings: Findings,
    crops: Mapping[Pair, str],
    concepts: int,
    references: int,
    thumbs: Mapping[tuple[int, str], str],
) -> dict[str, Any]:
    """What a page shows of a class at a place."""
    shown = []
    for channel in one.by_relevance[:concepts]:
        rows = {
            by: [
                {"crop": crops[Pair(s, one.place, channel)], "name": s.name}
                for s in one.references(channel, references, by)
            ]
            for by in BY
        }
        shown.append({
            "channel": channel,
            "relevance": float(one.relevance[channel]),
            "activation_rank": one.by_activation.index(channel),
            "context": findings.context(one, channel),
            "rows": rows,
        })  # fmt: skip
    mixture = findings.mixtures[one.label, one.place]
    found = [
        {
            "weight": p.weight,
            "count": len(p.samples),
            "channels": [int(c) for c in np.argsort(-p.mean, kind="stable")[:5]],
            "thumbs": [_thumb(s, thumbs) for s in p.samples[:6]],
        }
        for p in (mixture.found if mixture else ())
    ]
    outliers = [
        (_thumb(s, thumbs), likelihood) for s, likelihood in (mixture.outliers if mixture else ())
    ]
    return {
        "place": one.place, "samples": len(one.samples), "concepts": shown,
        "prototypes": found, "outliers": outliers[:12],
    }  # fmt: skip


def _thumb(sample: Sample, thumbs: Mapping[tuple[int, str], str]) -> dict[str, str]:
    return {"file": thumbs[sample.image, sample.seed.slug], "name": sample.name}


def _edges(findings: Findings, concepts: int) -> dict[int, list[dict[str, Any]]]:
    """The strongest edges of the first concepts of each class, by class."""
    first = {
        (one.label, one.place, c): rank
        for one in findings.ranked
        for rank, c in enumerate(one.by_relevance[:concepts])
    }
    grouped: dict[tuple[int, str, int], list[dict[str, Any]]] = {}
    for row in findings.edges():
        grouped.setdefault((row["class"], row["place"], row["channel"]), []).append(row)
    found: dict[int, list[dict[str, Any]]] = {}
    for key in sorted(grouped, key=lambda k: (k[0], findings.places.index(k[1]), first.get(k, 0))):
        strongest = sorted(grouped[key], key=lambda row: -abs(row["share"]))[:_EDGES]
        found.setdefault(key[0], []).append({
            "place": key[1], "channel": key[2], "below": strongest[0]["below"],
            "to": [(row["channel_below"], row["share"]) for row in strongest],
        })  # fmt: skip
    return found


def _crops(folder: Path, maps: Mapping[Pair, ConceptMap], items: Sequence[Item]) -> dict[Pair, str]:
    """Draw where each pair's map is strongest: the image, darker where the map is not."""
    (folder / "crops").mkdir(parents=True, exist_ok=True)
    found: dict[Pair, str] = {}
    last: tuple[int, Image.Image] | None = None
    for pair, one in sorted(maps.items(), key=lambda item: item[0].sample.image):
        number = pair.sample.image
        if last is None or last[0] != number:
            last = (number, items[number].photo())
        place = "".join(c if c.isalnum() else "_" for c in pair.place)
        found[pair] = f"crops/{number:06}-{pair.sample.seed.slug}-{place}-{pair.channel}.webp"
        _crop(last[1], one).save(folder / found[pair], quality=80)
    return found


def _crop(photo: Image.Image, one: ConceptMap) -> Image.Image:
    values = one.values
    edge = max(_LEAST, round(_SHARE * min(values.shape)))
    top, left = centre_of(values, edge)
    box = (left, top, min(left + edge, photo.width), min(top + edge, photo.height))
    here = np.maximum(values[box[1] : box[3], box[0] : box[2]], 0.0)
    most = max(colour.robust_scale(values), 1e-300)
    light = 0.35 + 0.65 * np.clip(here / most, 0, 1)[..., None] ** 0.5
    pixels = np.asarray(photo.convert("RGB").crop(box), np.float64) * light
    picture = Image.fromarray(pixels.round().astype(np.uint8))
    return picture.resize((_CROP, _CROP), Image.Resampling.BILINEAR)


def _thumbs(folder: Path, findings: Findings, items: Sequence[Item]) -> dict[tuple[int, str], str]:
    """The images of prototypes and outliers."""
    (folder / "thumbs").mkdir(exist_ok=True)
    found: dict[tuple[int, str], str] = {}
    for mixture in findings.mixtures.values():
        if mixture is None:
            continue
        shown = [s for p in mixture.found for s in p.samples[:6]]
        for sample in [*shown, *(s for s, _ in mixture.outliers[:12])]:
            key = (sample.image, sample.seed.slug)
            if key not in found:
                found[key] = f"thumbs/{sample.image:06}.webp"
                photo = items[sample.image].photo()
                photo.thumbnail((160, 160))
                photo.save(folder / found[key], quality=75)
    return found


def _environment() -> Any:
    """jinja2's; ProgramError where it is not installed."""
    try:
        jinja = importlib.import_module("jinja2")
    except ImportError as error:
        raise ProgramError("pages need jinja2: pip install 'lrpc[report]'") from error
    loader = jinja.FileSystemLoader(_TEMPLATES)
    return jinja.Environment(loader=loader, autoescape=True, undefined=jinja.StrictUndefined)
