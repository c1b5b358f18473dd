"""Runs every call and counts: `python -m tests.opdb [--most N] [--only NAME] [--list KIND …]`."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter, defaultdict

from tests.opdb.calls import calls
from tests.opdb.check import Verdict, verdict
from tests.opdb.names import names
from tests.opdb.samples import samples


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--most", type=int, default=8)
    parser.add_argument("--only", nargs="*", default=[], help="names, whole or in part")
    parser.add_argument("--space", default="")
    parser.add_argument(
        "--list", nargs="*", default=["wrong", "raw", "private", "placeless", "unchecked", "mixed"]
    )
    parser.add_argument("--progress", action="store_true")
    parser.add_argument("--start", default="")
    given = parser.parse_args()
    counts: Counter[str] = Counter()
    shown: dict[str, set[str]] = defaultdict(set)
    bare = []
    start = time.perf_counter()
    for space, name in names():
        whole = f"{space}.{name}"
        wanted = not given.only or any(whole.endswith(part) for part in given.only)
        if not wanted or given.space not in ("", space) or name < given.start:
            continue
        if given.progress:
            print(space, name, file=sys.stderr, flush=True)
        found = samples(space, name, given.most)
        if not found:
            bare.append(f"{space}.{name}")
        for sample in found:
            for call in calls(space, name, sample):
                v: Verdict = verdict(call)
                counts[v.kind] += 1
                if v.kind in given.list and len(shown[f"{space}.{name}"]) < 6:
                    text = f"{v.kind}: {v.text}"
                    if text not in shown[f"{space}.{name}"]:
                        shown[f"{space}.{name}"].add(text)
                        print(
                            f"## {str(call)[:260]}\n   {text[:400]}".replace("\n", " "), flush=True
                        )
    print("without a sample:", len(bare), *bare)
    print(dict(counts), sum(counts.values()), f"{time.perf_counter() - start:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
