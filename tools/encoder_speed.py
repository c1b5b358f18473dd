#!/usr/bin/env python3
"""Prints the time of relevance in encoders of transformers, against their own autograd: CPU time of
forward and backward in turns, float32, one thread."""

from __future__ import annotations

import argparse
import importlib
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import lrpc  # noqa: E402
from tools.bench.torchvision_ops import declare  # noqa: E402

WIDTH = 256


class Encoder(nn.Module):
    """Deformable layers of a model, on the tokens of levels of these sizes."""

    def __init__(self, name: str, layers: int, levels: tuple[int, ...]) -> None:
        super().__init__()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            package: Any = importlib.import_module("transformers")
        torch.manual_seed(0)
        self.shapes = [(side, side) for side in levels]
        if name == "Mask2Former":
            home = importlib.import_module("transformers.models.mask2former.modeling_mask2former")
            config = package.Mask2FormerConfig(encoder_layers=layers)
            self.encoder = home.Mask2FormerPixelDecoderEncoderOnly(config)
            self.key = "position_embeddings"
        else:
            home = importlib.import_module(
                "transformers.models.deformable_detr.modeling_deformable_detr"
            )
            config = package.DeformableDetrConfig(
                encoder_layers=layers, num_feature_levels=len(levels), backbone=None,
                use_timm_backbone=False, backbone_config=package.ResNetConfig(),
            )  # fmt: skip
            self.encoder = home.DeformableDetrEncoder(config)
            self.key = "spatial_position_embeddings"
        for parameter in self.encoder.parameters():
            nn.init.normal_(parameter, std=0.05) if parameter.dim() > 1 else None
        self.register_buffer("position", torch.randn(1, self.tokens, WIDTH))

    @property
    def tokens(self) -> int:
        return sum(height * width for height, width in self.shapes)

    def forward(self, x: Tensor) -> Tensor:
        counts = [height * width for height, width in self.shapes]
        starts = torch.tensor([sum(counts[:i]) for i in range(len(counts))])
        more = {self.key: self.position.expand(x.shape[0], -1, -1)}
        if self.key.startswith("spatial"):
            more["spatial_shapes"] = torch.tensor(self.shapes)
        found: Tensor = self.encoder(
            inputs_embeds=x, spatial_shapes_list=self.shapes, level_start_index=starts,
            valid_ratios=x.new_ones(x.shape[0], len(counts), 2), **more,
        )[0]  # fmt: skip
        return found


def measured(name: str, layers: int, levels: tuple[int, ...], seeds: int, times: int) -> float:
    """Time of autograd in that of the program, forward and `seeds` backward passes."""
    model = Encoder(name, layers, levels).eval().requires_grad_(False)
    x = torch.randn(1, model.tokens, WIDTH)
    program = lrpc.compile(model, (x,), composite="attnlrp", check=False)
    weights = torch.randn(seeds, 1, model.tokens, WIDTH)

    def ours() -> object:
        state = program.forward(x)
        return program.relevance(state, "output", seeds=weights * state.outputs).input

    def theirs() -> object:
        leaf = x.clone().requires_grad_()
        out = model(leaf)
        return [
            torch.autograd.grad(out, leaf, w, retain_graph=w is not weights[-1])[0] for w in weights
        ]

    pairs = [(_timed(ours), _timed(theirs)) for _ in range(times)]
    return min(b for _, b in pairs) / min(a for a, _ in pairs)


def _timed(run: Callable[[], object]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--times", type=int, default=5)
    given = parser.parse_args()
    declare()
    torch.set_num_threads(1)
    print("| encoder | tokens | one seed | four seeds |\n|---|---|---|---|")
    for name, levels in (("Deformable DETR", (64, 32, 16, 8)), ("Mask2Former", (64, 32, 16))):
        figures = [measured(name, given.layers, levels, seeds, given.times) for seeds in (1, 4)]
        tokens = sum(side * side for side in levels)
        print(f"| {name} | {tokens:,} | {figures[0]:.1f} | {figures[1]:.1f} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
