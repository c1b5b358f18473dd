"""What every generated program is built around: loading, checks, seeds, results."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import shutil
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor


class ProgramError(Exception):
    """Weights, inputs or requests that do not match this program."""


@dataclass
class State:
    """What one forward pass leaves: the model's outputs, and what relevance needs."""

    outputs: Any
    saved: dict[str, dict[str, Tensor]] = field(repr=False)
    batch: int


@dataclass
class Ledger:
    """Where the relevance went: sums per seed and image, each [K, B].

    `rows` holds (node, module path, kind, amount): kind `out` is what arrives at a node, `in` what it
    passes on, everything else is a sink.
    """

    start: Tensor
    end: Tensor
    rows: list[tuple[str, str, str, Tensor]] = field(repr=False)

    @property
    def sinks(self) -> dict[str, Tensor]:
        """Each kind of sink, summed over the nodes."""
        total: dict[str, Tensor] = {}
        for _, _, kind, amount in self.rows:
            if kind not in ("out", "in"):
                total[kind] = total[kind] + amount if kind in total else amount
        return total

    @property
    def closure(self) -> Tensor:
        """|Σ start − Σ end − Σ sinks| over the largest of them in magnitude: [K, B]."""
        sinks = list(self.sinks.values())
        rest = self.start - self.end - sum(sinks, torch.zeros_like(self.start))
        scale = torch.stack([self.start.abs(), self.end.abs(), *(s.abs() for s in sinks)]).amax(0)
        return rest.abs() / scale.clamp_min(torch.finfo(rest.dtype).tiny)

    def node_closure(self) -> dict[str, Tensor]:
        """For every node |out − in − sinks|, relative to Σ start: [K, B]."""
        rest: dict[str, Tensor] = {}
        for node, _, kind, amount in self.rows:
            part = amount if kind == "out" else -amount
            rest[node] = rest[node] + part if node in rest else part
        return {node: r.abs() / self.start.abs() for node, r in rest.items()}

    def biggest(self, count: int = 10) -> list[tuple[str, str, str, float]]:
        """The sinks that took most (mean |amount| over seeds and images): (node, module, kind, share)."""
        total = self.start.abs().mean()
        found = [
            (node, module, kind, float(amount.abs().mean() / total))
            for node, module, kind, amount in self.rows
            if kind not in ("out", "in")
        ]
        return sorted(found, key=lambda row: -row[3])[:count]


@dataclass
class Relevance:
    """The result: relevance at each input and at each named place, and the ledger where asked for."""

    inputs: dict[str, Tensor]
    layers: dict[str, Tensor]
    ledger: Ledger | None

    @property
    def input(self) -> Tensor:
        """Relevance at the first input, [K, B, ...]."""
        return next(iter(self.inputs.values()))


@dataclass(frozen=True)
class Target:
    """A value that relevance can start from. Axes count in the value, its batch axis included."""

    run: Callable[..., dict[str, Tensor]]
    run_ledger: Callable[..., dict[str, Tensor]]
    value: tuple[str, str]
    shape: tuple[int, ...]
    batch_axis: int
    index_axes: tuple[int, ...]
    index_names: tuple[str, ...]
    token_axis: int | None
    reads: tuple[str, ...]


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

    def __init__(self, interface: Interface, directory: Path, device: str | torch.device) -> None:
        self.interface, self.directory = interface, directory
        self.device = torch.device(device)
        self.manifest: dict[str, Any] = json.loads((directory / "manifest.json").read_text())
        check_files(directory, self.manifest)
        self.weights = read_weights(directory / "weights.safetensors", self.device)

    @torch.no_grad()
    def forward(self, *images: Tensor, **named: Tensor) -> State:
        """Run the model. Inputs as compiled for, batch free; keeps what relevance needs."""
        inputs = self._inputs(images, named)
        saved: dict[str, dict[str, Tensor]] = {name: {} for name in self.interface.blocks}
        with matmul_precision(self.interface.tf32):
            outputs = self.interface.forward(self.weights, saved, **inputs)
        for name, value in outputs.items():
            check_finite(value, f"output {name}", "check the input's range and the weights")
        batch = next(iter(inputs.values())).shape[0]
        return State(rebuild(self.interface.structure, outputs), saved, batch)

    @torch.no_grad()
    def relevance(
        self, state: State, target: str = "output", at: Sequence[Sequence[int]] | Tensor | None = None, *,
        seeds: Tensor | None = None, layer: int | None = None, token: int | None = None,
        norm: str = "none", read: Sequence[str] | None = None, ledger: bool = False,
    ) -> Relevance:
        """Relevance of `target`, started `at` indices (K of them, or a [K, B, n] tensor) or from `seeds`.

        `seeds` is relevance given outright, [K, *shape of the target]. `layer` chooses among the
        layers of encoder_feature and decoder_query. `token` starts an encoder feature at one token,
        else it is the mean over all. `norm`: `none`, `sum1` (relevance sums to 1) or `sumT` (to the
        number of tokens). `read` limits the places to compute; the walk ends at the last of them.
        """
        name, goal = self._target(target, layer)
        value = state.saved[goal.value[0]][goal.value[1]]
        if (at is None) == (seeds is None):
            raise ProgramError(f"{name}: give either at=[...] or seeds=S, and not both")
        if seeds is not None:
            g = seeds_to_g(seeds, value, name)
        else:
            g = self._start(goal, name, value, at, token)
        g = normalised(g, value, norm, goal)
        places = self._places(goal, name, read)
        parts = [
            self._sweep(name, goal, state, g[i : i + self.interface.chunk], places, ledger)
            for i in range(0, g.shape[0], self.interface.chunk)
        ]
        return joined(parts)

    def __call__(self, *images: Tensor, **options: Any) -> Relevance:
        """`forward` and `relevance` in one go: the tensors, then what `relevance` takes."""
        tensors = [i for i in images if isinstance(i, Tensor)]
        return self.relevance(self.forward(*tensors), *images[len(tensors):], **options)

    def save(self, directory: str | Path) -> Path:
        """Write the program directory to `directory`, which must not exist or be empty."""
        path = Path(directory)
        if path.exists() and any(path.iterdir()):
            raise ProgramError(f"{path}: exists and is not empty; choose another directory")
        shutil.copytree(self.directory, path, dirs_exist_ok=True,
                        ignore=shutil.ignore_patterns("__pycache__"))
        return path

    # -- helpers ---------------------------------------------------------------------------------

    def _inputs(self, images: Sequence[Tensor], named: Mapping[str, Tensor]) -> dict[str, Tensor]:
        names = list(self.interface.inputs)
        given = dict(zip(names, images, strict=False)) | dict(named)
        if len(images) > len(names) or given.keys() != set(names):
            raise ProgramError(f"forward takes {', '.join(names)}; got {', '.join(given) or 'nothing'}")
        for name in names:
            check_input(name, given[name], *self.interface.inputs[name])
        return {name: given[name].to(self.device) for name in names}

    def _target(self, target: str, layer: int | None) -> tuple[str, Target]:
        targets = self.interface.targets
        found = target if target in targets and layer is None else None
        if found is None:
            layered = [t for t in targets if t.split(":")[0] == target]
            wanted = f"{target}:{layer}" if layer is not None else (layered[-1] if layered else target)
            found = wanted if wanted in targets else None
        if found is None:
            raise ProgramError(
                f"this program has no target {target!r}{'' if layer is None else f' at layer {layer}'};"
                f" it starts from: {', '.join(targets)} (compile with LRPC.TARGETS for others)"
            )
        return found, targets[found]

    def _start(
        self, goal: Target, name: str, value: Tensor, at: Sequence[Sequence[int]] | Tensor | None,
        token: int | None,
    ) -> Tensor:
        batch = value.shape[goal.batch_axis]
        index = torch.as_tensor(at, device=self.device)
        if index.dim() == 1 and len(goal.index_axes) == 1:
            index = index[:, None]
        if index.dim() == 2:
            index = index[:, None].expand(-1, batch, -1)
        if index.dtype.is_floating_point or index.dim() != 3 or (
            tuple(index.shape[1:]) != (batch, len(goal.index_axes))
        ):
            raise ProgramError(
                f"{name}: at takes ({', '.join(goal.index_names)}) per seed, or an integer tensor"
                f" [K, {batch}, {len(goal.index_axes)}]; got shape {list(torch.as_tensor(at).shape)}"
            )
        for i, axis in enumerate(goal.index_axes):
            low, high = int(index[..., i].min()), int(index[..., i].max())
            if low < 0 or high >= value.shape[axis]:
                raise ProgramError(
                    f"{name}: {goal.index_names[i]} must lie in 0..{value.shape[axis] - 1}, got"
                    f" {low if low < 0 else high}"
                )
        return one_hot(goal, value, index, token, name)

    def _places(
        self, goal: Target, name: str, read: Sequence[str] | None
    ) -> frozenset[str]:
        if read is None:
            return frozenset(goal.reads)
        unknown = [place for place in read if place not in goal.reads]
        if unknown:
            raise ProgramError(
                f"{name}: no relevance can be read at {unknown[0]!r}; places: {', '.join(goal.reads)}"
            )
        return frozenset(read)

    def _sweep(
        self, name: str, goal: Target, state: State, g: Tensor, places: frozenset[str], ledger: bool
    ) -> Relevance:
        rows: list[Tensor] = []
        with matmul_precision(self.interface.tf32):
            if ledger:
                found = goal.run_ledger(self.weights, state.saved, g, places, rows)
            else:
                found = goal.run(self.weights, state.saved, g, places)
        for place, value in found.items():
            check_finite(value, f"relevance at {place}", "raise LRPC.EPSILON and compile again")
        named = self.interface.read_inputs
        inputs = {named[k]: v for k, v in found.items() if k in named}
        layers = {k: v for k, v in found.items() if k not in named}
        return Relevance(inputs, layers, 
            booked(self.manifest["ledger"][name], rows) if ledger else None)


def one_hot(goal: Target, value: Tensor, index: Tensor, token: int | None, name: str) -> Tensor:
    """G at the start: 1 at the indexed entries of each image, spread over the axes left open."""
    seeds, batch, _ = index.shape
    g = value.new_zeros((seeds, *value.shape))
    view = g.movedim(goal.batch_axis + 1, 1)
    axes = [a + 1 if a > goal.batch_axis else a + 2 for a in goal.index_axes]
    view = view.movedim(axes, list(range(2, 2 + len(axes))))
    amount = 1.0
    if goal.token_axis is not None and token is None:
        amount = 1.0 / value.shape[goal.token_axis]
    k = torch.arange(seeds, device=g.device)[:, None]
    b = torch.arange(batch, device=g.device)[None]
    where = (k, b, *index.unbind(-1))
    if goal.token_axis is not None and token is not None:
        if not 0 <= token < value.shape[goal.token_axis]:
            raise ProgramError(f"{name}: token must lie in 0..{value.shape[goal.token_axis] - 1}, got {token}")
        where = (*where, torch.full_like(index[..., 0], token))
    view[where] = amount
    return g


def seeds_to_g(seeds: Tensor, value: Tensor, name: str) -> Tensor:
    """Given relevance per unit of activation; relevance given to an exact zero cannot be carried."""
    if seeds.dim() != value.dim() + 1 or seeds.shape[1:] != value.shape:
        raise ProgramError(f"{name}: seeds must be [K, {', '.join(map(str, value.shape))}],"
                           f" got {list(seeds.shape)}")
    check_finite(seeds, f"seeds of {name}", "give finite relevance")
    seeds = seeds.to(value)
    if bool(((value == 0) & (seeds != 0)).any()):
        raise ProgramError(f"{name}: relevance is given to an activation that is exactly 0; set it to 0 there")
    return torch.where(seeds == 0, 0.0, seeds / torch.where(value == 0, 1.0, value))


def normalised(g: Tensor, value: Tensor, norm: str, goal: Target) -> Tensor:
    """G scaled so that each seed's relevance sums to 1, or to the number of tokens, in each image."""
    if norm == "none":
        return g
    if norm not in ("sum1", "sumT"):
        raise ProgramError(f"norm must be none, sum1 or sumT, got {norm!r}")
    axes = [a for a in range(1, g.dim()) if a != goal.batch_axis + 1]
    total = (g * value).sum(axes, keepdim=True)
    if bool((total == 0).any()):
        raise ProgramError(f"norm={norm}: the relevance to start with sums to 0; use norm='none'")
    tokens = 1 if norm == "sum1" else value.shape[goal.token_axis if goal.token_axis is not None else 1]
    return g * (tokens / total)


def booked(names: Sequence[Sequence[str]], amounts: Sequence[Tensor]) -> Ledger:
    """The ledger's rows with their names: node, module path, kind."""
    rows = [(n[0], n[1], n[2], amount) for n, amount in zip(names, amounts, strict=True)]
    start = next(row[3] for row in rows if row[2] == "start")
    ends = [row[3] for row in rows if row[2] == "end"]
    end = sum(ends, torch.zeros_like(start))
    return Ledger(start, end, [row for row in rows if row[2] not in ("start", "end")])


def joined(parts: Sequence[Relevance]) -> Relevance:
    """Seed chunks put together along the seeds axis."""
    if len(parts) == 1:
        return parts[0]

    def cat(find: Callable[[Relevance], dict[str, Tensor]]) -> dict[str, Tensor]:
        return {name: torch.cat([find(part)[name] for part in parts]) for name in find(parts[0])}

    ledgers = [part.ledger for part in parts if part.ledger is not None]
    ledger = None
    if ledgers:
        rows = [
            (*row[:3], torch.cat([other.rows[i][3] for other in ledgers]))
            for i, row in enumerate(ledgers[0].rows)
        ]
        ledger = Ledger(torch.cat([x.start for x in ledgers]), torch.cat([x.end for x in ledgers]), rows)
    return Relevance(cat(lambda r: r.inputs), cat(lambda r: r.layers), ledger)


def check_finite(value: Tensor, what: str, remedy: str) -> None:
    """Refuse NaN and infinity in floating tensors."""
    if value.is_floating_point() and not bool(torch.isfinite(value).all()):
        raise ProgramError(f"{what} holds NaN or infinity; {remedy}")


def check_input(name: str, value: Tensor, dtype: str, shape: Sequence[int | str]) -> None:
    """Refuse another dtype or shape than compiled for, and non-finite values."""
    if not isinstance(value, Tensor):
        raise ProgramError(f"input {name} must be a torch.Tensor, got {type(value).__name__}")
    wanted = ", ".join(map(str, shape))
    fits = value.dim() == len(shape) and all(
        s == "B" or s == n for s, n in zip(shape, value.shape, strict=True)
    )
    if not fits:
        raise ProgramError(
            f"input {name} must have shape [{wanted}], got {list(value.shape)}: this program holds one"
            " size (B is free); resize or pad the image, or compile with LRPC.SHAPES for that size"
        )
    if str(value.dtype) != dtype:
        raise ProgramError(f"input {name} must be {dtype}, got {value.dtype}")
    if value.shape[0] == 0:
        raise ProgramError(f"input {name} is an empty batch")
    check_finite(value, f"input {name}", "repair the data")


def rebuild(structure: Any, outputs: Mapping[str, Tensor]) -> Any:
    """The model's own nesting of its outputs, from their names."""
    if isinstance(structure, str):
        return outputs[structure]
    ((kind, content),) = structure.items()
    if kind == "value":
        return content
    if kind == "dict":
        return {name: rebuild(part, outputs) for name, part in content.items()}
    parts = [rebuild(part, outputs) for part in content]
    return tuple(parts) if kind == "tuple" else parts


def check_files(directory: Path, manifest: Mapping[str, Any]) -> None:
    """Refuse a directory whose files are not the ones the manifest was written for."""
    for name, wanted in manifest["sha256"].items():
        path = directory / name
        if not path.is_file():
            raise ProgramError(f"{path} is missing; compile the program again")
        if hashlib.sha256(path.read_bytes()).hexdigest() != wanted:
            raise ProgramError(f"{path} was changed since it was compiled; compile the program again")


SAFETENSORS = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "I64": torch.int64, "I32": torch.int32, "U8": torch.uint8, "BOOL": torch.bool,
}


def read_weights(path: Path, device: torch.device) -> dict[str, Tensor]:
    """The tensors of a safetensors file, aliases included."""
    data = bytearray(path.read_bytes())
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    aliases = json.loads(header.pop("__metadata__", {}).get("aliases", "{}"))
    tensors = {}
    for name, entry in header.items():
        dtype, shape = SAFETENSORS[entry["dtype"]], entry["shape"]
        first = 8 + length + entry["data_offsets"][0]
        count = math.prod(shape)
        flat = torch.frombuffer(data, dtype=dtype, count=count, offset=first) if count else torch.empty(0, dtype=dtype)
        tensors[name] = flat.reshape(shape).to(device)
    return tensors | {alias: tensors[name] for alias, name in aliases.items()}
