"""A program small enough to predict: what it detects and what it attributes follow from pixels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from PIL import Image
from torch import Tensor

HEIGHT, WIDTH, QUERIES, CLASSES = 32, 48, 4, 3
MANIFEST: dict[str, Any] = {
    "config": {
        "INPUT": {"MIN_SIZE_TEST": 32, "MAX_SIZE_TEST": 48},
        "MODEL": {"PIXEL_MEAN": [10.0, 20.0, 30.0], "WEIGHTS": "digits.pth"},
        "LRPC": {"SOURCE": "embedded", "EPSILON": 1e-6, "COMPOSITE": "attnlrp"},
    },
    "inputs": {"images": f"f32[B,3,{HEIGHT},{WIDTH}]"},
    "versions": {"lrpc": "0.1.0"},
    "class_names": ["cat", "dog"],
}


@dataclass
class FakeState:
    outputs: Mapping[str, Tensor]


class ProgramError(Exception):
    """A program's own class, which lrpc does not know."""


class FakeProgram:
    """Detects one object (query 1, class 2) where the first pixel's red is above 100, and another
    (query 3, class 0) where it is above 200. Relevance sums to the number its index spells."""

    def __init__(self, **changes: Any) -> None:
        self.manifest = MANIFEST | changes
        self.batches: list[int] = []
        self.calls: list[tuple[str, Tensor, dict[str, Any]]] = []

    def forward(self, images: Tensor, *_: Tensor) -> FakeState:
        if bool((images[:, 0, 0, 0] == 7).any()):
            raise ProgramError("a pixel it cannot stand\nand a second line")
        self.batches.append(len(images))
        logits = torch.full((len(images), QUERIES, CLASSES), -5.0)
        red = images[:, 0, 0, 0]
        logits[red > 100, 1, 2] = 4.0
        logits[red > 200, 3, 0] = 3.0
        masks = torch.full((len(images), QUERIES, HEIGHT // 4, WIDTH // 4), -9.0)
        masks[:, :, 2:6, 3:9] = 9.0
        masks[:, 1, 4, 5] = 12.0
        boxes = torch.tensor([0.5, 0.5, 0.5, 0.5]).expand(len(images), QUERIES, 4)
        return FakeState({"pred_logits": logits, "pred_boxes": boxes, "pred_masks": masks})

    def at_once(self, target: str, seeds: int, images: int, **options: Any) -> int:
        return seeds

    def relevance(self, state: FakeState, target: str, /, *, at: Tensor, **options: Any) -> Any:
        self.calls.append((target, at, options))
        code = (at * torch.tensor([100, 10, 1])[: at.shape[2]]).sum(-1).double()  # [K, B]
        values = (code / (3 * HEIGHT * WIDTH))[..., None, None, None]
        layers = {
            name: code[..., None, None].expand(*code.shape, 5, 2)
            for name in options.get("read", [])
        }
        half = torch.full_like(code, 0.5)
        ledger = SimpleNamespace(
            start=code + 1,
            end=code,
            sinks={"bias": half, "epsilon": half},
            closure=code * 1e-9,
            rows=[("n0", "head", "bias", half), ("n1", "norm", "epsilon", half)],
        )
        return SimpleNamespace(
            input=values.expand(*code.shape, 3, HEIGHT, WIDTH),
            layers=layers,
            ledger=ledger if options.get("ledger") else None,
        )


def write_image(path: Path, red: int, size: tuple[int, int] = (WIDTH, HEIGHT)) -> Path:
    """A plain image (width, height) whose red says how many objects the fake finds in it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (red, 40, 50)).save(path)
    return path


def write_program(folder: Path) -> Path:
    """A directory that `load_program` takes for a compiled program."""
    folder.mkdir()
    for name in ("weights.safetensors", "graph.lrp", "manifest.json"):
        (folder / name).write_text("")
    lines = ["from tests.support.run_fakes import FakeProgram"]
    lines += ["def load(device, **options):", "    return FakeProgram()", ""]
    text = "\n".join(lines)
    (folder / "program.py").write_text(text)
    return folder
