"""What models without queries find: the classes of an image, or the pixels of each class."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from lrpc.models.maskdino.segments import Sizes
from lrpc.program.protocol import Detection, Size


def find_classes(
    outputs: Mapping[str, Tensor], sizes: Sizes, score: float, top: int
) -> list[Detection]:
    """At most `top` classes that score above `score`, but one at least, of one image's outputs.

    A class of the whole image scores its probability; best first. A class of pixels scores its mean
    probability over the pixels where it is the largest; most pixels first.
    """
    if "logits" in outputs:
        shares = outputs["logits"].float().softmax(-1)
        best = shares.topk(min(top, len(shares))).indices.tolist()
        found = [_of_image(shares, label, sizes.valid) for label in best]
    else:
        found = _regions(outputs["pixel_logits"].float(), sizes)
    return [one for one in found if one.score > score][:top] or found[:1]


def describe_class(outputs: Mapping[str, Tensor], sizes: Sizes, label: int) -> Detection:
    """A class of the image or of its pixels, whatever its score."""
    if "logits" in outputs:
        return _of_image(outputs["logits"].float().softmax(-1), label, sizes.valid)
    logits = outputs["pixel_logits"].float()
    return _region(label, _labels(logits, sizes, sizes.original), *_in_frame(logits, sizes))


def best_share(outputs: Mapping[str, Tensor]) -> float:
    """The largest probability of a class, anywhere."""
    if "logits" in outputs:
        return float(outputs["logits"].float().softmax(-1).max())
    return float(outputs["pixel_logits"].float().softmax(0).max())


def of_classes(outputs: Mapping[str, Tensor]) -> bool:
    """Whether outputs of one image are those of a model without queries."""
    if "pred_logits" in outputs:
        return False
    return "pixel_logits" in outputs or ("logits" in outputs and outputs["logits"].dim() == 1)


def _of_image(shares: Tensor, label: int, valid: Size) -> Detection:
    box = (0.0, 0.0, float(valid[1]), float(valid[0]))
    return Detection(0, label, float(shares[label]), box, None, whole=True)


def _regions(logits: Tensor, sizes: Sizes) -> list[Detection]:
    """Every class that is the largest of some pixel of the image on disk, most pixels first."""
    there = _labels(logits, sizes, sizes.original)
    here, shares = _in_frame(logits, sizes)
    counts = there.flatten().bincount(minlength=len(logits))
    order = counts.argsort(descending=True, stable=True).tolist()
    return [_region(label, there, here, shares) for label in order if counts[label]]


def _in_frame(logits: Tensor, sizes: Sizes) -> tuple[Tensor, Tensor]:
    """The largest class of each pixel of the network's input, -1 in padding, and its probability on
    the grid of the logits, spread over these pixels: [H, W] each."""
    (height, width), frame = sizes.valid, sizes.frame
    here = torch.full(frame, -1, dtype=torch.int64)
    here[:height, :width] = _labels(logits, sizes, sizes.valid)
    shares = logits.softmax(0).amax(0)[None, None]
    return here, F.interpolate(shares, frame, mode="bilinear", align_corners=False)[0, 0].cpu()


def _labels(logits: Tensor, sizes: Sizes, size: Size) -> Tensor:
    """The class of the largest logit [C, h, w] at each pixel of the image at this `size`, as image
    processors resize logits; int64 on the CPU."""
    if sizes.valid != sizes.frame:
        height, width = sizes.valid
        logits = torch.stack([_resized(one, sizes.frame)[:height, :width] for one in logits])
    best = _resized(logits[0], size)
    labels = torch.zeros_like(best, dtype=torch.int64)
    for label in range(1, len(logits)):  # one by one: all at once would take gigabytes
        one = _resized(logits[label], size)
        labels[one > best] = label
        best = torch.maximum(best, one)
    return labels.cpu()


def _resized(logits: Tensor, size: Size) -> Tensor:
    return F.interpolate(logits[None, None], size, mode="bilinear", align_corners=False)[0, 0]


def _region(label: int, there: Tensor, here: Tensor, shares: Tensor) -> Detection:
    mask, original = here == label, there == label
    rows, columns = mask.any(1).nonzero(), mask.any(0).nonzero()
    box = (0.0, 0.0, 0.0, 0.0)
    if len(rows):
        edges = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        box = (float(edges[0]), float(edges[1]), float(edges[2]), float(edges[3]))
    score = float(shares[mask].mean()) if len(rows) else 0.0
    return Detection(0, label, score, box, mask.numpy(), original.numpy())
