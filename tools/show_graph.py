#!/usr/bin/env python3
"""`lrpc show` from a checkout: the graph of a program as a tree, table, difference or drawing."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lrpc.cli import main

if __name__ == "__main__":
    sys.exit(main(["show", *sys.argv[1:]]))
