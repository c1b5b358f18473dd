"""A program on the device: beside itself on the CPU, its plan and its budget, recorded as CUDA
graphs, through torch.compile."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lrpc.commands.bench.memory import peak
from lrpc.commands.bench.timing import finish
from tools.gpu.clock import Clock
from tools.gpu.loaded import Loaded, flat, load
from tools.gpu.records import Records, SkippedError

#: Relative differences (2-norms): of outputs by the median over what may flip, of relevance on
#: another device, of the same functions run in another way. Sums of a ledger, and peaks over plans.
OUTPUTS, RELEVANCE, SAME, CLOSURE, PLANNED = 1e-3, 2e-2, 1e-3, 1e-3, 0.03
SEEDS = 4
#: How programs are loaded besides, in the order in which time is spent on them.
LOADINGS = ("capture", "compile", "compile+capture")


@dataclass
class Checks:
    """Checks of one program directory, for as long as the clock has time."""

    records: Records
    directory: Path
    device: str
    tiny: bool
    clock: Clock

    def run(self) -> None:
        """All of them; each that fails is recorded, and the next one follows."""
        made = load(self.directory, self.device)
        first = 0
        with self.records.checking("forward"):
            first = self.forward(made, load(self.directory, "cpu"))
        for target in made.targets():
            with self.records.checking(f"{said(target)}: peaks"):
                self.peaks(made, target)
        budget = self.directory.with_name(f"{self.directory.name}-budget")
        with self.records.checking("under a budget"):
            self.budget(budget)
        for name in LOADINGS:
            with self.records.checking(name):
                self.loading(name, made, first)

    # -- the same as on the CPU --------------------------------------------------------------------

    def forward(self, made: Loaded, beside: Loaded) -> int:
        """Outputs and relevance of every target against the CPU's, and ledgers that close. Returns
        the entry whose outputs differ least: rounding may order queries otherwise."""
        state, other = made.forward(), beside.forward()
        each = by_entry(state.outputs, other.outputs)
        first = int(each.argmin())
        self.records.limited("outputs beside the CPU's", float(each.median()), OUTPUTS, "error")
        for target in made.targets():
            with self.records.checking(said(target)):
                found = made.relevance(state, target, first, ledger=True)
                wanted = beside.relevance(other, target, first)
                error = max(apart(v, wanted.inputs[k]) for k, v in found.inputs.items())
                name = f"{said(target)}: relevance beside the CPU's"
                self.relevance(name, error, RELEVANCE, each)
                closure = float(found.ledger.closure.max())
                self.records.limited(f"{said(target)}: ledger", closure, CLOSURE, "error")
        return first

    def relevance(
        self, name: str, error: float, limit: float, each: Tensor, note: str = ""
    ) -> None:
        """Relevance within its limit; within the wider one between devices where near ties have
        exchanged entries of the outputs: a query's relevance depends on the others a little."""
        other = int((each > OUTPUTS).sum())
        if other:
            more = f"{other} of {len(each)} entries of the outputs are others"
            limit, note = max(limit, RELEVANCE), f"{more}; {note}" if note else more
        self.records.limited(name, error, limit, "error", note)

    # -- what calls hold ---------------------------------------------------------------------------

    def peaks(self, made: Loaded, target: tuple[str, str]) -> None:
        """Measured peaks of forward and relevance beside those of the plan. Triton kernels may stay
        below: they need less than plain torch does."""
        for batch, seeds in ((1, 1), (2, SEEDS)):
            inputs = made.inputs(batch)

            def both(count: int = seeds, given: dict[str, Tensor] = inputs) -> Any:
                return made.relevance(made.program.forward(**given), target, 0, count)

            both()  # libraries take their own memory in a first call
            measured, planned = peak(both, self.device), made.planned(target, batch, seeds)
            name = f"{said(target)}: peak over the plan, {batch} image(s), {seeds} seed(s)"
            note = f"{measured:,} bytes, {planned:,} by the plan"
            self.records.limited(name, measured / planned - 1, PLANNED, "share", note)

    def budget(self, directory: Path) -> None:
        """The peak of a program that was compiled for a budget, with more images and seeds too."""
        if not directory.is_dir():
            raise SkippedError("no program with a budget was compiled")
        made = load(directory, self.device)
        limit = int(made.program.manifest["memory"]["budget"])
        target = made.targets()[0]
        for batch, seeds in ((1, 1), (1, 8), (3, SEEDS)):
            inputs = made.inputs(batch)
            count = made.program.at_once(target[1], seeds, batch, composite=target[0])

            def both(count: int = count, given: dict[str, Tensor] = inputs) -> Any:
                return made.relevance(made.program.forward(**given), target, 0, count)

            name = f"budget: {batch} image(s), {count} of {seeds} seed(s)"
            with self.records.checking(name):
                if not count:
                    raise SkippedError("the budget does not hold one seed of them")
                both()
                self.records.limited(name, peak(both, self.device), limit, "bytes")

    # -- recorded and compiled ---------------------------------------------------------------------

    def loading(self, name: str, made: Loaded, first: int) -> None:
        """The program loaded with capture, compile or both: its relevance on two inputs beside that
        of the program as written, and how long the first calls take."""
        if "capture" in name and not self.device.startswith("cuda"):
            raise SkippedError("CUDA graphs need a GPU")
        other = load_as(name, self.directory, self.device, self.tiny)
        for target in made.targets():
            with self.records.checking(f"{name}: {said(target)}"), self.clock.one(name):
                self._loaded(name, made, other, target, first)

    def _loaded(
        self, name: str, made: Loaded, other: Loaded, target: tuple[str, str], first: int
    ) -> None:
        begin, errors, outputs = time.perf_counter(), [], []
        for seed in (0, 1):
            state, plain = other.forward(seed=seed), made.forward(seed=seed)
            outputs.append(by_entry(state.outputs, plain.outputs))
            expected = made.relevance(plain, target, first, ledger=seed == 0)
            found = other.relevance(state, target, first, ledger=seed == 0)
            errors += [apart(v, expected.inputs[k]) for k, v in found.inputs.items()]
            if seed == 0:
                closure = float(found.ledger.closure.max())
                label = f"{name}: {said(target)}: ledger"
                self.records.limited(label, closure, CLOSURE, "error")
        finish(self.device)
        taken = time.perf_counter() - begin
        note = f"first calls took {taken:.1f} s"
        label, each = f"{name}: {said(target)}", torch.stack(outputs).amax(0)
        beside = "beside the program as written"
        self.records.limited(f"{label}: outputs {beside}", float(each.median()), OUTPUTS, "error")
        self.relevance(f"{label}: relevance {beside}", max(errors), SAME, each, note)


def load_as(name: str, directory: Path, device: str, tiny: bool) -> Loaded:
    """A program loaded as one of LOADINGS says; `tiny` needs no compiler of torch.compile."""
    how: dict[str, Any] = dict.fromkeys(name.split("+"), True)
    if tiny and "compile" in how:
        how["compile"] = "eager"
    return load(directory, device, **how)


def said(target: tuple[str, str]) -> str:
    composite, name = target
    return f"{name}, {composite}"


def apart(found: Tensor, wanted: Tensor) -> float:
    """|found − wanted| over |wanted|, of whole tensors (2-norms), wherever they are."""
    a, b = found.cpu().double(), wanted.cpu().double()
    return float((a - b).norm() / b.norm().clamp_min(1e-300))


def by_entry(found: Any, wanted: Any) -> Tensor:
    """The largest difference of outputs at each entry of the axis behind the images, over the
    largest number: where queries are ordered by score, near ties may be ordered otherwise. Of the
    first output alone where that axis is not the same in all."""
    parts, expected = [], flat(wanted)
    for name, value in flat(found).items():
        other = expected[name].cpu().double()
        apart_ = (value.cpu().double() - other).abs() / other.abs().max().clamp_min(1e-30)
        parts.append(apart_.reshape(*apart_.shape[:2], -1).amax((0, 2)))
    alike = [part for part in parts if len(part) == len(parts[0])]
    return torch.stack(alike).amax(0)
