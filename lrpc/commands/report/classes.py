"""What the page of classes shows of each: means, outliers and clusters of its targets' crops."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from lrpc.commands.report.pictures import Drawn
from lrpc.results import colour
from lrpc.results.crops import CROPS, Crop
from lrpc.results.groups import group

_ENDS = 6  # targets that are shown as those with the most and the least relevance on the object
_WORDS = {"object": "around the object", "image": "in the whole image"}


def class_of(
    key: tuple[str, str, str],
    numbers: Sequence[int],
    rows: Sequence[Mapping[str, Any]],
    drawn: Mapping[int, Drawn],
) -> dict[str, Any]:
    """What the targets of a class have in common; `key` is its name, their kind and composite,
    `numbers` are those of their `rows`."""
    shares = [(rows[n]["positive_share"], n) for n in numbers]
    ranked = sorted((share, n) for share, n in shares if share is not None)
    ends = min(_ENDS, len(ranked) // 2)
    return {
        "label": key[0],
        "target": key[1],
        "composite": key[2],
        "count": len(numbers),
        "share": float(np.median([share for share, _ in ranked])) if ranked else None,
        "views": [view for crop in CROPS if (view := _view(crop, numbers, drawn)) is not None],
        "most": [n for _, n in reversed(ranked[len(ranked) - ends :])],
        "least": [n for _, n in ranked[:ends]],
    }


def _view(crop: str, numbers: Sequence[int], drawn: Mapping[int, Drawn]) -> dict[str, Any] | None:
    """The targets compared by one kind of crop; None where none has such a crop."""
    crops = {n: drawn[n].crops[crop] for n in numbers if crop in drawn[n].crops}
    if not crops:
        return None
    found = group(list(crops), list(crops.values()))
    return {
        "where": _WORDS[crop],
        "mean": picture_of(found.mean),
        "outliers": [n for n, _ in found.outliers],
        "together": found.together,
        "chance": found.chance,
        "clusters": [
            {"count": len(one.rows), "rows": one.rows[:6], "mean": picture_of(one.mean)}
            for one in found.clusters
        ],
    }


def picture_of(crop: Crop) -> str:
    """A mean of crops as the source of an `img`."""
    values = crop.astype(np.float64)
    pixels = colour.colourise(values, float(np.abs(values).max()))
    data = io.BytesIO()
    Image.fromarray(pixels).resize((120, 120), Image.Resampling.NEAREST).save(data, "PNG")
    return f"data:image/png;base64,{base64.b64encode(data.getvalue()).decode()}"
