"""Waterfalls: how relevance comes from its target to the image, part by part of the model."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from lrpc.errors import ProgramError

_NAME, _BAR = 40, 28  # characters of a line of text


@dataclass(frozen=True)
class Step:
    """One bar, from `low` to `high`; `amount` is what was there, or what was taken, with its
    sign."""

    name: str
    amount: float
    low: float
    high: float


def steps(start: float, end: float, parts: Mapping[str, float]) -> list[Step]:
    """The target, what each part of the model took of it (`PART: KIND` → amount, of which a
    negative one adds), and what was left for the image."""
    found = [Step("target", start, *sorted((0.0, start)))]
    left = start
    for name, amount in parts.items():
        found.append(Step(name, amount, *sorted((left, left - amount))))
        left -= amount
    return [*found, Step("image", end, *sorted((0.0, end)))]


def of_row(row: Mapping[str, Any]) -> list[Step]:
    """The waterfall of a row of the table of targets; ProgramError where it has no ledger."""
    if row["start"] is None:
        raise ProgramError("there is no ledger: explain with ledger=True, without --no-ledger")
    return steps(row["start"], row["end"], dict(row["parts"] or ()))


def text(title: str, found: Iterable[Step]) -> str:
    """The waterfall in at most 80 columns of text."""
    listed = list(found)
    low, high = _range(listed)
    scale = (_BAR - 1) / (high - low)
    lines = [title]
    for one in listed:
        first, last = round((one.low - low) * scale), round((one.high - low) * scale)
        name = one.name if len(one.name) <= _NAME else f"…{one.name[1 - _NAME :]}"
        bar = " " * first + "█" * max(last - first, 1)
        lines.append(f"{name:{_NAME}} {one.amount:9.3g}  {bar}".rstrip())
    return "\n".join(lines)


def draw(title: str, found: Iterable[Step], axes: Any) -> Any:
    """The waterfall on axes of matplotlib: relevance that was taken is red, that was added blue."""
    listed = list(found)
    names, places = [one.name for one in listed], range(len(listed))
    axes.barh(
        places,
        [one.high - one.low for one in listed],
        left=[one.low for one in listed],
        color=[_colour(one) for one in listed],
        height=0.7,
    )
    for place, one in zip(places, listed, strict=True):
        end = (one.high, place)
        offset = {"xytext": (3, 0), "textcoords": "offset points"}
        axes.annotate(f"{one.amount:.3g}", end, va="center", fontsize="small", **offset)
    axes.set_yticks(places, names, fontsize="small")
    axes.invert_yaxis()
    axes.axvline(0, color="0.5", lw=0.8)
    axes.margins(x=0.2)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel("relevance")
    axes.set_title(title, fontsize="medium", loc="left")
    return axes


def figure(title: str, found: Iterable[Step], width: float = 6.5) -> Any:
    """A figure of matplotlib, so many inches wide."""
    listed = list(found)
    try:
        made = importlib.import_module("matplotlib.figure").Figure(layout="constrained")
    except ImportError as error:
        raise ProgramError("figures need matplotlib: pip install 'lrpc[evaluate]'") from error
    made.set_size_inches(width, 0.8 + 0.26 * len(listed))
    draw(title, listed, made.add_subplot())
    return made


def _range(found: list[Step]) -> tuple[float, float]:
    low = min((one.low for one in found), default=0.0)
    high = max((one.high for one in found), default=0.0)
    return low, high if high > low else low + 1.0


def _colour(one: Step) -> str:
    if one.name in ("target", "image"):
        return "0.35"
    return "#b2182b" if one.amount > 0 else "#2166ac"
