#!/usr/bin/env python3
"""Show the graph of a compiled program: tree, table, difference or drawing. See --help."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lrpc.commands.show.command import main

if __name__ == "__main__":
    sys.exit(main())
