"""Parts of the mask logits that relevance starts from together: masks, rectangles, segments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from lrpc.commands.session.segments import Segmentation
from lrpc.models.maskdino.segments import Results, Segment, class_shares
from lrpc.program.protocol import Size


def mask_weights(masks: Tensor, query: int, frame: Size, valid: Size) -> Tensor | None:
    """Equal weights inside a predicted mask: of mask logits [Q, h, w], zeros elsewhere, sum 1; None
    where the mask is empty. Cells of padding do not count."""
    inside = (masks[query] > 0) & _visible(masks, frame, valid)
    return _equal(masks, query, inside)


def boundary_weights(masks: Tensor, query: int, frame: Size, valid: Size) -> Tensor | None:
    """What ends a predicted mask: equal weights, sum 1, at the cells inside that touch the outside,
    and sum −1 at the cells outside that touch the inside; None where either has none. Cells touch
    along their edges; those of padding do not count."""
    seen = _visible(masks, frame, valid)
    inside = (masks[query] > 0) & seen
    outside = seen & ~inside
    edges = [inside & _grown(outside), outside & _grown(inside)]
    if not all(bool(edge.any()) for edge in edges):
        return None
    weights = torch.zeros_like(masks)
    near, far = (edge.to(masks.dtype) / edge.sum() for edge in edges)
    weights[query] = near - far
    return weights


def _grown(cells: Tensor) -> Tensor:
    """Cells [h, w] and those that touch them along an edge."""
    grown = cells.clone()
    grown[1:] |= cells[:-1]
    grown[:-1] |= cells[1:]
    grown[:, 1:] |= cells[:, :-1]
    grown[:, :-1] |= cells[:, 1:]
    return grown


def region_weights(masks: Tensor, query: int, area: Sequence[int]) -> Tensor | None:
    """Equal weights in rows y0 to y1 and columns x0 to x1, both ends included."""
    top, left, bottom, right = area
    inside = torch.zeros_like(masks[0], dtype=torch.bool)
    inside[top : bottom + 1, left : right + 1] = True
    return _equal(masks, query, inside)


def panoptic_weights(
    masks: Tensor, found: Segmentation, one: Segment, frame: Size, valid: Size
) -> Tensor | None:
    """Equal weights at the cells of a segment, each of the query whose mask is likeliest there."""
    inside = _cells(found.numbers, masks, frame, valid) == one.id
    count = int(inside.sum())
    if not count:
        return None
    queries = torch.tensor(one.queries, device=masks.device)
    owner = queries[masks[queries].argmax(0)]  # [h, w]
    weights = torch.zeros_like(masks)
    return weights.scatter_(0, owner[None], inside.to(masks.dtype)[None] / count)


def semantic_weights(
    outputs: Mapping[str, Tensor],
    found: Segmentation,
    one: Segment,
    how: Results,
    frame: Size,
    valid: Size,
) -> Tensor | None:
    """At the cells of a class, each query's share in the score of the class there; their mean."""
    masks = outputs["pred_masks"].float()
    inside = _cells(found.numbers, masks, frame, valid) == one.id
    if not bool(inside.any()):
        return None
    shares = class_shares(outputs["pred_logits"], how)[:, one.label]
    parts = shares[:, None, None] * masks.sigmoid()
    return parts / parts.sum(0) * inside / inside.sum()


def _equal(masks: Tensor, query: int, inside: Tensor) -> Tensor | None:
    count = int(inside.sum())
    if not count:
        return None
    weights = torch.zeros_like(masks)
    weights[query] = inside.to(masks.dtype) / count
    return weights


def _visible(masks: Tensor, frame: Size, valid: Size) -> Tensor:
    """The cells whose centre is image, bool [h, w]."""
    rows, columns = (
        (torch.arange(cells, device=masks.device) + 0.5) * edge / cells < seen
        for cells, edge, seen in zip(masks.shape[1:], frame, valid, strict=True)
    )
    return rows[:, None] & columns


def _cells(numbers: Tensor, masks: Tensor, frame: Size, valid: Size) -> Tensor:
    """The segment at the centre of each cell of the masks, 0 in the padding: [h, w]."""
    rows, columns = (
        ((torch.arange(cells) + 0.5) * edge / cells * (size / seen)).long().clamp(max=size - 1)
        for cells, edge, seen, size in zip(
            masks.shape[1:], frame, valid, numbers.shape, strict=True
        )
    )
    found = numbers[rows][:, columns].to(masks.device)
    return found * _visible(masks, frame, valid)
