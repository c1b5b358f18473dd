#!/usr/bin/env python3
"""Checks and measures programs on one GPU in at most eight minutes, from a copied checkout.

    python tools/gpu_check.py --json gpu.json                        # compiles the programs itself
    python tools/gpu_check.py --prepare .programs                    # before, on another machine;
    python tools/gpu_check.py --programs .programs --json gpu.json   # then, here
    python tools/gpu_check.py --tiny                                 # on a CPU: does it all work?

Needs torch 2.11 to 2.14 and, for its kernels, triton; no network. docs/performance.md says more.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path


def main() -> int:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    if importlib.util.find_spec("torch") is None:
        print("error: torch is missing", file=sys.stderr)
        return 2
    from tools.gpu.command import main as check

    return check()


if __name__ == "__main__":
    sys.exit(main())
