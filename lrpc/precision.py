"""What tf32 and bf16 cost a program: it runs beside its twin in float64, and the difference is
reported, or too large."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from lrpc.codegen.interface import Description
from lrpc.codegen.kernels.results import booked
from lrpc.codegen.program import generate, ledger_rows
from lrpc.errors import PrecisionError
from lrpc.manifest import Lowered
from lrpc.targets import Target
from lrpc.tf32 import Tf32
from lrpc.twin import Running, in_double, running
from lrpc.verify import example_inputs, one_hot, strongest

MOVED = 0.05  # of the largest output: a row further off fell otherwise at a near tie
Saved = Any


@dataclass(frozen=True, eq=False)
class Compared:
    """A program's text and weights, and what its twin is made of: `made`, with weights `exact`."""

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
    number is not finite. Where there is no hardware for it, TF32 is emulated.
    """
    graph = job.made[0].graph
    inputs = {**example_inputs(graph), **job.example}
    inputs = {v.name: inputs[v.name] for v in graph.inputs}
    wide = [in_double(one) for one in job.made]
    codes = [code for one in wide for code in one.codes]
    double = {name: _double(t) for name, t in job.exact.items()}
    twin = running(generate(wide[0].graph, codes, replace(job.about, tf32=False)).text, double)
    program = running(job.text, job.weights)
    with Tf32():  # type: ignore[no-untyped-call]
        outputs, saved = program.forward(inputs)
    exact, kept = twin.forward({name: _double(x) for name, x in inputs.items()})
    report: dict[str, Any] = {
        "precision": job.precision,
        "against": "fp64",
        "tf32": "emulated",
        "input": "the example" if job.example else "random, seeded",
        "bound": job.bound,
        "outputs": [_output(name, outputs[name], exact[name]) for name in exact],
        "targets": [
            _target(one, i, target, (program, saved), (twin, kept))
            for one in job.made
            for i, target in enumerate(job.targets)
        ],
    }
    _refuse(report)
    return report


def _target(
    one: Lowered,
    number: int,
    target: Target,
    ours: tuple[Running, Saved],
    theirs: tuple[Running, Saved],
) -> dict[str, Any]:
    """Errors of relevance at the inputs, started at the strongest entry that did not move."""
    (program, saved), (twin, kept), name = ours, theirs, target.name
    code = one.codes[number]
    under = code.composite
    found, exact = program.value(saved, name, under), twin.value(kept, name, under)
    said = {"axes": target.axes, "token": target.token}
    at = strongest(_settled(found, exact, target), said, code.value.type.shape)
    inputs = frozenset(program.goal(name, under).reads) & set(program.interface.read_inputs)
    places = inputs or frozenset(program.goal(name, under).reads)
    with Tf32():  # type: ignore[no-untyped-call]
        result, amounts = program.relevance(saved, name, under, one_hot(found, said, at), places)
    reference, _ = twin.relevance(kept, name, under, one_hot(exact, said, at), places)
    ledger = booked(ledger_rows(code.booked), amounts)
    a = torch.cat([result[p].double().flatten() for p in sorted(places)])
    b = torch.cat([reference[p].flatten() for p in sorted(places)])
    return {
        **({"composite": under} if under else {}),
        "target": name,
        "at": at[0].tolist(),
        "relative_l1": _figure((a - b).abs().sum() / b.abs().sum().clamp_min(1e-300)),
        "correlation": _figure(torch.corrcoef(torch.stack([a, b]))[0, 1]),
        "closure": _figure(ledger.closure.max()),
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
        raise PrecisionError(
            f"{report['precision']}: relevance of {worst['target']}{under} is"
            f" {worst['relative_l1']:.3g} from float64 (Σ|R − R64| / Σ|R64|), more than"
            f" {report['bound']:g}; compile in fp32, or raise LRPC.PRECISION_TOLERANCE"
        )


def _badness(figure: float | None) -> float:
    return float("inf") if figure is None else figure


def _figure(x: Tensor) -> float | None:
    """Three digits; None where it is not finite."""
    return float(f"{float(x):.3g}") if bool(torch.isfinite(x)) else None


def _double(x: Tensor) -> Tensor:
    return x.double() if x.dtype == torch.float32 else x
