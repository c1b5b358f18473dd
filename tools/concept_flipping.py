"""Concept flipping on the digits: channels of a layer are set to 0 in the order of their relevance,
of their activation, or at random, while the score of the object is followed.

    python -m tools.concept_flipping build/digits -o flipping.json

`build/digits` is examples/maskdino.yaml compiled with LRPC.CONDITIONS and LRPC.STARTS of the layer.
Scenes are made anew, from --seed, of scans that the model has not seen (number 1400 on), on crops
of photographs; scikit-learn has both. The area under a curve is the mean of its points. Intervals
are bootstrapped over images, whose objects stay together.
"""

from __future__ import annotations

import argparse
import importlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from lrpc.config import load_config
from lrpc.models.sources import build_model
from lrpc.program.loading import load_program

EDGE, FIRST_UNSEEN = 160, 1400
STEPS = (0, 2, 4, 8, 16, 32, 64, 128)
ORDERS = ("relevance", "activation (largest)", "activation (mean)", "random")
MODULES = "sem_seg_head.pixel_decoder.transformer."


def scenes(count: int, seed: int) -> Iterator[Tensor]:
    """Images f32 [1, 3, 160, 160] in 0–255, each with two digits on a piece of a photograph."""
    data = importlib.import_module("sklearn.datasets")
    scans = data.load_digits().images[FIRST_UNSEEN:]
    photos = [data.load_sample_image(f"{name}.jpg") for name in ("china", "flower")]
    rng = np.random.default_rng(seed)
    for _ in range(count):
        photo = photos[rng.integers(2)]
        top, left = (rng.integers(0, n - EDGE) for n in photo.shape[:2])
        canvas = photo[top : top + EDGE, left : left + EDGE].astype(np.float64)
        for half in range(2):
            _paste(canvas, scans[rng.integers(len(scans))], rng, half)
        yield torch.from_numpy(canvas.transpose(2, 0, 1).copy()).float()[None]


def _paste(
    canvas: NDArray[np.float64], scan: NDArray[np.float64], rng: np.random.Generator, half: int
) -> None:
    """Draw a scan in one colour, turned and resized, into the left or right half."""
    size = int(rng.integers(36, 64))
    picture = Image.fromarray((scan * 255 / 16).astype(np.uint8))
    picture = picture.resize((size, size), Image.Resampling.BICUBIC)
    turned = picture.rotate(float(rng.uniform(-20, 20)), Image.Resampling.BILINEAR)
    opacity = np.clip((np.asarray(turned, np.float64) / 255 - 0.25) * 3, 0, 1)[..., None]
    colour = rng.integers(0, 256, 3).astype(np.float64)
    y = int(rng.integers(0, EDGE - size))
    x = int(rng.integers(0, EDGE // 2 - size // 2)) + half * (EDGE // 2 - size // 2)
    x = min(x, EDGE - size)
    part = canvas[y : y + size, x : x + size]
    part[:] = part * (1 - opacity) + colour * opacity


class Deleting:
    """The model, with channels of a layer's output multiplied by `mask` [B, 1, C]."""

    def __init__(self, model: nn.Module, layer: str) -> None:
        self.model, self.mask = model, torch.ones(())
        model.get_submodule(layer).register_forward_hook(lambda _m, _x, y: y * self.mask)

    @torch.no_grad()
    def scores(self, image: Tensor, mask: Tensor, box: Tensor, label: int) -> NDArray[np.float64]:
        """The best probability of a class among queries whose box overlaps `box` (cxcywh) by half,
        for each mask; 0 where there is none."""
        self.mask = mask
        out = self.model(image.expand(len(mask), -1, -1, -1))
        self.mask = torch.ones(())
        near = overlap(out["pred_boxes"], box) >= 0.5  # [B, Q]
        probabilities = out["pred_logits"][..., label].sigmoid()
        found: NDArray[np.float64] = torch.where(near, probabilities, 0.0).amax(1).double().numpy()
        return found


def overlap(boxes: Tensor, box: Tensor) -> Tensor:
    """Intersection over union of boxes [..., 4] with one, all cxcywh."""
    low, high = (boxes[..., :2] + sign * boxes[..., 2:] / 2 for sign in (-1, 1))
    own_low, own_high = (box[:2] + sign * box[2:] / 2 for sign in (-1, 1))
    inner = (torch.minimum(high, own_high) - torch.maximum(low, own_low)).clamp_min(0).prod(-1)
    return inner / ((high - low).prod(-1) + box[2:].prod() - inner)


@dataclass(frozen=True)
class Curves:
    """The scores of one object, by order of deletion, at STEPS."""

    image: int
    by: dict[str, NDArray[np.float64]]


def curves(program: Any, model: Deleting, place: str, images: list[Tensor]) -> list[Curves]:
    """Those of every object with a score above 0.5, the best query of each class."""
    found, rng = [], np.random.default_rng(0)
    target = program.interface.targets[f"channel:{place}"]
    for number, image in enumerate(images):
        state = program.forward(image)
        probabilities = state.outputs["pred_logits"][0].sigmoid()
        best, labels = probabilities.max(1)
        objects: dict[int, int] = {}
        for query in best.argsort(descending=True).tolist():
            if float(best[query]) > 0.5:
                objects.setdefault(int(labels[query]), query)
        part, name = target.value
        value = state.saved[part][name][0].double()  # [N, C]
        for label, query in objects.items():
            relevance = program.relevance(state, "class_logit", at=[(query, label)], read=[place])
            orders = {
                "relevance": (-relevance.layers[place][0, 0].double().sum(0)).argsort(),
                "activation (largest)": (-value.amax(0)).argsort(),
                "activation (mean)": (-value.abs().mean(0)).argsort(),
                "random": torch.from_numpy(rng.permutation(value.shape[1])),
            }
            masks = torch.ones(len(orders) * len(STEPS), 1, value.shape[1])
            for n, order in enumerate(orders.values()):
                for k, step in enumerate(STEPS):
                    masks[n * len(STEPS) + k, 0, order[:step]] = 0
            box = state.outputs["pred_boxes"][0, query]
            scores = model.scores(image, masks, box, label).reshape(len(orders), len(STEPS))
            found.append(Curves(number, dict(zip(orders, scores, strict=True))))
    return found


def interval(values: NDArray[np.float64], images: NDArray[np.int64]) -> list[float]:
    """Mean and 95 % interval over 10,000 bootstrap samples of images."""
    numbers = np.unique(images)
    sums = np.array([values[images == i].sum() for i in numbers])
    counts = np.array([(images == i).sum() for i in numbers])
    chosen = np.random.default_rng(0).integers(0, len(numbers), (10_000, len(numbers)))
    means = sums[chosen].sum(1) / counts[chosen].sum(1)
    return [float(values.mean()), *(float(q) for q in np.quantile(means, [0.025, 0.975]))]


def timed(program: Any, place: str, image: Tensor, pairs: int = 64) -> dict[str, float]:
    """Seconds per 1,000 (image, concept) pairs after the forward pass: all conditions in one call,
    a call for each, and a forward pass and a call for each; the best of three."""
    state = program.forward(image)
    at = [divmod(int(state.outputs["pred_logits"][0].argmax()), 10)]
    conditions = [{place: [c]} for c in range(pairs)]

    def together() -> None:
        program.relevance(state, "class_logit", at=at, condition=conditions, read=["input"])

    def apart() -> None:
        for one in conditions:
            program.relevance(state, "class_logit", at=at, condition=one, read=["input"])

    def anew() -> None:
        for one in conditions:
            own = program.forward(image)
            program.relevance(own, "class_logit", at=at, condition=one, read=["input"])

    found = {}
    for name, run in (("one call", together), ("a call each", apart), ("forward each", anew)):
        best = float("inf")
        for _ in range(3):
            begun = time.perf_counter()
            run()
            best = min(best, time.perf_counter() - begun)
        found[name] = best * 1000 / pairs
    return found


def main() -> None:
    """Run the study and write its figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("program", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--place", default="encoder.layers.2")
    parser.add_argument("--images", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    program: Any = load_program(args.program, "cpu")
    config = load_config(Path(__file__).parents[1] / "examples" / "maskdino.yaml")
    model = Deleting(build_model(config)[0].eval(), MODULES + args.place)
    images = list(scenes(args.images, args.seed))
    found = curves(program, model, args.place, images)
    numbers = np.array([one.image for one in found])
    table = {name: np.stack([one.by[name] for one in found]) for name in ORDERS}
    areas = {name: values.mean(1) for name, values in table.items()}
    result = {
        "place": args.place, "seed": args.seed, "images": len(images), "objects": len(found),
        "deleted": STEPS,
        "score": {name: values.mean(0).round(4).tolist() for name, values in table.items()},
        "area": {name: interval(values, numbers) for name, values in areas.items()},
        "area beyond that of relevance": {
            name: interval(values - areas["relevance"], numbers)
            for name, values in areas.items() if name != "relevance"
        },
        "seconds per 1,000 pairs": timed(program, args.place, images[0]),
    }  # fmt: skip
    args.output.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
