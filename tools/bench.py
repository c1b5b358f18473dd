#!/usr/bin/env python3
"""The former name of `python tools/bench`, for one release."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

if __name__ == "__main__":
    print("note: tools/bench.py is called `python tools/bench` now", file=sys.stderr)
    runpy.run_path(str(Path(__file__).with_suffix("")), run_name="__main__")
