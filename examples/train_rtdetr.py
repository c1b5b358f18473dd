"""Trains a small RT-DETR of transformers on generated scenes of digits, and saves it.

    python examples/train_rtdetr.py FOLDER

writes what `LRPC.SOURCE transformers:FOLDER` takes: settings, weights and image processor. One core
needs about 50 minutes. `examples/rtdetr` was made by it, with its defaults.

Two things make it learn in so few steps. The library draws the scales of the encoder's batch norms
from N(0, 0.01²) and of its linear maps likewise, for weights that are loaded afterwards; from there
gradients do not reach the backbone, so `fresh` starts them as their papers do. And for the first
part of the training every cell near the middle of a digit has to find it, besides the one query
that is matched with it.
"""

from __future__ import annotations

import argparse
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from digit_scenes import SIZE, scene
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from transformers import (
    RTDetrConfig,
    RTDetrForObjectDetection,
    RTDetrImageProcessor,
    RTDetrResNetConfig,
)

SIDE = 128  # pixels of an image as the detector sees it, both ways
BATCH, RATE, WARM, DECAY, CLIP, AVERAGED = 16, 1e-3, 200, 1e-4, 1.0, 0.998
DENSE = 0.6  # the share of the steps in which the dense loss fades out
Boxes = Tensor  # [N, 4]: cx, cy, w, h as shares of the image


def settings() -> RTDetrConfig:
    """A basic ResNet, one hybrid encoder layer, three decoder layers, 20 queries."""
    backbone = RTDetrResNetConfig(
        embedding_size=32, hidden_sizes=[32, 64, 96, 128], depths=[1, 2, 2, 1],
        layer_type="basic", out_features=["stage2", "stage3", "stage4"],
    )  # fmt: skip
    return RTDetrConfig(
        backbone_config=backbone, freeze_backbone_batch_norms=False,
        encoder_in_channels=[64, 96, 128], encoder_hidden_dim=64, encoder_ffn_dim=128,
        encoder_attention_heads=4, hidden_expansion=0.5, d_model=64,
        decoder_in_channels=[64, 64, 64], decoder_ffn_dim=128, decoder_attention_heads=4,
        decoder_layers=3, num_queries=20, num_denoising=20,
        id2label={n: str(n) for n in range(10)}, label2id={str(n): n for n in range(10)},
    )  # fmt: skip


def fresh() -> RTDetrForObjectDetection:
    """A model whose signal and gradients pass through every layer from the first step on."""
    model = RTDetrForObjectDetection(settings())
    for name, layer in model.named_modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.ones_(layer.weight)
        elif isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        elif isinstance(layer, nn.Linear) and not name.endswith(
            ("sampling_offsets", "attention_weights", "layers.2", "score_head")
        ):
            nn.init.xavier_uniform_(layer.weight)
    return model


@dataclass(frozen=True)
class Pool:
    """Scenes in memory: `images` [N, 3, 128, 128] in bytes, and what is in each."""

    images: Tensor
    labels: list[dict[str, Tensor]]

    @staticmethod
    def of(count: int, random: np.random.Generator, unseen: bool = False) -> Pool:
        images, labels = [], []
        for _ in range(count):
            made = scene(random, unseen)
            small = Image.fromarray(made.pixels).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
            images.append(torch.from_numpy(np.array(small)).permute(2, 0, 1))
            x0, y0, x1, y1 = (torch.tensor(made.boxes, dtype=torch.float32) / SIZE).unbind(1)
            boxes = torch.stack(((x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0), dim=1)
            labels.append({"class_labels": torch.tensor(made.digits), "boxes": boxes})
        return Pool(torch.stack(images), labels)

    def batch(self, random: np.random.Generator) -> tuple[Tensor, list[dict[str, Tensor]]]:
        """Images from 0 to 1 in other colours: channels permuted, and half of them negatives."""
        chosen = random.integers(len(self.labels), size=BATCH)
        images = self.images[torch.from_numpy(chosen)].float() / 255
        for image in images:
            image[:] = image[torch.from_numpy(random.permutation(3))]
            if random.random() < 0.5:
                image[:] = 1 - image
        return images, [self.labels[n] for n in chosen]


def overlap(a: Boxes, b: Boxes) -> tuple[Tensor, Tensor]:
    """IoU and generalised IoU (Rezatofighi et al. 2019) of N pairs of boxes: [N] each."""
    a0, a1, b0, b1 = (box[..., :2] + s * box[..., 2:] / 2 for box in (a, b) for s in (-1, 1))
    inside = (torch.minimum(a1, b1) - torch.maximum(a0, b0)).clamp(min=0).prod(-1)
    union = a[..., 2:].prod(-1) + b[..., 2:].prod(-1) - inside
    around = (torch.maximum(a1, b1) - torch.minimum(a0, b0)).prod(-1)
    return inside / union, inside / union - (around - union) / around


def dense_loss(outputs: Any, labels: list[dict[str, Tensor]]) -> Tensor:
    """The encoder's classes and boxes at every cell whose centre is in the middle of a digit.

    Classes have the varifocal loss (Zhang et al. 2021), boxes the distance and generalised IoU,
    with the weights of the loss of matched queries.
    """
    scores, boxes = outputs.enc_outputs_class, outputs.enc_outputs_coord_logits.sigmoid()
    sides = [math.ceil(SIDE / stride) for stride in (8, 16, 32)]
    centres = torch.cat([cells(side) for side in sides])
    target, position = torch.zeros_like(scores), torch.tensor(0.0)
    count = 0
    for n, label in enumerate(labels):
        distance = (centres[:, None] - label["boxes"][None, :, :2]).abs() / label["boxes"][:, 2:]
        furthest, nearest = distance.amax(-1).min(1)
        (at,) = torch.nonzero(furthest < 0.25, as_tuple=True)
        wanted = label["boxes"][nearest[at]]
        iou, generalised = overlap(boxes[n, at], wanted)
        target[n, at, label["class_labels"][nearest[at]]] = iou.detach().clamp(min=0.1)
        position = position + 5 * (boxes[n, at] - wanted).abs().sum() + 2 * (1 - generalised).sum()
        count += len(at)
    weight = torch.where(target > 0, target, 0.75 * scores.detach().sigmoid() ** 2)
    classes = F.binary_cross_entropy_with_logits(scores, target, weight, reduction="sum")
    return (classes + position) / max(count, 1)


def cells(side: int) -> Tensor:
    """Centres of a square grid, row by row, as shares of the image: [side², 2], x before y."""
    along = (torch.arange(side) + 0.5) / side
    y, x = torch.meshgrid(along, along, indexing="ij")
    return torch.stack((x, y), -1).reshape(-1, 2)


@torch.no_grad()
def found(model: Any, pool: Pool, score: float = 0.5) -> tuple[float, float]:
    """Recall and precision: the class is right, and IoU at least 0.5, above `score`."""
    model.eval()
    right, objects, given = 0, 0, 0
    for image, label in zip(pool.images, pool.labels, strict=True):
        out = model(pixel_values=image[None].float() / 255)
        best, digits = out.logits[0].sigmoid().max(-1)
        order = [int(q) for q in best.argsort(descending=True) if best[q] >= score]
        left = list(range(len(label["boxes"])))
        objects, given = objects + len(left), given + len(order)
        for q in order:
            same = [n for n in left if label["class_labels"][n] == digits[q]]
            ious = [float(overlap(out.pred_boxes[0, q], label["boxes"][n])[0]) for n in same]
            if ious and max(ious) >= 0.5:
                left.remove(same[int(np.argmax(ious))])
                right += 1
    return right / objects, right / max(given, 1)


def train(steps: int, seed: int, scenes: int, folder: Path) -> None:
    """Saves the average of the weights along the way, every 500 steps and at the end."""
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    pool, unseen = Pool.of(scenes, random), Pool.of(100, random, unseen=True)
    model = fresh().train().to(memory_format=torch.channels_last)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters", flush=True)
    averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(AVERAGED), use_buffers=True)
    optimiser = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda n: min((n + 1) / WARM, 0.5 + 0.5 * math.cos(math.pi * n / steps))
    )
    begun, losses = time.perf_counter(), []
    for step in range(1, steps + 1):
        images, labels = pool.batch(random)
        outputs = model(pixel_values=images, labels=labels)
        fading = max(0.0, 1 - step / (DENSE * steps))
        dense = dense_loss(outputs, labels) if fading else torch.tensor(0.0)
        optimiser.zero_grad()
        (outputs.loss + fading * dense).backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimiser.step()
        schedule.step()
        averaged.update_parameters(model)
        losses.append((float(outputs.loss.detach()), float(dense.detach())))
        if step % 50 == 0:
            spent, (matched, everywhere) = time.perf_counter() - begun, np.mean(losses[-50:], 0)
            print(f"{step}/{steps}  {matched:.2f}  {everywhere:.2f}  {spent:.0f} s", flush=True)
        if step % 500 == 0 or step == steps:
            recall, precision = found(averaged.module, unseen)
            print(f"unseen scenes: recall {recall:.3f}, precision {precision:.3f}", flush=True)
            save(averaged.module, folder)


def save(model: Any, folder: Path) -> None:
    """Settings, weights in half precision, and the image processor."""
    half = RTDetrForObjectDetection(model.config)
    half.load_state_dict(model.state_dict())
    half.half().save_pretrained(folder)
    RTDetrImageProcessor(size={"height": SIDE, "width": SIDE}).save_pretrained(folder)


def main() -> None:
    arguments = argparse.ArgumentParser(description="Train a small RT-DETR on digits.")
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("--steps", type=int, default=5000)
    arguments.add_argument("--scenes", type=int, default=6000, help="in memory, made first")
    arguments.add_argument("--seed", type=int, default=0)
    given = arguments.parse_args()
    train(given.steps, given.seed, given.scenes, given.folder)


if __name__ == "__main__":
    main()
