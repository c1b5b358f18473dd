"""From what was asked for to where relevance starts in one image."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
from torch import Tensor

from lrpc.commands.session.areas import (
    boundary_weights,
    mask_weights,
    panoptic_weights,
    region_weights,
    semantic_weights,
)
from lrpc.commands.session.contrasts import Against, ContrastError, contrast, of_queries
from lrpc.commands.session.detect import (
    describe,
    scored,
    strongest_of_class,
    strongest_pixel,
)
from lrpc.commands.session.images import Window
from lrpc.commands.session.original import placed, seen_size
from lrpc.commands.session.segments import Segmentation
from lrpc.commands.session.targets import Layer, TargetError, TargetSpec
from lrpc.config.target_kinds import BOX_COORDINATES, KINDS, OF_CLASSES
from lrpc.models.maskdino.postprocess import PROBABILITIES
from lrpc.models.maskdino.segments import Results
from lrpc.program.protocol import Detection, Size


class Channel(NamedTuple):
    """A channel of a place, which has so many."""

    place: str
    number: int
    of: int


@dataclass(frozen=True, eq=False)
class Seed:
    """One start of relevance in one image: the target, its index there, and the object it is of.

    `value` is that of the target itself, None where the outputs do not show it. `point` is a mask
    pixel's centre (x, y) in the network's input frame.
    """

    kind: str
    layer: Layer | None
    index: tuple[int, ...]
    detection: Detection | None = None
    value: float | None = None
    point: tuple[float, float] | None = None
    start: Tensor | None = None  # relevance of the whole output, where it starts from many entries
    against: Against | None = None
    through: Channel | None = None  # all that passes at its place

    @property
    def slug(self) -> str:
        """The target as part of a file name, such as `class_logit-q12-c5` or `box-q3-cx`."""
        layer = [] if self.layer is None else [f"L{self.layer}".replace(".", "_")]
        kind = KINDS[self.kind]
        against = [] if self.against is None else [self.against.slug(kind)]
        through = [] if self.through is None else [f"{self.through.place}-{self.through.number}"]
        return "-".join([self.kind, *layer, kind.slug(self.index), *against, *through])

    @property
    def words(self) -> str:
        """The target in words, such as `class_logit, query 12, class 5`."""
        layer = [] if self.layer is None else [f"layer {self.layer}"]
        kind = KINDS[self.kind]
        against = "" if self.against is None else f" {self.against.words(kind)}"
        return ", ".join([self.kind, *layer, kind.say(self.index) + against])

    @property
    def output(self) -> str:
        """The name of the output that it starts from."""
        kind = KINDS[self.kind]
        return kind.output or f"{kind.layers.removeprefix('output.')}{self.layer}"


@dataclass(frozen=True, eq=False)
class Scene:
    """One image's outputs (no batch axis), its frame, visible part and size on disk, and what was
    found in it."""

    outputs: Mapping[str, Tensor]
    frame: Size
    valid: Size
    found: Sequence[Detection]
    original: Size | None = None
    classes: int = 0
    segmentations: Sequence[Segmentation] = ()
    results: Results = field(default_factory=Results)
    window: Window | None = None  # what of the image on disk is seen, where that is not all

    @property
    def sizes(self) -> tuple[Size, Size]:
        """The network's input, and what of it is image."""
        return self.frame, self.valid

    def object(self, query: int, label: int | None = None) -> Detection:
        """The detection of that query (and class), or else the query described as one."""
        for one in self.found:
            if one.query == query and label in (None, one.label):
                return one
        if label is None:
            label = int(scored(self.outputs, self.classes)[PROBABILITIES][query].argmax())
        size = self.original if self.window is None else seen_size(self.window)
        one = describe(self.outputs, *self.sizes, query, label, size, self.classes)
        return placed(one, self.window, self.original or self.valid)


def resolve(specs: Sequence[TargetSpec], scene: Scene) -> list[Seed]:
    """Every seed that the requests mean in this image, in order, each once; possibly none.

    Raises TargetError where an index lies outside the outputs.
    """
    seeds: dict[str, Seed] = {}
    for spec in specs:
        for seed in _of_spec(spec, scene):
            one = seed if spec.against is None else _contrasted(spec, spec.against, seed, scene)
            seeds.setdefault(one.slug, one)
    return list(seeds.values())


def _of_spec(spec: TargetSpec, scene: Scene) -> Iterator[Seed]:
    kind = KINDS[spec.kind]
    if kind.weighs:
        yield from _of_many(spec, scene)
    elif spec.index is not None:
        _check(spec, spec.index, scene)
        if kind.layered:
            yield _of_layer(spec, spec.index, scene)
        elif spec.kind == "proposal_class_logit":
            value = float(scene.outputs[kind.output][spec.index])
            yield Seed(spec.kind, None, spec.index, None, value)
        else:
            one = _object(spec.kind, spec.index, scene)
            yield _seed(spec.kind, spec.index, one, scene)
    else:
        for one in scene.found:
            for index in _own(spec.kind, one, scene):
                yield _seed(spec.kind, index, one, scene)


def _contrasted(spec: TargetSpec, against: Against, seed: Seed, scene: Scene) -> Seed:
    """A seed less what it is contrasted with. Raises TargetError."""
    values = scene.outputs[seed.output]
    values = values.to(torch.promote_types(values.dtype, torch.float32))
    other, last = against.number, against.place == len(seed.index) - 1
    if other is not None and other == seed.index[against.place]:
        raise TargetError(f"target '{spec}': it is contrasted with itself")
    try:
        if last or other is None:
            kind: str | int = against.text if other is None else other
            start = contrast(values, seed.index, kind, classes=_classes(values, scene))
        else:
            second = tuple(other if n == against.place else i for n, i in enumerate(seed.index))
            _check(spec, second, scene)
            start = of_queries(values, seed.index, other, against.place)
    except ContrastError as error:
        raise TargetError(f"target '{spec}': {error}") from error
    return replace(seed, value=float(start.sum()), start=start, against=against)


def _classes(values: Tensor, scene: Scene) -> int:
    """How many of the logits are classes; the rest of a proposal's are as the last layer's."""
    return min(scene.classes, values.shape[-1]) if scene.classes else 0


def _of_layer(spec: TargetSpec, index: tuple[int, ...], scene: Scene) -> Seed:
    """The start in one layer: an entry of a place, or of what the layer predicts."""
    kind = KINDS[spec.kind]
    if not kind.query_of:
        return Seed(spec.kind, spec.layer, index)
    named = spec.kind == "layer_class_logit"
    one = scene.object(index[0], index[-1] if named else None)
    output = scene.outputs.get(f"{kind.layers}{spec.layer}".removeprefix("output."))
    value = None if output is None or spec.kind == "layer_box" else float(output[index])
    point = None
    if spec.kind == "layer_mask_logit":
        point = _point(scene.outputs["pred_masks"], index[1:], scene)
    return Seed(spec.kind, spec.layer, index, one, value, point)


def _point(values: Tensor, pixel: Sequence[int], scene: Scene) -> tuple[float, float]:
    """The centre (x, y) in the frame of a pixel (y, x) of maps [n, h, w]."""
    (y, x), (height, width) = pixel, values.shape[1:]
    return (x + 0.5) * scene.frame[1] / width, (y + 0.5) * scene.frame[0] / height


def _of_many(spec: TargetSpec, scene: Scene) -> Iterator[Seed]:
    """The starts from many mask logits: those of the index, or of everything that was found."""
    if spec.index is not None:
        _check(spec, spec.index, scene)
    wanted = [spec.index] if spec.index is not None else _every(spec.kind, scene)
    for index in wanted:
        weights, one = _weights(spec, index, scene)
        if weights is not None:
            start = weights * scene.outputs["pred_masks"]
            yield Seed(spec.kind, None, index, one, float(start.sum()), None, start)
        elif spec.index is not None:
            raise TargetError(f"target '{spec}': it has no pixel in this image")


def _every(kind: str, scene: Scene) -> list[tuple[int, ...]]:
    if kind in ("mask", "mask_boundary"):
        return [(one.query,) for one in scene.found]
    found = _segmentation(kind, scene).segments
    return [(one.id if kind == "panoptic_segment" else one.label,) for one in found]


def _segmentation(kind: str, scene: Scene) -> Segmentation:
    """The result that a segment is of; TargetError where the model's inference makes none."""
    name = kind.removesuffix("_segment")
    for found in scene.segmentations:
        if found.kind == name:
            return found
    key = f"MODEL.MaskDINO.TEST.{name.upper()}_ON"
    raise TargetError(
        f"target '{kind}': this program makes no {name} results; compile with {key} true"
    )


def _weights(
    spec: TargetSpec, index: tuple[int, ...], scene: Scene
) -> tuple[Tensor | None, Detection | None]:
    """Weights of the mask logits, and the object that they are of."""
    outputs, sizes = scene.outputs, (scene.frame, scene.valid)
    masks = outputs["pred_masks"]
    if spec.kind == "mask":
        return mask_weights(masks, index[0], *sizes), scene.object(index[0])
    if spec.kind == "mask_boundary":
        return boundary_weights(masks, index[0], *sizes), scene.object(index[0])
    if spec.kind == "region":
        return region_weights(masks, index[0], index[1:]), scene.object(index[0])
    found = _segmentation(spec.kind, scene)
    if spec.kind == "panoptic_segment":
        for one in found.segments:
            if one.id == index[0]:
                owner = scene.object(one.queries[0], one.label)
                return panoptic_weights(masks, found, one, *sizes), owner
    for one in found.of(index[0]) if spec.kind == "semantic_segment" else ():
        return semantic_weights(outputs, found, one, scene.results, *sizes), None
    return None, None


def _object(kind: str, index: tuple[int, ...], scene: Scene) -> Detection:
    """The object that an index is of."""
    if kind in OF_CLASSES:
        return scene.object(0, index[0])
    return scene.object(index[0], index[1] if kind == "class_logit" else None)


def _own(kind: str, one: Detection, scene: Scene) -> list[tuple[int, ...]]:
    """The indices that a target without numbers means for one detection."""
    if kind == "class_pixel":
        return [(one.label, *strongest_of_class(scene.outputs, one.label, *scene.sizes))]
    if kind in OF_CLASSES:
        return [(one.label,)]
    if kind == "class_logit":
        return [(one.query, one.label)]
    if kind in ("box", "box_logit", "box_refinement"):
        return [(one.query, i) for i in range(len(BOX_COORDINATES))]
    return [(one.query, *strongest_pixel(scene.outputs, one.query, *scene.sizes))]


def _seed(kind: str, index: tuple[int, ...], one: Detection, scene: Scene) -> Seed:
    if kind == "box":
        return Seed(kind, None, index, one)
    values = scene.outputs[KINDS[kind].output]
    value = float(values[index])
    if values.dim() < 3:
        return Seed(kind, None, index, one, value)
    return Seed(kind, None, index, one, value, _point(values, index[1:], scene))


def _check(spec: TargetSpec, index: tuple[int, ...], scene: Scene) -> None:
    """Raise TargetError where an index lies outside the output it points into; an encoder channel
    shows in no output and is left to the program."""
    name = KINDS[spec.kind].query_of
    if not name:
        return
    shape = tuple(scene.outputs[name].shape)
    corners = shape[1:] if spec.kind == "region" else ()
    for i, size in zip(index, (*shape, *corners), strict=False):
        if i >= size:
            raise TargetError(f"target '{spec}': '{i}' is outside {name} {list(shape)}")
