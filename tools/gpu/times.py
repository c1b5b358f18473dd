"""What calls of a program cost on the device: each target, with ledger, beside the model's own
gradient, recorded and compiled. Nothing else may run there meanwhile."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from lrpc.commands.bench.timing import interleaved
from tools.gpu.checks import LOADINGS, load_as, said
from tools.gpu.clock import Clock
from tools.gpu.loaded import Loaded, load
from tools.gpu.records import Records, SkippedError

SEEDS = 4
DIGITS_WEIGHTS = Path(__file__).resolve().parents[2] / "examples/digits/maskdino_digits.safetensors"


@dataclass
class Times:
    """Times of one program directory, for as long as the clock has time."""

    records: Records
    directory: Path
    device: str
    tiny: bool
    clock: Clock

    @property
    def rounds(self) -> int:
        return 1 if self.tiny else 7

    def run(self) -> None:
        """All of them, each a median of rounds in which its group takes turns."""
        made = load(self.directory, self.device)
        with self.records.checking("calls"):
            self._record(self._model(made) | self._calls(made))
        for name in LOADINGS:
            with self.records.checking(name):
                self._loaded(name)

    def _record(self, calls: dict[str, Any]) -> None:
        for name, found in interleaved(calls, self.rounds, self.device).items():
            note = f"quartiles {found.low * 1e3:.4g} to {found.high * 1e3:.4g} ms"
            self.records.ok(name, found.median, "seconds", note)

    def _model(self, made: Loaded) -> dict[str, Any]:
        """Forward and input gradient of the model, where its config builds one here."""
        try:
            rebuilt = importlib.import_module("lrpc.commands.bench.rebuilt")
        except ModuleNotFoundError as error:
            self.records.skipped("the model", f"{error.name} is not installed")
            return {}
        weights = DIGITS_WEIGHTS if self.directory.name == "digits" else None
        manifest = made.program.manifest
        other = rebuilt.original(manifest, made.inputs(), self.device, weights)
        if isinstance(other, str):
            self.records.skipped("the model", other)
            return {}
        return {
            "the model: forward": other.forward,
            "the model: forward and input gradient": other.gradient,
        }

    def _calls(self, made: Loaded) -> dict[str, Any]:
        state = made.forward()
        calls: dict[str, Any] = {"forward": made.forward}
        for target in made.targets():
            of_state = partial(made.relevance, state, target)
            calls |= {
                f"{said(target)}: forward and relevance": partial(_both, made, target),
                f"{said(target)}: relevance": of_state,
                f"{said(target)}: relevance of {SEEDS} seeds": partial(of_state, 0, SEEDS),
                f"{said(target)}: relevance and ledger": partial(of_state, ledger=True),
            }
        return calls

    def _loaded(self, name: str) -> None:
        """Forward and relevance of the program loaded otherwise, target by target."""
        if "capture" in name and not self.device.startswith("cuda"):
            raise SkippedError("CUDA graphs need a GPU")
        made = load_as(name, self.directory, self.device, self.tiny)
        for target in made.targets():
            label = f"{name}: {said(target)}: forward and relevance"
            with self.records.checking(label), self.clock.one(name):
                self._record({label: partial(_both, made, target)})


def _both(made: Loaded, target: tuple[str, str]) -> Any:
    return made.relevance(made.forward(), target)
