"""Runs a program directory where nothing but torch can be imported; a script, not a test.

`python -I standalone.py DIR IMAGES.pt OUT.pt`: IMAGES holds `images` and `at` [K, B, 2]; OUT gets
relevance, outputs, the settings of torch before and after, and what was imported.
"""

from __future__ import annotations

import importlib
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import torch

BLOCKED = {"lrpc", "passes", "tests", "safetensors", "numpy", "networkx", "rich", "yaml", "PIL"}


class Blocker(MetaPathFinder):
    """Refuses what a program must not need."""

    def find_spec(
        self, fullname: str, path: object = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname.split(".")[0] in BLOCKED:
            raise ImportError(f"a program must not import {fullname}")
        return None


def global_settings() -> dict[str, Any]:
    """Every setting of torch that a program could be tempted to change."""
    return {
        "matmul": torch.backends.cuda.matmul.allow_tf32,
        "cudnn": torch.backends.cudnn.allow_tf32,
        "benchmark": torch.backends.cudnn.benchmark,
        "cudnn deterministic": torch.backends.cudnn.deterministic,
        "precision": torch.get_float32_matmul_precision(),
        "dtype": str(torch.get_default_dtype()),
        "deterministic": torch.get_deterministic_debug_mode(),
        "grad": torch.is_grad_enabled(),
        "threads": torch.get_num_threads(),
        "device": str(torch.get_default_device()),
        "random": torch.random.get_rng_state().tolist(),
    }


def main(directory: str, given: str, out: str) -> None:
    """Import `directory`'s program, run it, and write what came of it."""
    for name in list(sys.modules):  # torch itself may have used numpy
        if name.split(".")[0] in BLOCKED:
            del sys.modules[name]
    already = {name.split(".")[0] for name in sys.modules}
    sys.meta_path.insert(0, Blocker())
    sys.path.insert(0, directory)
    torch.backends.cudnn.allow_tf32 = True
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.set_default_dtype(torch.float64)
    torch.set_deterministic_debug_mode("error")
    before = global_settings()
    program = importlib.import_module("program").load(device="cpu")
    data = torch.load(given, weights_only=True)
    state = program.forward(data["images"])
    found = program.relevance(state, "class_logit", at=data["at"], ledger=True)
    other = program.forward(data["other"])
    result = {
        "input": found.input,
        "layers": found.layers,
        "outputs": state.outputs,
        "other": other.outputs["pred_logits"],
        "closure": found.ledger.closure,
        "before": before,
        "after": global_settings(),
        "imported": sorted({n.split(".")[0] for n in sys.modules} - already),
    }
    torch.save(result, out)


if __name__ == "__main__":
    main(*sys.argv[1:])
