"""The embedded MaskDINO: the released parameter names and outputs, written to be traced."""

from lrpc.models.maskdino.boxes import masks_to_boxes
from lrpc.models.maskdino.layers import FrozenBatchNorm2d, MSDeformAttn
from lrpc.models.maskdino.model import WHAT, MaskDINO, build_maskdino, construct_maskdino
from lrpc.models.maskdino.seeding import seeded_weights
from lrpc.models.maskdino.spec import MaskDINOSpec

__all__ = [
    "WHAT",
    "FrozenBatchNorm2d",
    "MSDeformAttn",
    "MaskDINO",
    "MaskDINOSpec",
    "build_maskdino",
    "construct_maskdino",
    "masks_to_boxes",
    "seeded_weights",
]
