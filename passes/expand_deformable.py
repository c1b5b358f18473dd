"""Takes multi-scale deformable attention apart: projections, locations, weights, sampling map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from lrpc.ir.extents import sizes_in
from lrpc.ir.graph import Attr, Module, Node, Value
from lrpc.ir.types import DTYPES
from passes.rewrite import Rewriter, prune_weights, rewrite


@dataclass(frozen=True)
class ExpandDeformable:
    """Replaces `deformable_attention` by primitive operations (Zhu et al. 2021, equation 3).

    Reference points are (x, y) or (x, y, w, h) and may have batch 1; a mask (true: padding) sets
    the projected values to 0.
    """

    name: ClassVar[str] = "expand_deformable"

    def run(self, module: Module) -> Module:
        def emit(node: Node, new: Rewriter) -> tuple[Value, ...] | None:
            return (_Expansion(node, new).output(),) if node.op == "deformable_attention" else None

        return prune_weights(rewrite(module, emit))


class _Expansion:
    """One deformable attention: B batch, Q queries, S rows, H heads, L levels, P points."""

    def __init__(self, node: Node, new: Rewriter) -> None:
        self.node, self.new = node, new
        self.heads, self.points = node.integer("heads"), node.integer("points")
        levels = node.attr("levels")
        assert isinstance(levels, tuple)
        self.levels = levels

    def op(self, op: str, *inputs: Value, hint: str, **attrs: Attr | None) -> Value:
        hint = f"{self.node.out.name}_{hint}" if hint else self.node.out.name
        return self.new.one(op, *inputs, hint=hint, loc=self.node.loc, **attrs)

    def linear(self, x: Value, part: str, hint: str) -> Value:
        weight, bias = self.node.attr(f"{part}_weight"), self.node.attr(f"{part}_bias")
        return self.op("linear", x, hint=hint, weight=weight, bias=bias)

    def output(self) -> Value:
        sampled = self.op(
            "deform_sample", self.values(), self.locations(), self.weights(),
            hint="sampled", levels=self.levels,
        )  # fmt: skip
        return self.linear(sampled, "output", "")

    def values(self) -> Value:  # [B, S, H, D]
        values = self.linear(self.node.inputs[2], "value", "value_proj")
        batch, rows, width = values.type.shape
        for mask in self.node.inputs[3:]:
            column = self.op("reshape", mask, hint="mask", shape=(*mask.type.shape, 1))
            values = self.op("masked_fill", values, column, hint="masked", value=0.0)
        assert isinstance(width, int)
        shape = (batch, rows, self.heads, width // self.heads)
        return self.op("reshape", values, hint="values", shape=shape)

    def weights(self) -> Value:  # [B, Q, H, L, P]
        scores = self.linear(self.node.inputs[0], "attention", "attention_weights")
        batch, queries, _ = scores.type.shape
        levels, points = len(self.levels), self.points
        shape = (batch, queries, self.heads)
        joint = self.op("reshape", scores, hint="scores", shape=(*shape, levels * points))
        shares = self.op("softmax", joint, hint="probabilities", dim=-1)
        return self.op("reshape", shares, hint="weights", shape=(*shape, levels, points))

    def locations(self) -> Value:  # [B, Q, H, L, P, 2]
        flat = self.linear(self.node.inputs[0], "offset", "sampling_offsets")
        batch, queries, _ = flat.type.shape
        levels = len(self.levels)
        shape = (batch, queries, self.heads, levels, self.points, 2)
        offsets = self.op("reshape", flat, hint="offsets", shape=shape)
        reference = self.node.inputs[1]
        rows, points, _, width = reference.type.shape
        anchor = self.op(
            "reshape", reference, hint="anchor", shape=(rows, points, 1, levels, 1, width)
        )
        if width == 2:
            moved = self.op("div", offsets, self.extent(), hint="shift")
            return self.op("add", self.repeated(anchor, "anchors"), moved, hint="locations")
        centre = self.op("slice", anchor, hint="centre", dim=-1, start=0, stop=2, step=1)
        size = self.op("slice", anchor, hint="size", dim=-1, start=2, stop=4, step=1)
        scaled = self.op("scale", offsets, hint="relative", by=0.5 / self.points)
        moved = self.op("mul", scaled, self.repeated(size, "sizes"), hint="shift")
        return self.op("add", self.repeated(centre, "centres"), moved, hint="locations")

    def repeated(self, x: Value, hint: str) -> Value:  # [B, Q, 1, L, 1, 2] → [B, Q, 1, L, P, 2]
        """`x` for every point: CPUs are slow where two numbers at a time are broadcast."""
        many = (x,) * self.points
        return x if self.points == 1 else self.op("cat", *many, hint=hint, dim=-2)

    def extent(self) -> Value:  # [L, P, 2], width and height of every level
        dtype = DTYPES[self.node.inputs[0].type.dtype]
        if sizes_in(self.levels):
            return self.varying_extent()
        sizes = torch.tensor(self.levels, dtype=dtype).flip(-1)
        name = "_".join(f"{w:.0f}x{h:.0f}" for w, h in sizes.tolist())
        table = sizes[:, None].repeat(1, self.points, 1)
        weight = self.new.weight(f"levels@{name}@{self.points}", table)
        return self.op("constant", hint="extent", weight=weight)

    def varying_extent(self) -> Value:
        """The same where sizes vary."""
        kind = self.node.inputs[0].type.dtype
        numbers = [n for level in self.levels if isinstance(level, tuple) for n in level[::-1]]
        entries = [self.op("full", hint="side", shape=(1,), value=n, dtype=kind) for n in numbers]
        joined = self.op("cat", *entries, hint="sides", dim=-1)
        table = self.op("reshape", joined, hint="side", shape=(len(self.levels), 1, 2))
        return self.repeated(table, "extent")
