"""What tf32 and bf16 cost a program: it runs beside its float64 reference, and the difference is
reported, or too large."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from lrpc.backend.interface import Description, TargetCode, ledger_rows
from lrpc.backend.render.program import generate
from lrpc.errors import PrecisionError
from lrpc.program.example_inputs import example_inputs, one_hot, strongest
from lrpc.program.manifest import Lowered
from lrpc.program.reference import doubled, in_double, running
from lrpc.program.targets import Target
from lrpc.program.tf32 import Tf32
from lrpc.runtime.results import ledger_of

ENTRIES = 5e8  # of values, all targets together, that are worth about a minute in float64
MOVED = 0.05  # of the largest output: a row further off fell otherwise at a near tie


@dataclass(frozen=True, eq=False)
class Compared:
    """A program's text and weights; `made` and the weights `exact`, of which its float64 reference
    is made."""

    precision: str
    text: str
    weights: Mapping[str, Tensor]
    exact: Mapping[str, Tensor]
    made: Sequence[Lowered]
    targets: Sequence[Target]
    about: Description
    example: Mapping[str, Tensor]
    bound: float


@torch.no_grad()
def precision_report(job: Compared) -> dict[str, Any]:
    """The errors of outputs and relevance against float64, on the example or one seeded input.

    Raises PrecisionError where relevance of a target is off by more than `job.bound` in sum, or a
    number is not finite. TF32 is emulated: models are compiled on the CPU.
    """
    graph = job.made[0].graph
    inputs = {**example_inputs(graph), **job.example}
    inputs = {v.name: inputs[v.name] for v in graph.inputs}
    program, cases = running(job.text, job.weights), _cases(job)
    with Tf32():  # type: ignore[no-untyped-call]
        outputs, saved = program.forward(inputs)
    values = [program.value(saved, case.name, case.under).clone() for case in cases]
    del saved  # one state at a time
    exact, starts, references = _reference(job, inputs, cases, values)
    with Tf32():  # type: ignore[no-untyped-call]
        saved = program.forward(inputs)[1]
        found = [
            program.relevance(saved, case.name, case.under, one_hot(value, case.said, at), True)
            for case, value, at in zip(cases, values, starts, strict=True)
        ]
    rows = zip(cases, starts, found, references, strict=True)
    report: dict[str, Any] = {
        "precision": job.precision,
        "against": "fp64",
        "tf32": "emulated",
        "input": "the example" if job.example else "random, seeded",
        "bound": job.bound,
        "outputs": [_output(name, outputs[name], exact[name]) for name in exact],
        "targets": [_row(*row) for row in rows],
        "unchecked": [t.name for t in job.targets if t.name not in {case.name for case in cases}],
    }
    _refuse(report)
    return report


@dataclass(frozen=True, eq=False)
class _Case:
    """One target under one composite, empty where there is one."""

    target: Target
    code: TargetCode

    @property
    def name(self) -> str:
        return self.target.name

    @property
    def under(self) -> str:
        return self.code.composite

    @property
    def said(self) -> dict[str, Any]:
        """What a manifest says of the target's axes."""
        return {"axes": self.target.axes, "token": self.target.token}


def _cases(job: Compared) -> list[_Case]:
    """The first targets of each composite, as many as take about a minute; one at least."""
    graph = job.made[0].graph
    entries = sum(math.prod(v.type.sized({"B": 1})) for v in graph.values())
    count = max(1, int(ENTRIES / entries / len(job.made)))
    return [
        _Case(target, code)
        for one in job.made
        for target, code in list(zip(job.targets, one.codes, strict=True))[:count]
    ]


def _reference(
    job: Compared, inputs: Mapping[str, Tensor], cases: Sequence[_Case], values: Sequence[Tensor]
) -> tuple[dict[str, Tensor], list[Tensor], list[Tensor]]:
    """In float64: the outputs, where relevance of each case starts (at its strongest entry that
    did not move), and relevance at the inputs."""
    wide = [in_double(one) for one in job.made]
    codes = [code for one in wide for code in one.codes]
    text = generate(wide[0].graph, codes, replace(job.about, tf32=False, recomputed={}, per_pass=0))
    double = running(text, {name: doubled(t) for name, t in job.exact.items()})
    outputs, saved = double.forward({name: doubled(x) for name, x in inputs.items()})
    starts, found = [], []
    for case, value in zip(cases, values, strict=True):
        exact = double.value(saved, case.name, case.under)
        shape = case.code.value.type.shape
        at = strongest(_settled(value, exact, case.target), case.said, shape)
        g = one_hot(exact, case.said, at)
        starts.append(at)
        found.append(double.relevance(saved, case.name, case.under, g, False)[0])
    return outputs, starts, found


def _row(
    case: _Case, at: Tensor, found: tuple[Tensor, list[Tensor]], exact: Tensor
) -> dict[str, Any]:
    """Errors of relevance at the inputs, and what the ledger leaves open."""
    apart, amounts = (found[0].double() - exact).abs(), found[1]
    return {
        **({"composite": case.under} if case.under else {}),
        "target": case.name,
        "at": at[0].tolist(),
        "relative_l1": _figure(apart.sum() / exact.abs().sum().clamp_min(1e-300)),
        "correlation": _figure(torch.corrcoef(torch.stack([found[0].double(), exact]))[0, 1]),
        "closure": _figure(ledger_of(ledger_rows(case.code.with_ledger), amounts).closure.max()),
    }


def _settled(found: Tensor, exact: Tensor, target: Target) -> Tensor:
    """The exact value, far below zero where the program's fell otherwise: nothing starts there."""
    if found.dim() - 1 > len(target.axes):  # summed over tokens: no entry stands alone
        return exact
    moved = (found.double() - exact).abs() > MOVED * exact.abs().max()
    return exact.masked_fill(moved, -torch.inf) if not bool(moved.all()) else exact


def _output(name: str, found: Tensor, exact: Tensor) -> dict[str, Any]:
    """Errors by row (query, or entry of a vector), matched by index, over the largest entry."""
    if not exact.is_floating_point():
        return {"output": name, "moved": int((found != exact).sum()), "of": exact.numel()}
    apart = (found.double() - exact).abs() / exact.abs().max().clamp_min(1e-300)
    rows = apart.flatten(2).amax(-1).flatten() if apart.dim() > 2 else apart.flatten()
    stayed = rows[rows <= MOVED]
    return {
        "output": name,
        "median": _figure(rows.median()),
        "largest": _figure(stayed.max() if stayed.numel() else rows.max()),
        "moved": int((~(rows <= MOVED)).sum()),
        "of": rows.numel(),
    }


def _refuse(report: Mapping[str, Any]) -> None:
    worst = max(report["targets"], key=lambda row: _badness(row["relative_l1"]))
    if _badness(worst["relative_l1"]) > report["bound"]:
        under = f" under {worst['composite']}" if "composite" in worst else ""
        what = f"{report['precision']}: relevance of {worst['target']}{under} is"
        if worst["relative_l1"] is None:
            raise PrecisionError(f"{what} not finite; compile in fp32")
        raise PrecisionError(
            f"{what} {worst['relative_l1']:.3g} from float64 (Σ|R − R64| / Σ|R64|), more than"
            f" {report['bound']:g}; compile in fp32, or raise LRPC.PRECISION_TOLERANCE"
        )


def _badness(figure: float | None) -> float:
    return float("inf") if figure is None else figure


def _figure(x: Tensor) -> float | None:
    """Three digits; None where it is not finite."""
    return float(f"{float(x):.3g}") if bool(torch.isfinite(x)) else None
