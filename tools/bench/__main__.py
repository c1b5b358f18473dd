#!/usr/bin/env python3
"""Measures programs beside what else there is, checks them first, and holds them against goals.

    python tools/bench                   # every case, on the GPU where there is one
    python tools/bench --cases encoder,vit --json docs/performance/cpu.json
    python tools/bench --growth --limit-s 1200 --json docs/performance/cpu.json
    python tools/bench --docs            # docs/performance.md from those files

Runs from a checkout: torch and what `lrpc.compile` imports are enough. What else is installed is
measured too: triton, rich, LXT and zennit, a compiled MultiScaleDeformableAttention.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

NEEDED = {
    "torch": "torch",
    "numpy": "numpy",
    "networkx": "networkx",
    "safetensors": "safetensors",
    "yaml": "PyYAML",
}


def main() -> int:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    missing = [package for name, package in NEEDED.items() if not importlib.util.find_spec(name)]
    if missing:
        print(f"error: lrpc needs {', '.join(missing)}: pip install {' '.join(missing)}")
        return 2
    from tools.bench.command import main as bench

    return bench()


if __name__ == "__main__":
    sys.exit(main())
