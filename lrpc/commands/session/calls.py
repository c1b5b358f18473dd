"""Relevance calls for a batch: seeds grouped by target, padded to one tensor, dealt out again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from lrpc.commands.session.classes import of_classes
from lrpc.commands.session.facts import Facts
from lrpc.commands.session.ledgers import LedgerValues, values_of
from lrpc.commands.session.places import Places
from lrpc.commands.session.seeds import Seed
from lrpc.commands.session.targets import Layer
from lrpc.config.target_kinds import KINDS
from lrpc.errors import LrpcError, ProgramError
from lrpc.program.protocol import Program, Relevance, Size, State

_APART = ("norm", "token", "condition")  # options that change nothing about what a call holds


@dataclass(frozen=True)
class Request:
    """What to ask of every relevance call; `chunk` bounds the seeds per call (0: all at once),
    `composite` None is the program's first. `condition` has what passes at places that the program
    can mask: names and numbers."""

    read: tuple[str, ...] = ()
    norm: str | None = None
    ledger: bool = True
    chunk: int = 0
    composite: str | None = None
    condition: tuple[tuple[str, tuple[int, ...]], ...] = ()


@dataclass(frozen=True, eq=False)
class Explained:
    """The relevance of one seed in one image, on the CPU.

    `input` [3, H, W] at the normalised image; `layers` name → [N, C].
    """

    seed: Seed
    input: Tensor
    layers: Mapping[str, Tensor] = field(default_factory=dict)
    ledger: LedgerValues | None = None


def forward(
    program: Program, facts: Facts, pixels: Tensor, attended: Sequence[Size], device: str
) -> State:
    """The program's forward on images [B, 3, H, W] in 0–255, with their padding where it takes a
    mask, which leaves `attended` (h, w) at the top left of each."""
    pixels = pixels.to(device, facts.dtype)
    frame = (pixels.shape[2], pixels.shape[3])
    masks = [padding_of(attended, frame).to(device)] if facts.padding_mask else []
    with one_line():
        return program.forward(pixels, *masks)


def padding_of(attended: Sequence[Size], frame: Size) -> Tensor:
    """Bool [B, H, W]: what is not the `attended` (h, w) at the top left of each image."""
    masks = torch.ones(len(attended), *frame, dtype=torch.bool)
    for mask, (height, width) in zip(masks, attended, strict=True):
        mask[:height, :width] = False
    return masks


def check_outputs(state: State) -> None:
    """Raise ProgramError where outputs are not those of a detector, segmenter or classifier."""
    names = set(state.outputs)
    if "pred_logits" in names and names & {"pred_boxes", "pred_masks"}:
        return
    if not of_classes({name: value[0] for name, value in state.outputs.items()}):
        raise ProgramError(
            "not the program of a detector or classifier: it needs pred_logits, and pred_boxes or"
            " pred_masks, or logits of classes, of the image or of pixels; its outputs are"
            f" {', '.join(sorted(names))}"
        )


def explain(
    program: Program,
    state: State,
    seeds: Sequence[Sequence[Seed]],
    request: Request,
    places: Places,
) -> list[list[Explained]]:
    """The relevance of every seed of every image in the batch, in the order of the seeds.

    Seeds of one target (and layer) go together: `at` is [K, B, n], where an image with fewer seeds
    repeats its last, and the repeats are dropped. Raises ProgramError where the program does, and
    where a result is not finite or not of the shape it should be.
    """
    done: list[dict[str, Explained]] = [{} for _ in seeds]
    groups = dict.fromkeys(_group(s) for image in seeds for s in image)
    for group in groups:
        kind, layer, _ = group
        mine = [[s for s in image if _group(s) == group] for image in seeds]
        target = KINDS[kind].weighs or kind
        options = _options(target, layer, request, places)
        starts, through = _starts(mine, state), _conditions(mine)
        for part, result in in_seed_chunks(
            program, state, target, starts, request.chunk, options, through
        ):
            ledgers = _checked(kind, result, len(part), len(seeds))
            for b, image in enumerate(mine):
                for k, seed in enumerate(image[part.start : part.stop]):
                    done[b][seed.slug] = _one(
                        result, None if ledgers is None else ledgers[k][b], k, b, seed
                    )
    return [[done[b][s.slug] for s in image] for b, image in enumerate(seeds)]


def _group(seed: Seed) -> tuple[str, Layer | None, bool]:
    """Seeds of one group go in one call."""
    return seed.kind, seed.layer, seed.start is None


def in_seed_chunks(
    program: Program,
    state: State,
    kind: str,
    starts: Mapping[str, Tensor],
    chunk: int,
    options: Mapping[str, Any],
    conditions: Sequence[Mapping[str, Tensor]] = (),
) -> Iterator[tuple[range, Relevance]]:
    """Relevance of seeds `at` [K, B, n], or `seeds` [K, B, ...] given outright, each under its own
    of `conditions` if there are any; at most `chunk` (0: all) in a call, and fewer where the
    program's budget needs that; with each part which of the seeds it has."""
    ((how, given),) = starts.items()
    seeds, images = given.shape[:2]
    known = {name: value for name, value in options.items() if name not in _APART}
    with one_line():  # not even one may keep the budget: the call says it
        step = max(1, program.at_once(kind, chunk or seeds, images, state=state, **known))
    given = given.to(next(iter(state.outputs.values())).device)
    for first in range(0, seeds, step):
        part = range(first, min(first + step, seeds))
        with one_line():
            start: Any = {how: given[first : first + step]}
            if conditions:
                start["condition"] = list(conditions[first : first + step])
            result = program.relevance(state, kind, **start, **options)
        yield part, result


def _checked(
    kind: str, result: Relevance, seeds: int, images: int
) -> list[list[LedgerValues]] | None:
    """The ledgers of a result; ProgramError where it is of another shape than it should be."""
    with one_line():
        pixels = result.input
    if pixels.dim() != 5 or pixels.shape[:2] != (seeds, images):
        raise ProgramError(
            f"relevance of '{kind}' came as {list(pixels.shape)}, not [{seeds}, {images}, 3, H, W]"
        )
    return None if result.ledger is None else values_of(result.ledger)


def _options(kind: str, layer: Layer | None, request: Request, places: Places) -> dict[str, Any]:
    """Keyword arguments of a call: only what is wanted."""
    options: dict[str, Any] = {}
    if layer is not None:
        options["layer"] = layer
    read = places.choose(kind if layer is None else f"{kind}:{layer}", request.read)
    if read:
        options["read"] = read
    if request.composite is not None:
        options["composite"] = request.composite
    if request.norm is not None:
        options["norm"] = request.norm
    if request.ledger:
        options["ledger"] = True
    if request.condition:
        options["condition"] = {place: list(numbers) for place, numbers in request.condition}
    return options


def _starts(seeds: Sequence[Sequence[Seed]], state: State) -> dict[str, Tensor]:
    """Indices `at`, or where seeds start from many entries `seeds`, relevance given outright
    [K, B, …]. Images with fewer seeds repeat their last, those with none start from all alike."""
    first = next(seed for image in seeds for seed in image)
    if first.start is None:
        return {"at": _at(seeds)}
    values = state.outputs[first.output]  # [B, ...]
    found = (values / values[0].numel()).repeat(max(map(len, seeds)), *[1] * values.dim())
    for b, image in enumerate(seeds):
        for k in range(len(found) if image else 0):
            start = image[min(k, len(image) - 1)].start
            assert start is not None  # that of one group all have
            found[k, b] = start
    return {"seeds": found}


def _conditions(seeds: Sequence[Sequence[Seed]]) -> list[dict[str, Tensor]]:
    """For each K what passes, masks [B, C] at the places that an image's seed goes through; none
    where no seed goes through one."""
    found: list[dict[str, Tensor]] = []
    for k in range(max(map(len, seeds))):
        own: dict[str, Tensor] = {}
        for b, image in enumerate(seeds):
            channel = image[min(k, len(image) - 1)].through if image else None
            if channel is not None:
                mask = own.setdefault(channel.place, torch.ones(len(seeds), channel.of))
                mask[b] = 0
                mask[b, channel.number] = 1
        found.append(own)
    return found if any(found) else []


def _at(seeds: Sequence[Sequence[Seed]]) -> Tensor:
    """Indices [K, B, n]; short images repeat their last seed, empty ones point at zero."""
    longest = max(len(image) for image in seeds)
    width = next(len(s.index) for image in seeds for s in image)
    at = torch.zeros(longest, len(seeds), width, dtype=torch.int64)
    for b, image in enumerate(seeds):
        for k in range(longest if image else 0):
            at[k, b] = torch.tensor(image[min(k, len(image) - 1)].index)
    return at


def _one(result: Relevance, ledger: LedgerValues | None, k: int, b: int, seed: Seed) -> Explained:
    pixels = result.input[k, b].detach().cpu().clone()
    if not bool(torch.isfinite(pixels).all()):
        raise ProgramError(f"the relevance of {seed.slug} is not finite")
    layers = {name: value[k, b].detach().cpu().clone() for name, value in result.layers.items()}
    return Explained(seed, pixels, layers, ledger)


@contextmanager
def one_line() -> Iterator[None]:
    """Turns whatever generated code raises into a ProgramError of one line, the cause kept."""
    try:
        yield
    except LrpcError:
        raise
    except Exception as error:
        text = str(error).strip().partition("\n")[0]
        kind = type(error).__name__
        own = kind == ProgramError.__name__  # a program carries its own class of that name
        message = text if own and text else f"{kind}: {text}" if text else kind
        raise ProgramError(message) from error
