"""The embedded MaskDINO: the released parameter names and outputs, written to be traced."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lrpc.models.maskdino.layers import FrozenBatchNorm2d, MSDeformAttn
    from lrpc.models.maskdino.mask_boxes import masks_to_boxes
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

#: Imported when they are asked for: the layers alone need torch and nothing else.
_LAZY = {
    "WHAT": "model",
    "FrozenBatchNorm2d": "layers",
    "MSDeformAttn": "layers",
    "MaskDINO": "model",
    "MaskDINOSpec": "spec",
    "build_maskdino": "model",
    "construct_maskdino": "model",
    "masks_to_boxes": "mask_boxes",
    "seeded_weights": "seeding",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
