"""`lrpc verify`: holds a program against the reference interpreter and its own ledger."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text
from torch import Tensor

from lrpc.errors import ProgramError
from lrpc.ir.graph import Graph, Module, Node
from lrpc.ir.interpreter import interpret, run_node, sizes_of
from lrpc.ir.parser import read_graph
from lrpc.models.weights import load_weights
from lrpc.program.example_inputs import example_inputs, one_hot, strongest
from lrpc.program.loading import composites_of, load_program, under_composite
from lrpc.program.manifest_reader import manifest_of
from lrpc.program.mixed import as_run
from lrpc.program.targets import boundaries_of
from lrpc.program.tolerance import Tolerance, tolerance
from lrpc.rules.plugins import load_allowed
from lrpc.runtime.results import flat
from lrpc.support.untrusted import short
from passes import run_pipeline
from passes.lower_relevance import LowerRelevance


@dataclass(frozen=True)
class Check:
    """One line of the report: what was measured, the figure, its limit, and what to add."""

    what: str
    figure: float
    limit: float
    remark: str = ""

    @property
    def passed(self) -> bool:
        return self.figure <= self.limit


def checks(
    directory: Path, device: str = "cpu", every: bool = False, plugins: Sequence[str] = ()
) -> Iterator[Check]:
    """Run all checks on random inputs, under every composite; `every` holds each target against
    the interpreter, not one. The manifest's plugins are imported where `plugins` names them."""
    program: Any = load_program(directory, device)
    manifest = manifest_of(directory)
    load_allowed(manifest, plugins)
    graph = _graph(directory, manifest)
    tensors = load_weights(directory / "weights.safetensors")
    inputs = example_inputs(graph)
    allowed = tolerance(manifest, graph.dtype, device)
    precision = str(manifest["settings"]["precision"])
    state = program.forward(**inputs)
    same = as_run(Module(graph, tensors), precision)
    values = interpret(same.graph, same.tensors, inputs, keep=True)
    got = flat(manifest["settings"]["structure"], state.outputs)
    for name, value in graph.outputs:
        yield _output_check(name, got[name].cpu(), values[value.name], allowed)
    run = _Run(directory, program, state, inputs, values, every, allowed)
    names = composites_of(manifest)
    for name in names:
        own = under_composite(manifest, name)
        found = _under(run, own, Module(_graph(directory, own), tensors))
        yield from (replace(c, what=f"{name}: {c.what}") if len(names) > 1 else c for c in found)


@dataclass(frozen=True, eq=False)
class _Run:
    """One forward pass by the program, and the same by the interpreter."""

    directory: Path
    program: Any
    state: Any
    inputs: Mapping[str, Tensor]
    values: Mapping[str, Tensor]
    every: bool
    allowed: Tolerance


def _graph(directory: Path, manifest: Mapping[str, Any]) -> Graph:
    path = directory / str(manifest.get("graph", "graph.lrp"))
    return read_graph(path)


def _under(run: _Run, manifest: Mapping[str, Any], module: Module) -> Iterator[Check]:
    """The checks of one composite's relevance."""
    graph, state, allowed = module.graph, run.state, run.allowed
    own = {"composite": manifest["composite"]} if "composites" in manifest else {}
    relevance = partial(run.program.relevance, state, **own)
    for i, target in enumerate(manifest["targets"]):
        value = graph.value_at[target["mark"]]
        at = strongest(run.values[value.name], target, value.type.shape)
        with_ledger = relevance(target["name"], at=at, ledger=True)
        node, path, kind, share = (with_ledger.ledger.biggest(1) or [("", "", "none", 0.0)])[0]
        yield Check(
            f"ledger {target['name']}",
            float(with_ledger.ledger.closure.max()),
            allowed.closed,
            f"biggest sink: {kind} at {path or node} ({share:.0%} of the start)",
        )
        if allowed.nodes:
            worst = max(float(v.max()) for v in with_ledger.ledger.node_closure().values())
            yield Check(f"ledger {target['name']}, worst node", worst, allowed.closed)
        plain = relevance(target["name"], at=at)
        same = max(
            distance(a, b) for a, b in zip(_places(plain), _places(with_ledger), strict=True)
        )
        yield Check(f"with and without ledger, {target['name']}", same, allowed.near)
        if i == 0 or run.every:
            kept = _kept(run.directory, manifest, state)
            yield from _against_reference(manifest, target, module, run, kept, at, plain)


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
    manifest: Mapping[str, Any],
    target: Mapping[str, Any],
    module: Module,
    run: _Run,
    values: Mapping[str, Tensor],
    at: Tensor,
    result: Any,
) -> Iterator[Check]:
    places = manifest["settings"]["places"]
    boundaries = boundaries_of(target["mark"], places["boundaries"], module.graph)
    lower = LowerRelevance(target["mark"], tuple(target["reads"]), boundaries)
    value = values[module.graph.value_at[target["mark"]].name]
    joint = as_run(
        run_pipeline(module, (lower,)), str(manifest["settings"]["precision"]), module.graph
    )
    reference = reference_relevance(
        joint.graph,
        joint.tensors,
        dict(run.inputs),
        dict(values),
        one_hot(value, target, at),
    )
    got = {
        **result.layers,
        **{k: result.inputs[v] for k, v in places["inputs"].items() if v in result.inputs},
    }
    for name in target["reads"]:
        yield Check(
            f"{target['name']} → {name}",
            distance(got[name].cpu(), reference[name]),
            run.allowed.near,
            "against the interpreter",
        )


def reference_relevance(
    joint: Graph,
    tensors: Mapping[str, Tensor],
    inputs: dict[str, Tensor],
    values: dict[str, Tensor],
    seed: Tensor,
) -> dict[str, Tensor]:
    """Relevance at every read of a joint graph by reference semantics, from forward `values`."""
    known = dict(values) | inputs | {joint.inputs[-1].name: seed}
    sizes = sizes_of(joint, {**inputs, joint.inputs[-1].name: seed})
    found: dict[str, Tensor] = {}
    for node in _missing(joint, known):
        if node.op == "read":
            found[str(node.attr("name"))] = read_out([known[v.name] for v in node.inputs])
            continue
        with torch.no_grad():
            results = run_node(node, tensors, tuple(known[v.name] for v in node.inputs), sizes)
        for value, result in zip(node.outputs, results, strict=True):
            known.setdefault(value.name, result)
    return found


def read_out(parts: Sequence[Tensor]) -> Tensor:
    """What a `read` of these inputs hands out: G ⊙ value, R, or G ⊙ value + R."""
    if len(parts) == 1:
        return parts[0]
    product: Tensor = parts[0] * parts[1]
    return product.add(parts[2]) if len(parts) > 2 else product


def _missing(graph: Graph, known: Mapping[str, Tensor]) -> list[Node]:
    """The nodes that the reads need beyond the known values, in program order."""
    needed: set[str] = set()
    found = []
    for node in reversed(graph.nodes):
        wanted = node.op == "read" or any(v.name in needed - known.keys() for v in node.outputs)
        if wanted:
            found.append(node)
            needed |= {v.name for v in node.inputs}
    return found[::-1]


def _output_check(name: str, got: Tensor, expected: Tensor, allowed: Tolerance) -> Check:
    """The largest difference of the share of entries that must be near; how many moved is
    stated."""
    apart = (got.double() - expected.double()).abs().flatten()
    apart = apart / expected.double().abs().max().clamp_min(1e-300)
    if allowed.share == 1 or not bool(torch.isfinite(apart).all()):
        figure = distance(got, expected)
        return Check(f"output {name}", figure, allowed.near, "against the interpreter")
    moved = int((apart > allowed.near).sum())
    figure = float(apart.sort().values[: max(1, round(allowed.share * apart.numel()))][-1])
    remark = f"; {moved} of {apart.numel()} entries differ, at near-ties" if moved else ""
    return Check(f"output {name}", figure, allowed.near, f"against the interpreter{remark}")


def distance(a: Tensor, b: Tensor) -> float:
    """Largest difference relative to the largest magnitude; infinity where one is not finite."""
    if a.numel() == 0:
        return 0.0
    rest = (a.double() - b.double()).abs().max() / b.double().abs().max().clamp_min(1e-300)
    return float(rest) if bool(torch.isfinite(rest)) else float("inf")


def _places(result: Any) -> list[Tensor]:
    return [*result.inputs.values(), *result.layers.values()]


def report(
    directory: Path,
    console: Console,
    device: str = "cpu",
    every: bool = False,
    plugins: Sequence[str] = (),
) -> int:
    """Print the table; 0 where every check passed, else 1."""
    table = Table(title=escape(f"verify {directory}"))
    for column in ("check", "figure", "limit", "", "remark"):
        table.add_column(column, justify="right" if column in ("figure", "limit") else "left")
    results = []
    for check in checks(directory, device, every, plugins):
        results.append(check)
        verdict = "[green]ok[/]" if check.passed else "[bold red]FAILED[/]"
        table.add_row(
            Text(check.what),
            f"{check.figure:.2e}",
            f"{check.limit:.0e}",
            verdict,
            Text(check.remark),
        )
    console.print(table)
    failed = sum(not c.passed for c in results)
    console.print(f"{len(results) - failed} of {len(results)} checks passed")
    return 1 if failed else 0
