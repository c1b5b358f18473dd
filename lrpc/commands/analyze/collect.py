"""Images through a program in local mode: one `OneImage` for each, summed up as they come."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from lrpc.commands.analyze.metadata import sha256
from lrpc.commands.analyze.programs import Axes, Local
from lrpc.commands.analyze.request import LocalRequest
from lrpc.commands.analyze.running import OneImage, Running
from lrpc.commands.session.batches import process
from lrpc.commands.session.calls import in_seed_chunks
from lrpc.commands.session.changes import change_of
from lrpc.commands.session.images import LoadedImage
from lrpc.commands.session.record import image_record
from lrpc.commands.session.writing import Outcome
from lrpc.errors import AnalysisError, ImageError
from lrpc.program.protocol import Ledger, Relevance
from lrpc.support.files import shown
from lrpc.support.signals import Stopped


@dataclass
class Collected:
    """The sums over the images that could be analysed, and a record of each of these; `tell` hears
    of each image."""

    local: Local
    request: LocalRequest
    tell: Callable[[Outcome], None]
    pad: bool = False  # images that do not fill the input of a program of one size
    running: Running = field(default_factory=Running)
    images: list[dict[str, object]] = field(default_factory=list)
    first_error: str = ""

    def collect(
        self, paths: Sequence[Path], batch_size: int, *, debug: bool = False
    ) -> Stopped | None:
        """All images that can be analysed; the signal that came before the last one, if any.

        Raises ImageError where none can be, AnalysisError for one in which a feature that is to be
        normalised sums to exactly 0.
        """
        jobs = ((path, None) for path in paths)
        try:
            sizing = replace(self.local.member.facts.sizing, pad=self.pad)
            process(jobs, self, sizing, batch_size, debug=debug)
        except Stopped as stop:
            return stop
        if not self.images:
            raise ImageError(f"no image could be analysed; the first: {self.first_error}")
        return None

    def explain(self, images: Sequence[LoadedImage], items: Sequence[None]) -> list[OneImage]:
        """All features in every image of a batch."""
        local, member = self.local, self.local.member
        at = torch.tensor(local.features)[:, None, None].expand(-1, len(images), -1)  # [K, B, 1]
        places = (local.route.read, *local.route.leaving)
        options: dict[str, object] = {"ledger": True}
        options["read"] = [place for place in places if place in local.target["reads"]]
        if self.request.token is not None:
            options["token"] = self.request.token
        state = member.forward_of(images)
        target, chunk = local.route.target, local.chunk
        parts = [
            _in_each(local, self.request, result, local.features[part.start : part.stop], images)
            for part, result in in_seed_chunks(
                member.program, state, target, {"at": at}, chunk, options
            )
        ]
        return [_joined([part[b] for part in parts]) for b in range(len(images))]

    def keep(self, image: LoadedImage, item: None, result: OneImage) -> None:
        """Count one image, and note its name without folder, checksum and sizes."""
        own = {"file": shown(image.path.name), "sha256": sha256(image.path.read_bytes())}
        self.running.add(result)
        self.images.append({**image_record(image), **own})
        self.tell(Outcome(image.path, len(self.local.features), change=change_of(image)))

    def fail(self, item: None, path: Path, error: str) -> None:
        """Note one that failed."""
        self.first_error = self.first_error or error
        self.tell(Outcome(path, error=error))


def _in_each(
    local: Local,
    request: LocalRequest,
    result: Relevance,
    features: Sequence[int],
    images: Sequence[LoadedImage],
) -> list[OneImage]:
    """Some of the features in every image of the batch."""
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
    return (local.tokens_at(images[0].frame) if request.norm == "sumT" else 1) / activation


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
    """One image's seed chunks put together along the features."""
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
