"""Relevance and activation of every channel, detection by detection."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lrpc.commands.jobs.sources.items import Item
from lrpc.commands.session.calls import Request
from lrpc.commands.session.images import LoadedImage, load_image
from lrpc.commands.session.members import Member
from lrpc.commands.session.seeds import Seed
from lrpc.commands.session.session import Session
from lrpc.errors import ImageError, ProgramError
from lrpc.program.protocol import State

Vector = NDArray[np.float64]  # a number for each channel of a place


@dataclass(frozen=True, eq=False)
class Sample:
    """One explained detection: of each place, the relevance of every channel, summed over
    positions, and its activation in the image, the largest of all positions."""

    image: int
    name: str
    seed: Seed
    relevance: dict[str, Vector]
    activation: dict[str, Vector]

    @property
    def label(self) -> int:
        """The number of its class."""
        return -1 if self.seed.detection is None else self.seed.detection.label

    def shares(self, place: str) -> Vector:
        """Relevance of the channels, divided by the sum of magnitudes."""
        found = self.relevance[place]
        return np.asarray(found / max(np.abs(found).sum(), 1e-300))


@dataclass(frozen=True)
class PlaceAxes:
    """A place whose channels are concepts, and which axis of its value [B, ...] they are."""

    name: str
    channels: int

    def by_channel(self, value: Tensor) -> Tensor:
        """A value of one image [...] as [C, positions], in float64."""
        moved = value.detach().cpu().double().movedim(self.channels - 1, 0)
        return moved.reshape(moved.shape[0], -1)


def places_of(program: Any, target: str, wanted: Sequence[str]) -> list[PlaceAxes]:
    """The places that relevance of a target can be masked at by channel, in the order in which it
    passes them. Raises ProgramError for one of `wanted` that is none, and where there are none."""
    starts = program.interface.targets
    if target not in starts:
        raise ProgramError(f"{program.directory}: relevance starts from {', '.join(starts)}")
    said = starts[target]
    found = [p for p in said.reads if p in said.masks and f"channel:{p}" in starts]
    for place in wanted:
        if place not in found:
            raise ProgramError(
                f"--place {place}: {target} passes {', '.join(found) or 'no place'} with channels"
                " that can be masked and started from; compile with it in LRPC.CONDITIONS and"
                " LRPC.STARTS"
            )
    chosen = [place for place in found if not wanted or place in wanted]
    if not chosen:
        raise ProgramError(
            f"{program.directory}: {target} passes no place whose channels can be masked; compile"
            " with places in LRPC.CONDITIONS and LRPC.STARTS, such as [encoder.layers.1]"
        )
    axes = []
    for place in chosen:
        mask = said.masks[place]
        if mask.shape[1] != "B":
            raise ProgramError(f"{place}: its images are not its first axis; choose another place")
        axes.append(PlaceAxes(place, mask.axes[0] - 1))
    return axes


def activations(program: Any, state: State, place: PlaceAxes, image: int) -> Tensor:
    """What a place holds in an image [C, positions]: the start of the target `channel:PLACE`."""
    part, name = program.interface.targets[f"channel:{place.name}"].value
    saved: Any = getattr(state, "saved", None)
    if not saved:
        raise ProgramError(
            "the budget of this program keeps no state for so many images; use --batch-size 1 or a"
            " larger LRPC.MEMORY.BUDGET"
        )
    return place.by_channel(saved[part][name][image])


def loaded(session: Session, item: Item) -> LoadedImage:
    """An image as the program takes it. Raises ImageError."""
    return load_image(Path(item.name), session.sizing, item.read())


def samples(
    session: Session, items: Sequence[Item], places: Sequence[PlaceAxes], failed: dict[str, str]
) -> Iterator[tuple[int, list[Sample]]]:
    """The detections of each image; why an image failed goes to `failed`."""
    member = session.members[0]
    request = Request(tuple(place.name for place in places), None, ledger=False)
    for number, item in enumerate(items):
        try:
            image = loaded(session, item)
        except ImageError as error:
            failed[item.name] = str(error).partition("\n")[0]
            yield number, []
            continue
        state = member.forward_of([image])
        _, (seeds,) = session.seeds(state, [image])
        yield number, _of_image(member, state, seeds, request, places, number, item.name)


def _of_image(
    member: Member,
    state: State,
    seeds: Sequence[Seed],
    request: Request,
    places: Sequence[PlaceAxes],
    number: int,
    name: str,
) -> list[Sample]:
    if not seeds:
        return []
    held = {p.name: activations(member.program, state, p, 0).amax(1).numpy() for p in places}
    (explained,) = member.relevance(state, [seeds], request)
    found = []
    for one in explained:
        relevance = {p.name: p.by_channel(one.layers[p.name]).sum(1).numpy() for p in places}
        found.append(Sample(number, name, one.seed, relevance, held))
    return found
