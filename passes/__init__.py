"""The rewrites of the compiler, one a file, and the order in which they run."""

from __future__ import annotations

from collections.abc import Callable

from passes.add_places import AddPlaces
from passes.additive_masks import AdditiveMasks
from passes.assign_rules import AssignRules, RuleMap
from passes.base import JointPass, Joints, Pass, run_joint_pipeline, run_pipeline
from passes.canonicalize import Canonicalize
from passes.check_coverage import CheckCoverage
from passes.drop_shifts import DropShifts
from passes.eliminate_dead import EliminateDead
from passes.expand_attention import ExpandAttention
from passes.expand_deformable import ExpandDeformable
from passes.fold_batch_norm import FoldBatchNorm
from passes.fold_constants import FoldConstants
from passes.fuse_ratios import FuseRatios
from passes.lower_relevance import LowerRelevance
from passes.mark_attention import MarkAttention
from passes.mark_deformable import MarkDeformable
from passes.mark_layer_norm import MarkLayerNorm
from passes.mark_residual import MarkResidual
from passes.mark_rest import MarkRest
from passes.mixed_precision import MixedPrecision
from passes.move_boundaries import MoveBoundaries
from passes.recognise_activations import RecogniseActivations
from passes.recognise_batch_norm import RecogniseBatchNorm
from passes.recognise_deformable import RecogniseDeformable
from passes.recognise_norms import RecogniseNorms
from passes.save_tensors import SaveTensors
from passes.simplify import Simplify
from passes.skip_projections import SkipProjections

# From the imported graph to the marked one.
MARKING: tuple[Pass, ...] = (
    Canonicalize(),
    RecogniseNorms(),
    RecogniseActivations(),
    AdditiveMasks(),
    DropShifts(),
    ExpandAttention(),
    ExpandDeformable(),
    RecogniseDeformable(),
    MarkResidual(),
    MarkLayerNorm(),
    MarkAttention(),
    MarkDeformable(),
    MarkRest(),
)

# After relevance has been lowered, for all targets and composites together.
JOINING: tuple[JointPass, ...] = (SaveTensors(), FuseRatios())

# After relevance has been lowered into the graph.
CLEANING: tuple[Pass, ...] = (Simplify(), EliminateDead())


def annotating(composite: RuleMap, fold_batch_norm: bool = True) -> tuple[Pass, ...]:
    """The default pipeline up to the annotated graph: roles, then the composite's rules."""
    first = Canonicalize(fold_batch_norm=fold_batch_norm)
    last = (AssignRules(composite), SkipProjections(), CheckCoverage(), AddPlaces())
    return (first, *MARKING[1:], *last)


def pruning(boundaries: tuple[str, ...]) -> tuple[Pass, ...]:
    """From the annotated graph to what relevance that boundaries there is lowered into."""
    return (MoveBoundaries(tuple(boundaries)), EliminateDead(keep_places=True))


AnyPass = Pass | JointPass

# Every pass by its name, and every pipeline: what `lrpc opt` knows. A new pass joins this list.
PASSES: dict[str, type[AnyPass]] = {
    one.name: one
    for one in (
        *(Canonicalize, RecogniseBatchNorm, FoldBatchNorm, FoldConstants, RecogniseNorms),
        RecogniseActivations,
        *(AdditiveMasks, DropShifts, ExpandAttention, ExpandDeformable, RecogniseDeformable),
        *(MarkResidual, MarkLayerNorm, MarkAttention, MarkDeformable, MarkRest),
        *(AssignRules, SkipProjections, CheckCoverage, AddPlaces, MoveBoundaries),
        *(LowerRelevance, Simplify, EliminateDead, MixedPrecision, SaveTensors, FuseRatios),
    )
}
PIPELINES: dict[str, Callable[..., tuple[Pass, ...]]] = {
    "marking": lambda: MARKING,
    "annotating": annotating,
    "pruning": pruning,
    "cleaning": lambda: CLEANING,
}

__all__ = [
    "CLEANING", "JOINING", "MARKING", "PASSES", "PIPELINES", "AddPlaces", "AdditiveMasks",
    "AnyPass", "AssignRules", "Canonicalize", "CheckCoverage", "DropShifts", "EliminateDead",
    "ExpandAttention", "ExpandDeformable", "FoldBatchNorm", "FoldConstants", "FuseRatios",
    "JointPass", "Joints", "LowerRelevance", "MarkAttention", "MarkDeformable", "MarkLayerNorm",
    "MarkResidual", "MarkRest", "MixedPrecision", "MoveBoundaries", "Pass",
    "RecogniseActivations", "RecogniseBatchNorm", "RecogniseDeformable", "RecogniseNorms",
    "RuleMap", "SaveTensors", "Simplify", "SkipProjections", "annotating", "pruning",
    "run_joint_pipeline", "run_pipeline",
]  # fmt: skip
