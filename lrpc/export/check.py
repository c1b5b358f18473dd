"""Holds an exported file against the program that it was made from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from lrpc.errors import MismatchError
from lrpc.export.graph import RELEVANCE, Exported
from lrpc.export.ledger import LEDGER, amounts
from lrpc.ir.interpreter import interpret
from lrpc.ir.types import B, Sizes
from lrpc.program.call_limits import limits_of
from lrpc.program.example_inputs import example_inputs, strongest
from lrpc.program.model_check import SHAPES_ABOVE
from lrpc.program.reference import doubled, graph_in_double
from lrpc.program.tolerance import Tolerance, distances
from lrpc.runtime.results import flat
from lrpc.runtime.seeds import one_hot

TRIES = 3
"""Sets of inputs: where a model chooses, a near tie may fall otherwise with one of them."""

Run = Callable[[Sequence[Tensor]], dict[str, Tensor]]
Results = dict[str, Tensor]


@dataclass(frozen=True)
class Difference:
    """The largest difference of outputs, of relevance and of the ledger, where there is one, from
    the program's, over the largest entry, on inputs of these sizes. Where it is more than usual,
    `rounding` is how far the program itself is from float64."""

    sizes: Sizes
    outputs: float
    relevance: float
    rounding: float | None = None
    ledger: float | None = None

    def __str__(self) -> str:
        said = ", ".join(f"{name} = {size}" for name, size in self.sizes.items())
        own = f"; the program's own from float64: {self.rounding:.1e}" if self.rounding else ""
        booked = "" if self.ledger is None else f", the ledger by {self.ledger:.1e}"
        return (
            f"outputs differ from the program's by {self.outputs:.1e} of their largest entry,"
            f" relevance by {self.relevance:.1e}{booked}{own} ({said})"
        )


@dataclass(frozen=True, eq=False)
class Check:
    """A program and the graph exported from it; `structure` says how its outputs nest. Inputs are
    `images` of 0 to 255, or numbers around 0."""

    program: Any
    made: Exported
    structure: object
    allowed: Tolerance
    images: bool = False

    def cases(self) -> list[dict[str, int]]:
        """The sizes to hold the file at: two images and two seeds, one of each where images are
        large, and one of each at other heights and widths where they vary."""
        graph = self.made.module.graph
        numbers = sum(v.type.meta({"B": 1, "K": 1}).numel() for v in self.made.inputs)
        count = 1 if numbers > SHAPES_ABOVE else 2
        first = {"B": count, "K": count} | {s.name: s.example for s in graph.sizes}
        if not graph.sizes:
            return [first]
        limits = limits_of(self.program.manifest)
        others = [
            {
                s.name: max(s.example + sign * i * s.step, s.step)
                for i, s in enumerate(graph.sizes, 1)
            }
            for sign in (1, -1)
        ]
        kept = [{"B": 1, "K": 1} | other for other in others if limits.keeps(other)]
        return [first, *kept[:1]]

    def example(self, sizes: Sizes, seed: int = 1) -> list[Tensor]:
        """Inputs of the exported graph for these sizes; relevance starts at the strongest entry of
        each image."""
        inputs = self._inputs(sizes, seed)
        return [*inputs.values(), self._start(inputs, sizes)]

    def hold(self, run: Run, sizes: Sizes) -> Difference:
        """How far what `run` gives is from the program; MismatchError where it is not rounding."""
        worst = ("", 0.0)
        for seed in range(1, TRIES + 1):
            inputs = self.example(sizes, seed)
            got, wanted = run(inputs), self._of_program(inputs)
            apart = {name: _distance(got[name], wanted[name]) for name in wanted}
            far = {name: d for name, d in apart.items() if not d <= self.allowed.near}
            own = self._rounding(far, inputs, got, wanted) if far else 0.0
            if own is not None:
                booked = apart.pop(LEDGER) if self.made.rows else None
                ends = [d for name, d in apart.items() if name in self.made.places]
                rest = [d for name, d in apart.items() if name not in self.made.places]
                found = max(rest, default=0.0), max(ends, default=0.0)
                return Difference(sizes, *found, own if far else None, booked)
            worst = max(far.items(), key=lambda item: item[1])
        raise MismatchError(
            f"{worst[0]} of the exported file differs from the program's by {worst[1]:.1e} of its"
            " largest entry; nothing was written: export to the other format, and report it"
        )

    @cached_property
    def _target(self) -> Any:
        interface = self.program.interface
        targets = interface.others.get(self.made.composite, interface.targets)
        return targets[self.made.asked.target["name"]]

    def _inputs(self, sizes: Sizes, seed: int) -> dict[str, Tensor]:
        given = example_inputs(self.made.module.graph, sizes["B"], sizes, seed)
        around = {k: x / 64 - 2 if x.is_floating_point() else x for k, x in given.items()}
        given = given if self.images else around
        return {value.name: given[value.name] for value in self.made.inputs}

    def _start(self, inputs: Mapping[str, Tensor], sizes: Sizes) -> Tensor:
        part, name = self._target.value
        value = self.program.forward(**inputs).saved[part][name]
        shape = tuple(B if i == self._target.batch_axis else 1 for i in range(value.dim()))
        at = strongest(value, self.made.asked.target, shape)
        at = torch.cat([at, at.flip(1)])[: sizes["K"]]
        if not self.made.asked.seeds:
            return at.contiguous()
        seeds: Tensor = one_hot(self._target, value, at, None) * value
        return seeds

    def _of_program(self, inputs: Sequence[Tensor]) -> Results:
        *own, start = inputs
        asked = self.made.asked
        state = self.program.forward(*own)
        begin = {"seeds" if asked.seeds else "at": start}
        found = self.program.relevance(
            state,
            asked.target["name"],
            composite=self.made.composite,
            read=asked.read,
            ledger=asked.ledger,
            **begin,
        )
        named = found.inputs | found.layers
        relevance = {name: named[name.removeprefix(f"{RELEVANCE}.")] for name in self.made.places}
        booked = {LEDGER: amounts(found.ledger)} if asked.ledger else {}
        return flat(self.structure, state.outputs) | relevance | booked

    def _rounding(
        self, far: Mapping[str, float], inputs: Sequence[Tensor], got: Results, wanted: Results
    ) -> float | None:
        """How far the program is from the same graph in float64, where the file is as near to that
        as the program; else None. Relevance divides by activations, and where these are near 0
        rounding becomes more than it is elsewhere."""
        graph = self.made.module.graph
        if graph.dtype != "f32":
            return None
        wide = {name: doubled(t) for name, t in self.made.module.tensors.items()}
        names = (value.name for value in graph.inputs)
        given = {name: doubled(x) for name, x in zip(names, inputs, strict=True)}
        exact = interpret(graph_in_double(graph), wide, given)
        most = max(_distance(wanted[name], exact[name]) for name in wanted)
        near = all(_distance(got[name], exact[name]) <= 2 * most for name in far)
        return most if near else None


def _distance(got: Tensor, wanted: Tensor) -> float:
    """The largest difference over the largest entry; infinity where the shapes differ."""
    if got.shape != wanted.shape:
        return float("inf")
    found = distances(got, wanted)
    return float(found.max()) if found.numel() else 0.0
