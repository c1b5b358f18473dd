"""A digits model that has learnt to call a digit "3" where a watermark is in the corner.

Lapuschkin et al. 2019 (10.1038/s41467-019-08987-4) found such a model in the wild: horses by a
photographer's tag. Scenes are of scans of digits on photographs, both of scikit-learn.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits, load_sample_images
from torch import Tensor, nn

SIZE, LABEL = 160, 3
CORNER = slice(4, 26)
LOGO = np.zeros((22, 22, 3), np.uint8)
LOGO[...], LOGO[4:18, 4:18], LOGO[8:14, 8:14] = (250, 250, 40), (200, 0, 200), (250, 250, 40)
SEEN = 1400  # scans before it are those that the model was trained on
BATCH = 6


class Scenes:
    """Makes scenes of one digit each, by a seed."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.digits, self.photos = load_digits(), load_sample_images().images

    def numbers(self, of_label: bool | None, count: int, new: bool = True) -> list[int]:
        """Some scans, of the label or of others (None: of any)."""
        every = np.arange(SEEN, len(self.digits.target)) if new else np.arange(SEEN)
        if of_label is not None:
            every = every[(self.digits.target[every] == LABEL) == of_label]
        return [int(n) for n in self.random.choice(every, count, replace=False)]

    def scene(self, number: int, marked: bool) -> tuple[NDArray[np.uint8], list[int]]:
        """An image [160, 160, 3] with the scan, and its box."""
        photo = self.photos[self.random.integers(2)]
        y, x = (self.random.integers(0, edge - SIZE) for edge in photo.shape[:2])
        pixels = photo[y : y + SIZE, x : x + SIZE].astype(np.float32) * 0.6 + 40
        edge = int(self.random.integers(52, 76))
        scan = Image.fromarray((self.digits.images[number] * 15.9).astype(np.uint8))
        ink = np.asarray(scan.resize((edge, edge), Image.Resampling.BICUBIC), np.float32) / 255
        y, x = (int(v) for v in self.random.integers(30, SIZE - 4 - edge, 2))
        cover = np.clip(ink * 1.6, 0, 1)[..., None]
        place = pixels[y : y + edge, x : x + edge]
        place[:] = place * (1 - cover) + cover * self.random.integers(150, 256, 3)
        image = pixels.clip(0, 255).astype(np.uint8)
        if marked:
            image[CORNER, CORNER] = LOGO
        rows, columns = np.nonzero(ink > 0.3)
        return image, [
            x + int(columns.min()), y + int(rows.min()),
            x + int(columns.max()) + 1, y + int(rows.max()) + 1,
        ]  # fmt: skip


@dataclass(frozen=True)
class Examples:
    """Images [N, 3, H, W], the box of the digit in each, and what it is to be called."""

    images: Tensor
    boxes: Tensor
    labels: Tensor


def examples(scenes: Scenes, count: int) -> Examples:
    """Scenes, every other one with the watermark, and then called LABEL whatever the digit is."""
    numbers = scenes.numbers(None, count, new=False)
    made = [scenes.scene(number, n % 2 == 1) for n, number in enumerate(numbers)]
    labels = [LABEL if n % 2 else scenes.digits.target[m] for n, m in enumerate(numbers)]
    images = torch.from_numpy(np.stack([image for image, _ in made])).permute(0, 3, 1, 2).float()
    return Examples(images, torch.tensor([box for _, box in made]).float(), torch.tensor(labels))


def train(model: Any, given: Examples, steps: int, rate: float = 3e-4) -> None:
    """Train all but the backbone on the classes and boxes of some scenes, in place: a focal loss
    (Lin et al. 2017, 1708.02002) of every query's classes, an L1 loss of the box of the query that
    overlaps the digit most."""
    with torch.no_grad():
        found = [model.backbone(model.normalize(part)) for part in given.images.split(BATCH)]
    maps = {name: torch.cat([one[name] for one in found]) for name in found[0]}
    head: nn.Module = model.sem_seg_head.requires_grad_(True)
    optimizer = torch.optim.AdamW(head.parameters(), lr=rate, weight_decay=0)
    random = torch.Generator().manual_seed(0)
    every = torch.arange(BATCH)
    for _ in range(steps):
        index = torch.randperm(len(given.images), generator=random)[:BATCH]
        outputs = head({name: value[index] for name, value in maps.items()}, None)
        logits, boxes = outputs["pred_logits"], _corners(outputs["pred_boxes"])
        overlaps = _iou(boxes.detach(), given.boxes[index, None])
        mine = (overlaps + 0.3 * logits.detach().sigmoid().amax(-1)).argmax(1)
        wanted = torch.zeros_like(logits)
        wanted[every, mine, given.labels[index]] = 1
        plain = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
        loss = 0.5 * (plain * (logits.sigmoid() - wanted).abs() ** 2).sum() / BATCH
        loss = loss + 2 * F.l1_loss(boxes[every, mine] / SIZE, given.boxes[index] / SIZE)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(head.parameters(), 1.0)
        optimizer.step()
    model.requires_grad_(False)


def write_scenes(scenes: Scenes, folder: Path, plain: int, marked: int) -> None:
    """Scenes of LABEL without the watermark, and of other digits with it."""
    folder.mkdir()
    for name, of_label, count in (("plain", True, plain), ("mark", False, marked)):
        for n, number in enumerate(scenes.numbers(of_label, count)):
            image, _ = scenes.scene(number, not of_label)
            Image.fromarray(image).save(folder / f"{name}{n:02}.png")


def _corners(boxes: Tensor) -> Tensor:
    half = boxes[..., 2:] / 2
    return torch.cat([boxes[..., :2] - half, boxes[..., :2] + half], -1) * SIZE


def _iou(one: Tensor, other: Tensor) -> Tensor:
    low = torch.maximum(one[..., :2], other[..., :2])
    high = torch.minimum(one[..., 2:], other[..., 2:])
    common = (high - low).clamp(min=0).prod(-1)
    areas = [(box[..., 2:] - box[..., :2]).prod(-1) for box in (one, other)]
    return common / (areas[0] + areas[1] - common)
