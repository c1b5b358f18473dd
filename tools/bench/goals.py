"""What counts as done, and whether what was measured reaches it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Goal:
    """A figure to reach. `kind`: `seconds`, `bytes`, `speedup` (of the best alternative's time over
    ours, more is better) or `slowdown` (less is better). `gpu` is the model that absolute figures
    are of; "" for a CPU."""

    key: str
    work: str
    kind: str
    must: float
    aim: float | None
    gpu: str = "H200"

    @property
    def more(self) -> bool:
        """Whether more is better."""
        return self.kind == "speedup"

    def reached(self, value: float, limit: float) -> bool:
        return value >= limit if self.more else value <= limit


GOALS = (
    Goal("encoder/tf32", "encoder ×6, B=8, tf32, forward + relevance", "seconds", 20e-3, 12e-3),
    Goal("encoder/tf32", "the same, memory", "bytes", 2.0e9, 1.5e9),
    Goal("encoder/bf16", "encoder ×6, B=8, bf16, forward + relevance", "seconds", 12e-3, 7e-3),
    Goal("encoder/seeds", "encoder ×6, B=1, 32 seeds, tf32", "seconds", 45e-3, 25e-3),
    Goal("vit/attnlrp", "ViT-B/16, B=32, tf32, attnlrp", "seconds", 18e-3, 14e-3),
    Goal("vit/gamma", "ViT-B/16, B=32, tf32, gamma", "seconds", 45e-3, 30e-3),
    Goal("encoder/fp32", "encoder ×6 against autograd through grid_sample", "speedup", 2.5, 4, ""),
    Goal("encoder/4", "the same, 4 seeds", "speedup", 2.5, 5, ""),
    Goal("encoder/32", "the same, 32 seeds", "speedup", 2.5, 5, ""),
    Goal("vit/attnlrp", "ViT-B/16 against plain input gradient", "speedup", 1, 1.3, ""),
    Goal("vit/detached", "ViT-B/16 against autograd on the detached model", "speedup", 0.9, 1, ""),
    Goal("vit/gamma", "ViT-B/16 γ against the best alternative", "speedup", 2.5, 3.5, ""),
    Goal("r50/attnlrp", "R50, attnlrp, over forward and gradient", "slowdown", 1, 0.55, ""),
    Goal("r50/maskdino", "R50, maskdino, over forward and gradient", "slowdown", 1.25, 0.55, ""),
    Goal("ledger/attnlrp", "R50, attnlrp, ledger over relevance", "slowdown", 2.25, 1.3, ""),
    Goal("ledger/maskdino", "R50, maskdino, ledger over relevance", "slowdown", 2.25, 1.3, ""),
    Goal("checkpoint/50", "half the uncheckpointed peak, time", "slowdown", 1.25, 1.1, "any"),
    Goal("compile", "lrpc compile of MaskDINO R50", "seconds", 60, 20, "any"),
)  # fmt: skip


def verdicts(
    values: Mapping[str, Mapping[str, tuple[str, float]]], gpu: str
) -> list[dict[str, Any]]:
    """What every goal that is for this machine (`gpu` its GPU's name, "" for a CPU) comes to.

    `values`: goal's key → kind → which row it is of, and its figure.
    """
    found = []
    for goal in GOALS:
        here = goal.gpu == "any" or (goal.gpu in gpu if goal.gpu else not gpu)
        if not here or goal.kind not in values.get(goal.key, {}):
            continue
        name, value = values[goal.key][goal.kind]
        aim = None if goal.aim is None else goal.reached(value, goal.aim)
        found.append(
            {
                "work": goal.work,
                "row": name,
                "kind": goal.kind,
                "value": value,
                "must": goal.must,
                "reached": goal.reached(value, goal.must),
                "aim": goal.aim,
                "aim_reached": aim,
            }
        )
    return found


def figures(rows: Sequence[Any], keys: Sequence[str]) -> dict[str, dict[str, tuple[str, float]]]:
    """The figures of the fastest of our rows for each goal's key."""
    found: dict[str, dict[str, tuple[str, float]]] = {}
    for key in keys:
        own = [r for r in rows if r.goal == key and r.ours and r.time is not None]
        if not own:
            continue
        row = min(own, key=lambda r: r.time.median)
        found[key] = {"seconds": (row.name, row.time.median)}
        if row.peak is not None:
            found[key]["bytes"] = (row.name, float(row.peak))
        if row.against:
            found[key]["speedup"] = (row.name, 1 / row.against)
    return found
