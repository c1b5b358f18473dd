"""What the queries of an image's targets look at: attention of the decoder, for pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import save
from torch import Tensor

from lrpc.commands.session.images import LoadedImage
from lrpc.commands.session.seeds import Seed
from lrpc.config.target_kinds import KINDS, QUERY
from lrpc.program.attention import Attention
from lrpc.program.protocol import Box
from lrpc.support.files import shown, write_bytes


@dataclass(frozen=True, eq=False)
class Look:
    """What one query looks at in one image: its box (network pixels, None: not known), attentions
    by module, each of this query alone, and the boxes of all queries."""

    query: int
    box: Box | None
    attentions: Mapping[str, Attention]
    boxes: Sequence[Box]


def looks(
    found: Mapping[str, Attention],
    image: int,
    seeds: Sequence[Seed],
    outputs: Mapping[str, Tensor],
    frame: tuple[int, int],
) -> tuple[Look, ...]:
    """One for each query that seeds are of, in their order, of those attentions that queries have;
    `check_queries` says whether there are any."""
    count = len(outputs["pred_logits"])
    of_queries = {name: one for name, one in found.items() if _queries(one) == count}
    boxes = _boxes(outputs, frame)
    return tuple(
        Look(
            query,
            boxes[query] if boxes else None,
            {name: one.of_query(image, query) for name, one in of_queries.items()},
            boxes,
        )
        for query in dict.fromkeys(_queries_of(seeds))
    )


def _queries(one: Attention) -> int:
    """How many queries an attention has: of dense attention, among themselves."""
    if one.points is not None:
        return one.weights.shape[1]
    square = one.weights.dim() == 4 and one.weights.shape[2] == one.weights.shape[3]
    return one.weights.shape[2] if square else 0


def _queries_of(seeds: Sequence[Seed]) -> Iterator[int]:
    """The queries that seeds are of; a channel of the encoder and a segment of a class are of
    none."""
    for seed in seeds:
        if QUERY in KINDS[seed.kind].index[:1]:
            yield seed.index[0]
        elif seed.kind == "panoptic_segment" and seed.detection is not None:
            yield seed.detection.query


def _boxes(outputs: Mapping[str, Tensor], frame: tuple[int, int]) -> list[Box]:
    height, width = frame
    found: list[Box] = []
    for cx, cy, w, h in outputs["pred_boxes"].tolist() if "pred_boxes" in outputs else ():
        left, top = (cx - w / 2) * width, (cy - h / 2) * height
        found.append((left, top, left + w * width, top + h * height))
    return found


def write_looks(path: Path, image: LoadedImage, found: Sequence[Look]) -> None:
    """Weights and points in one file: `qQ/MODULE/weights`, [heads, L, P] or [heads, queries], and
    `qQ/MODULE/points` [heads, L, P, 2], as (x, y) from 0 to 1 across the network's input."""
    tensors: dict[str, Tensor] = {}
    for look in found:
        for name, one in look.attentions.items():
            weights = one.weights[0, 0] if one.points is not None else one.weights[0, :, 0]
            tensors[f"q{look.query}/{name}/weights"] = weights.cpu().contiguous()
            if one.points is not None:
                tensors[f"q{look.query}/{name}/points"] = one.points[0, 0].cpu().contiguous()
    write_bytes(path, save(tensors, metadata={"image": shown(image.path)}))
