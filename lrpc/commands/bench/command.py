"""`lrpc bench`: what a program's calls cost, beside its model."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from rich.console import Console
from torch import Tensor

from lrpc.backend.memory.run import Model
from lrpc.commands.bench import rebuilt, store
from lrpc.commands.bench.loadings import Loaded, loaded, loadings_of
from lrpc.commands.bench.machine import machine
from lrpc.commands.bench.memory import peak
from lrpc.commands.bench.tables import Sheet, spanned, to_rich
from lrpc.commands.bench.timing import interleaved
from lrpc.commands.session.arguments import check_known
from lrpc.commands.session.units import size
from lrpc.errors import ProgramError
from lrpc.ir.types import DTYPES
from lrpc.program.devices import device_of
from lrpc.program.loading import composites_of, load_program, under_composite
from lrpc.program.manifest_reader import manifest_of
from lrpc.program.memory_of import open_model

#: The largest closure of a ledger that counts as closed, by precision.
CLOSURE = {"fp64": 1e-9, "bf16": 5e-2}


@dataclass(frozen=True)
class Call:
    """One thing that is timed, for a target or for the whole; `predicted` are bytes by the
    program's plan, of calls that start without a state."""

    target: str
    what: str
    run: Callable[[], Any]
    predicted: int | None = None


@dataclass(frozen=True)
class Subject:
    """A program under one of its composites, and its inputs."""

    program: Any
    inputs: Mapping[str, Tensor]
    composite: str

    def forward(self) -> Any:
        """A forward pass."""
        return self.program.forward(**self.inputs)

    def relevance(
        self, target: Mapping[str, Any], state: Any = None, seeds: int = 1, ledger: bool = False
    ) -> Any:
        """Relevance on a state, by default that of a forward pass of its own."""
        used = self.forward() if state is None else state
        options = {"composite": self.composite, "ledger": ledger}
        return self.program.relevance(used, target["name"], at=_at(target, seeds), **options)


def main(args: Namespace, console: Console) -> int:
    """Check, time and print; 0, or an LrpcError."""
    program: Any = load_program(args.program, device_of(args.device))
    manifest_of(args.program)  # so all that is read of it below is what it should be
    known = composites_of(program.manifest)
    composite = args.composite or known[0]
    check_known("--composite", composite, known)
    manifest = under_composite(program.manifest, composite)
    targets = _targets(manifest, args.target)
    inputs = {k: v.to(args.device) for k, v in example(manifest, args.batch).items()}
    subject = Subject(program, inputs, composite)
    state = subject.forward()
    code = (args.source, args.plugin, args.overrides)
    other = rebuilt.original(manifest, inputs, args.device, args.weights, *code)
    checked: dict[str, Any] = {"closures": _closures(subject, state, targets)}
    notes = []
    if isinstance(other, str):
        notes.append(f"no model beside it: {other}")
    else:
        checked["outputs_differ_by"] = _agree(state.outputs, other, manifest)
        notes.append(f"outputs differ from the model's by {checked['outputs_differ_by']:.0e}")
    worst = max(checked["closures"].values())
    notes.append(f"ledgers close to {worst:.0e} at most")
    others = _others(args, subject, targets[0])
    for one in others:
        notes.append(
            f"{one.loading}: first calls took {one.seconds:.1f} s, relevance of"
            f" {targets[0]['name']} differs by {one.apart:.0e}"
        )
    calls = _calls(subject, state, open_model(args.program, args.plugin), targets, args.seeds)
    calls += [call for one in others for call in _loaded_calls(one, subject, targets)]
    calls.sort(key=lambda call: ["", *(t["name"] for t in targets)].index(call.target))
    first = [] if isinstance(other, str) else _model_calls(other)
    case = _measured([*first, *calls], args)
    case |= {"checked": checked, "program": str(args.program), "composite": composite}
    title = f"{args.program}, {composite}: {args.batch} image(s), {args.device}, "
    title += f"{torch.get_num_threads()} thread(s)"
    console.print(to_rich(sheet(case, title, notes)))
    if args.json is not None:
        store.write(args.json, {"program": case})
    return 0


def example(manifest: Mapping[str, Any], batch: int) -> dict[str, Tensor]:
    """Seeded inputs of a program: images in 0–255 where a config made it, else normal numbers;
    zeros for indices and masks. What varies is as in the example that the program was made with."""
    found = {}
    known = {name: size["example"] for name, size in manifest.get("sizes", {}).items()}
    known["B"] = batch
    for name, text in manifest["inputs"].items():
        dtype, _, shape = str(text).removesuffix("]").partition("[")
        sizes = [known[d] if d in known else int(d) for d in shape.split(",") if d]
        generator = torch.Generator().manual_seed(0)
        kind = DTYPES[dtype]
        if not kind.is_floating_point:
            found[name] = torch.zeros(sizes, dtype=kind)
        elif "config" in manifest:
            found[name] = (torch.rand(sizes, generator=generator) * 255).to(kind)
        else:
            found[name] = torch.randn(sizes, generator=generator).to(kind)
    return found


def _targets(manifest: Mapping[str, Any], wanted: Sequence[str] | None) -> list[dict[str, Any]]:
    known = {target["name"]: target for target in manifest["targets"]}
    for name in wanted or ():
        check_known("--target", name, list(known))
    return [known[name] for name in wanted or known]


def _at(target: Mapping[str, Any], seeds: int) -> list[tuple[int, ...]]:
    return [(0,) * len(target["index_names"])] * seeds


def _closures(
    subject: Subject, state: Any, targets: Sequence[Mapping[str, Any]]
) -> dict[str, float]:
    """How well the ledger of each target closes; ProgramError where one does not."""
    found = {}
    limit = CLOSURE.get(str(subject.program.manifest.get("precision")), 1e-3)
    for target in targets:
        name, ledger = target["name"], subject.relevance(target, state, ledger=True).ledger
        found[name] = float(ledger.closure.max())
        if not found[name] <= limit:
            raise ProgramError(
                f"{name}: the ledger closes to {found[name]:.0e} only, {limit:.0e} is expected: "
                "not timed; run `lrpc verify` on the program"
            )
    return found


def _agree(outputs: Any, other: rebuilt.Original, manifest: Mapping[str, Any]) -> float:
    found = rebuilt.apart(outputs, other.forward())
    limit = rebuilt.LIMITS.get(str(manifest.get("precision")), 1e-3)
    if not found <= limit:
        raise ProgramError(
            f"the program's outputs differ from its model's by {found:.0e}, more than {limit:.0e}:"
            " not timed; run `lrpc verify` on the program"
        )
    return found


def _others(args: Namespace, subject: Subject, target: Mapping[str, Any]) -> list[Loaded]:
    """The program loaded with the other options that were asked for, held against itself."""
    loadings = loadings_of(args.ways)
    if not loadings:
        return []
    asked = (target["name"], {"composite": subject.composite, "at": _at(target, 1)})
    expected = subject.relevance(target)
    return loaded(args.program, args.device, loadings, subject.inputs, expected, asked)


def _loaded_calls(
    one: Loaded, subject: Subject, targets: Sequence[Mapping[str, Any]]
) -> list[Call]:
    """Calls of a program loaded with options: a captured one keeps its last state alone, so its
    relevance comes with its forward pass."""
    same = replace(subject, program=one.program)
    what = f"{one.loading}: forward and relevance"
    return [
        Call("", f"{one.loading}: forward", same.forward),
        *(Call(t["name"], what, partial(same.relevance, t)) for t in targets),
    ]


def _model_calls(other: rebuilt.Original) -> list[Call]:
    return [
        Call("", "the model: forward", other.forward),
        Call("", "the model: forward and input gradient", other.gradient),
    ]


def _calls(
    subject: Subject,
    state: Any,
    model: Model,
    targets: Sequence[Mapping[str, Any]],
    seeds: int,
) -> list[Call]:
    """The program's calls; relevance alone is of a state that has been used before."""
    after = model.forward(next(x.shape[0] for x in subject.inputs.values()))
    codes = [(code.name, code.composite or subject.composite) for code in model.codes]
    relevance = subject.relevance
    found: list[Call] = []
    for target in targets:
        name = target["name"]
        timeline = model.timeline(codes.index((name, subject.composite)), 1, after)
        if not found:
            found.append(Call("", "the program: forward", subject.forward, timeline.forward_peak))
        found += [
            Call(name, "forward and relevance", partial(relevance, target), max(timeline.live)),
            Call(name, "relevance", partial(relevance, target, state)),
            Call(name, f"relevance of {seeds} seeds", partial(relevance, target, state, seeds)),
            Call(name, "relevance and ledger", partial(relevance, target, state, 1, True)),
        ]
    return found


def _measured(calls: Sequence[Call], args: Namespace) -> dict[str, Any]:
    """The case as JSON holds it."""
    runs = {f"{c.target} {c.what}": c.run for c in calls}
    times = interleaved(runs, args.repeats, args.device)
    rows = [
        {
            "target": call.target,
            "what": call.what,
            "time": times[f"{call.target} {call.what}"].to_json(),
            "peak": peak(call.run, args.device),
            "predicted": call.predicted,
        }
        for call in calls
    ]
    settings = {"batch": args.batch, "seeds": args.seeds, "repeats": args.repeats}
    return {"machine": machine(args.device), "settings": settings, "rows": rows}


def sheet(case: Mapping[str, Any], title: str, notes: Sequence[str]) -> Sheet:
    """The table: times beside the first row's, which is a forward pass; peaks beside the plan's."""
    rows, cells, last = case["rows"], [], ""
    first = rows[0]["time"]["median"]
    for row in rows:
        if row["target"] != last:
            last = row["target"]
            cells.append([last, "", "", "", ""])
        told = "" if row["predicted"] is None else size(row["predicted"])
        ratio = f"{row['time']['median'] / first:.2f}×"
        label = f"  {row['what']}" if last else row["what"]
        cells.append([label, spanned(row["time"]), ratio, size(row["peak"]), told])
    more = "peaks are beyond weights, inputs and, for relevance alone, the state"
    return Sheet(title, ["", "time", "of forward", "peak", "predicted"], cells, [*notes, more])
