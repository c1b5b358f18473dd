"""Several candidates for one result: each is checked first; the right ones are timed in turns."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from lrpc.commands.bench.memory import allocated, peak
from lrpc.commands.bench.timing import Second, Spread, Timed, interleaved
from tools.bench.offered import NotOfferedError

#: ε of the programs: it costs what any ε costs, and results can be held against those for ε = 0.
EPSILON = 1e-9
#: The largest relative error that a candidate may have, by the precision of its arithmetic.
LIMITS = {"fp32": 1e-3, "tf32": 2e-2, "bf16": 1.5e-1}
#: How often that may be exceeded where the same program with ε = 0 keeps it: a sum that rounding
#: makes exactly 0 passes nothing on under any ε, and all of g without.
ROUNDED = 10


@dataclass(frozen=True)
class Ready:
    """A candidate that can be called: `call` does all of the work and gives what is checked (else
    `checked` does); `forward` does the first part of it; `further` is what further results cost;
    `weights` and `inputs` are bytes that it needs besides."""

    call: Callable[[], Any]
    forward: Callable[[], Any] | None = None
    further: Second | None = None
    checked: Callable[[], Tensor] | None = None
    weights: int = 0
    inputs: int = 0


@dataclass(frozen=True)
class Candidate:
    """One row of a table. `make` raises NotOfferedError where there is no such thing here.

    `expected` names the reference result; `ours` tells programs from alternatives; `goal` is what
    the row counts for; `exact` makes the same with ε = 0.
    """

    name: str
    make: Callable[[], Ready]
    expected: str
    limit: float = LIMITS["fp32"]
    ours: bool = False
    goal: str = ""
    floor: float | None = None  # seconds
    exact: Callable[[], Ready] | None = None


@dataclass
class Row:
    """What was found. `status`: measured, absent, wrong or failed, the last three with a note."""

    name: str
    ours: bool
    goal: str
    status: str = "measured"
    note: str = ""
    error: float | None = None
    limit: float | None = None
    time: Spread | None = None
    forward: Spread | None = None
    further: Spread | None = None
    peak: int | None = None  # weights and inputs, which are `resident`, included
    resident: int = 0
    floor: float | None = None
    against: float | None = None  # of the best alternative's time

    def to_json(self) -> dict[str, Any]:
        return {
            name: value.to_json() if isinstance(value, Spread) else value
            for name, value in vars(self).items()
        }


@dataclass
class Contest:
    """Ways to the same results, on one device."""

    device: str
    references: Mapping[str, Callable[[], Tensor]]
    repeats: int = 5
    tell: Callable[[str], None] = print
    memory: bool = True
    until: float = math.inf  # by time.perf_counter; candidates that come later are left out
    _results: dict[str, Tensor] = field(default_factory=dict)

    def run(self, candidates: Sequence[Candidate]) -> list[Row]:
        """A row for each of them, in their order."""
        rows: list[Row] = []
        calls: dict[str, Timed] = {}
        ready: set[str] = set()
        for one in candidates:
            row, made = self._checked(one)
            rows.append(row)
            if made is not None:
                ready.add(one.name)
                calls[one.name] = made.call
                for part, call in (("forward", made.forward), ("further", made.further)):
                    if call is not None:
                        calls[f"{one.name}: {part}"] = call
        self.tell(f"timing {len(ready)} candidates, {self.repeats} rounds")
        times = interleaved(calls, self.repeats, self.device)
        for row in rows:
            if row.name in ready:
                row.time = times[row.name]
                row.forward = times.get(f"{row.name}: forward")
                row.further = times.get(f"{row.name}: further")
        others = [r.time.median for r in rows if r.time is not None and not r.ours]
        for row in rows:
            if others and row.time is not None:
                row.against = row.time.median / min(others)
        return rows

    def _checked(self, one: Candidate) -> tuple[Row, Ready | None]:
        row = Row(one.name, one.ours, one.goal, limit=one.limit, floor=one.floor)
        if time.perf_counter() > self.until:
            row.status, row.note = "absent", "no time was left for it"
            return row, None
        self.tell(f"checking {one.name}")
        reference = self._reference(one.expected)
        base = allocated(self.device)
        try:
            made = one.make()
            row.resident = made.weights + made.inputs
            row.error = distance((made.checked or made.call)(), reference)
            if not row.error <= one.limit and not self._rounded(one, row, reference):
                row.status = "wrong"
                row.note = f"differs by {row.error:.1e}, more than {one.limit:.0e}: not timed"
                return row, None
            made.call()
            if self.memory:
                row.peak = self._peak(made, base)
        except NotOfferedError as error:
            row.status, row.note = "absent", str(error)
            return row, None
        except Exception as error:  # whatever a package or generated code raises: the rest goes on
            row.status, row.note = "failed", _line(error)
            return row, None
        return row, made

    def _rounded(self, one: Candidate, row: Row, reference: Tensor) -> bool:
        """Whether rounding to 0 under an ε explains the error: without ε there is none to speak
        of."""
        if one.exact is None or row.error is None or not row.error <= ROUNDED * one.limit:
            return False
        made = one.exact()
        without = distance((made.checked or made.call)(), reference)
        row.note = f"{without:.0e} with ε = 0"
        return without <= one.limit

    def _peak(self, made: Ready, base: int) -> int:
        """With weights and inputs. A GPU counts all that the candidate made since `base`: its
        weights, and buffers that it keeps."""
        found = peak(made.call, self.device, base) + made.inputs
        return found if self.device.startswith("cuda") else found + made.weights

    def _reference(self, name: str) -> Tensor:
        if name not in self._results:
            self._results[name] = self.references[name]().detach().cpu()
        return self._results[name]


def _line(error: Exception) -> str:
    first = " ".join((str(error).splitlines() or [""])[0].split())
    return first[:200] or type(error).__name__


def distance(found: Tensor, expected: Tensor) -> float:
    """‖found − expected‖ / ‖expected‖, in double precision; infinite where shapes differ or a
    number is not finite."""
    if found.shape != expected.shape or not bool(torch.isfinite(found).all()):
        return float("inf")
    wanted = expected.double()
    apart = torch.linalg.vector_norm(found.detach().cpu().double() - wanted)
    return float(apart / torch.linalg.vector_norm(wanted))
