"""Writes what `lrpc concepts` found: tables and pages."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lrpc.commands.concepts import tables
from lrpc.commands.concepts.graph import EDGES, SIZE, Drawing, drawn
from lrpc.commands.concepts.ranking import ClassRanking
from lrpc.commands.concepts.rows import BY, Findings
from lrpc.commands.concepts.store import Pair, Sample, Store
from lrpc.commands.jobs.sources.items import Item
from lrpc.errors import ProgramError
from lrpc.support.files import write_text

_TEMPLATES = Path(__file__).parent / "templates"
_LOOK = Path(__file__).parents[1] / "report" / "templates"  # that of `lrpc report`


def write_site(
    store: Store, findings: Findings, items: Sequence[Item], concepts: int, references: int
) -> None:
    """Write tables and pages to the folder of a run, beside its pictures."""
    pages, folder = _environment(), store.root
    wanted = {
        "concepts": findings.concepts(),
        "references": findings.references(concepts, references),
        "edges": findings.edges(),
        "vectors": findings.vectors(),
        "prototypes": findings.prototypes(),
    }
    for name, rows in wanted.items():
        tables.write(folder, name, rows)
    for name in ("style.css", "theme.js"):
        write_text(folder / name, (_LOOK / name).read_text("utf-8"))
    store.drop_pages({one.crop for one in findings.maps.values()})
    thumbs = _thumbs(folder, findings, items)
    labels = list(dict.fromkeys(one.label for one in findings.ranked))
    names = {label: findings.name(label) for label in labels}
    for label in labels:
        own = [one for one in findings.ranked if one.label == label]
        page = pages.get_template("class.html").render(
            label=label, names=names, files=tables.TABLES, size=SIZE, most=EDGES,
            parts=[_part(one, findings, concepts, references, thumbs) for one in own],
            graph=_graph(label, own, findings, concepts),
        )  # fmt: skip
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
    concepts: int,
    references: int,
    thumbs: Mapping[tuple[int, str], str],
) -> dict[str, Any]:
    """What a page shows of a class at a place."""
    shown = []
    for channel in one.by_relevance[:concepts]:
        rows = {
            by: [
                {"crop": findings.maps[Pair(s, one.place, channel)].crop, "name": s.name}
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
    return {"file": thumbs[sample.image, sample.slug], "name": sample.name}


def _graph(
    label: int, ranked: Sequence[ClassRanking], findings: Findings, concepts: int
) -> Drawing | None:
    """The graph of a class; the picture of a channel is its first reference by relevance."""
    first = {one.place: one.by_relevance[:concepts] for one in ranked}
    crops = {
        (one.place, channel): findings.maps[Pair(sample, one.place, channel)].crop
        for one in ranked
        for channel in first[one.place]
        for sample in one.references(channel, 1, "relmax")
    }
    return drawn((row for row in findings.edges() if row["class"] == label), first, crops)


def _thumbs(folder: Path, findings: Findings, items: Sequence[Item]) -> dict[tuple[int, str], str]:
    """The images of prototypes and outliers."""
    found: dict[tuple[int, str], str] = {}
    for mixture in findings.mixtures.values():
        if mixture is None:
            continue
        shown = [s for p in mixture.found for s in p.samples[:6]]
        for sample in [*shown, *(s for s, _ in mixture.outliers[:12])]:
            key = (sample.image, sample.slug)
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
