"""How much positive pixel relevance of a detected digit lies on the digit, on the digits model.

`python -m tests.oracle.concentration` prints the table: medians over the detections with score
> 0.5 on scenes 00–19 (36; each lies on an instance of its own class with IoU > 0.5). Relevance is
summed over colour channels, its positive part taken; concentration is the share of it inside the
instance's mask dilated by 4 pixels, divided by that dilated mask's share of the image: 1 is chance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median

import torch
import torch.nn.functional as F
from torch import Tensor

from lrpc.models.maskdino.postprocess import detections
from tests.oracle.detached import Detached
from tests.oracle.targets import ClassLogit
from tests.support.maskdino_cases import (
    ALL_SCENES,
    digits_image,
    digits_instances,
    digits_model,
    digits_scenes,
)

SCENES = 20
MARGIN = 4
METHODS = ("model_gradient", "gradient_input", "cp_lrp", "attnlrp")
Explain = Callable[[Tensor, list[ClassLogit]], Iterator[Tensor]]


@dataclass(frozen=True)
class Summary:
    """Medians over the detections."""

    detections: int
    concentration: float
    kept: float  # Σ relevance ÷ logit
    hits: float  # share of detections whose strongest 5×5 neighbourhood is centred on the digit


def by_oracle(method: str) -> Explain:
    """Pixel relevance [3, H, W] of class logits, from the detached oracle."""
    plain = method == "model_gradient"
    rules = "gradient_input" if plain else method

    def explain(image: Tensor, targets: list[ClassLogit]) -> Iterator[Tensor]:
        run = Detached(
            digits_model(torch.float64),
            image,
            rules,
            follow_offsets=plain,
            follow_queries=not plain,
        )
        for target in targets:
            yield run.relevance(target)["input"][0]

    return explain


def summarise(explain: Explain, scenes: int = SCENES) -> Summary:
    """Medians of `explain`, which maps an image in double and its targets to their relevances."""
    concentrations, kept, hits = [], [], []
    model = digits_model(torch.float64)
    for scene in digits_scenes(ALL_SCENES)[:scenes]:
        name = scene["file"].removesuffix(".png")
        image, instances = digits_image(name).double(), digits_instances(name)
        with torch.no_grad():
            outputs = model(image)
        found = detections(outputs, (160, 160))[0]
        targets, masks = [], []
        for index in torch.nonzero(found.scores > 0.5).flatten().tolist():
            label = int(found.labels[index])
            targets.append(ClassLogit(int(found.queries[index]), label))
            masks.append(_instance(found.masks[index], label, instances, scene["instances"]))
        for target, mask, relevance in zip(targets, masks, explain(image, targets), strict=True):
            logit = outputs["pred_logits"][0, target.query, target.index]
            concentrations.append(concentration(relevance, mask))
            kept.append(float(relevance.sum() / logit))
            hits.append(strongest_inside(relevance, mask))
    share = sum(hits) / len(hits)
    return Summary(len(hits), median(concentrations), median(kept), share)


def _instance(mask: Tensor, label: int, instances: Tensor, known: list[dict[str, int]]) -> Tensor:
    """Mask of the instance of class `label` that the detected `mask` lies on."""
    for instance in known:
        true = instances == instance["label_in_instances_png"]
        overlap = (mask & true).sum() / (mask | true).sum()
        if overlap > 0.5 and instance["digit"] == label:
            return true
    raise AssertionError(f"a detection of {label} lies on no instance of that class")


def dilated(mask: Tensor) -> Tensor:
    """`mask` [H, W] and what is within `MARGIN` pixels of it, diagonals included."""
    size = 2 * MARGIN + 1
    return F.max_pool2d(mask[None, None].double(), size, 1, MARGIN)[0, 0] > 0


def concentration(relevance: Tensor, mask: Tensor) -> float:
    """Share of the positive part of [3, H, W] in the dilated mask, over that mask's share."""
    positive, region = relevance.sum(0).clamp(min=0), dilated(mask)
    return float(positive[region].sum() / positive.sum() / region.double().mean())


def strongest_inside(relevance: Tensor, mask: Tensor) -> bool:
    """Whether the 5×5 neighbourhood with the largest sum of [3, H, W] is centred on the digit."""
    sums = F.avg_pool2d(relevance.sum(0)[None, None], 5, 1, 2)[0, 0]
    return bool(dilated(mask).flatten()[sums.argmax()])


def main() -> None:
    """Prints the medians of every method."""
    print("method          n   concentration  Σ/logit  strongest inside")
    for method in METHODS:
        s = summarise(by_oracle(method))
        values = f"{s.concentration:13.2f} {s.kept:8.3f} {s.hits:17.2f}"
        print(f"{method:15s} {s.detections}  {values}")


if __name__ == "__main__":
    main()
