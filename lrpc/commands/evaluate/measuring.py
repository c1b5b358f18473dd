"""Every method on every object, under every protocol: curves and shares."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from lrpc.commands.evaluate.explaining import explained
from lrpc.commands.evaluate.localise import Localisation, localise
from lrpc.commands.evaluate.methods import Maps, Method, generator_for
from lrpc.commands.evaluate.model import Model, Picture, Subject, Trial
from lrpc.commands.evaluate.perturb import (
    Curve,
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
from lrpc.commands.evaluate.settings import Protocol, Settings
from lrpc.commands.evaluate.truth import Framed
from lrpc.commands.session.images import LoadedImage
from lrpc.errors import LrpcError


@dataclass(frozen=True, eq=False)
class Ends:
    """What every method shares: the fill of each picture, and each subject's score in the whole
    image and in the fill alone."""

    fills: tuple[Tensor, ...]
    whole: tuple[tuple[float, ...], ...]
    empty: tuple[tuple[float, ...], ...]


def ends(model: Model, pictures: Sequence[Picture], fill: str, batch: int) -> Ends:
    """The curves' two ends under one fill, which no method changes."""
    fills = tuple(_fill(picture.image, model, fill) for picture in pictures)
    trials = (
        _trial(pixels, picture, subject)
        for picture, empty in zip(pictures, fills, strict=True)
        for subject in picture.subjects
        for pixels in (picture.image.pixels, empty)
    )
    scores = iter(model.score(trials, batch))
    pairs = [[(next(scores), next(scores)) for _ in picture.subjects] for picture in pictures]
    whole = tuple(tuple(one for one, _ in row) for row in pairs)
    return Ends(fills, whole, tuple(tuple(one for _, one in row) for row in pairs))


@dataclass(frozen=True)
class Measured:
    """The rows of all methods that worked, protocol by protocol within each, the seconds that their
    maps took, and by name the error of each that did not."""

    rows: tuple[Row, ...]
    seconds: Mapping[str, float]
    failed: Mapping[str, str]


def measure_all(
    methods: Sequence[Method],
    model: Model,
    pictures: Sequence[Picture],
    settings: Settings,
    report: Callable[[str, str], None] = lambda name, what: None,
) -> Measured:
    """Every method in turn, on the same objects; `report` hears of each as it is done.

    Each explains once for all protocols. A method that cannot explain (relevance that is not
    finite, say) is left out and the rest go on; its error is raised where none works.
    """
    fills = dict.fromkeys(protocol.fill for protocol in settings.protocols)
    shared = {fill: ends(model, pictures, fill, settings.batch) for fill in fills}
    rows: list[Row] = []
    seconds: dict[str, float] = {}
    failed: dict[str, str] = {}
    grounds = [Ground(model, pictures, shared[p.fill], p, settings) for p in settings.protocols]
    for one in explained(methods, pictures):
        name, began = one.method.name, time.perf_counter()
        try:
            if one.error is not None:
                raise one.error
            found = [row for ground in grounds for row in measure(name, one.maps, ground)]
        except LrpcError as error:
            failed[name] = str(error).partition("\n")[0]
            report(name, failed[name])
            if len(failed) == len(methods):
                raise
            continue
        rows += found
        seconds[name] = one.seconds
        report(name, f"{one.seconds + time.perf_counter() - began:.1f} s")
    return Measured(tuple(rows), seconds, failed)


@dataclass(frozen=True, eq=False)
class Ground:
    """What all methods are measured on under one protocol."""

    model: Model
    pictures: Sequence[Picture]
    shared: Ends
    protocol: Protocol
    settings: Settings


def measure(name: str, maps: Maps, ground: Ground) -> list[Row]:
    """The rows of one method's maps, object by object."""
    pictures, shared, steps = ground.pictures, ground.shared, ground.settings.steps
    plans = [
        (p, s, _order(picture, s, maps[p][s], ground))
        for p, picture in enumerate(pictures)
        for s in range(len(picture.subjects))
    ]
    trials = (
        trial
        for p, s, order in plans
        for trial in _trials(pictures[p], pictures[p].subjects[s], order, shared.fills[p], steps)
    )
    scores = iter(ground.model.score(trials, ground.settings.batch))
    rows = []
    for p, s, order in plans:
        picture, subject = pictures[p], pictures[p].subjects[s]
        curves = _curves(scores, order, shared.whole[p][s], shared.empty[p][s], steps)
        shares = _shares(picture, subject, maps[p][s])
        row = _row(name, ground.protocol, picture, subject, shared.whole[p][s], curves, shares)
        rows.append(row)
    return rows


def _shares(picture: Picture, subject: Subject, relevance: Tensor) -> Localisation:
    height, width = picture.image.valid
    return localise(relevance[:height, :width], subject.truth.mask, subject.truth.box)


def _curves(
    scores: Iterator[float], order: Order, whole: float, empty: float, steps: int
) -> tuple[Curve, Curve]:
    """Deletion and insertion over the score in the whole image, from the next scores."""
    chosen = counts(order.count, steps)
    gone = [next(scores) / whole for _ in chosen]
    back = [next(scores) / whole for _ in chosen]
    return (
        make_curve(gone, chosen, order.count, 1.0, empty / whole),
        make_curve(back, chosen, order.count, empty / whole, 1.0),
    )


def _row(
    method: str,
    protocol: Protocol,
    picture: Picture,
    subject: Subject,
    whole: float,
    curves: tuple[Curve, Curve],
    shares: Localisation,
) -> Row:
    truth, detection = subject.truth, subject.detection
    return Row(
        method,
        protocol,
        picture.image.path.name,
        truth.name,
        truth.label,
        detection.query,
        detection.score,
        whole,
        *curves,
        shares,
    )


def _fill(image: LoadedImage, model: Model, kind: str) -> Tensor:
    if kind == "blur":
        return blur_fill(image.pixels, image.valid)
    return mean_fill(image.pixels, model.facts.sizing.mean)


def _trial(pixels: Tensor, picture: Picture, subject: Subject) -> Trial:
    truth: Framed = subject.truth
    return Trial(pixels, picture.image.valid, subject.detection.box, truth.label)


def _order(picture: Picture, subject: int, relevance: Tensor, ground: Ground) -> Order:
    generator = generator_for(picture.subjects[subject].truth.name, ground.settings.seed)
    values = relevance.abs() if ground.protocol.order == "absolute" else relevance
    return patch_order(values, picture.image.valid, ground.protocol.patch, generator)


def _trials(
    picture: Picture, subject: Subject, order: Order, fill: Tensor, steps: int
) -> Iterator[Trial]:
    """The images of both curves, their ends left out."""
    chosen, pixels = counts(order.count, steps), picture.image.pixels
    for changed in deletions(pixels, fill, order, chosen):
        yield _trial(changed, picture, subject)
    for changed in insertions(pixels, fill, order, chosen):
        yield _trial(changed, picture, subject)
