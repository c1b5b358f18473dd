"""What the page of `lrpc demo` computes: detections of an image, and explanations of one of them
under every composite."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from lrpc.commands.demo.choices import Choice, choices_of
from lrpc.commands.session.calls import Explained
from lrpc.commands.session.images import LoadedImage, load_image
from lrpc.commands.session.members import member, names_of
from lrpc.commands.session.options import Options
from lrpc.commands.session.original import original_box
from lrpc.commands.session.seeds import Scene, Seed, resolve
from lrpc.commands.session.session import Session
from lrpc.commands.session.targets import TargetError, parse_target
from lrpc.errors import ProgramError
from lrpc.program.protocol import Box, Program, State


@dataclass(frozen=True, eq=False)
class Found:
    """An image, its forward pass, and what was detected in it; `note` says why that is nothing."""

    photo: Image.Image
    image: LoadedImage
    state: State
    scene: Scene
    note: str = ""

    @property
    def boxes(self) -> list[Box]:
        """The boxes of the detections, in pixels of the image as it was given."""
        return [original_box(one.box, self.image) for one in self.scene.found]

    def at(self, x: float, y: float) -> int | None:
        """The number of the detection with the smallest box around a pixel of the image."""
        around = [
            ((x1 - x0) * (y1 - y0), number)
            for number, (x0, y0, x1, y1) in enumerate(self.boxes)
            if x0 <= x <= x1 and y0 <= y <= y1
        ]
        return min(around)[1] if around else None


@dataclass(frozen=True, eq=False)
class Answer:
    """One target under every composite: name of the composite → its relevance."""

    seed: Seed
    found: dict[str, Explained]


class Explorer:
    """A loaded program, under all of its composites or those named. Raises ProgramError."""

    def __init__(
        self,
        program: Program,
        directory: Path,
        options: Options,
        composites: Sequence[str] | None = None,
    ) -> None:
        names = names_of("", program.manifest, composites)
        members = [
            member(name, program, options.device, own, directory) for name, own in names.items()
        ]
        self.session = Session(members, replace(options, targets=()))  # chosen on the page
        self.facts = self.session.facts
        self.sizing = replace(self.facts.sizing, pad=options.pad)

    @property
    def composites(self) -> list[str]:
        """The names of the composites, in the order of all answers."""
        return [one.facts.composite for one in self.session.members]

    def detect(self, photo: Image.Image) -> Found:
        """What the program finds in an image. Raises ImageError and ProgramError."""
        data = io.BytesIO()
        rgb = photo.convert("RGB")
        rgb.save(data, "PNG", compress_level=1)
        image = load_image(Path("image"), self.sizing, data.getvalue())
        state, (scene,) = self.session.scenes([image])
        note = "" if scene.found else self.session.nothing(scene)
        return Found(rgb, image, state, scene, note)

    def names(self, found: Found) -> list[str]:
        """What the detections are called: number, class and score of each."""
        return [
            f"{number}: {self.class_name(one.label)} ({one.score:.2f})"
            for number, one in enumerate(found.scene.found, 1)
        ]

    def class_name(self, label: int) -> str:
        """A class by its name, or its number where it has none."""
        return self.facts.class_name(label) or f"class {label}"

    def classes(self, found: Found) -> list[str]:
        """The names of all classes, each once, by number."""
        outputs = found.scene.outputs
        logits = next(
            outputs[name] for name in ("pred_logits", "logits", "pixel_logits") if name in outputs
        )
        axis = 0 if "pixel_logits" in outputs and "pred_logits" not in outputs else -1
        count = self.facts.class_count or int(logits.shape[axis])
        names = [self.class_name(label) for label in range(count)]
        return [name if names.count(name) == 1 else f"{name} ({n})" for n, name in enumerate(names)]

    def choices(self, found: Found) -> list[Choice]:
        """The targets that can be chosen. Raises ProgramError where there are none."""
        choices = choices_of(self.facts, found.scene.outputs)
        if not choices:
            raise ProgramError("the program has no target of detections; see LRPC.TARGETS")
        return choices

    def explain(
        self, found: Found, number: int, choice: Choice, label: int, against: str = ""
    ) -> Answer:
        """Explain a target of a detection, seen as one of class `label`, under every composite;
        `against` is what its class is contrasted with. Raises TargetError and ProgramError."""
        one = found.scene.object(found.scene.found[number].query, label)
        scene = replace(found.scene, found=[one])
        spec = parse_target(choice.expression(one, against))
        seeds = resolve([spec.numbered(self.facts.classes)], scene)
        if not seeds:
            raise TargetError(f"target '{spec}': there is none of this detection")
        results = self.session.relevance([found.image], found.state, [seeds[:1]])
        every = (image[0][0] for image in results.values())
        return Answer(seeds[0], dict(zip(self.composites, every, strict=True)))
