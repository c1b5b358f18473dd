"""Scenes of handwritten digits on photographs, with the box and the pixels of each digit.

    python examples/digit_scenes.py FOLDER --count 64

writes unseen scenes for `lrpc evaluate --scenes FOLDER`. It needs scikit-learn, which brings the
digits and the two photographs with it.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SIZE = 160  # pixels of a scene, both ways
TRAINED = 1400  # scans before this one are for training, the other 397 for scenes that are unseen
VISIBLE = 0.5  # the share of a digit that later ones must leave uncovered


@dataclass(frozen=True)
class Scene:
    """`pixels` [160, 160, 3] and the instance at every pixel, `labels` [160, 160], 0 for none.

    `digits` and `boxes` (x0, y0, x1, y1 in pixels, edges of the last pixel included) are those of
    the instances 1, 2, …
    """

    pixels: Any
    labels: Any
    digits: list[int]
    boxes: list[tuple[int, int, int, int]]


@cache
def sources() -> tuple[Any, Any, list[Image.Image]]:
    """The scans [1797, 8, 8] from 0 to 16, their digits, and the photographs."""
    from sklearn.datasets import load_digits, load_sample_images

    digits = load_digits()
    return digits.images, digits.target, [Image.fromarray(p) for p in load_sample_images().images]


def scene(random: np.random.Generator, unseen: bool = False) -> Scene:
    """One scene with one to five digits, each at least half visible."""
    pixels = background(random)
    labels = np.zeros((SIZE, SIZE), np.int64)
    digits: list[int] = []
    areas: list[int] = []
    for _ in range(int(random.integers(1, 6))):
        digit, shape = glyph(random, unseen)
        height, width = shape.shape
        y, x = (int(random.integers(0, SIZE - n + 1)) for n in (height, width))
        inside = shape > 0.5
        window = labels[y : y + height, x : x + width]
        left = np.bincount(np.where(inside, 0, window).ravel(), minlength=len(areas) + 1)[1:]
        now = np.bincount(labels.ravel(), minlength=len(areas) + 1)[1:]
        whole = np.bincount(window.ravel(), minlength=len(areas) + 1)[1:]
        if (now - whole + left < VISIBLE * np.array(areas)).any():
            continue  # it would hide a digit
        digits.append(digit)
        areas.append(int(inside.sum()))
        labels[y : y + height, x : x + width] = np.where(inside, len(digits), window)
        area = pixels[y : y + height, x : x + width]
        area += shape[..., None] * (colour(random, area[inside].mean(0)) - area)
    pixels += random.normal(0, random.uniform(0, 8), pixels.shape)
    boxes = [box(labels == n + 1) for n in range(len(digits))]
    return Scene(pixels.clip(0, 255).astype(np.uint8), labels, digits, boxes)


def background(random: np.random.Generator) -> Any:
    """A square crop of a photograph, darker or brighter: [160, 160, 3], 0 to 255."""
    photographs = sources()[2]
    photo = photographs[int(random.integers(len(photographs)))]
    side = int(random.integers(SIZE, min(photo.size) + 1))
    x, y = (int(random.integers(0, n - side + 1)) for n in photo.size)
    crop = photo.crop((x, y, x + side, y + side)).resize((SIZE, SIZE), Image.Resampling.BILINEAR)
    if random.random() < 0.5:
        crop = crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return np.asarray(crop, np.float64) * random.uniform(0.5, 1.2)


def glyph(random: np.random.Generator, unseen: bool) -> tuple[int, Any]:
    """A digit and how much of it is in each pixel, from 0 to 1, without empty margins."""
    scans, targets, _ = sources()
    first, last = (TRAINED, len(scans)) if unseen else (0, TRAINED)
    chosen = int(random.integers(first, last))
    scan = Image.fromarray((scans[chosen] * (255 / 16)).astype(np.uint8))
    height = int(random.integers(24, 56))
    width = int(height * random.uniform(0.7, 1.1))
    large = scan.resize((width, height), Image.Resampling.BICUBIC)
    turned = large.rotate(random.uniform(-15, 15), Image.Resampling.BICUBIC, expand=True)
    shape = ((np.asarray(turned) / 255 - 0.35) / 0.3).clip(0, 1)
    y0, x0, y1, x1 = (box(shape > 0.5)[n] for n in (1, 0, 3, 2))
    return int(targets[chosen]), shape[y0:y1, x0:x1]


def colour(random: np.random.Generator, behind: Any) -> Any:
    """A colour that is at least 100 (of 441) away from what is `behind`: [3]."""
    while True:
        made = random.uniform(0, 255, 3)
        if np.linalg.norm(made - behind) > 100:
            return made


def box(inside: Any) -> tuple[int, int, int, int]:
    """x0, y0, x1, y1 around the pixels that are True."""
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def write(folder: Path, count: int, seed: int) -> None:
    """Unseen scenes as `lrpc evaluate --scenes` reads them."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        made, name = scene(random, unseen=True), f"{number:03d}"
        Image.fromarray(made.pixels).save(folder / f"{name}.png")
        Image.fromarray(made.labels.astype(np.uint8)).save(folder / f"{name}.instances.png")
        found = enumerate(zip(made.digits, made.boxes, strict=True), start=1)
        rows.append(
            {
                "file": f"{name}.png",
                "instances": [
                    {"digit": digit, "box_xyxy": list(around), "label_in_instances_png": n}
                    for n, (digit, around) in found
                ],
            }
        )
    (folder / "scenes.json").write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description="Write scenes of digits that are unseen.")
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("--count", type=int, default=64)
    arguments.add_argument("--seed", type=int, default=1)
    given = arguments.parse_args()
    write(given.folder, given.count, given.seed)
