"""What every generated program is built around: `Program` and what it is given."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lrpc.codegen.kernels.capture import chosen_calls
from lrpc.codegen.kernels.loading import (
    ProgramError,
    check_files,
    check_finite,
    check_input,
    read_weights,
)
from lrpc.codegen.kernels.results import Relevance, State, booked, joined, rebuild
from lrpc.codegen.kernels.seeds import Target, normalised, one_hot, seeds_to_g


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


@contextlib.contextmanager
def matmul_precision(tf32: bool) -> Iterator[None]:
    """The program's own matmul precision; the caller's is back afterwards."""
    cuda, cudnn = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
    try:
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
        self.manifest: dict[str, Any] = json.loads((directory / "manifest.json").read_text())
        check_files(directory, self.manifest)
        self.composites = (str(self.manifest.get("composite", "")), *interface.others)
        left = self.manifest.get("reference_weights", ())
        self.weights = read_weights(directory / "weights.safetensors", self.device, left)

    @torch.no_grad()
    def forward(self, *images: Tensor, **named: Tensor) -> State:
        """Run the model. Inputs as compiled for, batch free; keeps what relevance needs."""
        inputs = self._inputs(images, named)
        batch = self._batch(inputs)
        made = self.interface
        with matmul_precision(made.tf32):
            outputs, saved = self.calls.forward(
                made.forward, self.weights, made.blocks, list(inputs.values())
            )
        for name, value in outputs.items():
            check_finite(value, f"output {name}", "check the input's range and the weights")
        return State(rebuild(self.interface.structure, outputs), saved, batch)

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
    ) -> Relevance:
        """Relevance of `target`, started `at` indices (K of them, or a [K, B, n] tensor) or from
        `seeds`.

        `composite` is one of the program's, by default the first. `seeds` is relevance given
        outright, [K, *shape of the target]. `layer` chooses among the layers of encoder_feature and
        decoder_query. `token` starts an encoder feature at one token, else it is the mean over all.
        `norm`: `none`, `sum1` (relevance sums to 1) or `sumT` (to the number of tokens). `read`
        limits the places to compute; the walk ends at the last of them.
        """
        composite = self._composite(composite)
        name, goal = self._target(target, layer, composite)
        self.calls.check(state.saved)
        value = state.saved[goal.value[0]][goal.value[1]]
        if (at is None) == (seeds is None):
            raise ProgramError(f"{name}: give either at=[...] or seeds=S, and not both")
        if seeds is not None:
            g = seeds_to_g(seeds, value, name)
        else:
            g = self._start(goal, name, value, at, token)
        g = normalised(g, value, norm, goal)
        places = self._places(goal, name, read)
        rows = self._rows(name, composite) if ledger else None
        parts = [
            self._sweep(goal, state, g[i : i + self.interface.chunk], places, rows)
            for i in range(0, g.shape[0], self.interface.chunk)
        ]
        return joined(parts)

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

    def _inputs(self, images: Sequence[Tensor], named: Mapping[str, Tensor]) -> dict[str, Tensor]:
        names = list(self.interface.inputs)
        given = dict(zip(names, images, strict=False)) | dict(named)
        if len(images) > len(names) or given.keys() != set(names):
            raise ProgramError(
                f"forward takes {', '.join(names)}; got {', '.join(given) or 'nothing'}"
            )
        for name in names:
            check_input(name, given[name], *self.interface.inputs[name])
        return {name: given[name].to(self.device) for name in names}

    def _batch(self, inputs: Mapping[str, Tensor]) -> int:
        """The number of images, which all inputs have in common."""
        sizes = {
            name: value.shape[shape.index("B")]
            for name, value in inputs.items()
            if "B" in (shape := self.interface.inputs[name][1])
        }
        if len(set(sizes.values())) > 1:
            told = ", ".join(f"{name} {size}" for name, size in sizes.items())
            raise ProgramError(f"inputs hold different numbers of images: {told}")
        return next(iter(sizes.values()), 1)

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

    def _target(self, target: str, layer: int | None, composite: str) -> tuple[str, Target]:
        targets = self.interface.others.get(composite, self.interface.targets)
        found = target if target in targets and layer is None else None
        if found is None:
            layered = [t for t in targets if t.split(":")[0] == target]
            wanted = (
                f"{target}:{layer}" if layer is not None else (layered[-1] if layered else target)
            )
            found = wanted if wanted in targets else None
        if found is None:
            raise ProgramError(
                f"this program has no target"
                f" {target!r}{'' if layer is None else f' at layer {layer}'};"
                f" it starts from: {', '.join(targets)} (compile with LRPC.TARGETS for others)"
            )
        return found, targets[found]

    def _start(
        self,
        goal: Target,
        name: str,
        value: Tensor,
        at: Sequence[Sequence[int]] | Tensor | None,
        token: int | None,
    ) -> Tensor:
        batch = value.shape[goal.batch_axis]
        index = torch.as_tensor(at, device=self.device)
        if index.dim() == 1 and len(goal.index_axes) == 1:
            index = index[:, None]
        if index.dim() == 2:
            index = index[:, None].expand(-1, batch, -1)
        if (
            index.dtype.is_floating_point
            or index.dim() != 3
            or (tuple(index.shape[1:]) != (batch, len(goal.index_axes)))
        ):
            raise ProgramError(
                f"{name}: at takes ({', '.join(goal.index_names)}) per seed, or an integer tensor"
                f" [K, {batch}, {len(goal.index_axes)}]; got shape"
                f" {list(torch.as_tensor(at).shape)}"
            )
        for i, axis in enumerate(goal.index_axes):
            low, high = int(index[..., i].min()), int(index[..., i].max())
            if low < 0 or high >= value.shape[axis]:
                raise ProgramError(
                    f"{name}: {goal.index_names[i]} must lie in 0..{value.shape[axis] - 1}, got"
                    f" {low if low < 0 else high}"
                )
        return one_hot(goal, value, index, token, name)

    def _places(self, goal: Target, name: str, read: Sequence[str] | None) -> frozenset[str]:
        if read is None:
            return frozenset(goal.reads)
        unknown = [place for place in read if place not in goal.reads]
        if unknown:
            raise ProgramError(
                f"{name}: no relevance can be read at {unknown[0]!r}; places:"
                f" {', '.join(goal.reads)}"
            )
        return frozenset(read)

    def _sweep(
        self,
        goal: Target,
        state: State,
        g: Tensor,
        places: frozenset[str],
        rows: list[list[str]] | None,
    ) -> Relevance:
        ledger = rows is not None
        run = goal.run_ledger if ledger else goal.run
        with matmul_precision(self.interface.tf32):
            found, amounts = self.calls.relevance(run, self.weights, state.saved, g, places, ledger)
        for place, value in found.items():
            check_finite(value, f"relevance at {place}", "raise LRPC.EPSILON and compile again")
        named = self.interface.read_inputs
        inputs = {named[k]: v for k, v in found.items() if k in named}
        layers = {k: v for k, v in found.items() if k not in named}
        return Relevance(inputs, layers, None if rows is None else booked(rows, amounts))
