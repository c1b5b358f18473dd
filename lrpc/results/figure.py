"""Explanations as figures of matplotlib, for notebooks and for print."""

from __future__ import annotations

import importlib
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lrpc.errors import ProgramError
from lrpc.results import colour
from lrpc.support.files import complete

if TYPE_CHECKING:
    from lrpc.results.target import Target

_FORMATS = ("png", "pdf", "svg", "jpg", "webp")
_LOCK = threading.RLock()  # settings of matplotlib are those of the process
_AS_TEXT = {"svg.fonttype": "none", "pdf.fonttype": 42, "svg.hashsalt": "lrpc"}


def colour_map(name: str | None = None) -> Any:
    """A colour map of matplotlib by its name; lrpc's own (blue, white, red) by default."""
    plt = module("matplotlib")
    if name is not None:
        return plt.colormaps[name]
    colors = importlib.import_module("matplotlib.colors")
    return colors.LinearSegmentedColormap.from_list("lrpc", colour.ANCHORS / 255)


def draw(target: Target, axes: Any, cmap: str | None, percentile: float) -> Any:
    """Draw a target on axes: its image in grey under its relevance, its box, a colour bar."""
    values = target.original_map.astype(np.float64)
    scale = colour.robust_scale(values, percentile) or 1.0
    axes.imshow(target.photo.convert("L"), cmap="gray", vmin=-120, vmax=300)
    strength = np.clip(np.abs(values) / scale, 0, 1) ** 0.7
    shown = axes.imshow(
        values, cmap=colour_map(cmap), vmin=-scale, vmax=scale, alpha=strength, interpolation="none"
    )
    if target.box is not None:
        patches = importlib.import_module("matplotlib.patches")
        x0, y0, x1, y1 = (edge - 0.5 for edge in target.box)
        axes.add_patch(patches.Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, lw=1.2))
    axes.set_title(target.title, fontsize="medium")
    axes.set_axis_off()
    axes.figure.colorbar(shown, ax=axes, label="relevance per pixel", fraction=0.046, pad=0.03)
    return axes


def figure(target: Target, width: float, cmap: str | None, percentile: float) -> Any:
    """A figure of a target, so many inches wide."""
    made = module("matplotlib.figure").Figure(layout="constrained")
    axes = made.add_subplot()
    draw(target, axes, cmap, percentile)
    size = target.photo.size
    made.set_size_inches(width, max(1.0, 0.8 * width * size[1] / size[0] + 0.4))
    return made


def save(made: Any, path: Path, dpi: float) -> None:
    """Write a figure, whole or not at all; its format is the file's ending. Text stays text in PDF
    and SVG, and no date is written: the same figure has the same bytes. Raises ProgramError."""
    kind = path.suffix.lower().lstrip(".")
    if kind not in _FORMATS:
        raise ProgramError(f"{path}: figures are written as {', '.join(_FORMATS)}; name one so")
    own = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
    with _LOCK, module("matplotlib").rc_context(_AS_TEXT), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # such a character is a box
        with complete(path) as part:
            made.savefig(part, format=kind, dpi=dpi, metadata=own.get(kind))


def blank(width: float, height: float) -> Any:
    """A figure of so many inches, without axes."""
    return module("matplotlib.figure").Figure(figsize=(width, height))


@contextmanager
def fonts(path: Path | None) -> Iterator[None]:
    """Text in the block is set in matplotlib's own font, and what that lacks in the font of a
    file."""
    families = list(module("matplotlib").rcParams["font.sans-serif"][:1])
    if path is not None:
        manager = module("matplotlib.font_manager")
        manager.fontManager.addfont(path)
        families.append(manager.FontProperties(fname=path).get_name())
    with _LOCK, module("matplotlib").rc_context({"font.family": families}):
        yield


def need_matplotlib() -> None:
    """Raise ProgramError where no figures can be drawn."""
    module("matplotlib")


def module(name: str) -> Any:
    """A module of matplotlib; ProgramError where that is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ProgramError("figures need matplotlib: pip install 'lrpc[evaluate]'") from error
