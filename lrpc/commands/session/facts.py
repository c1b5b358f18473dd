"""What a manifest says that images and records need; the only place that knows its keys."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from lrpc.commands.session.places import Places
from lrpc.commands.session.sizing import Sizing
from lrpc.config.checks import SOURCES
from lrpc.errors import ProgramError
from lrpc.models.maskdino.segments import Results
from lrpc.program.manifest_reader import check_facts

RANDOM_WARNING = "RANDOM WEIGHTS: seeded, not trained; this relevance explains no real model"
_IMAGES = re.compile(r"(f\d+|bf16)\[B,3,(\w+),(\w+)\]")  # as the IR prints a type
_COCO_PANOPTIC = re.compile(r"coco_\d{4}_\w+_panoptic")
_COCO_THINGS = 80  # its first classes
_MEAN = (123.675, 116.28, 103.53)  # detectron2's default


@dataclass(frozen=True)
class Facts:
    """One program's settings, as its manifest states them."""

    sizing: Sizing
    composite: str
    precision: str
    dtype: torch.dtype  # of the images
    epsilon: float | None
    settings: Mapping[str, Any]  # the LRPC node of the config
    versions: Mapping[str, Any]
    config_sha256: str | None
    random_weights: bool
    weights: Mapping[str, Any]  # file, sha256, note
    classes: tuple[str, ...]
    class_count: int  # 0: not known
    places: Places  # per target that the program can start from
    score_masks: bool  # whether a detection's score counts its mask
    per_query: bool  # whether each query is one object, of its best class
    outputs: tuple[str, ...]  # names of what the model returns
    padding_mask: bool  # whether `forward` takes a mask of padded pixels
    check: Mapping[str, Any]  # how the program was held against its model
    results: Results = field(default_factory=Results)  # what the model's own inference makes

    def class_name(self, label: int) -> str | None:
        """The class's name where the config gives one."""
        return self.classes[label] if label < len(self.classes) else None


def read_facts(manifest: Mapping[str, Any]) -> Facts:
    """Read a manifest; raises ProgramError where it states no image shape, or odd values."""
    check_facts(manifest)
    config = _mapping(manifest.get("config"))
    lrpc = _mapping(config.get("LRPC"))
    names = manifest.get("class_names") or lrpc.get("CLASS_NAMES") or ()
    tests = _mapping(_mapping(_mapping(config.get("MODEL")).get("MaskDINO")).get("TEST"))
    epsilon = manifest.get("epsilon", lrpc.get("EPSILON"))
    dtype, edges, others = _inputs(manifest)
    places = _places(manifest)
    return Facts(
        sizing=_sizing(edges, _mapping(manifest.get("sizes")), config),
        composite=str(manifest.get("composite") or lrpc.get("COMPOSITE") or "unknown"),
        precision=str(manifest.get("precision") or lrpc.get("PRECISION") or "fp32"),
        dtype=dtype,
        epsilon=None if epsilon is None else float(epsilon),
        settings=lrpc,
        versions=_mapping(manifest.get("versions")),
        config_sha256=manifest.get("config_sha256"),
        random_weights=_random(manifest, config, lrpc),
        weights=_mapping(manifest.get("weights")),
        classes=tuple(str(name) for name in names),
        class_count=int(
            _mapping(_mapping(config.get("MODEL")).get("SEM_SEG_HEAD")).get("NUM_CLASSES", 0)
        ),
        places=places,
        score_masks=not tests.get("TEST_FOUCUS_ON_BOX", False),
        per_query=lrpc.get("DETECTIONS") == "queries",
        outputs=tuple(str(name) for name in _mapping(manifest.get("outputs"))),
        padding_mask=others > 0,
        check=_mapping(manifest.get("check")),
        results=_results(config, _mapping(manifest.get("outputs"))),
    )


def _results(config: Mapping[str, Any], outputs: Mapping[str, Any]) -> Results:
    """MODEL.MaskDINO.TEST, of a MaskDINO; of a OneFormer what its task says, as its image
    processor makes it."""
    model, own = _mapping(config.get("MODEL")), _mapping(config.get("LRPC"))
    maskdino = _mapping(model.get("MaskDINO"))
    tests = _mapping(maskdino.get("TEST"))
    if not {"pred_logits", "pred_masks"} <= set(outputs):
        return Results()
    if str(own.get("SOURCE")).startswith("transformers:"):
        return _of_task(str(own.get("TEXT")), own.get("THINGS") or ())
    if own.get("SOURCE") not in SOURCES:
        return Results()
    semantic, whole = tests.get("SEMANTIC_ON", False), tests.get("PANOPTIC_ON", False)
    before = tests.get("SEM_SEG_POSTPROCESSING_BEFORE_INFERENCE", False)
    things: Any = own.get("THINGS") or ()
    if not things and any(map(_COCO_PANOPTIC.match, _trained_on(config))):
        things = range(_COCO_THINGS)
    return Results(
        semantic=semantic,
        panoptic=whole,
        threshold=float(tests.get("OBJECT_MASK_THRESHOLD", 0.0)),
        overlap=float(tests.get("OVERLAP_THRESHOLD", 0.0)),
        temperature=float(tests.get("PANO_TEMPERATURE", 0.06)),
        sharpen=tests.get("PANO_TRANSFORM_EVAL", True),
        cross_entropy=semantic and not whole and maskdino.get("SEMANTIC_CE_LOSS", False),
        resize_last=not (before or whole or tests.get("INSTANCE_ON", False)),
        things=frozenset(things) if things else None,
        classes=int(_mapping(model.get("SEM_SEG_HEAD")).get("NUM_CLASSES", -1)),
    )


def _of_task(task: str, things: Collection[int]) -> Results:
    """What the image processor of a OneFormer makes by default: nothing is merged but what is said
    to be no thing."""
    return Results(
        semantic=task == "semantic",
        panoptic=task == "panoptic",
        threshold=0.5,
        overlap=0.8,
        cross_entropy=True,
        things=frozenset(things) or None,
        processor=True,
    )


def _trained_on(config: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(map(str, _mapping(config.get("DATASETS")).get("TRAIN") or ()))


def _inputs(manifest: Mapping[str, Any]) -> tuple[torch.dtype, tuple[str, str], int]:
    """The images' dtype, height and width as they are stated, and how many inputs there are beside
    them."""
    inputs = _mapping(manifest.get("inputs"))
    for text in inputs.values():
        match = _IMAGES.fullmatch(str(text).replace(" ", ""))
        if match:
            dtype = torch.float64 if match[1] == "f64" else torch.float32
            return dtype, (match[2], match[3]), len(inputs) - 1
    stated = ", ".join(f"{name}: {text}" for name, text in inputs.items()) or "none"
    raise ProgramError(f"no input of this program is a batch of images [B,3,H,W]; inputs: {stated}")


def _places(manifest: Mapping[str, Any]) -> Places:
    """What can be read for which target, as far as the manifest lists it."""
    stated = _mapping(_mapping(_mapping(manifest.get("settings")).get("places")).get("inputs"))
    targets = manifest.get("targets") or ()
    return Places(tuple(stated), {str(t["name"]): tuple(t.get("reads", ())) for t in targets})


def _random(
    manifest: Mapping[str, Any], config: Mapping[str, Any], lrpc: Mapping[str, Any]
) -> bool:
    """Whether the weights were seeded: as the manifest says, else where the config names none."""
    stated = _mapping(manifest.get("weights")).get("random", manifest.get("random_weights"))
    if stated is not None:
        return bool(stated)
    model = _mapping(config.get("MODEL"))
    return "WEIGHTS" in model and not model["WEIGHTS"] and lrpc.get("SOURCE") == "embedded"


def _sizing(edges: tuple[str, str], sizes: Mapping[str, Any], config: Mapping[str, Any]) -> Sizing:
    """The model's rule, and what the program takes: height and width are numbers, or the names of
    `sizes` that vary."""
    given = _mapping(config.get("INPUT"))
    r, g, b = (float(v) for v in _mapping(config.get("MODEL")).get("PIXEL_MEAN", _MEAN))
    shortest, longest = given.get("MIN_SIZE_TEST", 0), given.get("MAX_SIZE_TEST", 0)
    divisor = _mapping(_mapping(config.get("MODEL")).get("MaskDINO")).get("SIZE_DIVISIBILITY", 1)
    masks = _mapping(config.get("LRPC")).get("SOURCE") not in SOURCES
    own = _mapping(config.get("LRPC"))
    shapes = own.get("SHAPES") or [(0, 0)]
    rule = Sizing(
        *((), int(shortest), int(longest), (r, g, b), max(1, int(divisor))),
        masks=masks,
        rule=own.get("RESIZE", "shortest"),
        exact=(int(shapes[0][0]), int(shapes[0][1])),
        before=tuple(own.get("CROP_FROM", ())),
        filter=own.get("RESAMPLE", "bilinear"),
        masked=bool(own.get("PADDING_MASK", False)),
    )
    height, width = edges
    if height.isdecimal() and width.isdecimal():
        return replace(rule, shapes=((int(height), int(width)),))
    if height == width or not {height, width} <= set(sizes):
        raise ProgramError(
            f"images of this program are {height}×{width}; let height and width vary each on its"
            " own, or none of them, and compile again"
        )
    return replace(rule, steps=(sizes[height]["step"], sizes[width]["step"]))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
