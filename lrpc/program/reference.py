"""The same program in float64, and programs that run from their text: what precision is held
against."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from lrpc.ir.graph import Attr, Graph, Node, Value
from lrpc.ir.ops import TABLE, Trait
from lrpc.ir.types import TensorType
from lrpc.ir.verifier import verify
from lrpc.program.loading import code_of
from lrpc.program.manifest import Lowered


def in_double(one: Lowered) -> Lowered:
    """What runs for `one`, with float64 in place of float32."""
    codes = tuple(
        replace(
            code,
            value=_value(code.value),
            plain=graph_in_double(code.plain),
            with_ledger=graph_in_double(code.with_ledger),
        )
        for code in one.codes
    )
    return replace(one, graph=graph_in_double(one.graph), codes=codes)


def graph_in_double(graph: Graph) -> Graph:
    """The graph with float64 in place of float32."""
    wide = replace(
        graph,
        inputs=tuple(map(_value, graph.inputs)),
        nodes=tuple(new for node in graph.nodes for new in _nodes(node)),
        outputs=tuple((name, _value(v)) for name, v in graph.outputs),
        weights=tuple((name, _type(kind)) for name, kind in graph.weights),
        places=tuple((name, _value(v)) for name, v in graph.places),
    )
    return verify(wide, "float64")


def _nodes(node: Node) -> tuple[Node, ...]:
    wide = _node(node)
    if not TABLE[node.op].has(Trait.FIXED_DTYPE):
        return (wide,)  # others are cast afterwards
    narrow = tuple(Value(f"{v.name}.f32", v.type) for v in node.outputs)
    pairs = zip(narrow, wide.outputs, strict=True)
    casts = (Node("cast", (a,), (b,), (("dtype", "f64"),), loc=node.loc) for a, b in pairs)
    return replace(wide, outputs=narrow), *casts


def _node(node: Node) -> Node:
    kinds = TABLE[node.op]
    attrs = tuple((k, _attr(kinds.kind(k), v)) for k, v in node.attrs)
    return replace(
        node,
        inputs=tuple(map(_value, node.inputs)),
        outputs=tuple(map(_value, node.outputs)),
        attrs=attrs,
    )


def _attr(kind: str, value: Attr) -> Attr:
    return "f64" if kind == "dtype" and value == "f32" else value


def _value(value: Value) -> Value:
    return Value(value.name, _type(value.type))


def _type(kind: TensorType) -> TensorType:
    return TensorType("f64", kind.shape) if kind.dtype == "f32" else kind


def doubled(x: Tensor) -> Tensor:
    """`x` in float64 where it is in float32."""
    return x.double() if x.dtype == torch.float32 else x


@dataclass(frozen=True, eq=False)
class Running:
    """The functions of a program's text, and its weights."""

    interface: Any
    weights: Mapping[str, Tensor]

    def forward(self, inputs: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Any]:
        """Outputs by name, and what is saved."""
        saved: dict[str, dict[str, Any]] = {name: {} for name in self.interface.blocks}
        found = self.interface.forward(self.weights, saved, *self._given(inputs))
        return found, saved

    def outputs(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Outputs by name; nothing is saved for relevance: it takes a model's memory."""
        saved = {name: _Latest() for name in self.interface.blocks}
        given = self._given(inputs)
        found: dict[str, Tensor] = self.interface.forward(self.weights, saved, *given)
        return found

    def _given(self, inputs: Mapping[str, Tensor]) -> list[Tensor]:
        """The inputs, and what depends on their sizes alone."""
        sizes = self.interface.sizes_of(inputs)
        device = next(iter(inputs.values())).device
        return [*inputs.values(), *self.interface.made_of(self.weights, sizes, device)]

    def target_of(self, target: str, composite: str) -> Any:
        """What the program says of a target, under one of its composites."""
        return self.interface.others.get(composite, self.interface.targets)[target]

    def value(self, saved: Any, target: str, composite: str) -> Tensor:
        """The value that relevance of `target` starts from."""
        block, name = self.target_of(target, composite).value
        found: Tensor = saved[block][name]
        return found

    def relevance(
        self, saved: Any, target: str, composite: str, g: Tensor, ledger: bool
    ) -> tuple[Tensor, list[Tensor]]:
        """Relevance at the inputs (or, where it ends before, at all places), flat and in the order
        of their names, and the amounts that the ledger books."""
        chosen, amounts = self.target_of(target, composite), list[Tensor]()
        chunk = [self.interface.chunk] if self.interface.per_pass else []
        every = frozenset(chosen.reads)
        places = every & set(self.interface.read_inputs) or every
        extents = {"K": g.shape[0], "B": g.shape[1 + chosen.batch_axis]}
        shapes = ([extents.get(s, 1) for s in mask.shape] for mask in chosen.masks.values())
        masks = [g.new_ones(shape) for shape in shapes]  # everything passes
        given = (self.weights, saved, g, *masks, places, *chunk)
        found = chosen.run(*given, amounts if ledger else None)
        return torch.cat([found[place].flatten() for place in sorted(places)]), amounts


class _Latest(dict[str, Any]):
    """Keeps what was put into it last: kernels read their tables back at once."""

    def __setitem__(self, key: str, value: Any) -> None:
        self.clear()
        super().__setitem__(key, value)


def running(text: str, weights: Mapping[str, Tensor]) -> Running:
    """The program of this text; its module is not kept in `sys.modules`."""
    with tempfile.TemporaryDirectory(prefix="lrpc-reference-") as folder:
        path = Path(folder) / "program.py"
        path.write_text(text)
        module = ModuleType("_lrpc_reference")
        module.__file__ = str(path)
        sys.modules[module.__name__] = module  # dataclasses and Triton look it up
        try:
            exec(code_of(text.encode(), str(path)), module.__dict__)
        finally:
            del sys.modules[module.__name__]
    return Running(module.__dict__["INTERFACE"], weights)
