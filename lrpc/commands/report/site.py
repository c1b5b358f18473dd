"""The pages of a report, made from the drawn pictures and the tables."""

from __future__ import annotations

import importlib
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lrpc.commands.report.classes import class_of
from lrpc.commands.report.pictures import Drawn
from lrpc.errors import ProgramError
from lrpc.results import waterfall
from lrpc.results.groups import LEAST
from lrpc.results.opened import Results
from lrpc.support.files import write_text

CHUNK = 1000  # rows of a file of the gallery's data
_TEMPLATES = Path(__file__).parent / "templates"
_FIGURES = (
    ("value", "the target itself"),
    ("sum", "relevance of the image"),
    ("positive", "its positive part"),
    ("negative", "its negative part"),
    ("in_padding", "relevance of the padding"),
    ("positive_share", "of the positive relevance, on the object"),
    ("area_share", "of the image, the object: chance"),
    ("closure", "ledger: not accounted for, relative"),
    ("truth_iou", "overlap with the annotated object"),
)


class Site:
    """The pages of the results of a job, written to `folder`."""

    def __init__(self, results: Results, folder: Path, title: str) -> None:
        self.results, self.folder, self.title = results, folder, title
        self.rows = results.targets.to_pylist()
        self.images = {one["image"]: one for one in results.images.to_pylist()}
        self._pages = _environment()

    def write(self, drawn: Mapping[int, Drawn]) -> None:
        """Write all pages."""
        for name in ("style.css", "gallery.js", "target.js", "theme.js"):
            write_text(self.folder / name, (_TEMPLATES / name).read_text("utf-8"))
        self._gallery(drawn)
        self._targets(drawn)
        self._classes(drawn)
        self._page("failures.html", failures=self.results.failures.to_pylist())
        told = json.dumps(self.results.job, indent=1, ensure_ascii=False)
        self._page("about.html", job=told)

    def _page(self, name: str, template: str = "", root: str = "", **given: Any) -> None:
        page = self._pages.get_template(template or name)
        failed = self.results.failures.num_rows
        common = {"title": self.title, "root": root, "failed": failed, "count": len(self.rows)}
        common["warning"] = self.results.job["program"].get("warning")  # of weights not trained
        write_text(self.folder / name, page.render(**common, images=len(self.images), **given))

    def _gallery(self, drawn: Mapping[int, Drawn]) -> None:
        """The gallery, with its data in scripts: a browser reads no other files from disk."""
        rows = [self._short(n, row) for n, row in enumerate(self.rows)]
        files = []
        for first in range(0, len(rows), CHUNK):
            files.append(f"data/rows-{first // CHUNK:04}.js")
            text = json.dumps(rows[first : first + CHUNK], ensure_ascii=True)
            write_text(self.folder / files[-1], f"lrpcRows.push(...{text});\n")
        labels = sorted({_label(row) for row in self.rows})
        composites = sorted({row["composite"] for row in self.rows})
        kinds = sorted({row["target"] for row in self.rows})
        choices: dict[str, Any] = {"labels": labels, "composites": composites, "kinds": kinds}
        notes = [one["note"] for one in self.images.values() if one["note"]]
        self._page("index.html", files=files, notes=notes, **choices)

    def _short(self, n: int, row: Mapping[str, Any]) -> list[Any]:
        """What the gallery shows of a target: see gallery.js for the order."""
        numbers = (_round(row[key]) for key in ("score", "positive_share", "value", "closure"))
        return [n, row["name"], _label(row), row["target"], row["composite"], *numbers]

    def _targets(self, drawn: Mapping[int, Drawn]) -> None:
        """A page for each target."""
        beside: dict[tuple[int, str], list[int]] = defaultdict(list)
        for n, row in enumerate(self.rows):
            beside[row["image"], row["slug"]].append(n)
        for n, row in enumerate(self.rows):
            image = self.images[row["image"]]
            self._page(
                f"targets/{n:06}.html",
                "target.html",
                "../",
                n=n,
                row=row,
                label=_label(row),
                image=image,
                drawn=drawn[n],
                window=_window(image),
                box=_box(row),
                steps=_steps(row),
                nodes=_bars(row["nodes"] or ()),
                kinds=_bars(sorted(row["sinks"] or (), key=lambda item: -abs(item[1]))),
                figures=[(name, row[name], told) for name, told in _FIGURES],
                others=[(m, self.rows[m]) for m in beside[row["image"], row["slug"]]],
                last=len(self.rows) - 1,
                job=self.results.layout.root,
            )

    def _classes(self, drawn: Mapping[int, Drawn]) -> None:
        """What the targets of each class have in common."""
        groups: dict[tuple[str, str, str], list[int]] = defaultdict(list)
        for n, row in enumerate(self.rows):
            groups[_label(row), row["target"], row["composite"]].append(n)
        told = [class_of(key, rows, self.rows, drawn) for key, rows in sorted(groups.items())]
        self._page("classes.html", classes=told, rows=self.rows, least=LEAST)


def _label(row: Mapping[str, Any]) -> str:
    if row["class"] is None:
        return "no class"
    return row["class_name"] or f"class {row['class']}"


def _round(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")


def _window(image: Mapping[str, Any]) -> dict[str, float]:
    """Where the map lies on the image, in per cent of its edges."""
    height, width = image["height"], image["width"]
    top, left, tall, wide = image["seen"] or (0, 0, height, width)
    edges = {"left": left / width, "top": top / height, "width": wide / width}
    return {name: 100 * share for name, share in {**edges, "height": tall / height}.items()}


def _box(row: Mapping[str, Any]) -> dict[str, float] | None:
    """The box of a target's object, in pixels of the image on disk."""
    if row["x0"] is None:
        return None
    x0, y0, x1, y1 = (row[edge] for edge in ("x0", "y0", "x1", "y1"))
    return {"x": x0, "y": y0, "width": x1 - x0, "height": y1 - y0}


def _steps(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Where the relevance of the target went, part by part of the model: bars in per cent."""
    if row["start"] is None:
        return []
    found = waterfall.of_row(row)
    low = min(one.low for one in found)
    span = max(one.high for one in found) - low or 1.0
    return [
        {
            "name": one.name,
            "value": one.amount,
            "left": 100 * (one.low - low) / span,
            "share": 100 * (one.high - one.low) / span,
            "whole": one.name in ("target", "image"),
        }
        for one in found
    ]


def _bars(values: Iterable[tuple[str, float]]) -> list[dict[str, Any]]:
    """Numbers as bars from the middle, in per cent of the whole width."""
    listed = list(values)
    most = max((abs(value) for _, value in listed), default=0.0) or 1.0
    return [{"name": name, "value": value, "share": 50 * value / most} for name, value in listed]


def _environment() -> Any:
    """jinja2's; ProgramError where it is not installed."""
    try:
        jinja = importlib.import_module("jinja2")
    except ImportError as error:
        raise ProgramError("reports need jinja2: pip install 'lrpc[report]'") from error
    loader = jinja.FileSystemLoader(_TEMPLATES)
    pages = jinja.Environment(loader=loader, autoescape=True, undefined=jinja.StrictUndefined)
    pages.filters["number"] = _number
    return pages


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def by_image(rows: Sequence[dict[str, Any]]) -> Iterator[list[tuple[int, dict[str, Any]]]]:
    """Rows with their numbers, those of an image together."""
    found: dict[int, list[tuple[int, dict[str, Any]]]] = defaultdict(list)
    for n, row in enumerate(rows):
        found[row["image"]].append((n, row))
    yield from found.values()
