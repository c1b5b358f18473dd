"""From an imported graph to the files of a program: the passes, the targets, the text, the
manifest."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any

import torch

import lrpc
from lrpc.codegen.program import Description, TargetCode, generate, ledger_rows
from lrpc.errors import ConfigError, WeightsError
from lrpc.ir.graph import Graph, Module
from lrpc.ir.printer import print_graph
from lrpc.ir.types import DTYPES, Sym, concrete
from lrpc.rules.composite import Composite
from lrpc.targets import Places, Target, nearest
from lrpc.weights import not_finite, serialize_weights
from passes import CLEANING, Pass, annotating, run_pipeline
from passes.eliminate_dead import EliminateDead
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
    facts: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """What `from_json` needs to build the same program from graph.lrp again."""
        return {
            "name": self.name,
            "structure": self.structure,
            "read": list(self.read),
            "tf32": self.tf32,
            "chunk": self.chunk,
            "notes": list(self.notes),
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
            facts,
        )


def annotate(
    module: Module, composite: Composite, extra: Sequence[Pass] = (), watch: Watch | None = None
) -> Module:
    """The default pipeline up to the annotated graph, with `extra` passes before rules are
    assigned."""
    steps = annotating(composite)
    at = next(i for i, step in enumerate(steps) if step.name == "assign_rules")
    return _run(module, (*steps[:at], *extra, *steps[at:]), watch)


def _run(module: Module, steps: Sequence[Pass], watch: Watch | None) -> Module:
    return run_pipeline(module, steps, lambda step, m: watch(step.name, m) if watch else None)


def build(
    module: Module, targets: Sequence[Target], settings: Settings, watch: Watch | None = None
) -> dict[str, bytes]:
    """The files of the program directory, by name, from an annotated graph."""
    if not targets:
        raise ConfigError("no target to start relevance from; set LRPC.TARGETS")
    bad = not_finite(module.tensors)
    if bad:
        raise WeightsError(f"{bad} of {settings.name}; repair the model's weights")
    module = with_input_marks(module)
    settings = replace(settings, places=_with_inputs(settings.places, module.graph))
    pruned = EliminateDead(keep_marks=True).run(module)
    reads = chosen_places(pruned.graph, settings)
    codes, joint = [], {}
    for target in targets:
        plain = _lower(pruned, target, reads, settings, ledger=False, watch=watch)
        booked = _lower(pruned, target, reads, settings, ledger=True, watch=None)
        joint[target.name] = (plain, booked)
        codes.append(_code(target, pruned.graph, plain.graph, booked.graph))
    about = Description(
        settings.name,
        settings.structure,
        settings.places.inputs,
        settings.notes,
        settings.tf32,
        settings.chunk,
    )
    program = generate(pruned.graph, codes, about)
    tensors = {
        k: t
        for m in [pruned, *(m for pair in joint.values() for m in pair)]
        for k, t in m.tensors.items()
    }
    files = {
        "program.py": program.text.encode(),
        "weights.safetensors": serialize_weights(tensors, {"producer": f"lrpc {lrpc.__version__}"}),
        "graph.lrp": print_graph(pruned.graph).encode(),
    }
    files["manifest.json"] = _manifest(pruned.graph, targets, codes, settings, files, program.saved)
    return files


def _lower(
    module: Module,
    target: Target,
    reads: tuple[str, ...],
    settings: Settings,
    *,
    ledger: bool,
    watch: Watch | None,
) -> Module:
    lower = LowerRelevance(target.mark, reads, settings.places.stops, ledger)

    def say(name: str, result: Module) -> None:
        if watch is not None:
            watch(f"{name}.{target.name.replace(':', '_')}", result)

    return run_pipeline(module, (lower, *CLEANING), lambda step, m: say(step.name, m))


def with_input_marks(module: Module) -> Module:
    """`module` with a mark `output.NAME` on each output and `input.NAME` on each float input."""
    graph = module.graph
    marks = dict(graph.marks)
    marks |= {f"output.{name}": value for name, value in graph.outputs}
    marks |= {f"input.{v.name}": v for v in graph.inputs if v.type.is_float}
    return module.with_graph(replace(graph, marks=tuple(marks.items())))


def _with_inputs(places: Places, graph: Graph) -> Places:
    """Where nothing else stands for an input, the input itself does."""
    own = {f"input.{v.name}": v.name for v in graph.inputs if v.type.is_float}
    covered = set(places.inputs.values())
    inputs = {mark: name for mark, name in places.inputs.items() if mark in graph.marked}
    inputs |= {mark: name for mark, name in own.items() if name not in covered}
    stops = tuple(mark for mark in places.stops if mark in graph.marked)
    return Places(places.marks, stops, inputs)


def chosen_places(graph: Graph, settings: Settings) -> tuple[str, ...]:
    """The marks to read at: all places, or those that LRPC.READ names (globs allowed)."""
    inputs = settings.places.inputs
    every = [m for m in graph.marked if not m.startswith(("output.", "input.")) or m in inputs]
    if not settings.read:
        return tuple(every)
    for pattern in settings.read:
        if not any(fnmatchcase(m, pattern) for m in every):
            raise ConfigError(
                f"LRPC.READ: no place matches {pattern!r}{nearest(pattern, every)}; places:"
                f" {', '.join(every)}"
            )
    return tuple(m for m in every if m in inputs or any(fnmatchcase(m, p) for p in settings.read))


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


def _manifest(
    graph: Graph,
    targets: Sequence[Target],
    codes: Sequence[TargetCode],
    settings: Settings,
    files: Mapping[str, bytes],
    saved: Mapping[str, tuple[str, str]],
) -> bytes:
    data = {
        "lrpc": {"format": 1},
        "versions": {
            "lrpc": lrpc.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
        **settings.facts,
        "sha256": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
        "inputs": {v.name: str(v.type) for v in graph.inputs},
        "outputs": {name: str(v.type) for name, v in graph.outputs},
        "targets": [
            {
                "name": t.name,
                "mark": t.mark,
                "axes": list(t.axes),
                "index_names": list(t.index_names),
                "token": t.token,
                "reads": [str(n.attr("name")) for n in c.plain.nodes if n.op == "read"],
            }
            for t, c in zip(targets, codes, strict=True)
        ],
        "rules": {n.out.name: str(n.rule) for n in graph.nodes if n.rule is not None},
        "plan": {"saved_bytes_per_image": _saved_bytes(graph, codes)},
        "settings": settings.to_json(),
        "saved": saved,
        "ledger": {c.name: ledger_rows(c.booked) for c in codes},
    }
    return (json.dumps(data, indent=1) + "\n").encode()


def _saved_bytes(graph: Graph, codes: Sequence[TargetCode]) -> dict[str, int]:
    """What the forward pass must keep for each target, at batch size 1."""
    own = {v.name: v for v in graph.values()}
    result = {}
    for code in codes:
        used = {
            v.name
            for n in code.plain.nodes
            if not n.outputs or n.outputs[0].name not in own
            for v in n.inputs
            if v.name in own
        }
        result[code.name] = sum(
            DTYPES[own[u].type.dtype].itemsize * _count(own[u].type.shape) for u in sorted(used)
        )
    return result


def _count(shape: Sequence[int | Sym]) -> int:
    total = 1
    for dim in shape:
        total *= concrete(dim, {"B": 1, "K": 1})
    return total
