"""What is looked at: one target of a program, for so many images and seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from lrpc.backend.memory.log import Storage
from lrpc.backend.memory.plan import kept_for
from lrpc.backend.memory.run import Model, Timeline


@dataclass(frozen=True, eq=False)
class View:
    """The timeline of one target, and what is saved for it."""

    name: str
    batch: int
    seeds: int
    timeline: Timeline
    saved: tuple[Storage, ...]

    @cached_property
    def top(self) -> int:
        """The first step with the most live bytes."""
        return self.timeline.live.index(self.timeline.peak)


def views(model: Model, targets: Sequence[int], batch: int, seeds: int) -> list[View]:
    """The views of some targets, by index."""
    after = model.forward(batch)
    found = []
    for i in targets:
        saved = tuple(kept_for(model, i, after))
        timeline = _apart(model.timeline(i, seeds, after), {s.name for s in saved})
        name = label(model, i)
        found.append(View(name, batch, seeds, timeline, saved))
    return found


def _apart(timeline: Timeline, saved: set[str]) -> Timeline:
    """The timeline with what is saved for ledgers or other targets alone as a part of its own."""
    storages = tuple(
        replace(s, part="other") if s.part == "state" and s.name not in saved else s
        for s in timeline.storages
    )
    return replace(timeline, storages=storages)


def label(model: Model, target: int) -> str:
    """A target's name, its composite's too where there are several."""
    code = model.codes[target]
    return f"{code.name} ({code.composite})" if code.composite else code.name
