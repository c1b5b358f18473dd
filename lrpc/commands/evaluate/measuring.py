"""Every method on every object, under every protocol: curves and shares."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from torch import Tensor

from lrpc.commands.evaluate.explaining import explained
from lrpc.commands.evaluate.methods import Maps, Method, Relevance, generator_for
from lrpc.commands.evaluate.model import Picture, Subject, Trial, scores
from lrpc.commands.evaluate.perturb import (
    Fill,
    Inpainted,
    Order,
    blur_fill,
    counts,
    deletions,
    insertions,
    make_curve,
    mean_fill,
    patch_order,
)
from lrpc.commands.evaluate.results import Row
from lrpc.commands.evaluate.sensitivity import Asked, asked
from lrpc.commands.evaluate.settings import Protocol, Settings
from lrpc.commands.session.images import LoadedImage
from lrpc.commands.session.members import Member
from lrpc.commands.session.metrics import localise
from lrpc.commands.session.original import original_box
from lrpc.errors import LrpcError
from lrpc.support.signals import finishing


@dataclass(frozen=True, eq=False)
class Ends:
    """What every method shares: the fill of each picture, and each subject's score in the whole
    image and in the fill alone."""

    fills: tuple[Fill, ...]
    whole: tuple[tuple[float, ...], ...]
    empty: tuple[tuple[float, ...], ...]


def ends(model: Member, pictures: Sequence[Picture], fill: str, batch: int) -> Ends:
    """The curves' two ends under one fill, which no method changes."""
    fills = tuple(_fill(picture.image, model, fill) for picture in pictures)
    trials = (
        _trial(pixels, picture, subject)
        for picture, empty in zip(pictures, fills, strict=True)
        for subject in picture.subjects
        for pixels in (picture.image.pixels, empty.whole)
    )
    found = iter(scores(model, trials, batch))
    pairs = [[(next(found), next(found)) for _ in picture.subjects] for picture in pictures]
    whole = tuple(tuple(one for one, _ in row) for row in pairs)
    return Ends(fills, whole, tuple(tuple(one for _, one in row) for row in pairs))


@dataclass
class Measured:
    """The rows of all methods that worked, protocol by protocol within each, the seconds and the
    model's forward passes for each object that their maps took, and by name the error of each that
    did not."""

    rows: list[Row] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    passes: dict[str, float] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)


def measure_all(
    methods: Sequence[Method],
    model: Member,
    pictures: Sequence[Picture],
    settings: Settings,
    report: Callable[[str, str], None] = lambda name, what: None,
    found: Measured | None = None,
) -> Measured:
    """Measure every method on the same objects; `report` is called after each, and what is found
    is added to `found`.

    Maps are computed once for all protocols. A method that fails (for example with relevance that
    is not finite) is left out; its error is raised if no method works.
    """
    fills = dict.fromkeys(protocol.fill for protocol in settings.protocols)
    shared = {fill: ends(model, pictures, fill, settings.batch) for fill in fills}
    kept = Measured() if found is None else found
    alike = [subject for picture in pictures for subject in picture.subjects]
    grounds = [Ground(model, pictures, shared[p.fill], p, settings) for p in settings.protocols]
    for one in explained(methods, pictures):
        name, began = one.method.name, time.perf_counter()
        try:
            if one.error is not None:
                raise one.error
            rows = [row for ground in grounds for row in measure(name, one.maps, ground)]
            if settings.sensitivity and isinstance(one.method, Relevance):
                rows = with_sensitivity(one.method, rows, grounds)
        except LrpcError as error:
            kept.failed[name] = str(error).partition("\n")[0]
            report(name, kept.failed[name])
            if len(kept.failed) == len(methods):
                raise
            continue
        with finishing():
            kept.rows += rows
            kept.seconds[name] = one.seconds
            if (passes := getattr(one.method, "passes", None)) is not None:
                kept.passes[name] = passes * len(pictures) / len(alike)
            report(name, f"{one.seconds + time.perf_counter() - began:.1f} s")
    return kept


def with_sensitivity(
    method: Relevance, rows: Sequence[Row], grounds: Sequence[Ground]
) -> list[Row]:
    """Rows of `measure`, protocol by protocol, with what maps of other classes and queries say."""
    pictures = grounds[0].pictures
    found = list(asked(method, pictures))
    alike = [one.sensitivity() for image in found for one in image]
    done: list[Row] = []
    for ground in grounds:
        part = rows[len(done) : len(done) + len(alike)]
        areas = _by_other_class(found, ground)
        for row, one, area in zip(part, alike, areas, strict=True):
            swap = None if area is None else area - row.deletion.area()
            done.append(replace(row, sensitivity=one, swap=swap))
    return done


def _by_other_class(found: Sequence[Sequence[Asked]], ground: Ground) -> list[float | None]:
    """The areas under each object's score while what speaks for its next class is removed."""
    plans = []
    for p, image in enumerate(found):
        for s, one in enumerate(image):
            if len(one.classes) > 1:
                order = _order(ground.pictures[p], s, one.classes[1], ground)
                plans.append((p, s, order))
    steps = ground.settings.steps
    trials = (
        _trial(pixels, ground.pictures[p], ground.pictures[p].subjects[s])
        for p, s, order in plans
        for pixels in deletions(
            ground.pictures[p].image.pixels,
            ground.shared.fills[p],
            order,
            counts(order.count, steps),
        )
    )
    scored = scores(ground.model, trials, ground.settings.batch)
    left, areas = iter(scored), {}
    for p, s, order in plans:
        chosen = counts(order.count, steps)
        whole, empty = ground.shared.whole[p][s], ground.shared.empty[p][s]
        gone = [next(left) / whole for _ in chosen]
        areas[p, s] = make_curve(gone, chosen, order.count, 1.0, empty / whole).area()
    return [areas.get((p, s)) for p, image in enumerate(found) for s in range(len(image))]


@dataclass(frozen=True, eq=False)
class Ground:
    """What all methods are measured on under one protocol."""

    model: Member
    pictures: Sequence[Picture]
    shared: Ends
    protocol: Protocol
    settings: Settings


def measure(name: str, maps: Maps, ground: Ground) -> list[Row]:
    """The rows of one method's maps, object by object."""
    pictures, shared, settings = ground.pictures, ground.shared, ground.settings
    plans = [
        (p, s, _order(picture, s, maps[p][s], ground))
        for p, picture in enumerate(pictures)
        for s in range(len(picture.subjects))
    ]
    trials = (
        trial
        for p, s, order in plans
        for trial in _trials(pictures[p], pictures[p].subjects[s], order, shared.fills[p], settings)
    )
    found = iter(scores(ground.model, trials, ground.settings.batch))
    return [_row(name, ground, (p, s), maps[p][s], order, found) for p, s, order in plans]


def _row(
    method: str,
    ground: Ground,
    place: tuple[int, int],
    relevance: Tensor,
    order: Order,
    found: Iterator[float],
) -> Row:
    """One object's figures: what is left of the score in the whole image, and curves over it, from
    the next scores, deletion first, and shares of its map. `place` numbers its picture, and the
    object there."""
    p, s = place
    picture, whole, empty = ground.pictures[p], ground.shared.whole[p][s], ground.shared.empty[p][s]
    truth, detection = picture.subjects[s].truth, picture.subjects[s].detection
    chosen, (height, width) = counts(order.count, ground.settings.steps), picture.image.valid
    left = next(found) / whole
    gone, back = [next(found) / whole for _ in chosen], [next(found) / whole for _ in chosen]
    return Row(
        method,
        ground.protocol,
        picture.image.path.name,
        truth.name,
        truth.label,
        detection.query,
        detection.score,
        original_box(detection.box, picture.image),
        whole,
        make_curve(gone, chosen, order.count, 1.0, empty / whole),
        make_curve(back, chosen, order.count, empty / whole, 1.0),
        localise(relevance[:height, :width], truth.mask, truth.box),
        left=left,
    )


def _fill(image: LoadedImage, model: Member, kind: str) -> Fill:
    if kind == "blur":
        return Fill(blur_fill(image.pixels, image.valid))
    whole = mean_fill(image.pixels, model.facts.sizing.mean)
    return Inpainted(whole, image.valid) if kind == "inpaint" else Fill(whole)


def _trial(pixels: Tensor, picture: Picture, subject: Subject) -> Trial:
    return Trial(pixels, picture.image.attended, subject.detection, subject.truth.label)


def _order(picture: Picture, subject: int, relevance: Tensor, ground: Ground) -> Order:
    generator = generator_for(picture.subjects[subject].truth.name, ground.settings.seed)
    values = relevance.abs() if ground.protocol.order == "absolute" else relevance
    return patch_order(values, picture.image.valid, ground.protocol.patch, generator)


def _trials(
    picture: Picture, subject: Subject, order: Order, fill: Fill, settings: Settings
) -> Iterator[Trial]:
    """The image with the first patches removed, and those of both curves, their ends left out."""
    chosen, pixels = counts(order.count, settings.steps), picture.image.pixels
    first = [max(1, round(order.count * settings.removed))]
    yield from (_trial(one, picture, subject) for one in deletions(pixels, fill, order, first))
    for changed in (deletions, insertions):
        yield from (_trial(one, picture, subject) for one in changed(pixels, fill, order, chosen))
