"""Takes multi-head attention apart: projections, scores, softmax and mixing, each its own node."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lrpc.ir.graph import Module, Node, Value
from lrpc.ir.types import Dim
from passes.rewrite import Rewriter, prune_weights, rewrite


@dataclass(frozen=True)
class ExpandAttention:
    """Replaces `multi_head_attention` by primitive operations (Vaswani et al. 2017, section 3.2).

    The packed projection is split into weights `NAME@q`, `NAME@k` and `NAME@v`; the queries are
    scaled by 1/√d, so that a stabiliser of the scores meets them scaled; a mask (true: not
    attended) fills the scores with −inf.
    """

    name: ClassVar[str] = "expand_attention"

    def run(self, module: Module) -> Module:
        def emit(node: Node, new: Rewriter) -> tuple[Value, ...] | None:
            return (_expanded(node, new),) if node.op == "multi_head_attention" else None

        return prune_weights(rewrite(module, emit))


def _expanded(node: Node, new: Rewriter) -> Value:
    stem, loc = node.out.name, node.loc
    queries, keys, values = (
        _heads(_projected(node, part, i, new), node, part, new) for i, part in enumerate("qkv")
    )
    rank = queries.type.rank
    swapped = (*range(rank - 2), rank - 1, rank - 2)
    turned = new.one("permute", keys, hint=f"{stem}_kt", loc=loc, dims=swapped)
    width = queries.type.shape[-1]
    assert isinstance(width, int)
    scaled = new.one("scale", queries, hint=f"{stem}_scaled", loc=loc, by=width**-0.5)
    scores = new.one("matmul", scaled, turned, hint=f"{stem}_scores", loc=loc)
    for mask in node.inputs[3:]:
        minus_infinity = float("-inf")
        scores = new.one(
            "masked_fill", scores, mask, hint=f"{stem}_masked", loc=loc, value=minus_infinity
        )
    shares = new.one("softmax", scores, hint=f"{stem}_probabilities", loc=loc, dim=-1)
    mixed = new.one("matmul", shares, values, hint=f"{stem}_mixed", loc=loc)
    joined = _joined(mixed, node, new)
    return new.one(
        "linear", joined, hint=stem, loc=loc,
        weight=node.attr("out_weight"), bias=node.attr("out_bias"),
    )  # fmt: skip


def _projected(node: Node, part: str, index: int, new: Rewriter) -> Value:
    names = {}
    for key in ("weight", "bias"):
        name = node.attr(f"in_{key}")
        if name is not None:
            rows = new.tensors[str(name)].chunk(3)[index].clone()
            names[key] = new.weight(f"{name}@{part}", rows)
    return new.one(
        "linear", node.inputs[index], hint=f"{node.out.name}_{part}_proj", loc=node.loc,
        weight=names["weight"], bias=names.get("bias"),
    )  # fmt: skip


def _heads(x: Value, node: Node, part: str, new: Rewriter) -> Value:
    """[…, N, C] → […, heads, N, C/heads]."""
    *front, rows, width = x.type.shape
    heads = node.integer("heads")
    assert isinstance(width, int)
    shape: tuple[Dim, ...] = (*front, rows, heads, width // heads)
    split = new.one("reshape", x, hint=f"{node.out.name}_{part}_split", loc=node.loc, shape=shape)
    rank = len(shape)
    dims = (*range(rank - 3), rank - 2, rank - 3, rank - 1)
    return new.one("permute", split, hint=f"{node.out.name}_{part}", loc=node.loc, dims=dims)


def _joined(x: Value, node: Node, new: Rewriter) -> Value:
    """[…, heads, N, d] → […, N, heads·d]."""
    rank = x.type.rank
    dims = (*range(rank - 3), rank - 2, rank - 3, rank - 1)
    turned = new.one("permute", x, hint=f"{node.out.name}_turned", loc=node.loc, dims=dims)
    *front, heads, width = turned.type.shape
    joined: tuple[Dim, ...] = (*front, heads * width)
    return new.one("reshape", turned, hint=f"{node.out.name}_joined", loc=node.loc, shape=joined)
