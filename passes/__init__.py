"""The rewrites of the compiler, one a file, and the order in which they run."""

from __future__ import annotations

from passes.assign_rules import AssignRules, RuleMap
from passes.base import Pass, run_pipeline
from passes.canonicalize import Canonicalize
from passes.check_coverage import CheckCoverage
from passes.eliminate_dead import EliminateDead
from passes.expand_attention import ExpandAttention
from passes.expand_deformable import ExpandDeformable
from passes.mark_attention import MarkAttention
from passes.mark_deformable import MarkDeformable
from passes.mark_layer_norm import MarkLayerNorm
from passes.mark_residual import MarkResidual
from passes.mark_rest import MarkRest
from passes.simplify import Simplify

# From the imported graph to the marked one.
MARKING: tuple[Pass, ...] = (
    Canonicalize(),
    ExpandAttention(),
    ExpandDeformable(),
    MarkResidual(),
    MarkLayerNorm(),
    MarkAttention(),
    MarkDeformable(),
    MarkRest(),
)

# After relevance has been lowered into the graph.
CLEANING: tuple[Pass, ...] = (Simplify(), EliminateDead())


def annotating(composite: RuleMap) -> tuple[Pass, ...]:
    """The default pipeline up to the annotated graph: marks, then the composite's rules."""
    return (*MARKING, AssignRules(composite), CheckCoverage())


__all__ = [
    "CLEANING",
    "MARKING",
    "AssignRules",
    "Canonicalize",
    "CheckCoverage",
    "EliminateDead",
    "ExpandAttention",
    "ExpandDeformable",
    "MarkAttention",
    "MarkDeformable",
    "MarkLayerNorm",
    "MarkResidual",
    "MarkRest",
    "Pass",
    "Simplify",
    "annotating",
    "run_pipeline",
]
