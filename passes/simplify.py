"""Algebra on the whole graph, forward and relevance alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lrpc.ir.graph import Module
from passes.drop_identities import (
    DOING_NOTHING,
    Identity,
    add_zero,
    double_scale,
    drop_identities,
    gate_of_nothing,
)
from passes.hoist_constants import hoist_constants
from passes.merge_common import merge_common

ALGEBRA: dict[str, tuple[Identity, ...]] = {
    **DOING_NOTHING,
    "scale": (*DOING_NOTHING["scale"], double_scale),
    "add": (add_zero,),
    "mul": (gate_of_nothing,),
}


@dataclass(frozen=True)
class Simplify:
    """Applies local identities and merges common subexpressions until nothing changes.

    Types, outputs and places stay; values are equal up to rounding (`scale` of `scale` multiplies
    the two numbers first).
    """

    rounds: int = 4
    name: ClassVar[str] = "simplify"

    def run(self, module: Module) -> Module:
        for _ in range(self.rounds):
            before = module.graph.nodes
            module = merge_common(drop_identities(module, ALGEBRA))
            if module.graph.nodes == before:
                break
        return hoist_constants(module)
