"""What the compiler makes of a name: all its sample calls, counted, and in one word."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch

from lrpc.frontend.lowering.advice import NO_RULE
from lrpc.frontend.lowering.table import ROWS
from tests.opdb.calls import Call, calls
from tests.opdb.check import Verdict, verdict
from tests.opdb.names import names
from tests.opdb.samples import samples

MOST = 3
"""How many floating sample calls a name gets where a rule may stand for it, beside one of whole
numbers and one of booleans; others are refused by their name, and get one."""

WORDS = ("compiles", "fixed", "refused", "uncalled")
"""What is said of a name, by the best that came of its calls."""

PLACE = re.compile(r",? (at [\w./, ]+\.py:\d+|in what the model returns)")


@dataclass
class Surveyed:
    """The calls of one name by what came of them, the faults, and why it is refused."""

    space: str
    name: str
    counts: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)

    @property
    def word(self) -> str:
        """compiles, fixed (to the example, which is noted), refused, or uncalled."""
        kinds = ("right", "said", "refused")
        return next((w for k, w in zip(kinds, WORDS, strict=False) if self.counts[k]), WORDS[-1])

    @property
    def reason(self) -> str:
        """Why it is refused, in the words that most calls met."""
        return min(self.reasons, key=lambda text: (-self.reasons[text], text), default="")


def surveyed(space: str, name: str, brief: bool = False) -> Surveyed:
    """All calls of a name; `brief` takes one of its samples, in few ways."""
    found = Surveyed(space, name)
    for call, result in _brief(space, name) if brief else _every(space, name):
        found.counts[result.kind] += 1
        if result.fault:
            found.faults.append(f"{result.kind}: {result.text}\n  in {call}"[:1000])
        if result.kind == "refused":
            found.reasons[_why(result.text)] += 1
    return found


def _ruled(name: str) -> bool:
    """Whether a rule may stand for it."""
    plain = name.strip("_").removeprefix("i") if name.startswith("__i") else name.strip("_")
    return name.startswith("__") or bool({plain, name.strip("_")} & ROWS.keys())


def _every(space: str, name: str) -> Iterator[tuple[Call, Verdict]]:
    for sample in samples(space, name, MOST) if _ruled(name) else samples(space, name, 1)[:1]:
        for call in calls(space, name, sample):
            yield call, verdict(call)


def _brief(space: str, name: str) -> Iterator[tuple[Call, Verdict]]:
    """One sample in the first way that torch itself takes: of each place that the batch may have,
    where a rule may stand for the name, and no function of that name has been through it."""
    method = space == "torch.Tensor" and callable(getattr(torch, name.removesuffix("_"), None))
    ruled, seen = _ruled(name) and not method, set[str]()
    for sample in samples(space, name, 1)[:1]:
        for call in calls(space, name, sample):
            place = call.way[1] if ruled else ""
            if place not in seen:
                result = verdict(call)
                yield call, result
                if result.kind != "skipped":
                    seen.add(place)


def every_name() -> list[tuple[str, str]]:
    """All names, in order."""
    return list(names())


def _why(text: str) -> str:
    """A refusal without its place and the call's own name."""
    text = PLACE.sub("", text)
    head, _, advice = text.partition("; ")
    if NO_RULE in head:
        return advice or NO_RULE
    if "branches on its batch size" in head:
        return "gives other calls for other batch sizes"
    if re.match(r"\w+(Error|Exception|Warning)\b", text) or "cannot be compiled" in head:
        return "these arguments cannot be compiled"
    return advice or head.partition(" ")[2]
