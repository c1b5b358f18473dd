"""Random forward graphs over every operation that relevance can pass, and random rules for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from hypothesis import strategies as st
from hypothesis.vendor.pretty import RepresentationPrinter
from torch import Tensor

from lrpc.ir.graph import Module, Node, Rule
from lrpc.ir.printer import print_graph
from lrpc.ir.types import B
from lrpc.rules import CATALOGUE
from lrpc.rules.declaration import Declaration, Param
from lrpc.rules.maps import MAPS
from tests.support.random_ops import BLOCKS, MAKERS
from tests.support.sketch import INPUT_SHAPES, LARGEST, Draw, Sketch, size, tensor

LONGEST = 30  # nodes
CARRYING = tuple(sorted({op for op, _ in CATALOGUE}))


@dataclass(frozen=True, repr=False)
class Drawn:
    """A module and the seed of its weights, inputs and starts."""

    module: Module
    seed: int

    def _repr_pretty_(self, printer: RepresentationPrinter, cycle: bool) -> None:
        printer.text(repr(self))

    def __repr__(self) -> str:
        return f"seed {self.seed}\n{print_graph(self.module.graph)}"

    def inputs(self, batch: int) -> dict[str, Tensor]:
        """Inputs of `batch` images; the first images are the same for every batch size."""
        found = {}
        for i, value in enumerate(self.module.graph.inputs):
            axis = next(a for a, d in enumerate(value.type.shape) if not isinstance(d, int))
            each = [self._image(i, j) for j in range(batch)]
            found[value.name] = torch.cat(each, axis)
        return found

    def _image(self, index: int, number: int) -> Tensor:
        generator = torch.Generator().manual_seed(self.seed * 1000 + index * 100 + number)
        return tensor(self.module.graph.inputs[index].type, generator)

    def starts(self, shape: Sequence[int], number: int = 0) -> Tensor:
        """Seeds, per unit of activation, of the given shape."""
        generator = torch.Generator().manual_seed(self.seed * 7 + number)
        return torch.randn(tuple(shape), generator=generator, dtype=torch.float64)


@st.composite
def drawn(draw: Draw[object], ops: Sequence[str] = CARRYING, longest: int = LONGEST) -> Drawn:
    """A module of up to about `longest` nodes; `ops` are drawn alike, whatever they need besides.

    Several inputs, outputs and places; values are used several times or not at all.
    """
    sketch = Sketch(draw)
    for shape in draw(st.lists(st.sampled_from(INPUT_SHAPES), min_size=1, max_size=2)):  # type: ignore[attr-defined]
        sketch.input(shape)
    kinds = [op for op in ops if op in MAKERS] + (list(BLOCKS) if len(ops) > 1 else [])
    wanted = sketch.number(1, longest)
    while True:
        name = sketch.one_of(kinds)
        sketch.module = sketch.one_of(["", sketch.module, "head", "stages.0", "stages.1"])
        (MAKERS | BLOCKS)[name](sketch)
        while size(sketch.pool[-1]) > LARGEST:  # keep it small: a map to few features
            sketch.pool.append(sketch.brought(sketch.pool.pop(), (B, 6)))
        if len(sketch.builder.nodes) >= wanted:
            return Drawn(sketch.finished(seed := sketch.number(0, 9999)), seed)


def rules_of(op: str) -> list[Declaration]:
    """Every rule that the catalogue has for `op`."""
    return [rule for (o, _), rule in sorted(CATALOGUE.items(), key=lambda kv: kv[0]) if o == op]


def refused(node: Node, rule: str) -> bool:
    """Whether the rule says of itself that it cannot be on this node.

    R cannot stay as it is where a linear map has another shape than its input; bicubic
    interpolation has weights of both signs, which only some rules need not take apart. Powers
    from 0 down have no share at 0.
    """
    if node.op == "pow":
        return rule == "pass" and node.number("exponent") <= 0
    if node.op not in MAPS:
        return False
    if node.attr("mode") == "bicubic" and rule not in ("epsilon", "gradient_input", "pass"):
        return True
    return rule == "pass" and node.inputs[0].type.shape != node.out.type.shape


def parameters(draw: Draw[Any], declared: Declaration) -> dict[str, float | str]:
    """Values in the declared ranges, their ends among them, that go together."""
    found = {param.name: draw(_parameter(param)) for param in declared.params}
    if found.keys() >= {"alpha", "beta"}:
        found["alpha"] = max(1.0, abs(found["alpha"]))
        found["beta"] = found["alpha"] - 1.0
    if found.keys() >= {"low", "high"}:
        found["low"], found["high"] = sorted((found["low"], found["high"]))
    return found


def _parameter(param: Param) -> st.SearchStrategy[float | str]:
    if param.words:
        return st.sampled_from(param.words)
    low, high = max(param.low, -4.0), min(param.high, 4.0)
    ends = [param.default, *(end for end in (low, high) if abs(end) < 4.0)]
    known = [end for end in ends if isinstance(end, int | float)]
    return st.sampled_from([*known, low, high]) | st.floats(low, high, width=16)


class AnyRule:
    """A rule map that draws for every node one of the rules its operation has; `wanted` where it is
    among them."""

    name, epsilon = "drawn", 0.0

    def __init__(self, draw: Draw[Any], wanted: str = "") -> None:
        self.draw, self.wanted = draw, wanted

    def rule_for(self, node: Node, where: frozenset[str]) -> Rule | None:
        found = [rule for rule in rules_of(node.op) if not refused(node, rule.name)]
        if not found or node.role == "coordinate":
            return None
        found = [rule for rule in found if rule.name == self.wanted] or found
        declared = self.draw(st.sampled_from(found))
        assert isinstance(declared, Declaration)
        return declared.make(parameters(self.draw, declared))
