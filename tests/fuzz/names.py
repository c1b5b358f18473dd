"""Hostile names in every field of a program, as many as wanted:

    python -m tests.fuzz.names --count 2000 --seed 1

Prints how many programs were written and how many names refused; fails at the first that changes
more of a program than its texts, or that makes something run.
"""

from __future__ import annotations

import argparse
import builtins
from collections import Counter

from lrpc.program.reference import running
from tests.support.hostile import attempt, attempts
from tests.support.hostile_names import MARK


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--count", type=int, default=1000)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--run", type=int, default=10, help="run every Nth program")
    args = options.parse_args()
    found: Counter[str] = Counter()
    for number, (names, several, checkpoint) in enumerate(attempts(args.count, args.seed)):
        text = attempt(names, several, checkpoint)
        found["written" if text else "refused"] += 1
        found["names"] += len(names)
        if text and number % args.run == 0:
            running(text, {})
        assert not hasattr(builtins, MARK), names
    print(dict(found))


if __name__ == "__main__":
    main()
