"""Relevance and activation of every channel, detection by detection."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from lrpc.commands.concepts.store import Sample, Store, Vector
from lrpc.commands.jobs.sources.items import Item
from lrpc.commands.session.batches import process
from lrpc.commands.session.calls import Request
from lrpc.commands.session.images import LoadedImage
from lrpc.commands.session.session import Session
from lrpc.commands.session.units import count
from lrpc.errors import ProgramError
from lrpc.program.protocol import State
from lrpc.support.files import shown
from lrpc.support.log import LOG

Tell = Callable[[int, str], None]  # how many images are done, and the last one's name


@dataclass(frozen=True)
class PlaceAxes:
    """A place whose channels are concepts, which axis of its value [B, ...] they are, and how many
    there are."""

    name: str
    axis: int
    channels: int

    def by_channel(self, value: Tensor) -> Tensor:
        """A value of one image [...] as [C, positions], in float64."""
        moved = value.detach().cpu().double().movedim(self.axis - 1, 0)
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
        axis = mask.axes[0]
        axes.append(PlaceAxes(place, axis - 1, int(mask.shape[axis])))
    return axes


def _activations(program: Any, state: State, place: PlaceAxes) -> list[Vector]:
    """The largest activation of every channel of a place in each image: of the values that the
    target `channel:PLACE` starts from."""
    part, name = program.interface.targets[f"channel:{place.name}"].value
    saved: Any = getattr(state, "saved", None)
    if not saved:
        raise ProgramError(
            "the budget of this program keeps no state for so many images; use --batch-size 1 or a"
            " larger LRPC.MEMORY.BUDGET"
        )
    return [place.by_channel(one).amax(1).numpy() for one in saved[part][name]]


def gather(
    session: Session,
    items: Sequence[Item],
    places: Sequence[PlaceAxes],
    store: Store,
    tell: Tell,
) -> tuple[list[Sample], dict[str, str]]:
    """The detections of all images, in their order, and why images failed. What the store knows is
    not computed again. Raises Stopped."""
    work = _Gathering(session, places, store, tell)
    for number, item in enumerate(items):
        known = store.samples(number, item)
        if known is not None:
            work.found[number] = known
            tell(1, item.name)
    todo = [(n, item) for n, item in enumerate(items) if n not in work.found]
    jobs = ((Path(item.name), (n, item)) for n, item in todo)
    batch = session.options.batch_size
    process(jobs, work, session.sizing, batch, read=lambda one: one[1].read())
    return [one for _, some in sorted(work.found.items()) for one in some], work.failed


@dataclass(frozen=True)
class _Gathering:
    """Images as `process` takes them, each with its number and item."""

    session: Session
    places: Sequence[PlaceAxes]
    store: Store
    tell: Tell
    found: dict[int, list[Sample]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def explain(
        self, images: Sequence[LoadedImage], items: Sequence[tuple[int, Item]]
    ) -> list[list[Sample]]:
        member = self.session.members[0]
        state = member.forward_of(images)
        _, seeds = self.session.seeds(state, images)
        if not any(seeds):
            return [[] for _ in images]
        held = {place.name: _activations(member.program, state, place) for place in self.places}
        names = tuple(place.name for place in self.places)
        asked = Request(names, ledger=False, chunk=self.session.options.request.chunk)
        return [
            [
                Sample(
                    *(number, item.name, one.seed.slug),
                    -1 if one.seed.detection is None else one.seed.detection.label,
                    {p.name: p.by_channel(one.layers[p.name]).sum(1).numpy() for p in self.places},
                    {name: values[b] for name, values in held.items()},
                )
                for one in explained
            ]
            for b, ((number, item), explained) in enumerate(
                zip(items, member.relevance(state, seeds, asked), strict=True)
            )
        ]

    def keep(self, image: LoadedImage, job: tuple[int, Item], result: list[Sample]) -> None:
        number, item = job
        self.store.keep_samples(number, item, result, [place.name for place in self.places])
        self.found[number] = result
        LOG.info("%s: %s", shown(item.name), count(len(result), "detection"))
        self.tell(1, item.name)

    def fail(self, job: tuple[int, Item], path: Path, error: str) -> None:
        self.failed[job[1].name] = error
        self.tell(1, job[1].name)
