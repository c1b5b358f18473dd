"""The targets that can be chosen for a detection."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from lrpc.commands.session.facts import Facts
from lrpc.config.target_kinds import KINDS, TargetKind
from lrpc.program.protocol import Detection

#: Numbers of an index that follow from a detection, its class, or the choice itself. A pixel is
#: that with the largest logit.
_KNOWN = {"query", "class", "coordinate", "y", "x"}


@dataclass(frozen=True)
class Choice:
    """A kind of target, and for those of coordinates which one."""

    kind: str
    coordinate: int | None = None

    @property
    def name(self) -> str:
        """Its name in a list, such as `class_logit` or `box: cx`."""
        if self.coordinate is None:
            return self.kind
        return f"{self.kind}: {KINDS[self.kind].index[-1].values[self.coordinate]}"

    @property
    def of_class(self) -> bool:
        """Whether it is of a class, which others can be contrasted with."""
        return KINDS[self.kind].of_class

    def expression(self, one: Detection, against: str = "") -> str:
        """As `--target` has it, for a detection."""
        contrast = f"-{against}" if against and self.of_class else ""
        numbers = {"query": one.query, "class": one.label, "coordinate": self.coordinate}
        index = [numbers.get(name) for name in KINDS[self.kind].names]
        if None in index:
            return self.kind + (f":{contrast}" if contrast else "")
        return f"{self.kind}:{','.join(map(str, index))}{contrast}"


def choices_of(facts: Facts, outputs: Mapping[str, Tensor]) -> list[Choice]:
    """All that a program can start from at a detection: those of its manifest, or where that lists
    none those of its outputs."""
    return [
        choice
        for kind in KINDS.values()
        if _offered(kind, facts, outputs)
        for choice in _of_kind(kind)
    ]


def _offered(kind: TargetKind, facts: Facts, outputs: Mapping[str, Tensor]) -> bool:
    if not kind.of_detections or not set(kind.names) <= _KNOWN:
        return False
    if kind.name == "semantic_segment" and not facts.results.semantic:
        return False
    if facts.places.of:
        return (kind.weighs or kind.name) in facts.places.of
    return kind.output in outputs


def _of_kind(kind: TargetKind) -> list[Choice]:
    values = kind.index[-1].values
    return [Choice(kind.name, n) for n in range(len(values))] or [Choice(kind.name)]
