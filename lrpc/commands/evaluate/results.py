"""Figures of every object and method, their means, and the files that store them."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lrpc.commands.evaluate.intervals import Mean, mean
from lrpc.commands.evaluate.perturb import Curve
from lrpc.commands.evaluate.randomise import Similarity
from lrpc.commands.evaluate.sensitivity import Sensitivity
from lrpc.commands.evaluate.settings import Protocol
from lrpc.commands.session.metrics import Localisation
from lrpc.commands.session.record import write_json
from lrpc.program.protocol import Box
from lrpc.support.files import write_text

#: Columns of metrics.csv after the object's own, and whether more is better.
METRICS: Mapping[str, bool | None] = {
    "deletion": False,
    "insertion": True,
    "abpc": True,
    "left": False,
    "positive_in_mask": True,
    "absolute_in_mask": True,
    "positive_in_box": True,
    "absolute_in_box": True,
    "rank": True,
    "pointing": True,
    "class_correlation": False,
    "class_likeness": False,
    "rank_one": False,
    "query_correlation": False,
    "pixel_correlation": False,
    "swap": True,
    "mask_area": None,
    "box_area": None,
}


Figures = Mapping[str, float | None]


@dataclass(frozen=True)
class Row:
    """One object explained by one method and measured under one protocol.

    `box_image` is the detection's box (x0, y0, x1, y1) in pixels of the image on disk. `deletion`
    and `insertion` are curves of its score while the most relevant patches are removed
    or inserted, relative to the score in the whole image (`score`).
    """

    method: str
    protocol: Protocol
    image: str
    subject: str
    label: int
    query: int
    detection_score: float
    box_image: Box
    score: float
    deletion: Curve
    insertion: Curve
    localisation: Localisation
    sensitivity: Sensitivity | None = None
    left: float | None = None  # of the score, where the share `Settings.removed` is gone
    swap: float | None = None  # deletion by the next class's map less deletion by its own

    def metrics(self) -> Figures:
        """All figures by the names in `METRICS`.

        `abpc` is the area between the perturbation curves (region perturbation, Samek et al. 2017,
        1509.06321): least relevant first minus most relevant first, the symmetric relevance gain of
        Blücher et al. 2024 (2401.06654). Removing the least relevant patches first visits the
        images of insertion in reverse order, so it is insertion minus deletion.
        """
        deletion, insertion = self.deletion.area(), self.insertion.area()
        areas = {"deletion": deletion, "insertion": insertion, "abpc": insertion - deletion}
        alike = asdict(self.sensitivity or Sensitivity(None, None, None, None))
        shares = asdict(self.localisation)
        return {**areas, "left": self.left, **shares, **alike, "swap": self.swap}


_APART = ("method", "protocol", "localisation", "sensitivity", "left", "swap")
#: In metrics.csv the figures are the columns of METRICS, and there are no lists.
_NESTED = ("box_image", "deletion", "insertion", "metrics")


@dataclass(frozen=True)
class Results:
    """The figures of an evaluation; `about` describes how they were computed."""

    rows: Sequence[Row]
    seconds: Mapping[str, float]  # per method
    passes: Mapping[str, float] = field(default_factory=dict)  # per method, for each object
    failed: Mapping[str, str] = field(default_factory=dict)  # methods with their errors
    likeness: tuple[Similarity, ...] = ()
    about: Mapping[str, Any] = field(default_factory=dict)

    def methods(self) -> list[str]:
        """In the order of evaluation."""
        return list(dict.fromkeys(row.method for row in self.rows))

    def protocols(self) -> list[Protocol]:
        """In the order of evaluation."""
        return list(dict.fromkeys(row.protocol for row in self.rows))

    def summary(self, protocol: Protocol | None = None) -> dict[str, dict[str, Mean]]:
        """Method → metric → mean over the objects that have the figure, under one protocol.

        Without a protocol, the figure of an object is its mean over all protocols.
        """
        found: dict[str, dict[str, Mean]] = {}
        for method in self.methods():
            images, figures = self.figures(method, protocol)
            means = {name: mean([f[name] for f in figures], images) for name in METRICS}
            found[method] = {name: value for name, value in means.items() if value is not None}
        return found

    def figures(
        self, method: str, protocol: Protocol | None = None
    ) -> tuple[list[str], list[Figures]]:
        """The images of a method's objects, and the objects' figures, in their order."""
        objects: dict[tuple[str, str], list[Figures]] = {}
        for row in self.rows:
            if row.method == method and protocol in (None, row.protocol):
                objects.setdefault((row.image, row.subject), []).append(row.metrics())
        return [image for image, _ in objects], [_over_protocols(f) for f in objects.values()]

    def differences(self, reference: str) -> dict[str, dict[str, Mean]]:
        """Method → metric → mean over the objects of its figure less that of the `reference`, each
        its mean over all protocols."""
        own = self.figures(reference)[1]
        found: dict[str, dict[str, Mean]] = {}
        for method in self.methods():
            images, figures = self.figures(method)
            if method == reference or len(figures) != len(own):
                continue
            pairs = list(zip(figures, own, strict=True))
            means = {
                name: mean([_less(a[name], b[name]) for a, b in pairs], images) for name in METRICS
            }
            found[method] = {name: value for name, value in means.items() if value is not None}
        return found

    def places(self, protocol: Protocol) -> dict[str, float]:
        """Method → its rank by mean ABPC, 1 for the best; ties take their mean rank."""
        areas = {m: means["abpc"].mean for m, means in self.summary(protocol).items()}
        above = {m: sum(other > area for other in areas.values()) for m, area in areas.items()}
        equal = {m: sum(other == area for other in areas.values()) for m, area in areas.items()}
        return {m: above[m] + (equal[m] + 1) / 2 for m in areas}

    def mean_places(self) -> dict[str, float]:
        """Method → its mean rank over the protocols."""
        every = [self.places(protocol) for protocol in self.protocols()]
        return {m: math.fsum(one[m] for one in every) / len(every) for m in self.methods()}

    def checks(self) -> dict[str, dict[str, dict[str, Mean]]]:
        """Method → part → similarity → mean, of the randomisation check."""
        found: dict[str, dict[str, dict[str, Mean]]] = {}
        for one in self.likeness:
            found.setdefault(one.method, {}).setdefault(one.part, {})
        for method, parts in found.items():
            for part, means in parts.items():
                some = [o for o in self.likeness if (o.method, o.part) == (method, part)]
                for name in ("spearman", "spearman_absolute", "ssim"):
                    value = mean([getattr(one, name) for one in some])
                    if value is not None:
                        means[name] = value
        return found


def _less(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one - other


def _over_protocols(rows: Sequence[Figures]) -> Figures:
    """One object's figures, each its mean over the protocols that have it."""
    means = {name: mean([figures[name] for figures in rows]) for name in METRICS}
    return {name: None if value is None else value.mean for name, value in means.items()}


def write_results(folder: Path, results: Results) -> None:
    """`metrics.json` (all of it) and `metrics.csv` (a row per object, method and protocol), each
    whole or not at all."""
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    for number, row in enumerate(results.rows):
        own = {name: value for name, value in _object(row).items() if name not in _NESTED}
        if not number:
            writer.writerow([*own, *METRICS])
        writer.writerow([*own.values(), *(row.metrics()[m] for m in METRICS)])
    write_text(folder / "metrics.csv", table.getvalue())
    write_json(folder / "metrics.json", record(results))


def record(results: Results) -> dict[str, Any]:
    """What `metrics.json` holds. No times: the same evaluation gives the same bytes."""
    return {
        **results.about,
        "failed_methods": dict(results.failed),
        "summary": _plain(results.summary()),
        "mean_place": results.mean_places(),
        "forward_passes": dict(results.passes),
        "differences": {
            "reference": next(iter(results.methods()), None),
            **_plain(results.differences(next(iter(results.methods()), ""))),
        },
        "protocols": [
            {
                **asdict(protocol),
                "summary": _plain(results.summary(protocol)),
                "place": results.places(protocol),
            }
            for protocol in results.protocols()
        ],
        "randomisation": {method: _plain(parts) for method, parts in results.checks().items()},
        "objects": [_object(row) for row in results.rows],
        "randomisation_objects": [asdict(one) for one in results.likeness],
    }


def _plain(summary: Mapping[str, Mapping[str, Mean]]) -> dict[str, dict[str, Any]]:
    return {
        one: {name: asdict(value) for name, value in means.items()}
        for one, means in summary.items()
    }


def _object(row: Row) -> dict[str, Any]:
    """A row of metrics.json: the method, the protocol's own columns, the object, what was found."""
    shown = {name: value for name, value in asdict(row).items() if name not in _APART}
    return {"method": row.method, **asdict(row.protocol), **shown, "metrics": row.metrics()}
