"""The figures of a program's memory plan: what is kept where, and the peak."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lrpc.backend.memory.bounds import Bounds
from lrpc.backend.memory.log import OUTSIDE, Log, Storage
from lrpc.backend.memory.reasons import saved_for
from lrpc.backend.memory.run import Model
from lrpc.backend.schedule.saved import saved_values
from lrpc.ir.blocks import block_of

Row = tuple[int, int, int, int]


@dataclass(frozen=True)
class TargetPlan:
    """One target's plan. `saved`: bytes that the forward pass keeps for it, by layer; `peak`: the
    most live bytes of `forward` and `relevance`, weights and inputs apart. Both for one image and
    one seed.

    `live` gives the most live bytes for two or more images B and seeds K (in one pass): the
    largest of a + b·B + c·K + d·K·B over its rows (a, b, c, d).
    """

    name: str
    saved: dict[str, int]
    peak: int
    live: tuple[Row, ...]

    def to_json(self) -> dict[str, Any]:
        """As the manifest holds it."""
        return {
            "saved": self.saved,
            "planned_peak": self.peak,
            "live_bytes": [list(row) for row in self.live],
        }


def memory_plans(
    model: Model, counts: Sequence[int], planned: Sequence[Mapping[str, int]] = ()
) -> list[dict[str, Any]]:
    """The plan of each composite as the manifest holds it; `counts` are their numbers of targets.
    At the `planned` sizes of images, which a budget is kept for, each target has bounds on all
    calls as well.

    All bytes but `live_bytes` are for one image and one seed; `state` is what the forward pass
    keeps for all targets together, part of it for their ledgers alone; `saved_for` says which
    rules read it.
    """
    plans = [plan.to_json() for plan in target_plans(model)]
    found_at = [Bounds(replace(model, sizes=sizes)).to_json() for sizes in planned]
    for plan, *bounds in zip(plans, *found_at, strict=True):
        plan |= {"budget": bounds} if bounds else {}
    after = model.forward(1)
    state = sum(s.size for s in after.storages() if s.part == "state")
    weights = model.weight_bytes
    found, first = [], 0
    for count in counts:
        own = range(first, first + count)
        found.append(
            {
                "weights": weights,
                "state": state,
                "state_for_ledger_alone": state - kept_without_ledger(model, after),
                "targets": {model.codes[i].name: plans[i] for i in own},
                "saved_for": saved_for(model, own),
            }
        )
        first += count
    return found


def target_plans(model: Model) -> list[TargetPlan]:
    """The plans of all targets, in the order of the model's codes."""
    one = model.forward(1)
    two, three = model.forward(2), model.forward(3)
    chunk = max(model.chunk, 3)  # the rows are of one pass
    whole = replace(model, chunk=chunk, per_pass=chunk if model.per_pass else 0)
    found = []
    for i, code in enumerate(model.codes):
        peak = model.timeline(i, 1, one).peak
        grid = [[whole.timeline(i, seeds, t).live for seeds in (2, 3)] for t in (two, three)]
        saved = by_layer(kept_for(model, i, one))
        found.append(TargetPlan(code.name, saved, peak, rows(grid)))
    return found


def kept_for(model: Model, target: int, after: Log) -> list[Storage]:
    """What the state keeps for one target, each storage once, in program order.

    A view keeps the storage that it lies in, whole.
    """
    wanted = {v.name for node in model.reading.parts[target][0] for v in node.inputs}
    wanted.add(model.codes[target].value.name)
    wanted |= model.scheduler.read_again(model.recomputed)
    held = saved_values(model.schedule).items()
    kept = [after.state[scope].values[entry] for name, (scope, entry) in held if name in wanted]
    places = {storage for _, storage in kept} - {OUTSIDE}
    return [after.storage(i) for i in sorted(places)]


def kept_without_ledger(model: Model, after: Log) -> int:
    """Bytes of the state that some target reads without its ledger."""
    found = {s for i in range(len(model.codes)) for s in kept_for(model, i, after)}
    return sum(s.size for s in found)


def by_layer(storages: Sequence[Storage]) -> dict[str, int]:
    """Bytes by layer, in order of appearance."""
    total: dict[str, int] = {}
    for storage in storages:
        layer = layer_name(storage.module)
        total[layer] = total.get(layer, 0) + storage.size
    return total


def layer_name(module: str) -> str:
    """The block that a module path lies in, or else its first two parts; `model` for none."""
    return block_of(module) or ".".join(module.split(".")[:2]) or "model"


def rows(grid: Sequence[Sequence[Sequence[int]]]) -> tuple[Row, ...]:
    """The rows that give the maximum over all steps, whatever B and K: those that no other exceeds
    in every coefficient. `grid` has the live bytes by step for B in 2, 3 and K in 2, 3."""
    (f22, f23), (f32, f33) = grid
    found = {_row(*at) for at in zip(f22, f23, f32, f33, strict=True)}
    kept: list[Row] = []
    for row in sorted(found, key=lambda r: (-sum(r), r)):
        if not any(all(a >= b for a, b in zip(other, row, strict=True)) for other in kept):
            kept.append(row)
    return tuple(kept)


def _row(f22: int, f23: int, f32: int, f33: int) -> Row:
    """Coefficients of 1, B, K and K·B of the bilinear function through four points."""
    both = f33 - f32 - f23 + f22
    images, seeds = f32 - f22 - 2 * both, f23 - f22 - 2 * both
    return (f22 - 2 * images - 2 * seeds - 4 * both, images, seeds, both)
