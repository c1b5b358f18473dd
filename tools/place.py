#!/usr/bin/env python3
"""Lay out the buffers of CSV files (columns id, lower, upper, size, as MiniMalloc's benchmarks have
them) in one arena each: peak over the lower bound, and the time that it took."""

from __future__ import annotations

import csv
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lrpc.backend.memory.arena import place
from lrpc.backend.memory.liveness import Buffer


def read(path: Path) -> list[Buffer]:
    with path.open(newline="") as file:
        return [
            Buffer(row["id"], int(row["size"]), int(row["lower"]), int(row["upper"]))
            for row in csv.DictReader(file)
        ]


def main() -> None:
    for name in sys.argv[1:]:
        buffers = read(Path(name))
        began = time.process_time()
        ratio = place(buffers).ratio
        took = time.process_time() - began
        print(f"{Path(name).name}: {len(buffers)} buffers, {ratio:.3f}, {took:.1f} s")


if __name__ == "__main__":
    main()
