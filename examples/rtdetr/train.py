"""Trains a small RT-DETR of transformers on generated scenes of digits, and saves it.

    python examples/rtdetr/train.py FOLDER

writes what `LRPC.SOURCE transformers:FOLDER` takes: settings, weights and image processor.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scenes import SIZE, Scene, scene
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from transformers import (
    RTDetrConfig,
    RTDetrForObjectDetection,
    RTDetrImageProcessor,
    RTDetrResNetConfig,
)

BATCH, RATE, WARM, DECAY, CLIP, AVERAGED = 16, 1e-3, 100, 1e-4, 1.0, 0.998


def settings() -> RTDetrConfig:
    """A basic ResNet, one hybrid encoder layer, three decoder layers, 30 queries."""
    backbone = RTDetrResNetConfig(
        embedding_size=32, hidden_sizes=[32, 64, 128, 96], depths=[1, 2, 2, 1],
        layer_type="basic", out_features=["stage2", "stage3", "stage4"],
    )  # fmt: skip
    return RTDetrConfig(
        backbone_config=backbone, freeze_backbone_batch_norms=False,
        encoder_in_channels=[64, 128, 96], encoder_hidden_dim=64, encoder_ffn_dim=128,
        encoder_attention_heads=4, hidden_expansion=0.5, d_model=64,
        decoder_in_channels=[64, 64, 64], decoder_ffn_dim=128, decoder_attention_heads=4,
        decoder_layers=3, num_queries=30, num_denoising=30,
        id2label={n: str(n) for n in range(10)}, label2id={str(n): n for n in range(10)},
    )  # fmt: skip


def batch(random: np.random.Generator) -> tuple[torch.Tensor, list[dict[str, torch.Tensor]]]:
    """Images [16, 3, 160, 160] from 0 to 1, and the classes and boxes (cx, cy, w, h) in each."""
    scenes = [scene(random) for _ in range(BATCH)]
    images = torch.from_numpy(np.stack([made.pixels for made in scenes])).permute(0, 3, 1, 2)
    return images.float() / 255, [label(made) for made in scenes]


def label(made: Scene) -> dict[str, torch.Tensor]:
    """What the loss of transformers takes."""
    x0, y0, x1, y1 = (torch.tensor(made.boxes, dtype=torch.float32) / SIZE).unbind(1)
    boxes = torch.stack(((x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0), dim=1)
    return {"class_labels": torch.tensor(made.digits), "boxes": boxes}


def train(steps: int, seed: int) -> Any:
    """The average of the weights along the way."""
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    model = RTDetrForObjectDetection(settings()).train()
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(AVERAGED), use_buffers=True)
    optimiser = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser,
        lambda n: min((n + 1) / WARM, 0.5 + 0.5 * math.cos(math.pi * n / steps)),
    )
    begun, losses = time.perf_counter(), []
    for step in range(1, steps + 1):
        images, labels = batch(random)
        loss = model(pixel_values=images, labels=labels).loss
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimiser.step()
        schedule.step()
        averaged.update_parameters(model)
        losses.append(float(loss))
        if step % 50 == 0:
            spent = time.perf_counter() - begun
            print(f"{step}/{steps}  loss {np.mean(losses[-50:]):.2f}  {spent:.0f} s", flush=True)
    return averaged.module.eval()


def main() -> None:
    arguments = argparse.ArgumentParser(description="Train a small RT-DETR on digits.")
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("--steps", type=int, default=2000)
    arguments.add_argument("--seed", type=int, default=0)
    given = arguments.parse_args()
    model = train(given.steps, given.seed)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters")
    model.half().save_pretrained(given.folder)
    RTDetrImageProcessor(size={"height": SIZE, "width": SIZE}).save_pretrained(given.folder)


if __name__ == "__main__":
    main()
