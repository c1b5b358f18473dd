"""What a generated program returns: outputs, relevance, and the ledger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from lrpc.runtime.figures import draw_relevance, drawn_map, save_relevance
from lrpc.runtime.loading import ProgramError

INPUTS = "inputs of the state"  # beside the names of blocks


@dataclass
class State:
    """The result of a forward pass: `outputs` of the model, and saved tensors.

    Relevance also stores in `saved` what it computes once for all calls on this state. If memory
    does not suffice for all images at once, `saved` is empty and `pieces` holds the inputs of a few
    images each: every relevance call runs the model again on one piece after the other. `program`
    is the checksum of the program that the state belongs to.
    """

    outputs: Any
    saved: dict[str, dict[str, Any]] = field(repr=False)
    batch: int
    inputs: dict[str, Tensor] = field(default_factory=dict, repr=False)
    pieces: tuple[dict[str, Tensor], ...] = field(default=(), repr=False)
    program: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        """Note what has been written until now to that which the caller may hold as well."""
        held = [*tree_leaves(self.outputs), *self.inputs.values()]
        memory = {address(t) for t in held if isinstance(t, Tensor)}
        self.versions = {
            (block, name): version(t)
            for block, part in (*self.saved.items(), (INPUTS, self.inputs))
            for name, t in part.items()
            if isinstance(t, Tensor) and address(t) in memory
        }

    def __getstate__(self) -> dict[str, Any]:
        """For pickles and copies, whose tensors count anew."""
        return {name: value for name, value in vars(self).items() if name != "versions"}

    def __setstate__(self, fields: dict[str, Any]) -> None:
        vars(self).update(fields)
        self.__post_init__()

    def check_unchanged(self) -> None:
        """Refuse a state whose tensors were written to: the relevance would be of no model."""
        parts = {INPUTS: self.inputs} if self.pieces else self.saved
        for (block, name), noted in self.versions.items():
            found = parts.get(block, {}).get(name)
            if isinstance(found, Tensor) and version(found) != noted:
                raise ProgramError(
                    "the input or state.outputs were written to since forward, and share memory"
                    " with what relevance reads; run forward again, and write to a clone"
                )


def version(tensor: Tensor) -> int:
    """How often was written to a tensor and to its views; inference tensors do not count."""
    return 0 if tensor.is_inference() else tensor._version


def address(tensor: Tensor) -> int:
    """Where the memory of a tensor and of its views begins."""
    return tensor.untyped_storage().data_ptr()


@dataclass
class Ledger:
    """The account of relevance: sums per seed and image, each [K, B].

    `start` is the relevance at the target, `end` that at the inputs and boundaries. `rows` holds
    (node, module path, kind, amount). Kind `out` is what arrives at a node, `in` what it
    propagates; all other kinds are sinks.
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
        """|start − end − Σ sinks|, relative to the largest of them in magnitude: [K, B]."""
        sinks = list(self.sinks.values())
        rest = self.start - self.end - sum(sinks, torch.zeros_like(self.start))
        scale = torch.stack([self.start.abs(), self.end.abs(), *(s.abs() for s in sinks)]).amax(0)
        return rest.abs() / scale.clamp_min(torch.finfo(rest.dtype).tiny)

    def node_closure(self) -> dict[str, Tensor]:
        """Node → |out − in − sinks|, relative to the start: [K, B]; 0 where nothing started."""
        rest: dict[str, Tensor] = {}
        for node, _, kind, amount in self.rows:
            part = amount if kind == "out" else -amount
            rest[node] = rest[node] + part if node in rest else part
        scale = self.start.abs().clamp_min(torch.finfo(self.start.dtype).tiny)
        return {node: r.abs() / scale for node, r in rest.items()}

    def net(self, by: str = "module") -> dict[tuple[str, str], Tensor]:
        """Sinks summed with their signs, [K, B], by (name, kind): rows that cancel are gone.

        `by` says what the name is of: a `node`, a `module` (its path; a node's name where it has
        none), which may be called several times, a `part` of the model (`part_of` the module), or
        the `kind` alone (the name is "").
        """
        known = ("node", "module", "part", "kind")
        if by not in known:
            raise ProgramError(f"sinks are summed by {', '.join(known)}; got {by!r}")
        found: dict[tuple[str, str], Tensor] = {}
        for node, module, kind, amount in self.rows:
            if kind not in ("out", "in"):
                path = module or node
                key = (node, path, part_of(path), "")[known.index(by)], kind
                found[key] = found[key] + amount if key in found else amount
        return found

    def biggest(self, count: int = 10, by: str = "module") -> list[tuple[str, str, float]]:
        """The largest sinks of `net`, by mean |amount| over seeds and images: (name, kind, mean
        amount over the mean |start|), with its sign."""
        total = self.start.abs().mean().clamp_min(torch.finfo(self.start.dtype).tiny)
        found = self.net(by).items()
        largest = sorted(found, key=lambda item: -float(item[1].abs().mean()))[:count]
        return [(name, kind, float(amount.mean() / total)) for (name, kind), amount in largest]


def part_of(module: str) -> str:
    """The part of a model that a module path lies in: the path up to its first number, less the
    name of the list there. `decoder.layers.2.linear1` lies in `decoder`."""
    names = module.split(".")
    first = next((n for n, name in enumerate(names) if name.isdigit()), len(names))
    return ".".join(names[: max(1, first - 1)] if first < len(names) else names)


@dataclass
class Relevance:
    """Relevance at each input (`inputs`) and at each place (`layers`), and the ledger, or None."""

    inputs: dict[str, Tensor]
    layers: dict[str, Tensor]
    ledger: Ledger | None

    @property
    def input(self) -> Tensor:
        """Relevance at the first input, [K, B, ...]."""
        if not self.inputs:
            raise ProgramError("relevance at the input was not read; add it to read=[...]")
        return next(iter(self.inputs.values()))

    def plot(
        self,
        image: Any = None,
        *,
        seed: int = 0,
        item: int = 0,
        place: str | None = None,
        axes: Any = None,
        cmap: str = "RdBu_r",
        percentile: float = 99.5,
        title: str = "",
    ) -> Any:
        """Draw one map with matplotlib, summed over channels; returns the axes.

        Args:
            image: drawn in grey below it: [3, H, W] or [H, W, 3], in any range.
            seed: which of the K seeds.
            item: which of the B images.
            place: an input or a layer that is maps [K, B, C, H, W] (the first input).
            axes: of matplotlib, to draw on (a new figure).
            cmap: a colour map of matplotlib.
            percentile: of |relevance| that is shown in full colour.
            title: above it.

        Raises:
            ProgramError: the place is no map, or matplotlib is not installed.
        """
        values = drawn_map(self._at(place), place or "input", seed, item)
        return draw_relevance(values, image, axes, cmap, percentile, title)

    def save(
        self,
        path: str | Path,
        image: Any = None,
        *,
        seed: int = 0,
        item: int = 0,
        place: str | None = None,
        width: float = 4.0,
        dpi: float = 200,
        cmap: str = "RdBu_r",
        percentile: float = 99.5,
        title: str = "",
    ) -> None:
        """Write the figure of `plot` as PNG, PDF, SVG, JPEG or WebP, `width` inches wide. Raises
        ProgramError."""
        values = drawn_map(self._at(place), place or "input", seed, item)
        save_relevance(values, path, image, width, dpi, cmap, percentile, title)

    def _at(self, place: str | None) -> Tensor:
        if place is None:
            return self.input
        every = {**self.layers, **self.inputs}
        if place not in every:
            raise ProgramError(f"relevance at {place!r} was not read; there is: {', '.join(every)}")
        return every[place]

    @property
    def amplification(self) -> dict[str, Tensor]:
        """Place → Σ |R| there over Σ |start|, both over all images: [K], in float64. Far above 1
        where contributions of both signs grow and cancel. Needs the ledger."""
        if self.ledger is None:
            raise ProgramError("amplification is relative to the start: give ledger=True")
        start = self.ledger.start.abs().sum(1).clamp_min(torch.finfo(torch.float64).tiny)
        return {
            place: value.abs().flatten(1).sum(1, dtype=torch.float64).to(start.device) / start
            for place, value in {**self.inputs, **self.layers}.items()
        }


def rebuild(structure: Any, outputs: Mapping[str, Tensor]) -> Any:
    """The model's own nesting of its outputs, from their names."""
    if isinstance(structure, str):
        return outputs[structure]
    ((kind, content),) = structure.items()
    if kind == "value":
        return content
    if kind == "dict":
        return {name: rebuild(part, outputs) for name, part in content.items()}
    if kind == "items":
        return {key: rebuild(part, outputs) for key, part in content}
    parts = [rebuild(part, outputs) for part in content]
    return tuple(parts) if kind == "tuple" else parts


def flat(structure: Any, outputs: Any) -> dict[str, Tensor]:
    """The tensors of the model's own nesting by their names: what `rebuild` was given."""
    if isinstance(structure, str):
        return {structure: outputs}
    ((kind, content),) = structure.items()
    if kind == "value":
        return {}
    if kind == "dict":
        pairs = [(part, outputs[name]) for name, part in content.items()]
    elif kind == "items":
        pairs = [(part, outputs[key]) for key, part in content]
    else:
        pairs = list(zip(content, outputs, strict=True))
    return {name: t for part, value in pairs for name, t in flat(part, value).items()}


def ledger_of(names: Sequence[Sequence[str]], amounts: Sequence[Tensor]) -> Ledger:
    """The ledger's rows with their names: node, module path, kind."""
    rows = [(n[0], n[1], n[2], amount) for n, amount in zip(names, amounts, strict=True)]
    start = next(row[3] for row in rows if row[2] == "start")
    ends = [row[3] for row in rows if row[2] == "end"]
    end = sum(ends, torch.zeros_like(start))
    return Ledger(start, end, [row for row in rows if row[2] not in ("start", "end")])
