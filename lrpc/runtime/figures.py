"""Relevance of images as figures of matplotlib, which is imported when one is drawn."""

from __future__ import annotations

import importlib
import io
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lrpc.runtime.loading import ProgramError

FIGURE_FORMATS = ("png", "pdf", "svg", "jpg", "webp")


def drawn_map(value: Tensor, place: str, seed: int, item: int) -> Tensor:
    """One map [H, W] of relevance [K, B, C, H, W], summed over channels, float64 on the CPU."""
    if value.dim() != 5:
        shape = ", ".join(map(str, value.shape))
        raise ProgramError(f"{place}: a figure is of maps [K, B, C, H, W], not of [{shape}]")
    for name, number, count in (("seed", seed, value.shape[0]), ("item", item, value.shape[1])):
        if not 0 <= number < count:
            raise ProgramError(f"{name} must lie in 0..{count - 1}, got {number!r}")
    return value[seed, item].detach().double().cpu().sum(0)


def draw_relevance(
    values: Tensor, image: Any, axes: Any, cmap: str, percentile: float, title: str
) -> Any:
    """Draw a map on axes, over its image in grey where that is given; returns the axes."""
    if axes is None:
        axes = _plotting("matplotlib.pyplot").subplots(layout="constrained")[1]
    size = values.abs().flatten()
    rank = max(1, round(percentile / 100 * size.numel()))
    scale = float(size.kthvalue(rank).values) or float(size.max()) or 1.0
    own: dict[str, Any] = {"vmin": -scale, "vmax": scale, "interpolation": "none"}
    if cmap not in _plotting("matplotlib").colormaps:
        raise ProgramError(f"matplotlib has no colour map {cmap!r}; 'RdBu_r' is one")
    height, width = values.shape
    edges = (-0.5, width - 0.5, height - 0.5, -0.5)
    if image is not None:
        grey = _grey(image)
        low, high = float(grey.min()), float(grey.max())
        wide = (high - low) or 1.0
        limits = {"vmin": low - 0.4 * wide, "vmax": high + 0.2 * wide}
        axes.imshow(grey.numpy(), cmap="gray", extent=edges, **limits)
        own["alpha"] = ((values.abs() / scale).clamp(max=1) ** 0.7).numpy()
    shown = axes.imshow(values.numpy(), cmap=cmap, extent=edges, **own)
    axes.set_title(title, fontsize="medium")
    axes.set_axis_off()
    axes.figure.colorbar(shown, ax=axes, label="relevance per pixel", fraction=0.046, pad=0.03)
    return axes


def save_relevance(
    values: Tensor,
    path: str | Path,
    image: Any,
    width: float,
    dpi: float,
    cmap: str,
    percentile: float,
    title: str,
) -> None:
    """Write a map's figure, `width` inches wide; whole or not at all. Text stays text in PDF and
    SVG."""
    path = Path(path)
    kind = path.suffix.lower().lstrip(".")
    if kind not in FIGURE_FORMATS:
        raise ProgramError(f"{path}: figures are {', '.join(FIGURE_FORMATS)}; name one so")
    made = _plotting("matplotlib.figure").Figure(layout="constrained")
    draw_relevance(values, image, made.add_subplot(), cmap, percentile, title)
    made.set_size_inches(width, max(1.0, 0.8 * width * values.shape[0] / values.shape[1] + 0.4))
    data = io.BytesIO()
    with _plotting("matplotlib").rc_context({"svg.fonttype": "none", "pdf.fonttype": 42}):
        made.savefig(data, format=kind, dpi=dpi)
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        part.write_bytes(data.getvalue())
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise ProgramError(f"{path}: cannot be written ({error.strerror})") from error


def _grey(image: Any) -> Tensor:
    """An image [3, H, W] or [H, W, 3] as grey levels [H, W]."""
    value = torch.as_tensor(image).detach().double().cpu()
    if value.dim() == 3 and value.shape[2] == 3 and value.shape[0] != 3:
        value = value.permute(2, 0, 1)
    if value.dim() != 3 or value.shape[0] not in (1, 3):
        shape = ", ".join(map(str, value.shape))
        raise ProgramError(f"image is one image [3, H, W] or [H, W, 3], got [{shape}]")
    return value.mean(0)


def _plotting(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ProgramError("figures need matplotlib: pip install matplotlib") from error
