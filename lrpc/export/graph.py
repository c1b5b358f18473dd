"""Forward pass and relevance of one target as one graph of plain operations, without effects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from lrpc.errors import ProgramError
from lrpc.export.ledger import Booked, Row, names_of
from lrpc.ir.builder import Builder
from lrpc.ir.graph import Graph, Module, Node, Value
from lrpc.ir.parser import read_graph
from lrpc.ir.types import Dim, K, Sym, TensorType
from lrpc.models.weights import load_weights
from lrpc.program.loading import under_composite
from lrpc.program.manifest import check_fits
from lrpc.program.mixed import as_run
from lrpc.program.places import with_inputs
from lrpc.program.settings import Settings
from lrpc.program.targets import boundaries_of
from lrpc.runtime.manifests import rows_of
from passes import CLEANING, pruning, run_pipeline
from passes.lower_relevance import LowerRelevance
from passes.rewrite import prune_weights

RELEVANCE = "relevance"


@dataclass(frozen=True)
class Asked:
    """What is exported: a target of the manifest, the places to read, whether relevance starts
    from indices `at` or from `seeds` given outright, and whether the ledger is an output."""

    target: Mapping[str, Any]
    read: tuple[str, ...]
    seeds: bool = False
    ledger: bool = False


@dataclass(frozen=True)
class Exported:
    """A graph of forward and relevance with its weights. `start` names the input that says where
    relevance starts; `places` has the place that each output of relevance is read at, `rows` what
    the rows of the output `ledger` are."""

    module: Module
    asked: Asked
    composite: str
    start: str
    places: Mapping[str, str]
    rows: tuple[Row, ...] = ()

    @property
    def inputs(self) -> tuple[Value, ...]:
        """The inputs of the model, without `start`."""
        return self.module.graph.inputs[:-1]


def exported(
    directory: Path, manifest: Mapping[str, Any], asked: Asked, composite: str
) -> Exported:
    """The graph of a program directory whose manifest this is, for what is asked of it."""
    own = under_composite(manifest, composite)
    graph = read_graph(directory / str(own.get("graph", "graph.lrp")))
    check_fits(directory / "manifest.json", graph, own)
    settings = Settings.from_json(manifest["settings"], {})
    places = with_inputs(settings.places, graph)
    module = Module(graph, load_weights(directory / "weights.safetensors"))
    forward = run_pipeline(module, pruning(places.boundaries))
    mark = str(asked.target["mark"])
    boundaries = boundaries_of(mark, places.boundaries, forward.graph)
    joint = LowerRelevance(mark, asked.read, boundaries, asked.ledger)
    joined = _Joined(forward.graph, asked, places.inputs)
    whole = run_pipeline(forward, (joint, joined, *CLEANING))
    made = as_run(whole, settings.precision, forward.graph)
    rows: tuple[Row, ...] = ()
    if asked.ledger:
        program = rows_of(manifest, str(asked.target["name"]), composite)
        rows = names_of(made.graph, program)
        made = run_pipeline(made, (Booked(),))
    made = prune_weights(made)
    said = {_output(place, places.inputs): place for place in asked.read}
    return Exported(made, asked, composite, made.graph.inputs[-1].name, said, rows)


def _output(place: str, inputs: Mapping[str, str]) -> str:
    """What the relevance at a place is called: `relevance.NAME`, of an input by its own name."""
    return f"{RELEVANCE}.{inputs.get(place, place)}"


@dataclass(frozen=True)
class _Joined:
    """Makes one graph of a joint graph: its seed follows from an input that says where relevance
    starts, and what it reads becomes an output beside those of `forward`."""

    forward: Graph
    asked: Asked
    inputs: Mapping[str, str]
    name: ClassVar[str] = "joined"

    def run(self, module: Module) -> Module:
        graph = module.graph
        *own, seed = graph.inputs
        builder = Builder(graph.weight_types, (v.name for v in graph.values()), share=True)
        value = self.forward.value_at[str(self.asked.target["mark"])]
        begin = self._input(builder, value)
        g: Value | None = None
        outputs = list(self.forward.outputs)
        for node in graph.nodes:
            if seed in node.inputs:
                g = g or self._start(builder, begin, value)
                node = node.reading(tuple(g if v == seed else v for v in node.inputs))
            if node.op == "read":
                name = _output(str(node.attr("name")), self.inputs)
                outputs.append((name, _product(builder, node)))
            else:
                builder.keep(node)
        names = [name for name, _ in outputs]
        if double := [name for name in names if names.count(name) > 1]:
            raise ProgramError(f"two outputs are called {double[0]!r}; rename that of the model")
        nodes = tuple(builder.nodes)
        made = replace(graph, inputs=(*own, begin), nodes=nodes, outputs=tuple(outputs))
        return Module(made, module.tensors)

    def _input(self, builder: Builder, value: Value) -> Value:
        if self.asked.seeds:
            kind = TensorType(value.type.dtype, (K, *value.type.shape))
            return Value(builder.name("seeds"), kind)
        shape = (K, value.type.shape[_batch_axis(value)], len(self.asked.target["axes"]))
        return Value(builder.name("at"), TensorType("i64", shape))

    def _start(self, builder: Builder, begin: Value, value: Value) -> Value:
        """G at the start: relevance per unit of activation."""
        if self.asked.seeds:
            return builder.one("ratio", begin, value, eps=0.0)
        return _one_hot(builder, begin, value, self.asked.target)


def _one_hot(builder: Builder, at: Value, value: Value, target: Mapping[str, Any]) -> Value:
    """1 at the indexed entries of each image, spread evenly over the tokens where there are."""
    shape, dtype = value.type.shape, value.type.dtype
    batch = _batch_axis(value)
    rest = [i for i in range(len(shape)) if i != batch]
    g: Value | None = None
    for i, axis in enumerate(rest[a] for a in target["axes"]):
        index = builder.one("slice", at, dim=-1, start=i, stop=i + 1, step=1)
        index = builder.one("reshape", index, shape=(K, *_along(shape, batch, shape[batch])))
        places = builder.one("arange", size=shape[axis], dtype="i64")
        places = builder.one("reshape", places, shape=(1, *_along(shape, axis, shape[axis])))
        here = builder.one("compare", index, places, kind="eq")
        g = here if g is None else builder.one("logical", g, here, kind="and")
    if g is None:
        return builder.one("full", shape=(K, *shape), value=1.0, dtype=dtype)
    g = builder.one("cast", g, dtype=dtype)
    if target["token"] is not None:
        count = builder.one("full", shape=(1,), value=shape[rest[target["token"]]], dtype=dtype)
        g = builder.one("div", g, count)
    return builder.one("expand", g, shape=(K, *shape))


def _batch_axis(value: Value) -> int:
    return next(i for i, dim in enumerate(value.type.shape) if isinstance(dim, Sym))


def _along(shape: Sequence[Dim], axis: int, extent: Dim) -> tuple[Dim, ...]:
    """A shape of as many axes, of which one alone has an extent."""
    return tuple(extent if i == axis else 1 for i in range(len(shape)))


def _product(builder: Builder, node: Node) -> Value:
    """What a `read` hands out: G ⊙ value, R, or G ⊙ value + R."""
    first, *more = node.inputs
    if not more:
        return first
    found = builder.one("mul", first, more[0])
    return found if len(more) == 1 else builder.one("add", found, more[1])
