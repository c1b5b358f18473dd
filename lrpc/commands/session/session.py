"""Images through the composites of one program or of several: the same targets for all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

from lrpc.commands.session.calls import Explained, check_outputs
from lrpc.commands.session.conditions import check_condition
from lrpc.commands.session.detect import best_probability
from lrpc.commands.session.facts import Facts
from lrpc.commands.session.images import LoadedImage
from lrpc.commands.session.looks import Look, looks
from lrpc.commands.session.members import Member, passes
from lrpc.commands.session.missed import missed
from lrpc.commands.session.options import Options
from lrpc.commands.session.original import in_network
from lrpc.commands.session.seeds import Scene, Seed, resolve
from lrpc.commands.session.segments import Segmentation, segmentations
from lrpc.commands.session.sizing import Sizing
from lrpc.commands.session.targets import TargetError, TargetSpec
from lrpc.commands.session.wanted import ALL
from lrpc.config.checks import wanted_for_segments
from lrpc.config.target_kinds import KINDS, OF_CLASSES
from lrpc.program.attention import attention, check_queries
from lrpc.program.protocol import Detection, State
from lrpc.runtime.program import Program as Loaded
from lrpc.runtime.results import State as LoadedState


@dataclass(frozen=True, eq=False)
class Result:
    """One image's seeds, and by the name of each member the relevance of all of them; a note where
    there are none; semantic and panoptic results of the first member, and what queries look at
    where that was asked for."""

    seeds: Sequence[Seed]
    found: Mapping[str, Sequence[Explained]]
    note: str
    segmentations: Sequence[Segmentation] = ()
    looks: Sequence[Look] = ()


class Session:
    """Members side by side, and what is asked of them; call `explain` with images of one size.

    Detections, and so the targets, are those of the first member. Raises TargetError and
    ProgramError for what a member's program was not compiled for.
    """

    def __init__(self, members: Sequence[Member], options: Options) -> None:
        self.members, self.facts = tuple(members), members[0].facts
        named = tuple(spec.numbered(self.facts.classes) for spec in self._usual(options.targets))
        options = replace(options, targets=named)
        self.options = options
        for one in members:
            for spec in options.targets:
                spec.check_compiled(tuple(one.facts.places.of))
                one.facts.places.check_input(spec.name)
                _check_made(spec, self.facts)
            one.facts.places.check(options.request.read)
            starts = [KINDS[spec.kind].weighs or spec.name for spec in options.targets]
            check_condition(one.program, starts, options.request.condition)
        if options.attention:
            check_queries(members[0].program, options.attention)
        options.wanted.check("pred_logits" in self.facts.outputs)
        self.labels = options.wanted.labels(self.facts.classes, self.facts.class_count)

    def _usual(self, targets: tuple[TargetSpec, ...]) -> tuple[TargetSpec, ...]:
        """The targets, where none was asked for those of a model without queries, if it is one."""
        compiled = self.facts.places.of
        own = [TargetSpec(kind) for kind in OF_CLASSES if kind in compiled]
        default = targets == (TargetSpec("class_logit"),) and "class_logit" not in compiled
        return tuple(own[:1]) if default and own else targets

    def explain(self, images: Sequence[LoadedImage]) -> list[Result]:
        """Forward, detections, seeds, relevance of images of one size."""
        state, scenes = self.scenes(images)
        seeds = [resolve(self.options.targets, scene) for scene in scenes]
        explained = self.relevance(images, state, seeds)
        seen = self._looks(state, images, seeds, scenes)
        return [
            Result(
                mine,
                {name: every[b] for name, every in explained.items()},
                "" if mine else self.nothing(scenes[b]),
                scenes[b].segmentations,
                seen[b],
            )
            for b, mine in enumerate(seeds)
        ]

    def scenes(self, images: Sequence[LoadedImage]) -> tuple[State, list[Scene]]:
        """The first member's forward pass on images of one size, and what it finds in each."""
        state = self.members[0].forward_of(images)
        return state, self._found(state, images)

    def relevance(
        self, images: Sequence[LoadedImage], state: State, seeds: Sequence[Sequence[Seed]]
    ) -> dict[str, list[list[Explained]]]:
        """The relevance of each image's seeds by the name of each member; `state` is the first
        member's. Empty where there are no seeds."""
        explained: dict[str, list[list[Explained]]] = {}
        for one, own in passes(self.members, images, state) if any(seeds) else ():
            explained[one.name] = one.relevance(own, seeds, self.options.request)
        return explained

    @property
    def sizing(self) -> Sizing:
        """How images are resized."""
        return replace(self.facts.sizing, pad=self.options.pad)

    def seeds(
        self, state: State, images: Sequence[LoadedImage]
    ) -> tuple[list[Scene], list[list[Seed]]]:
        """What is in images of one size, and where relevance starts in each."""
        scenes = self._found(state, images)
        return scenes, [resolve(self.options.targets, scene) for scene in scenes]

    def _found(self, state: State, images: Sequence[LoadedImage]) -> list[Scene]:
        """What a forward pass finds in images of one size."""
        check_outputs(state)
        detected = self._detections(state, images)
        outputs = [
            self.members[0].framed(state, b, image.attended, image.frame)
            for b, image in enumerate(images)
        ]
        scenes = [
            Scene(
                *(own, image.frame, image.valid, found, image.original),
                self.facts.class_count,
                segmentations(own, image, self.facts),
                self.facts.results,
                image.window,
            )
            for own, image, found in zip(outputs, images, detected, strict=True)
        ]
        if self.options.wanted.missed:
            return [self._missed(*one) for one in zip(scenes, images, strict=True)]
        return scenes

    def _detections(self, state: State, images: Sequence[LoadedImage]) -> list[list[Detection]]:
        """What is to be explained in each image."""
        wanted, top = self.options.wanted, self.options.top
        most = max(ALL, top) if wanted else top
        found = self.members[0].detections(state, images, self.options.score, most)
        if not wanted:
            return found
        pairs = zip(found, images, strict=True)
        return [wanted.of(some, image, self.labels, top) for some, image in pairs]

    def _missed(self, scene: Scene, image: LoadedImage) -> Scene:
        """A scene whose detections are the queries nearest to what is missed."""
        labels = sorted(self.labels)
        points = [in_network(point, image) for point in self.options.wanted.points]
        pairs = missed(scene.outputs, labels, points, scene.frame, scene.classes)
        alone = replace(scene, found=())
        return replace(scene, found=[alone.object(query, label) for query, label in pairs])

    def _looks(
        self,
        state: State,
        images: Sequence[LoadedImage],
        seeds: Sequence[Sequence[Seed]],
        scenes: Sequence[Scene],
    ) -> list[Sequence[Look]]:
        """What the queries of each image's seeds look at, in the first member."""
        modules = self.options.attention
        if not (modules and any(seeds)):
            return [()] * len(images)
        found = attention(cast(Loaded, self.members[0].program), cast(LoadedState, state), modules)
        return [
            looks(found, b, seeds[b], scenes[b].outputs, image.frame)
            for b, image in enumerate(images)
        ]

    def nothing(self, scene: Scene) -> str:
        """Why nothing is explained in an image, in words."""
        score, best = self.options.score, best_probability(scene.outputs, scene.classes)
        asked = f" {words}" if (words := self.options.wanted.words()) else ""
        return f"no detection{asked} above {score:g} (largest class probability {best:.2f})"


def _check_made(spec: TargetSpec, facts: Facts) -> None:
    """Raise TargetError for a segment of a kind that the model's own inference does not make."""
    made = {"semantic_segment": facts.results.semantic, "panoptic_segment": facts.results.panoptic}
    if not made.get(spec.kind, True):
        kind = spec.kind.removesuffix("_segment")
        wants = wanted_for_segments(str(facts.settings.get("SOURCE")), kind)
        raise TargetError(
            f"target '{spec}': this program makes no {kind} results; that wants {wants}"
        )
