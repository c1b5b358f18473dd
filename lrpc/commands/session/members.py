"""The composites of loaded programs, each under a name of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lrpc.commands.session.calls import Explained, Request, explain, forward
from lrpc.commands.session.detect import find_detections
from lrpc.commands.session.facts import Facts, read_facts
from lrpc.commands.session.images import LoadedImage
from lrpc.commands.session.original import placed, seen_size
from lrpc.commands.session.seeds import Seed
from lrpc.errors import ProgramError
from lrpc.program.loading import composites_of, under_composite
from lrpc.program.protocol import Detection, Program, Size, State


@dataclass(frozen=True, eq=False)
class Member:
    """One composite of a loaded program, under the name that it goes by in results.

    Those of one program share it, and so its forward pass.
    """

    name: str
    program: Program
    facts: Facts
    device: str
    composite: str | None = None  # of the program's; None is its first
    directory: Path = Path()
    notes: tuple[str, ...] = ()  # of its compilation, where this command compiled it

    def forward(self, pixels: Tensor, attended: Sequence[Size]) -> State:
        """Images [B, 3, H, W] in 0–255, all masked but `attended` (h, w) → outputs and state."""
        return forward(self.program, self.facts, pixels, attended, self.device)

    def forward_of(self, images: Sequence[LoadedImage]) -> State:
        """The forward pass on images of one size."""
        pixels = torch.stack([image.pixels for image in images])  # [B, 3, H, W]
        return self.forward(pixels, [image.attended for image in images])

    def detections(
        self, state: State, images: Sequence[LoadedImage], score: float, top: int
    ) -> list[list[Detection]]:
        """At most `top` objects in each image of the batch, with scores above `score`."""
        found = []
        for b, image in enumerate(images):
            some = find_detections(
                self.framed(state, b, image.attended, image.frame),
                image.frame,
                image.valid,
                score,
                top,
                original=seen_size(image.seen),
                score_masks=self.facts.score_masks,
                classes=self.facts.class_count,
                things=self.facts.results.things if self.facts.results.panoptic else None,
                per_query=self.facts.per_query,
            )
            found.append([placed(one, image.window, image.original) for one in some])
        return found

    def framed(self, state: State, image: int, attended: Size, frame: Size) -> dict[str, Tensor]:
        """One image's outputs, without a batch axis; boxes [Q, 4] over the frame.

        Detectors of transformers give boxes over what the mask of padding leaves, as DETR's do
        (Carion et al. 2020, 2005.12872: relative to the image size).
        """
        found, facts = outputs_of(state, image), self.facts
        if "pred_boxes" in found and facts.padding_mask and facts.sizing.masks:
            boxes = found["pred_boxes"]
            down, across = (a / b for a, b in zip(attended, frame, strict=True))
            found["pred_boxes"] = boxes * boxes.new_tensor([across, down, across, down])
        return found

    def relevance(
        self, state: State, seeds: Sequence[Sequence[Seed]], request: Request
    ) -> list[list[Explained]]:
        """The relevance of every image's seeds under this composite, in their order."""
        asked = replace(request, composite=self.composite)
        return explain(self.program, state, seeds, asked, self.facts.places)


def outputs_of(state: State, image: int) -> dict[str, Tensor]:
    """One image's outputs as the model gives them, without a batch axis."""
    return {name: value[image].detach() for name, value in state.outputs.items()}


def names_of(
    label: str, manifest: Mapping[str, Any], wanted: Sequence[str] | None = None
) -> dict[str, str | None]:
    """What the composites of a program called `label` are called in results → which of its
    composites each is (None: its only one). Without a label, a composite goes by its own name.

    Raises ProgramError for a wanted composite that it does not have.
    """
    known = composites_of(manifest)
    for name in wanted or ():
        if name not in known:
            raise ProgramError(
                f"{label + ': ' if label else ''}no composite {name!r}; it has: {', '.join(known)}"
            )
    chosen = [name for name in known if wanted is None or name in wanted]
    if len(known) == 1:
        return {label or known[0]: None}
    return {f"{label}: {name}" if label else name: name for name in chosen}


def member(
    name: str, program: Program, device: str, composite: str | None, directory: Path
) -> Member:
    """A composite of a program with what the manifest says of it. Raises ProgramError."""
    facts = read_facts(under_composite(program.manifest, composite))
    return Member(name, program, facts, device, composite, directory)


def passes(
    members: Sequence[Member], images: Sequence[LoadedImage], first: State
) -> Iterator[tuple[Member, State]]:
    """Every member with the forward pass of its program, one for neighbours that share it; `first`
    is that of the first member's."""
    program, state = members[0].program, first
    for one in members:
        if one.program is not program:
            program, state = one.program, one.forward_of(images)
        yield one, state
