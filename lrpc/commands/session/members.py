"""The composites of loaded programs, each under a name of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from lrpc.commands.session.calls import Explained, Request, explain, forward
from lrpc.commands.session.detect import find_detections
from lrpc.commands.session.facts import Facts, read_facts
from lrpc.commands.session.images import LoadedImage
from lrpc.commands.session.seeds import Seed
from lrpc.program.loading import under_composite
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

    def forward(self, pixels: Tensor, valid: Sequence[Size]) -> State:
        """Images [B, 3, H, W] in 0–255, `valid` (h, w) of each not padding → outputs and state."""
        return forward(self.program, self.facts, pixels, valid, self.device)

    def forward_of(self, images: Sequence[LoadedImage]) -> State:
        """The forward pass on images of one size."""
        pixels = torch.stack([image.pixels for image in images])  # [B, 3, H, W]
        return self.forward(pixels, [image.valid for image in images])

    def detections(
        self, state: State, images: Sequence[LoadedImage], score: float, top: int
    ) -> list[list[Detection]]:
        """At most `top` objects in each image of the batch, with scores above `score`."""
        return [
            find_detections(
                outputs_of(state, b),
                image.frame,
                image.valid,
                score,
                top,
                score_masks=self.facts.score_masks,
            )
            for b, image in enumerate(images)
        ]

    def relevance(
        self, state: State, seeds: Sequence[Sequence[Seed]], request: Request
    ) -> list[list[Explained]]:
        """The relevance of every image's seeds under this composite, in their order."""
        asked = replace(request, composite=self.composite)
        return explain(self.program, state, seeds, asked, self.facts.places)


def outputs_of(state: State, image: int) -> dict[str, Tensor]:
    """One image's outputs, without a batch axis."""
    return {name: value[image].detach() for name, value in state.outputs.items()}


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
