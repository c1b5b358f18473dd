"""Images through a program in local mode: one `OneImage` for each, summed up as they come."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from lrpc.commands.analyze.metadata import sha256
from lrpc.commands.analyze.programs import Axes, Local
from lrpc.commands.analyze.request import LocalRequest
from lrpc.commands.analyze.running import OneImage, Running
from lrpc.commands.session.calls import forward, one_line
from lrpc.commands.session.changes import Change, change_of
from lrpc.commands.session.facts import Facts
from lrpc.commands.session.images import LoadedImage, load_image
from lrpc.commands.session.record import image_record
from lrpc.errors import AnalysisError, ImageError, LrpcError, ProgramError
from lrpc.program.protocol import Ledger, Relevance, State
from lrpc.support.files import shown


def collect(
    local: Local,
    request: LocalRequest,
    facts: Facts,
    paths: Sequence[Path],
    batch_size: int,
    device: str,
    report: Callable[[int], None],
) -> Collected:
    """Contributions over all images that can be read; `report` hears how many are done.

    Raises ImageError where none can be, AnalysisError for one in which a feature that is to be
    normalised sums to exactly 0.
    """
    found = Collected(len(paths))
    for first in range(0, len(paths), batch_size):
        part = paths[first : first + batch_size]
        images = [image for path in part if (image := _loaded(path, facts, found)) is not None]
        for one in _batch(local, request, facts, images, device) if images else ():
            found.running.add(one)
        found.images += [_told(image) for image in images]
        changes = [change_of(image) for image in images]
        found.changes += [change for change in changes if change is not None]
        report(len(part))
    if not found.images:
        raise ImageError(f"no image could be read; the first: {found.failed[0]['error']}")
    return found


@dataclass
class Collected:
    """The sums over the images of `total`, a record of each, those that could not be read with the
    reason, and what was changed."""

    total: int
    running: Running = field(default_factory=Running)
    images: list[dict[str, object]] = field(default_factory=list)
    failed: list[dict[str, str]] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)


def _loaded(path: Path, facts: Facts, found: Collected) -> LoadedImage | None:
    """An image, or None where it cannot be read, which `found` then tells."""
    try:
        return load_image(path, facts.sizing)
    except ImageError as error:
        found.failed.append({"file": shown(path.name), "error": str(error)})
        return None


def _told(image: LoadedImage) -> dict[str, object]:
    """Name without folder, checksum and sizes."""
    own = {"file": shown(image.path.name), "sha256": sha256(image.path.read_bytes())}
    return {**image_record(image), **own}


def _batch(
    local: Local, request: LocalRequest, facts: Facts, images: Sequence[LoadedImage], device: str
) -> list[OneImage]:
    names = ", ".join(str(image.path) for image in images)
    try:
        pixels = torch.stack([image.pixels for image in images])  # [B, 3, H, W]
        state = forward(local.program, facts, pixels, [image.valid for image in images], device)
        parts = [
            _sweep(local, request, state, local.features[k : k + local.chunk], images)
            for k in range(0, len(local.features), local.chunk)
        ]
    except AnalysisError:
        raise
    except LrpcError as error:
        raise ProgramError(f"{names}: {error}") from error
    return [_joined([part[b] for part in parts]) for b in range(len(images))]


def _sweep(
    local: Local,
    request: LocalRequest,
    state: State,
    features: Sequence[int],
    images: Sequence[LoadedImage],
) -> list[OneImage]:
    """Some of the features in every image of the batch."""
    at = torch.tensor(features)[:, None, None].expand(-1, len(images), -1)  # [K, B, 1]
    reached = [p for p in (local.route.read, *local.route.leaving) if p in local.target["reads"]]
    options = {} if request.token is None else {"token": request.token}
    with one_line():
        result = local.program.relevance(
            state, local.route.target, at=at, read=reached, ledger=True, **options
        )
    assert result.ledger is not None
    activation = _kept(result.ledger.start)  # [K, B]
    factor = _factor(local, request, activation, features, images)
    read = result.layers[local.route.read]
    contribution = _counted(read, local.axes) * factor[..., None]
    gross = _counted(read.abs(), local.axes) * factor.abs()[..., None]
    elsewhere = _elsewhere(result, local, factor)
    sinks = {kind: _kept(amount) * factor for kind, amount in result.ledger.sinks.items()}
    closure = _closure(result.ledger, (gross / factor.abs()[..., None]).sum(2))
    return [
        OneImage(
            contribution[:, b],
            gross[:, b],
            activation[:, b],
            (activation * factor)[:, b],
            {place: amount[:, b] for place, amount in elsewhere.items()},
            {kind: amount[:, b] for kind, amount in sinks.items()},
            closure[:, b],
        )
        for b in range(len(images))
    ]


def _factor(
    local: Local,
    request: LocalRequest,
    activation: Tensor,
    features: Sequence[int],
    images: Sequence[LoadedImage],
) -> Tensor:
    """What relevance [K, B] is multiplied by so that it starts as the target norm says."""
    if request.norm == "none":
        return torch.ones_like(activation)
    for k, b in torch.nonzero(activation == 0).tolist():
        raise AnalysisError(
            f"{images[b].path}: feature {features[k]} at {local.route.start} sums to 0 there and"
            " cannot be normalised; use --target-norm none, or leave the image out"
        )
    return (local.tokens if request.norm == "sumT" else 1) / activation


def _counted(value: Tensor, axes: Axes) -> Tensor:
    """Sums of [K, *place] over all but the batch and what is counted: float64 [K, B, n]."""
    kept = (0, axes.batch + 1, axes.index + 1)
    rest = [i for i in range(value.dim()) if i not in kept]
    total = value.sum(rest, dtype=torch.float64) if rest else value.double()
    return (total if axes.batch < axes.index else total.transpose(1, 2)).cpu()


def _elsewhere(result: Relevance, local: Local, factor: Tensor) -> dict[str, Tensor]:
    """What arrived at each place beside the path, [K, B]; 0 where relevance cannot get."""
    found = {}
    for place in local.route.leaving:
        value = result.layers.get(place)
        if value is None:
            found[place] = torch.zeros_like(factor)
            continue
        by_image = value.movedim(local.batches[place] + 1, 1).flatten(2)
        found[place] = by_image.sum(2, dtype=torch.float64).cpu() * factor
    return found


def _closure(ledger: Ledger, gross: Tensor) -> Tensor:
    """|start − end − Σ sinks| over the largest of them and of Σ|relevance|, `gross` [K, B].

    Where relevance of both signs cancels, its sum is no measure of what was computed.
    """
    start, end = _kept(ledger.start), _kept(ledger.end)
    sinks = [_kept(amount) for amount in ledger.sinks.values()]
    rest = start - end - sum(sinks, torch.zeros_like(start))
    sizes = [start.abs(), end.abs(), gross, *(s.abs() for s in sinks)]
    return rest.abs() / torch.stack(sizes).amax(0).clamp_min(torch.finfo(rest.dtype).tiny)


def _kept(amount: Tensor) -> Tensor:
    return amount.detach().double().cpu()


def _joined(parts: Sequence[OneImage]) -> OneImage:
    """One image's sweeps put together along the features."""
    if len(parts) == 1:
        return parts[0]
    first = parts[0]
    return OneImage(
        torch.cat([p.contribution for p in parts]),
        torch.cat([p.gross for p in parts]),
        torch.cat([p.activation for p in parts]),
        torch.cat([p.start for p in parts]),
        {place: torch.cat([p.elsewhere[place] for p in parts]) for place in first.elsewhere},
        {kind: torch.cat([p.sinks[kind] for p in parts]) for kind in first.sinks},
        torch.cat([p.closure for p in parts]),
    )
