"""Marks sums by what they add: skip and transform, token and position, or two branches."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from lrpc.ir.graph import Module, Node, Value
from lrpc.ir.ops import Family, Trait, of_family, with_trait
from passes.flow import Flow
from passes.kinds import MOVING, NORMS, POOLS, STRUCTURAL, SUMS
from passes.rewrite import map_nodes

SKIPPING = MOVING | POOLS | {"scale"}
UPSAMPLING = frozenset({"interpolate", "conv_transpose2d"})
BETWEEN_MAPS = (
    STRUCTURAL
    | NORMS
    | POOLS
    | (of_family(Family.ACTIVATION) - with_trait(Trait.BOUNDED))  # those are gates
    | {"scale"}
)
MIXING = frozenset({"deform_sample", "matmul"})
SHORTCUT_MAPS = frozenset({"linear", "conv2d"})


@dataclass(frozen=True)
class MarkResidual:
    """Roles `residual`, `positional` and `merge` for sums; found by structure, never by name.

    - `positional`: the sum is used for attention scores or sampling only, by way of linear maps;
      or a constant of the token's shape is added to what goes on into learned maps, and that is not
      an attention's output. inputs[0] is the token, inputs[1] the position.
    - `residual`: one operand reaches the other through a learned map; or both are computed from one
      block input, one of them by a single learned map, and nothing made on the way is used
      elsewhere; or an attention's output is added to a constant, as to learned queries in a
      decoder's first layer. inputs[0] is the skip, inputs[1] the transform.
    - `merge`: any other sum or difference that carries relevance; operands stay in order.
    """

    name: ClassVar[str] = "mark_residual"

    def run(self, module: Module) -> Module:
        finder = _Finder(Flow(module.graph))
        return map_nodes(module, finder.marked)


class _Finder:
    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self.skips: dict[str, Value] = {}  # residual sum → its skip, for those found so far

    def marked(self, node: Node) -> Node:
        if node.op not in SUMS or not self.flow.activation(node.out):
            return node
        if node.op == "add" and not self.flow.feeds_locations_only(node.out):
            if (pair := self.positional(node)) is not None:
                return replace(node, role="positional", inputs=pair)
            if (pair := self.residual(node)) is not None:
                self.skips[node.out.name] = pair[0]
                return replace(node, role="residual", inputs=pair)
        return replace(node, role="merge")

    # -- positions -------------------------------------------------------------------------------

    def positional(self, node: Node) -> tuple[Value, Value] | None:
        """(token, position), or None."""
        flow, (a, b) = self.flow, node.inputs
        if flow.activation(a) and flow.activation(b):
            return self._position_from_data(node)
        token, position = (a, b) if flow.activation(a) else (b, a)
        if flow.feeds_queries_only(node.out):
            return token, position
        like = _token_shaped(position, node.out) and flow.feeds_a_map(node.out)
        return (token, position) if like and not self._attended(token) else None

    def _position_from_data(self, node: Node) -> tuple[Value, Value] | None:
        flow, (a, b) = self.flow, node.inputs
        if not flow.feeds_queries_only(node.out):
            return None
        # A position is used in such sums only; a token goes on as a value or as a residual.
        only = [flow.feeds_queries_only(v) for v in (a, b)]
        if only == [True, False]:
            return b, a
        if only == [True, True] and self.residual(node) is not None:
            return None
        return a, b

    # -- residuals -------------------------------------------------------------------------------

    def residual(self, node: Node) -> tuple[Value, Value] | None:
        """(skip, transform), or None."""
        a, b = node.inputs
        flow = self.flow
        if not (flow.activation(a) and flow.activation(b)):
            skip, transform = (b, a) if flow.activation(a) else (a, b)
            onto = _token_shaped(skip, node.out) and self._attended(transform)
            return (skip, transform) if onto else None
        for skip, transform in ((a, b), (b, a)):
            if self._upsampled(transform):
                continue
            if any(self._transforms(root, transform) for root in self._roots(skip)):
                return skip, transform
        for skip, transform in ((a, b), (b, a)):
            if not self._upsampled(transform) and self._projects(skip, transform, node.out):
                return skip, transform
        return None

    def _attended(self, value: Value) -> bool:
        """Whether `value` is what an attention gives out: mixed values behind a linear map."""
        last = self.flow.back(value, lambda n: n.op in STRUCTURAL | {"linear"})[-1]
        node = self.flow.graph.producers.get(last.name)
        return last.name != value.name and node is not None and node.op in MIXING

    def _transforms(self, root: Value, transform: Value) -> bool:
        return (
            root.name != transform.name
            and self.flow.maps(self.flow.between(root.name, transform.name)) > 0
        )

    def _roots(self, skip: Value) -> list[Value]:
        """`skip`, what it is made of by structure, and the streams of the residuals on the way."""
        found = self._skipped(skip)
        while (before := self.skips.get(found[-1].name)) is not None:
            found += self._skipped(before)
        return [value for value in found if self.flow.activation(value)]

    def _skipped(self, value: Value) -> list[Value]:
        """`value` and what a skip takes it from: moved, pooled, times a constant, or put together
        again from parts of one value."""
        found = [value]
        while (before := self._taken_from(found[-1])) is not None:
            found.append(before)
        return found

    def _taken_from(self, value: Value) -> Value | None:
        node = self.flow.graph.producers.get(value.name)
        if node is None or not node.inputs:
            return None
        if node.op in SKIPPING:
            return node.inputs[0]
        if node.op == "gather" and self._constant(node.inputs[1]):
            return node.inputs[0]
        active = [x for x in node.inputs if self.flow.activation(x)]
        if node.op == "mul" and len(active) == 1:
            return active[0]
        ends = {self._skipped(x)[-1] for x in active} if node.op == "cat" else set()
        return ends.pop() if len(ends) == 1 else None

    def _constant(self, value: Value) -> bool:
        """Whether `value` is a constant of the program, moved or repeated."""
        first = self.flow.back(value, lambda n: n.op in STRUCTURAL)[-1]
        node = self.flow.graph.producers.get(first.name)
        return node is not None and not node.inputs

    def _upsampled(self, transform: Value) -> bool:
        """Whether a resize stands after the operand's last learned map, as in a feature pyramid."""
        last = self.flow.back(transform, lambda n: n.op in BETWEEN_MAPS)[-1]
        node = self.flow.graph.producers.get(last.name)
        return node is not None and node.op in UPSAMPLING

    def _projects(self, shortcut: Value, transform: Value, total: Value) -> bool:
        """Whether both operands leave one block input, `shortcut` by a single learned map."""
        flow = self.flow
        projection = flow.graph.producers.get(self._projected(shortcut).name)
        if projection is None or projection.op not in SHORTCUT_MAPS:
            return False
        for start in self._skipped(projection.inputs[0]):
            if not flow.activation(start):
                continue
            inside = flow.between(start.name, transform.name)
            if flow.maps(inside) > 1:
                return self._closed(inside | flow.between(start.name, shortcut.name), total)
        return False

    def _projected(self, value: Value) -> Value:
        """What a shortcut makes of its map: normalised, moved, pooled, put together again."""
        last = self.flow.back(value, lambda n: n.op in SKIPPING | NORMS)[-1]
        before = self._taken_from(last)
        return last if before is None else self._projected(before)

    def _closed(self, inside: frozenset[str], total: Value) -> bool:
        """Whether everything made inside goes nowhere but to the sum."""
        users = self.flow.graph.users
        return not inside & self.flow.outputs and all(
            value.name in inside or value == total or not self.flow.activation(value)
            for name in inside
            for user in users.get(name, ())
            for value in user.outputs
        )


def _token_shaped(position: Value, total: Value) -> bool:
    """Whether `position` varies over at least two axes of the sum, as a map of positions does."""
    pairs = zip(position.type.shape[::-1], total.type.shape[::-1], strict=False)
    return sum(a == b and a != 1 for a, b in pairs) >= 2
