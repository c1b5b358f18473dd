"""One target's pictures, from its relevance to the three files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import Image

from lrpc.commands.drawing import printed, render
from lrpc.commands.drawing.draw import number, totals
from lrpc.commands.session.calls import Explained
from lrpc.commands.session.changes import change_of, remedy
from lrpc.commands.session.facts import RANDOM_WARNING, Facts
from lrpc.commands.session.images import LoadedImage
from lrpc.commands.session.ledgers import LedgerValues
from lrpc.commands.session.options import Display
from lrpc.commands.session.seeds import Seed
from lrpc.results import colour, figure, waterfall
from lrpc.support.files import complete, shown

_DPI = 300.0  # of panels for print


def write_pictures(
    stem: Path, result: Explained, image: LoadedImage, facts: Facts, display: Display
) -> dict[str, Any]:
    """Write `STEM.SLUG.{heatmap,overlay,panel}.png`, the panel as it is asked for; returns what was
    done, for the record."""
    height, width = image.valid
    whole = map_of(result, image, display.smooth)
    values = whole[:height, :width]
    scale = colour.robust_scale(values, display.percentile)
    marks, caption = marks_of(result.seed, facts), caption_of(result, image, facts, display)
    visible = image.valid if image.valid != image.frame else None
    pictures = {
        "heatmap": render.heatmap(values, scale),
        "overlay": render.overlay(image.photo(), values, scale, marks),
    }
    parts = (image.whole(), whole, scale, marks, caption, visible)
    files = {}
    dpi = display.dpi or _DPI
    if display.waterfall and result.ledger is not None:
        path = stem.with_name(f"{stem.name}.{result.seed.slug}.waterfall.{display.format}")
        drawn = waterfall.figure(result.seed.words, _steps(result.ledger))
        figure.save(drawn, path, dpi if display.printed else 200)
        files["waterfall"] = path.name
    if display.printed:
        path = stem.with_name(f"{stem.name}.{result.seed.slug}.panel.{display.format}")
        printed.write(
            printed.Panel(*parts), path, display.width or printed.WIDTH, dpi, display.font
        )
        files["panel"] = path.name
    else:
        pictures["panel"] = render.panel(*parts)
    for name, picture in pictures.items():
        path = stem.with_name(f"{stem.name}.{result.seed.slug}.{name}.png")
        _save(picture, path)
        files[name] = path.name
    return {
        "files": files,
        "display": {
            "full_colour_at": scale,
            "percentile": display.percentile,
            "smooth_sigma_pixels": display.smooth,
            "channels": "summed",
        },
    }


def account(result: Explained, name: str) -> str:
    """Where a target's relevance went, as text; the image's name stands above it."""
    title = f"\n{name}: {result.seed.words}"
    return waterfall.text(title, [] if result.ledger is None else _steps(result.ledger))


def _steps(ledger: LedgerValues) -> list[waterfall.Step]:
    return waterfall.steps(ledger.start, ledger.end, ledger.parts)


def map_of(result: Explained, image: LoadedImage, sigma: float) -> colour.Map:
    """The relevance of the network's input [H, W], smoothed for a picture, but not across the edge
    of the image into its padding."""
    height, width = image.valid
    whole = colour.signed_map(result.input.double().numpy())
    smooth = colour.smooth(whole, sigma).copy()
    smooth[:height, :width] = colour.smooth(whole[:height, :width], sigma)
    return smooth


def marks_of(seed: Seed, facts: Facts) -> render.Marks:
    """The box, outline and label of the object that a seed is of, and its mask pixel."""
    one = seed.detection
    if one is None:
        return render.Marks(point=seed.point)
    label = f"{_name(one.label, facts)}  {one.score:.2f}"
    return render.Marks(label, None if one.whole else one.box, one.mask, seed.point)


def caption_of(
    result: Explained, image: LoadedImage, facts: Facts, display: Display
) -> render.Caption:
    """The panel's title and facts."""
    seed, total = result.seed, float(result.input.double().sum())
    ledger = result.ledger
    start, shared = (None, None) if ledger is None else (ledger.start, ledger.sinks.get("shared"))
    parts = [totals(total, start, shared), f"composite {facts.composite}"]
    if facts.epsilon is not None:
        parts.append(f"epsilon {number(facts.epsilon)}")
    parts += [facts.precision, shown(image.path.name)]
    heat = "relevance  ·  red for, blue against"
    if display.smooth > 0:
        heat += f"  ·  smoothed, {number(display.smooth)} px"
    warning = warning_of(image, facts.random_weights)
    return render.Caption(title_of(seed, facts), "  ·  ".join(parts), heat, warning)


def warning_of(image: LoadedImage, random_weights: bool) -> str:
    """What a picture says in red: weights that were not trained, an image that was changed."""
    change = change_of(image)
    differs = change is not None and change.differs
    said = [f"{change.words}: compile for {remedy([change.own])}"] if change and differs else []
    return "  ·  ".join([*([RANDOM_WARNING] if random_weights else []), *said])


def title_of(seed: Seed, facts: Facts) -> str:
    """The target in words, with the class's name and the score of the object that it is of."""
    if seed.detection is None:
        return seed.words
    name = facts.class_name(seed.detection.label)
    title = f"{name}: {seed.words}" if name else seed.words
    return f"{title}  ·  score {seed.detection.score:.2f}"


def _name(label: int, facts: Facts) -> str:
    return facts.class_name(label) or f"class {label}"


def _save(picture: Image.Image, path: Path) -> None:
    with complete(path) as part:
        picture.save(part, format="PNG")
