"""One way of writing each thing: no-ops dropped, batch norm folded, constants evaluated."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from lrpc.ir.graph import Attr, Module, Node
from lrpc.ir.ops import TABLE
from passes.drop_identities import DOING_NOTHING, drop_identities
from passes.eliminate_dead import EliminateDead
from passes.fold_batch_norm import FoldBatchNorm
from passes.fold_constants import FoldConstants
from passes.hoist_constants import hoist_constants
from passes.merge_common import merge_common
from passes.recognise_batch_norm import RecogniseBatchNorm
from passes.rewrite import map_nodes


@dataclass(frozen=True)
class Canonicalize:
    """Normalises calls, drops no-ops, folds batch norm, also where it is spelled with frozen
    statistics, and constants, merges equal operations.

    Afterwards the axis of cat, slice, flip, gather, topk, softmax and of reductions counts from
    the end, so that it stays right under a seeds axis in front; permutations count from the front;
    reshape and expand name their whole shape. Constants that several blocks read come first.
    """

    fold_batch_norm: bool = True
    fold_constants: bool = True
    name: ClassVar[str] = "canonicalize"

    def run(self, module: Module) -> Module:
        module = map_nodes(module, normalised)
        module = drop_identities(module, DOING_NOTHING)
        if self.fold_batch_norm:
            module = FoldBatchNorm().run(module)
        if self.fold_constants:
            module = FoldConstants().run(module)  # makes masks known that fill nothing
        module = drop_identities(module, DOING_NOTHING)
        spelled = RecogniseBatchNorm().run(module)
        if self.fold_batch_norm and spelled is not module:
            spelled = FoldBatchNorm().run(spelled)
        module = hoist_constants(merge_common(spelled))
        return EliminateDead().run(module)


def normalised(node: Node) -> Node:
    """`node` with its axes and shapes written in the canonical way."""
    attrs = tuple((key, _normal(node, key, value)) for key, value in node.attrs)
    return node if attrs == node.attrs else replace(node, attrs=attrs)


def _normal(node: Node, key: str, value: Attr) -> Attr:
    if not node.inputs:
        return value
    kind, rank = TABLE[node.op].kind(key), max(1, node.inputs[0].type.rank)
    if kind == "dims":
        return node.out.type.shape
    if kind == "axis" and isinstance(value, int):
        return value % rank - rank
    if kind in ("axes", "order") and isinstance(value, tuple):
        counted = [int(v) % rank for v in value if isinstance(v, int)]
        return tuple(counted) if kind == "order" else tuple(sorted(v - rank for v in counted))
    return value
