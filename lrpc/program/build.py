"""From an imported graph to the files of a program: the passes, the targets, the text, the
manifest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

import lrpc
from lrpc.backend.interface import Description, TargetCode
from lrpc.backend.memory.bounds import held_at
from lrpc.backend.memory.choose import Choice, choose
from lrpc.backend.memory.plan import memory_plans
from lrpc.backend.render.program import program_text
from lrpc.backend.schedule.ir import Schedule
from lrpc.backend.schedule.saved import saved_values
from lrpc.backend.schedule.verify import verify
from lrpc.errors import ConfigError, WeightsError
from lrpc.ir.graph import Graph, Module
from lrpc.ir.printer import print_graph
from lrpc.ir.types import Sym
from lrpc.models.weights import not_finite, serialize_weights
from lrpc.program.manifest import Lowered, graph_file, manifest
from lrpc.program.memory_model import memory_model
from lrpc.program.mixed import running, used_weights
from lrpc.program.model_check import UNCHECKED, Check
from lrpc.program.places import check_conditions, chosen_places, with_inputs
from lrpc.program.precision import Compared, precision_report
from lrpc.program.settings import Settings
from lrpc.program.targets import Target, boundaries_of
from lrpc.rules.composite import Composite
from lrpc.rules.conditions import condition
from lrpc.rules.derived import Derived
from lrpc.support.escaping import file_word
from passes import (
    CLEANING,
    Pass,
    annotating,
    pruning,
    run_pipeline,
)
from passes.lower_relevance import LowerRelevance

Watch = Callable[[str, Module | Schedule], None]


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
    annotated = _run(module, (*steps[:at], *extra), watch)
    variants = []
    for composite in composites:
        own = _labelled(watch, composite.name if len(composites) > 1 else "")
        ruled = _run(annotated, annotating(composite)[at:], own)
        variants.append(Variant(composite.name, composite.epsilon, ruled))
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
    check: Check | None = None,
) -> dict[str, bytes]:
    """The files of the program directory, by name, from the annotated graph of each composite.

    `check` holds the program against its model; MismatchError where they differ.
    """
    if not targets:
        raise ConfigError("no target to start relevance from; set LRPC.TARGETS")
    module = variants[0].module
    _check_finite(module, settings.name)
    made = lowered(variants, targets, settings, watch)
    run = running(made, settings.precision, watch)
    settings = replace(settings, places=with_inputs(settings.places, module.graph))
    model = memory_model(run, settings.chunk, watch)
    planned = settings.planned or ({size.name: size.example for size in model.graph.sizes},)
    choice = choose(model, settings.checkpoint, settings.budget, planned)
    model = choice.of(model)
    about = _about(settings, choice)
    chunked = model.per_pass > 0
    schedule = model.scheduler.schedule(choice.recomputed, chunked, _verified(watch))
    text = program_text(schedule, model.graph, model.codes, about)
    tensors = _merged([t for one in run for t in one.tensors])
    files = {
        "program.py": text.encode(),
        "weights.safetensors": serialize_weights(tensors, {"producer": f"lrpc {lrpc.__version__}"}),
        **{graph_file(one, made[0]): print_graph(one.graph).encode() for one in made},
    }
    facts = {**settings.facts, "check": dict(UNCHECKED)}
    if check is not None:
        facts["check"] = check.check(text, tensors, settings.precision)
    if settings.precision in ("tf32", "bf16"):
        exact = _merged([t for one in made for t in one.tensors])
        job = Compared(
            settings.precision, text, tensors, exact, made, targets, about,
            settings.example, settings.bound,
        )  # fmt: skip
        facts["precision_report"] = precision_report(job)
    if left := tensors.keys() - used_weights(run):
        facts["reference_weights"] = sorted(left)
    blocks = model.scheduler.kept_and_made(choice.recomputed)
    files["manifest.json"] = manifest(
        made,
        targets,
        facts,
        settings.to_json(),
        files,
        saved_values(schedule),
        memory_plans(model, [len(one.codes) for one in made], planned if choice.budget else ()),
        choice.to_json()
        | {"made": {key: made for key, (_, made) in blocks.items()}}
        | {"held": [held_at(model, sizes) for sizes in planned] if choice.budget else []},
    )
    return files


def _verified(watch: Watch | None) -> Callable[[str, Schedule], None]:
    """Verifies the schedule after every pass that changed it, and shows it."""
    last: list[Schedule] = []

    def seen(name: str, schedule: Schedule) -> None:
        if not any(schedule is known for known in last):
            last[:] = [verify(schedule, name)]
        if watch is not None:
            watch(f"schedule_{name}", schedule)

    return seen


def _about(settings: Settings, choice: Choice) -> Description:
    return Description(
        settings.name,
        settings.structure,
        settings.places.inputs,
        settings.notes,
        settings.tf32,
        choice.chunk,
        choice.recomputed,
        choice.per_pass,
    )


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


def _lowered(
    variant: Variant, targets: Sequence[Target], settings: Settings, watch: Watch | None
) -> Lowered:
    pruned = _run(variant.module, pruning(settings.places.boundaries), watch)
    reads = chosen_places(pruned.graph, settings.places, settings.read)
    codes, tensors = [], [pruned.tensors]
    lower = partial(_lower, pruned, reads, settings, Derived())
    for target in targets:
        plain, ledger = lower(target, False, watch), lower(target, True, None)
        tensors += [plain.tensors, ledger.tensors]
        codes.append(_code(target, pruned.graph, plain.graph, ledger.graph))
    check_conditions(settings.conditions, pruned.graph, [code.conditions for code in codes])
    return Lowered(variant.composite, variant.epsilon, pruned.graph, tuple(codes), tuple(tensors))


def _merged(parts: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """All tensors by name; what rules derive from a weight must be named apart where it differs."""
    found: dict[str, Tensor] = {}
    for name, tensor in (item for part in parts for item in part.items()):
        if name in found and found[name] is not tensor and not torch.equal(found[name], tensor):
            raise WeightsError(f"two rules derive different weights of one name, {name}")
        found[name] = tensor
    return found


@dataclass(frozen=True)
class _Lowering:
    """Relevance of one target; the weights that rules derive are those of all targets."""

    lower: LowerRelevance
    weights: Derived
    name: ClassVar[str] = LowerRelevance.name

    def run(self, module: Module) -> Module:
        return self.lower.sharing(self.weights, module)


def _lower(
    module: Module,
    reads: tuple[str, ...],
    settings: Settings,
    weights: Derived,
    target: Target,
    ledger: bool,
    watch: Watch | None,
) -> Module:
    boundaries = boundaries_of(target.place, settings.places.boundaries, module.graph)
    job = LowerRelevance(target.place, reads, boundaries, ledger, settings.conditions)
    lower = _Lowering(job, weights)

    def say(name: str, result: Module) -> None:
        if watch is not None:
            watch(f"{name}.{file_word(target.name)}", result)

    return run_pipeline(module, (lower, *CLEANING), lambda step, m: say(step.name, m))


def _code(target: Target, graph: Graph, plain: Graph, ledger: Graph) -> TargetCode:
    value = graph.value_at[target.place]
    batch = next((i for i, d in enumerate(value.type.shape) if isinstance(d, Sym)), 0)
    rest = [i for i in range(value.type.rank) if i != batch]
    return TargetCode(
        target.name,
        value,
        plain,
        ledger,
        tuple(rest[i] for i in target.axes),
        target.index_names,
        None if target.token is None else rest[target.token],
        conditions={n: (mask, condition(graph, n).axes) for n, mask in plain.places},
    )
