"""What every generated program is built around: `Program` and what it is given."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lrpc.codegen.kernels.capture import chosen_calls
from lrpc.codegen.kernels.limits import (
    Limits,
    apart,
    joined,
    of_images,
    out_of_memory,
    say,
    side_by_side,
    whole_outputs,
)
from lrpc.codegen.kernels.loading import (
    ProgramError,
    batch_of,
    check_files,
    check_finite,
    given_inputs,
    read_weights,
)
from lrpc.codegen.kernels.manifests import read_manifest
from lrpc.codegen.kernels.results import Relevance, State, booked, flat, rebuild
from lrpc.codegen.kernels.seeds import Start, Target, find_target, places_of, start


@dataclass(frozen=True)
class Interface:
    """What the generated part of a program hands to the fixed part."""

    forward: Callable[..., dict[str, Tensor]]
    inputs: Mapping[str, tuple[str, tuple[int | str, ...]]]
    blocks: tuple[str, ...]
    targets: Mapping[str, Target]
    read_inputs: Mapping[str, str]
    structure: Any
    dtype: torch.dtype
    tf32: bool
    chunk: int
    others: Mapping[str, Mapping[str, Target]] = field(default_factory=dict)  # by composite
    sweep: int = 0  # where relevance computes parts of the forward pass again: seeds at once


@dataclass(frozen=True)
class Asked:
    """One question to a program: a target under a composite, and what is wanted of it."""

    composite: str
    name: str
    goal: Target
    token: int | None
    norm: str
    places: frozenset[str]
    ledger: bool
    total: bool

    def options(self) -> dict[str, Any]:
        """The same as keyword arguments of `Program.relevance`."""
        said = {"composite": self.composite, "token": self.token, "norm": self.norm}
        flags = {"ledger": self.ledger, "total": self.total}
        return {**said, **flags, "read": sorted(self.places)}


@contextlib.contextmanager
def own_settings(tf32: bool, device: torch.device) -> Iterator[None]:
    """The program's own matmul precision and GPU; the caller's are back afterwards.

    Triton launches on the current GPU, wherever its tensors are.
    """
    cuda, cudnn = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
    here = torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext()
    try:
        with here:
            yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = cuda, cudnn


class Program:
    """A compiled model: `forward` once, then `relevance` as often as wanted."""

    def __init__(
        self,
        interface: Interface,
        directory: Path,
        device: str | torch.device,
        compile: bool = False,
        capture: bool = False,
    ) -> None:
        self.interface, self.directory = interface, directory
        self.device = torch.device(device)
        self.calls = chosen_calls(self.device, compile, capture)
        self.manifest = read_manifest(directory)
        check_files(directory, self.manifest)
        self.composites = (str(self.manifest.get("composite", "")), *interface.others)
        self.limits = Limits.of(self.manifest, interface.inputs)
        left = self.manifest.get("reference_weights", ())
        self.weights = read_weights(directory / "weights.safetensors", self.device, left)

    @torch.no_grad()
    def forward(self, *images: Tensor, **named: Tensor) -> State:
        """Run the model. Inputs as compiled for, batch free; keeps what relevance needs.

        Where memory, or the program's budget, does not hold so many images, it says so, and takes
        fewer at a time.
        """
        inputs = given_inputs(self.interface.inputs, images, named, self.device)
        batch = batch_of(self.interface.inputs, inputs)
        count = self.limits.images(batch)
        if count == batch:
            try:
                return self._forward(inputs, batch)
            except RuntimeError as error:
                if not out_of_memory(error):
                    raise
            count = self.limits.fewer(batch, "forward")
        return self._in_pieces(inputs, batch, count)

    def _forward(self, inputs: dict[str, Tensor], batch: int) -> State:
        made = self.interface
        with own_settings(made.tf32, self.device):
            outputs, saved = self.calls.forward(
                made.forward, self.weights, made.blocks, list(inputs.values())
            )
        for name, value in outputs.items():
            check_finite(value, f"output {name}", "check the input's range and the weights")
        return State(rebuild(self.interface.structure, outputs), saved, batch, inputs)

    @torch.no_grad()
    def relevance(
        self,
        state: State,
        target: str = "output",
        at: Sequence[Sequence[int]] | Tensor | None = None,
        *,
        composite: str | None = None,
        seeds: Tensor | None = None,
        layer: int | None = None,
        token: int | None = None,
        norm: str = "none",
        read: Sequence[str] | None = None,
        ledger: bool = False,
        total: bool = False,
    ) -> Relevance:
        """Relevance of `target`, started `at` indices (K of them, or a [K, B, n] tensor) or from
        `seeds`.

        `composite` is one of the program's, by default the first. `seeds` is relevance given
        outright, [K, *shape of the target]. `layer` chooses among the layers of encoder_feature and
        decoder_query. `token` starts an encoder feature at one token, else it is the mean over all.
        `norm`: `none`, `sum1` (relevance sums to 1) or `sumT` (to the number of tokens). `read`
        limits the places to compute; the walk ends at the last of them. `total` gives the sum over
        the seeds, K = 1, for the price of one of them.
        """
        composite = self._composite(composite)
        targets = self.interface.others.get(composite, self.interface.targets)
        name, goal = find_target(targets, target, layer)
        if (at is None) == (seeds is None):
            raise ProgramError(f"{name}: give either at=[...] or seeds=S, and not both")
        asked = Asked(
            composite, name, goal, token, norm, places_of(goal, name, read), ledger, total
        )
        if not state.pieces:
            try:
                return self._relevance(state, asked, at, seeds)
            except RuntimeError as error:
                if not out_of_memory(error):
                    raise
            count = self.limits.fewer(state.batch, f"relevance of {name}, one seed at a time")
            state.saved.clear()
            state.pieces = tuple(apart(state.inputs, self.limits.axes, count))
        parts, first = [], 0
        for piece in state.pieces:
            own = self.forward(**piece)
            where, given = of_images(at, seeds, goal.batch_axis, first, own.batch)
            parts.append(self.relevance(own, name, where, seeds=given, **asked.options()))
            first += own.batch
            del own
        return side_by_side(parts)

    def _relevance(self, state: State, asked: Asked, at: Any, seeds: Tensor | None) -> Relevance:
        goal = asked.goal
        value = state.saved[goal.value[0]][goal.value[1]]
        seed = start(goal, asked.name, value, at, seeds, asked.token, asked.norm)
        if asked.total:
            seed = seed.total(self.interface.chunk)
        return joined(self._sweeps(state, asked, seed), seed.count)

    def _sweeps(self, state: State, asked: Asked, seed: Start) -> Iterator[tuple[int, Relevance]]:
        """As many seeds at once as the plan says, fewer where memory does not hold them."""
        chunk, step = self.limits.seeds(asked.composite, asked.name, state.batch)
        rows = self._rows(asked.name, asked.composite) if asked.ledger else None
        first = 0
        while first < seed.count:
            part = g = None
            try:
                g = seed.some(first, step)
                part = self._sweep(asked, state, g, rows, min(chunk, step))
            except RuntimeError as error:
                if not out_of_memory(error) or step == 1:
                    raise
            del g
            if part is None:
                step = min(step, seed.count - first) // 2 or 1
                say(f"out of memory: relevance of {asked.name} goes on with {step} seeds at a time")
                continue
            count = min(step, seed.count - first)
            yield count, part
            del part
            first += count

    def __call__(self, *inputs: Tensor | str, **options: Any) -> Relevance:
        """`forward` and `relevance` in one go: the input tensors, then what `relevance` takes."""
        count = sum(isinstance(i, Tensor) for i in inputs)
        tensors: Any = inputs[:count]
        rest: Any = inputs[count:]
        return self.relevance(self.forward(*tensors), *rest, **options)

    def save(self, directory: str | Path) -> Path:
        """Write the program directory to `directory`, which must not exist or be empty."""
        path = Path(directory)
        if path.exists() and any(path.iterdir()):
            raise ProgramError(f"{path}: exists and is not empty; choose another directory")
        shutil.copytree(
            self.directory, path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__")
        )
        return path

    # -- helpers ---------------------------------------------------------------------------------

    def _composite(self, name: str | None) -> str:
        if name is None:
            return self.composites[0]
        if name not in self.composites:
            raise ProgramError(
                f"this program has no composite {name!r}; it has: {', '.join(self.composites)}"
                " (compile with LRPC.COMPOSITE for others)"
            )
        return name

    def _rows(self, target: str, composite: str) -> list[list[str]]:
        """What the rows of a target's ledger are, in the order that its code appends them."""
        more = self.interface.others
        own = self.manifest["composites"][composite] if composite in more else self.manifest
        rows: list[list[str]] = own["ledger"][target]
        return rows

    def _sweep(
        self, asked: Asked, state: State, g: Tensor, rows: list[list[str]] | None, chunk: int
    ) -> Relevance:
        goal, ledger = asked.goal, rows is not None
        run = goal.run_ledger if ledger else goal.run
        inner = chunk if self.interface.sweep else 0
        with own_settings(self.interface.tf32, self.device):
            found, amounts = self.calls.relevance(
                run, self.weights, state.saved, g, asked.places, ledger, inner
            )
        for place, value in found.items():
            check_finite(value, f"relevance at {place}", "raise LRPC.EPSILON and compile again")
        named = self.interface.read_inputs
        inputs = {named[k]: v for k, v in found.items() if k in named}
        layers = {k: v for k, v in found.items() if k not in named}
        return Relevance(inputs, layers, None if rows is None else booked(rows, amounts))

    # -- memory ----------------------------------------------------------------------------------

    def _in_pieces(self, inputs: dict[str, Tensor], batch: int, count: int) -> State:
        """The model on `count` images at a time, which relevance will run it on again."""
        pieces = tuple(apart(inputs, self.limits.axes, count))
        structure = self.interface.structure
        found = [flat(structure, self.forward(**piece).outputs) for piece in pieces]
        outputs = whole_outputs(found, self.manifest["outputs"])
        return State(rebuild(structure, outputs), {}, batch, inputs, pieces)
