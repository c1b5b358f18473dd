"""`lrpc verify`: holds a program against the reference interpreter, its own ledger and, where there
is one, its model; a program of any size at several sizes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from lrpc.errors import ProgramError
from lrpc.ir.graph import Module
from lrpc.ir.interpreter import interpret, sizes_of
from lrpc.ir.parser import read_graph
from lrpc.models.weights import load_weights
from lrpc.program.call_limits import limits_of
from lrpc.program.example_inputs import example_inputs, one_hot, strongest
from lrpc.program.interpreted import exact_relevance, reference_relevance, rounded
from lrpc.program.loading import composites_of, load_program, under_composite
from lrpc.program.manifest_reader import manifest_of
from lrpc.program.mixed import as_run
from lrpc.program.targets import boundaries_of
from lrpc.program.tolerance import Tolerance, tolerance
from lrpc.program.verify_figures import as_given, distance, output_check, random_masks
from lrpc.program.verify_sizes import AMPLIFIED, Check, Point, folded, points, words
from lrpc.rules.plugins import load_allowed
from lrpc.runtime.results import flat
from lrpc.support.untrusted import short
from passes import run_pipeline
from passes.lower_relevance import LowerRelevance

Values = Mapping[str, Tensor]

AS_MUCH = 2
"""How many times as far from float64 a program may be as rounding, in the interpreter's float32 or
of the saved values, moves it."""


class Model(Protocol):
    """The model that a program was compiled from."""

    def run(self, point: Point) -> tuple[Values, Values]:
        """What goes into the model at some size, and what comes out, both by name."""
        ...


def checks(
    directory: Path,
    device: str = "cpu",
    every: bool = False,
    plugins: Sequence[str] = (),
    sizes: Sequence[Point] = (),
    model: Model | None = None,
) -> Iterator[Check]:
    """Run all checks on random inputs, under every composite.

    `every` holds each target against the interpreter, not one. The manifest's plugins are imported
    where `plugins` names them. A program of any size is run at `sizes`, by default at its example's
    and at others; after the first, the figure of each kind that comes nearest to its limit is told.
    Raises ProgramError for a size at which nothing can be computed.
    """
    opened = _open(directory, device, every, plugins)
    own = points(opened.module.graph.sizes, limits_of(manifest_of(directory)).keeps)
    for n, tries in enumerate([[size] for size in sizes] or own):
        run = opened.run(tries)
        found = (replace(check, at=words(run.point)) for check in _told(run, model))
        yield from folded(found) if n else found


@dataclass(frozen=True, eq=False)
class _Composite:
    """What the manifest says under one composite, called `name` where there are several, its graph,
    and the joint graphs of its targets."""

    name: str
    manifest: Mapping[str, Any]
    module: Module
    joints: dict[str, Module]

    def joint(self, target: Mapping[str, Any]) -> Module:
        """The forward pass and the relevance of a target, as they run."""
        if target["name"] not in self.joints:
            mark, reads = target["mark"], tuple(target["reads"])
            settings = self.manifest["settings"]
            ends = boundaries_of(mark, settings["places"]["boundaries"], self.module.graph)
            masked = tuple(settings.get("conditions", ()))
            lower = LowerRelevance(mark, reads, ends, conditions=masked)
            joint = run_pipeline(self.module, (lower,))
            precision = str(settings["precision"])
            self.joints[target["name"]] = as_run(joint, precision, self.module.graph)
        return self.joints[target["name"]]


@dataclass(frozen=True, eq=False)
class _Opened:
    """A loaded program, and what it is held against."""

    directory: Path
    program: Any
    composites: Sequence[_Composite]
    every: bool
    allowed: Tolerance

    @property
    def module(self) -> Module:
        """The first composite's graph with the weights."""
        return self.composites[0].module

    def outputs(self, state: Any) -> Values:
        """The outputs of a forward pass by name."""
        structure = self.composites[0].manifest["settings"]["structure"]
        found: Values = flat(structure, state.outputs)
        return found

    @cached_property
    def same(self) -> Module:
        """The forward pass in the arithmetic of the program."""
        return as_run(self.module, str(self.composites[0].manifest["settings"]["precision"]))

    def run(self, tries: Sequence[Point]) -> _Run:
        """The first of some sizes at which the interpreter can compute the forward pass."""
        for point in tries:
            inputs = example_inputs(self.module.graph, sizes=point)
            try:
                values = interpret(self.same.graph, self.same.tensors, inputs, keep=True)
            except RuntimeError as error:  # as from a choice of 50 of 21 tokens
                at, reason = words(point), str(error).partition("\n")[0]
                continue
            return _Run(self, point, inputs, values)
        raise ProgramError(f"{self.directory}: nothing can be computed at {at}: {reason}")


@dataclass(frozen=True, eq=False)
class _Run:
    """One forward pass by the program, and the same by the interpreter."""

    opened: _Opened
    point: Point
    inputs: dict[str, Tensor]
    values: Values

    @cached_property
    def state(self) -> Any:
        """The program's own."""
        return self.opened.program.forward(**self.inputs)


def _open(directory: Path, device: str, every: bool, plugins: Sequence[str]) -> _Opened:
    program: Any = load_program(directory, device)
    manifest = manifest_of(directory)
    load_allowed(manifest, plugins)
    tensors = load_weights(directory / "weights.safetensors")
    found, names = [], composites_of(manifest)
    for name in names:
        own = under_composite(manifest, name)
        module = Module(read_graph(directory / str(own.get("graph", "graph.lrp"))), tensors)
        found.append(_Composite(name if len(names) > 1 else "", own, module, {}))
    allowed = tolerance(manifest, found[0].module.graph.dtype, device)
    return _Opened(directory, program, found, every, allowed)


def _told(run: _Run, model: Model | None) -> Iterator[Check]:
    """All checks at one size, to the one that cannot be made."""
    try:
        yield from _checks(run, model)
    except RuntimeError as error:
        yield Check("fails", float("inf"), 0.0, str(error).partition("\n")[0], "fails")


def _checks(run: _Run, model: Model | None) -> Iterator[Check]:
    """All checks at one size."""
    opened = run.opened
    got = opened.outputs(run.state)
    for name, value in opened.module.graph.outputs:
        yield output_check(name, got[name].cpu(), run.values[value.name], opened.allowed)
    if model is not None:
        yield from _against_model(run, model)
    for one in opened.composites:
        label = f"{one.name}: " if one.name else ""
        for check in _of_relevance(run, one):
            yield replace(check, what=label + check.what, kind=label + check.kind)


def _against_model(run: _Run, model: Model) -> Iterator[Check]:
    """Outputs for what goes into the model, against its own."""
    inputs, wanted = model.run(run.point)
    got = run.opened.outputs(run.opened.program.forward(**inputs))
    for name in dict.fromkeys((*wanted, *got)):
        own, theirs = (list(v[name].shape) if name in v else None for v in (got, wanted))
        if own == theirs:
            yield output_check(name, got[name].cpu(), wanted[name], run.opened.allowed, "the model")
            continue
        said = "it has none" if theirs is None else f"its shape is {theirs}"
        kind = "outputs, against the model"
        limit = run.opened.allowed.near
        yield Check(f"output {name}", float("inf"), limit, f"against the model: {said}", kind)


def _of_relevance(run: _Run, one: _Composite) -> Iterator[Check]:
    """The checks of one composite's relevance."""
    allowed, opened, graph = run.opened.allowed, run.opened, one.module.graph
    own = {"composite": one.manifest["composite"]} if one.name else {}
    relevance = partial(opened.program.relevance, run.state, **own)
    for i, target in enumerate(one.manifest["targets"]):
        name, value = target["name"], graph.value_at[target["mark"]]
        at = strongest(run.values[value.name], target, value.type.shape)
        with_ledger = relevance(name, at=at, ledger=True)
        ledger = with_ledger.ledger
        where, kind, share = (ledger.biggest(1) or [("nothing", "none", 0.0)])[0]
        sink = f"biggest sink: {kind} at {where} ({share:.0%} of the start)"
        closure = float(ledger.closure.max())
        yield Check(f"ledger {name}", closure, allowed.closed, sink, "ledgers")
        if allowed.nodes:
            worst = max(float(v.max()) for v in ledger.node_closure().values())
            kind = "ledgers, worst node"
            yield Check(f"ledger {name}, worst node", worst, allowed.closed, kind=kind)
        grown = {place: float(one.max()) for place, one in with_ledger.amplification.items()}
        place = max(grown, key=lambda name: grown[name])
        said, kind = f"Σ |R| at {place}, over the start", "amplification"
        yield Check(f"{kind} {name}", grown[place], AMPLIFIED, said, kind, warns=True)
        plain = relevance(name, at=at)
        pairs = zip(_places(plain), _places(with_ledger), strict=True)
        same, kind = max(distance(a, b) for a, b in pairs), "with and without ledger"
        yield Check(f"{kind}, {name}", same, allowed.near, kind=kind)
        if i == 0 or opened.every:
            yield from _against_reference(run, one, target, at, plain)
            yield from _conditioned(run, one, target, at)


def _conditioned(
    run: _Run, one: _Composite, target: Mapping[str, Any], at: Tensor
) -> Iterator[Check]:
    """Relevance through a random half of what each condition masks: its ledger, and as above."""
    name, joint = target["name"], one.joint(target).graph
    masks = random_masks(joint, sizes_of(one.module.graph, run.inputs))
    given = {condition: as_given(joint.value_at[condition], m) for condition, m in masks.items()}
    if not given:
        return
    options: Any = {"composite": one.manifest["composite"]} if one.name else {}
    options |= {"at": at, "condition": given, "ledger": True}
    found = run.opened.program.relevance(run.state, name, **options)
    figures = (float(found.ledger.closure.max()), run.opened.allowed.closed)
    yield Check(f"ledger {name}, conditions", *figures, kind="ledgers, conditions")
    for check in _against_reference(run, one, target, at, found, masks):
        yield replace(check, what=f"conditioned {check.what}", kind=f"conditioned {check.kind}")


def _kept(directory: Path, manifest: Mapping[str, Any], state: Any) -> dict[str, Tensor]:
    """What the state has of the forward pass, by the names of the graph; ProgramError where the
    manifest says otherwise than the program."""
    found = {}
    for name, (scope, local) in manifest["saved"].items():
        if local not in state.saved.get(scope, {}):
            raise ProgramError(
                f"{directory / 'manifest.json'}: saved: the program does not keep {short(name)}"
                f" as {short(local)} in {short(scope)}; compile the program again"
            )
        found[name] = state.saved[scope][local].cpu()
    return found


def _against_reference(
    run: _Run,
    one: _Composite,
    target: Mapping[str, Any],
    at: Tensor,
    result: Any,
    masks: Mapping[str, Tensor] | None = None,
) -> Iterator[Check]:
    """Relevance of a target at all its places, from what the program itself saved."""
    values = _kept(run.opened.directory, one.manifest, run.state)
    value = values[one.module.graph.value_at[target["mark"]].name]
    joint, seed = one.joint(target), one_hot(value, target, at)
    reference = reference_relevance(joint.graph, joint.tensors, run.inputs, values, seed, masks)
    inputs = one.manifest["settings"]["places"]["inputs"]
    got = {
        **result.layers,
        **{k: result.inputs[v] for k, v in inputs.items() if v in result.inputs},
    }
    exact, moved = dict[str, Tensor](), dict[str, Tensor]()
    for name in target["reads"]:
        figure, near = distance(got[name].cpu(), reference[name]), run.opened.allowed.near
        what, kind = f"{target['name']} → {name}", f"{target['name']} → its places"
        if figure <= near or one.module.graph.dtype != "f32":
            yield Check(what, figure, near, "against the interpreter", kind)
            continue
        # Rounding alone may be more, where a rule amplifies it: float64 tells.
        exact = exact or exact_relevance(joint, run.inputs, values, seed, masks)
        moved = moved or exact_relevance(joint, run.inputs, rounded(values), seed, masks)
        own = max(distance(found[name], exact[name]) for found in (reference, moved))
        remark = f"against float64, which rounding moves by {own:.1e}"
        figure = distance(got[name].cpu(), exact[name])
        yield Check(what, figure, max(near, AS_MUCH * own), remark, kind)


def _places(result: Any) -> list[Tensor]:
    return [*result.inputs.values(), *result.layers.values()]
