"""The randomisation check: a map that explains the model changes when its weights are random.

Adebayo et al. 2018 (1810.03292), cascading: from the outputs down, one part of the model after the
other loses its trained weights, and the maps are compared with those of the trained model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from lrpc.commands.evaluate.explaining import Explained, explained, grouped
from lrpc.commands.evaluate.methods import Maps, Relevance
from lrpc.commands.evaluate.model import Picture, Subject
from lrpc.commands.session.members import Member
from lrpc.commands.session.metrics import box_iou, spearman, ssim, unit
from lrpc.config import Config
from lrpc.errors import ConfigError
from lrpc.models.maskdino import seeded_weights
from lrpc.models.maskdino.boxes import cxcywh_to_xyxy
from lrpc.models.sources import build_model
from lrpc.models.weights import save_weights


@dataclass(frozen=True)
class Similarity:
    """One object's map with weights random down to `part`, against its trained map.

    `spearman` of the values, `spearman_absolute` of their magnitudes, `ssim` of the maps as
    `unit` scales them. None where a map is constant.
    """

    method: str
    part: str
    subject: str
    spearman: float | None
    spearman_absolute: float | None
    ssim: float


def randomised(
    config: Config, parts: Sequence[str], seed: int, folder: Path
) -> list[tuple[str, Path]]:
    """Weights files in `folder`, one for each part, with that part and all before it random.

    Random weights are those of an untrained embedded model (`seeded_weights`). Raises ConfigError
    where the config names another source, or a part that holds no parameter.
    """
    if config.LRPC.SOURCE != "embedded":
        raise ConfigError(
            f"--randomise needs LRPC.SOURCE embedded, not {config.LRPC.SOURCE}: other sources take "
            "care of their own weights"
        )
    model, _ = build_model(config)
    state, drawn = dict(model.state_dict()), seeded_weights(model, seed)
    files = []
    for number, part in enumerate(parts):
        state = replace_part(state, drawn, part)
        path = folder / f"random-{seed}-{number}.safetensors"
        save_weights(path, state)
        files.append((part, path))
    return files


def replace_part(
    state: Mapping[str, Tensor], drawn: Mapping[str, Tensor], part: str
) -> dict[str, Tensor]:
    """`state` with the parameters at `part` (a module path) from `drawn`. Raises ConfigError."""
    names = [name for name in state if name == part or name.startswith(f"{part}.")]
    if not names:
        known = ", ".join(sorted({name.rsplit(".", 1)[0] for name in state})[:6])
        raise ConfigError(f"--randomise: no parameter of the model is at '{part}'; such as {known}")
    return {**state, **{name: drawn[name] for name in names}}


def relocate(model: Member, picture: Picture) -> Picture:
    """The picture's subjects on the queries of another model whose boxes overlap theirs most.

    A model with random weights detects nothing; the query nearest to the object keeps the place,
    so that what changes in the map is not merely where it looks.
    """
    state = model.forward_of([picture.image])
    height, width = frame = picture.image.frame
    outputs = model.framed(state, 0, picture.image.attended, frame)
    corners = cxcywh_to_xyxy(outputs["pred_boxes"].float())
    corners = corners * corners.new_tensor([width, height, width, height])
    moved = []
    for subject in picture.subjects:
        query = int(box_iou(corners, subject.detection.box).argmax())
        moved.append(Subject(subject.truth, replace(subject.detection, query=query)))
    return Picture(picture.image, tuple(moved))


def compare(
    method: str, part: str, pictures: Sequence[Picture], a: Maps, b: Maps
) -> list[Similarity]:
    """How alike two sets of maps are, object by object, without padding."""
    found = []
    for picture, first, second in zip(pictures, a, b, strict=True):
        height, width = picture.image.valid
        for subject, one, other in zip(picture.subjects, first, second, strict=True):
            x, y = one[:height, :width], other[:height, :width]
            found.append(
                Similarity(
                    method,
                    part,
                    subject.truth.name,
                    spearman(x, y),
                    spearman(x.abs(), y.abs()),
                    ssim(unit(x), unit(y), 2.0),
                )
            )
    return found


@dataclass(frozen=True)
class Checked:
    """What the check found, method by method; by name the error of each that it stopped with."""

    likeness: tuple[Similarity, ...]
    failed: Mapping[str, str]


def check(
    methods: Sequence[Relevance],
    pictures: Sequence[Picture],
    files: Sequence[tuple[str, Path]],
    load: Callable[[Path], Sequence[Member]],
) -> Checked:
    """The whole check; `load` compiles the methods' programs with other weights, in their order."""
    found: dict[str, list[Similarity]] = {method.name: [] for method in methods}
    failed: dict[str, str] = {}
    trained = {one.method.name: one for one in explained(methods, pictures)}
    for part, path in files:
        models = load(path)
        pairs = zip(models, methods, strict=True)
        again = [replace(method, model=m, amplified=[]) for m, method in pairs]
        for one, where in _relocated(again, pictures):
            name, before = one.method.name, trained[one.method.name]
            error = before.error or one.error
            if error is not None:
                failed.setdefault(name, str(error).partition("\n")[0])
                continue
            found[name] += compare(name, part, where, before.maps, one.maps)
    whole = [one for name, some in found.items() if name not in failed for one in some]
    return Checked(tuple(whole), failed)


def _relocated(
    methods: Sequence[Relevance], pictures: Sequence[Picture]
) -> Iterator[tuple[Explained, Sequence[Picture]]]:
    """The maps of other models, and the pictures on the queries that they start from there."""
    for group in grouped(methods):
        program = next(method.model for method in group if isinstance(method, Relevance))
        moved = [relocate(program, picture) for picture in pictures]
        yield from ((one, moved) for one in explained(group, moved))
