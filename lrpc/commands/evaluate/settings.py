"""Settings of an evaluation: everything that its figures depend on, besides models and data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

FILLS = ("mean", "blur", "inpaint")
ORDERS = ("signed", "absolute")
MATCHES = ("mask", "box")
TRIVIAL = ("own_box", "own_mask", "edges", "centre", "random")
CAMS = ("grad_cam", "grad_cam_pp", "ssgrad_cam_pp", "hirescam", "odam")
ATTENTION = ("rollout", "cross_attention")
GRADIENTS = ("gradient_input", "integrated_gradients", "smoothgrad")
#: Those that are measured unless others are named: of the CAMs and attention maps one each.
STANDARD = (*GRADIENTS, "odam", "rollout")
BASELINES = (*GRADIENTS, *CAMS, *ATTENTION, "drise", *TRIVIAL)
INDEX = "scenes.json"
#: What annotated images may be.
FORMS = (
    f"a folder with {INDEX} (the digits' form), images with masks NAME.CLASS-NUMBER.mask.png, "
    "or COCO annotations with --annotations FILE"
)
#: Parts of the embedded MaskDINO from its outputs down, as module paths.
PARTS = (
    "sem_seg_head.predictor.class_embed",
    "sem_seg_head.predictor",
    "sem_seg_head.pixel_decoder",
    "backbone",
)


@dataclass(frozen=True)
class Protocol:
    """How patches are removed and inserted."""

    order: str = "signed"  # of patches: by the sum of relevance or of its magnitude
    patch: int = 8  # pixels
    fill: str = "mean"  # of what is taken away

    @property
    def name(self) -> str:
        return f"{self.order}, {self.patch} px, {self.fill}"


@dataclass(frozen=True)
class Settings:
    """Which objects take part, and how every method is measured on them."""

    score: float = 0.5  # of a detection
    iou: float = 0.5  # of a detection with its object
    match: str = "mask"
    limit: int = 0  # objects; 0: all
    steps: int = 10  # of each curve
    removed: float = 0.0125  # share of the image after whose removal the score is given
    protocols: tuple[Protocol, ...] = (Protocol(),)
    batch: int = 16
    pad: bool = False  # images that do not fill the input of programs of one size
    seed: int = 0
    sensitivity: bool = False  # whether other classes and queries are explained, too
    contrasts: tuple[str, ...] = ()  # of every program, beside its logits


def grid(
    orders: Sequence[str], patches: Sequence[int], fills: Sequence[str]
) -> tuple[Protocol, ...]:
    """Every combination."""
    return tuple(Protocol(*one) for one in product(orders, patches, fills))
