"""From an imported graph to the files of a program: the passes, the targets, the text, the
manifest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

import lrpc
from lrpc.codegen.interface import Description, TargetCode
from lrpc.codegen.program import generate
from lrpc.errors import ConfigError, WeightsError
from lrpc.ir.graph import Graph, Module
from lrpc.ir.printer import print_graph
from lrpc.ir.types import Sym
from lrpc.manifest import Lowered, graph_file, manifest
from lrpc.marks import chosen_places, with_input_marks, with_inputs
from lrpc.memory.choose import choose
from lrpc.memory.plan import memory_plans
from lrpc.memory.run import Model
from lrpc.mixed import running, used_weights
from lrpc.model_check import UNCHECKED, ModelCheck
from lrpc.precision import Compared, precision_report
from lrpc.rules.composite import Composite
from lrpc.targets import (
    Places,
    Target,
    stops_of,
    whole_stops,
)
from lrpc.visible import file_word
from lrpc.weights import not_finite, serialize_weights
from passes import CLEANING, Pass, annotating, run_pipeline
from passes.crossing import cross
from passes.eliminate_dead import EliminateDead
from passes.fuse_ratios import fuse_ratios
from passes.lower_relevance import LowerRelevance

Watch = Callable[[str, Module], None]


@dataclass(frozen=True)
class Settings:
    """Everything about a program that is not in its graph."""

    name: str
    structure: object
    places: Places = field(default_factory=Places)
    read: tuple[str, ...] = ()
    tf32: bool = False
    chunk: int = 8
    notes: tuple[str, ...] = ()
    precision: str = ""  # tf32 and bf16 are held against float64, within `bound`
    bound: float = 0.25
    facts: Mapping[str, Any] = field(default_factory=dict)
    checkpoint: str = "none"
    budget: str | int = ""
    example: Mapping[str, Tensor] = field(default_factory=dict, repr=False, compare=False)

    def to_json(self) -> dict[str, Any]:
        """What `from_json` needs to build the same program from graph.lrp again."""
        return {
            "name": self.name,
            "structure": self.structure,
            "read": list(self.read),
            "tf32": self.tf32,
            "chunk": self.chunk,
            "notes": list(self.notes),
            "checkpoint": self.checkpoint,
            "budget": self.budget,
            "precision": self.precision,
            "bound": self.bound,
            "places": {"stops": list(self.places.stops), "inputs": dict(self.places.inputs)},
        }

    @staticmethod
    def from_json(data: Mapping[str, Any], facts: Mapping[str, Any]) -> Settings:
        """Settings as a manifest holds them."""
        places = Places({}, tuple(data["places"]["stops"]), data["places"]["inputs"])
        return Settings(
            data["name"],
            data["structure"],
            places,
            tuple(data["read"]),
            data["tf32"],
            data["chunk"],
            tuple(data["notes"]),
            data["precision"],
            data["bound"],
            facts,
            data["checkpoint"],
            data["budget"],
        )


@dataclass(frozen=True)
class Variant:
    """The annotated graph under one composite. Those of a program differ in rules alone."""

    composite: str
    epsilon: float
    module: Module


def annotate(
    module: Module,
    composites: Sequence[Composite],
    extra: Sequence[Pass] = (),
    watch: Watch | None = None,
    *,
    fold_batch_norm: bool = True,
) -> tuple[Variant, ...]:
    """The default pipeline up to the annotated graph, once for each composite; `extra` passes run
    before rules are assigned."""
    steps = annotating(composites[0], fold_batch_norm)
    at = next(i for i, step in enumerate(steps) if step.name == "assign_rules")
    marked = _run(module, (*steps[:at], *extra), watch)
    variants = []
    for composite in composites:
        own = _labelled(watch, composite.name if len(composites) > 1 else "")
        ruled = _run(marked, annotating(composite)[at:], own)
        variants.append(Variant(composite.name, composite.epsilon, with_input_marks(ruled)))
    return tuple(variants)


def _run(module: Module, steps: Sequence[Pass], watch: Watch | None) -> Module:
    return run_pipeline(module, steps, lambda step, m: watch(step.name, m) if watch else None)


def _labelled(watch: Watch | None, label: str) -> Watch | None:
    """`watch` that hears of `PASS.LABEL`."""
    if watch is None or not label:
        return watch
    return lambda name, module: watch(f"{name}.{file_word(label)}", module)


def build(
    variants: Sequence[Variant],
    targets: Sequence[Target],
    settings: Settings,
    watch: Watch | None = None,
    check: ModelCheck | None = None,
) -> dict[str, bytes]:
    """The files of the program directory, by name, from the annotated graph of each composite.

    `check` holds the program against its model; MismatchError where they differ.
    """
    if not targets:
        raise ConfigError("no target to start relevance from; set LRPC.TARGETS")
    module = variants[0].module
    _check_finite(module, settings.name)
    made = lowered(variants, targets, settings, watch)
    run = running(made, settings.precision)
    settings = replace(settings, places=with_inputs(settings.places, module.graph))
    model = memory_model(run, settings)
    choice = choose(model, settings.checkpoint, settings.budget)
    model = choice.of(model)
    about = Description(
        settings.name,
        settings.structure,
        settings.places.inputs,
        settings.notes,
        settings.tf32,
        choice.chunk,
        choice.again,
        choice.sweep,
    )
    program = generate(model.graph, model.codes, about)
    tensors = _merged([t for one in run for t in one.tensors])
    files = {
        "program.py": program.text.encode(),
        "weights.safetensors": serialize_weights(tensors, {"producer": f"lrpc {lrpc.__version__}"}),
        **{graph_file(one, made[0]): print_graph(one.graph).encode() for one in made},
    }
    facts = {**settings.facts, "check": dict(UNCHECKED)}
    if check is not None:
        facts["check"] = check.check(program.text, tensors, settings.precision)
    if settings.precision in ("tf32", "bf16"):
        exact = _merged([t for one in made for t in one.tensors])
        job = Compared(
            settings.precision, program.text, tensors, exact, made, targets, about,
            settings.example, settings.bound,
        )  # fmt: skip
        facts["reference_weights"] = sorted(tensors.keys() - used_weights(run))
        facts["precision_report"] = precision_report(job)
    ways = model.halves.saved.ways()
    files["manifest.json"] = manifest(
        made,
        targets,
        facts,
        settings.to_json(),
        files,
        program.saved,
        memory_plans(model, [len(one.codes) for one in made]),
        choice.to_json() | {"made": {key: made for key, (_, made) in ways.items()}},
    )
    return files


def _check_finite(module: Module, name: str) -> None:
    bad = not_finite(module.tensors)
    if not bad:
        return
    infinite = {k for k, t in module.tensors.items() if t.is_floating_point() and t.isinf().any()}
    for node in module.graph.nodes:
        if node.op == "constant" and node.attr("weight") in infinite:
            raise WeightsError(
                f"{bad} of {name}, used at {node.loc}; a mask of minus infinity works as"
                " scores.masked_fill(mask, -inf) or scores + mask, other numbers must be finite"
            )
    raise WeightsError(f"{bad} of {name}; repair the model's weights")


def lowered(
    variants: Sequence[Variant],
    targets: Sequence[Target],
    settings: Settings,
    watch: Watch | None = None,
) -> list[Lowered]:
    """The code of every target under each composite."""
    places = with_inputs(settings.places, variants[0].module.graph)
    settings = replace(settings, places=places)
    if len(variants) == 1:
        return [_lowered(variants[0], targets, settings, watch)]
    return [
        _lowered(v, targets, settings, _labelled(watch, v.composite)).labelled() for v in variants
    ]


def memory_model(made: Sequence[Lowered], settings: Settings) -> Model:
    """The program as its memory sees it: all composites share one forward pass, which keeps what
    they need as cheaply as may be."""
    codes = [code for one in made for code in one.codes]
    joints = [(code.plain, code.booked) for code in codes]
    crossed = cross(made[0].graph, joints, [code.value.name for code in codes])
    own = {v.name for v in crossed.forward.values()}
    pairs = zip(codes, crossed.joints, strict=True)
    codes = [
        replace(code, plain=fuse_ratios(plain, own), booked=fuse_ratios(booked, own))
        for code, (plain, booked) in pairs
    ]
    return Model(crossed.forward, codes, settings.chunk)


def _lowered(
    variant: Variant, targets: Sequence[Target], settings: Settings, watch: Watch | None
) -> Lowered:
    graph = whole_stops(variant.module.graph, settings.places.stops)
    pruned = EliminateDead(keep_marks=True).run(variant.module.with_graph(graph))
    reads = chosen_places(pruned.graph, settings.places, settings.read)
    codes, tensors = [], [pruned.tensors]
    for target in targets:
        plain = _lower(pruned, target, reads, settings, ledger=False, watch=watch)
        booked = _lower(pruned, target, reads, settings, ledger=True, watch=None)
        tensors += [plain.tensors, booked.tensors]
        codes.append(_code(target, pruned.graph, plain.graph, booked.graph))
    return Lowered(variant.composite, variant.epsilon, pruned.graph, tuple(codes), tuple(tensors))


def _merged(parts: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """All tensors by name; what rules derive from a weight must be named apart where it differs."""
    found: dict[str, Tensor] = {}
    for name, tensor in (item for part in parts for item in part.items()):
        if name in found and found[name] is not tensor and not torch.equal(found[name], tensor):
            raise WeightsError(f"two rules derive different weights of one name, {name}")
        found[name] = tensor
    return found


def _lower(
    module: Module,
    target: Target,
    reads: tuple[str, ...],
    settings: Settings,
    *,
    ledger: bool,
    watch: Watch | None,
) -> Module:
    stops = stops_of(target.mark, settings.places.stops, module.graph)
    lower = LowerRelevance(target.mark, reads, stops, ledger)

    def say(name: str, result: Module) -> None:
        if watch is not None:
            watch(f"{name}.{file_word(target.name)}", result)

    return run_pipeline(module, (lower, *CLEANING), lambda step, m: say(step.name, m))


def _code(target: Target, graph: Graph, plain: Graph, booked: Graph) -> TargetCode:
    value = graph.marked[target.mark]
    batch = next((i for i, d in enumerate(value.type.shape) if isinstance(d, Sym)), 0)
    rest = [i for i in range(value.type.rank) if i != batch]
    return TargetCode(
        target.name,
        value,
        plain,
        booked,
        tuple(rest[i] for i in target.axes),
        target.index_names,
        None if target.token is None else rest[target.token],
    )
