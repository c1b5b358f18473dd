"""From what was asked for to where relevance starts in one image."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from lrpc.commands.session.detect import (
    describe,
    scored,
    strongest_of_class,
    strongest_pixel,
)
from lrpc.commands.session.images import Window
from lrpc.commands.session.original import placed, seen_size
from lrpc.commands.session.targets import Layer, TargetError, TargetSpec
from lrpc.config.target_kinds import BOX_COORDINATES, KINDS, OF_CLASSES
from lrpc.models.maskdino.postprocess import PROBABILITIES
from lrpc.program.protocol import Detection, Size


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

    @property
    def slug(self) -> str:
        """The target as part of a file name, such as `class_logit-q12-c5` or `box-q3-cx`."""
        layer = [] if self.layer is None else [f"L{self.layer}".replace(".", "_")]
        return "-".join([self.kind, *layer, KINDS[self.kind].slug(self.index)])

    @property
    def words(self) -> str:
        """The target in words, such as `class_logit, query 12, class 5`."""
        layer = [] if self.layer is None else [f"layer {self.layer}"]
        return ", ".join([self.kind, *layer, KINDS[self.kind].say(self.index)])


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
            seeds.setdefault(seed.slug, seed)
    return list(seeds.values())


def _of_spec(spec: TargetSpec, scene: Scene) -> Iterator[Seed]:
    if spec.index is not None:
        _check(spec, spec.index, scene)
        kind = KINDS[spec.kind]
        if kind.layered:
            one = scene.object(spec.index[0]) if kind.query_of else None
            yield Seed(spec.kind, spec.layer, spec.index, one)
        else:
            one = _object(spec.kind, spec.index, scene)
            yield _seed(spec.kind, spec.index, one, scene)
    else:
        for one in scene.found:
            for index in _own(spec.kind, one, scene):
                yield _seed(spec.kind, index, one, scene)


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
    if kind == "box":
        return [(one.query, i) for i in range(len(BOX_COORDINATES))]
    return [(one.query, *strongest_pixel(scene.outputs, one.query, *scene.sizes))]


def _seed(kind: str, index: tuple[int, ...], one: Detection, scene: Scene) -> Seed:
    if kind == "box":
        return Seed(kind, None, index, one)
    values = scene.outputs[KINDS[kind].output]
    value = float(values[index])
    if values.dim() < 3:
        return Seed(kind, None, index, one, value)
    y, x = index[1:]
    point = (
        (x + 0.5) * scene.frame[1] / values.shape[2],
        (y + 0.5) * scene.frame[0] / values.shape[1],
    )
    return Seed(kind, None, index, one, value, point)


def _check(spec: TargetSpec, index: tuple[int, ...], scene: Scene) -> None:
    """Raise TargetError where an index lies outside the output it points into; an encoder channel
    shows in no output and is left to the program."""
    name = KINDS[spec.kind].query_of
    if not name:
        return
    shape = tuple(scene.outputs[name].shape)
    for i, size in zip(index, shape, strict=False):
        if i >= size:
            raise TargetError(f"target '{spec}': '{i}' is outside {name} {list(shape)}")
