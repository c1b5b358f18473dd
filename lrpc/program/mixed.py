"""The precisions of programs, and what runs where large maps are in bfloat16."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from lrpc.errors import ConfigError
from lrpc.ir.graph import Graph, Module
from lrpc.ir.magnitudes import source
from lrpc.program.manifest import Lowered
from passes import run_pipeline
from passes.mixed_precision import MixedPrecision
from passes.rewrite import weights_of

#: What models are in, by the precision of their programs.
DTYPES = {"fp64": torch.float64} | dict.fromkeys(("fp32", "tf32", "bf16"), torch.float32)


def check_precision(wanted: str, graph: Graph) -> str:
    """The precision of a program from `graph`; ConfigError where its numbers are of another."""
    own = {"f64": "fp64", "f32": "fp32"}.get(graph.dtype, graph.dtype)
    if wanted and wanted not in DTYPES:
        raise ConfigError(f"precision={wanted!r} is unknown; choose among {', '.join(DTYPES)}")
    if wanted and own != ("fp64" if wanted == "fp64" else "fp32"):
        raise ConfigError(
            f"precision={wanted!r} is for models in"
            f" {'float64' if wanted == 'fp64' else 'float32'}, this one is in {own}; convert model"
            " and example first"
        )
    return wanted or own


Watch = Callable[[str, Module], None]


def as_run(
    module: Module,
    precision: str,
    forward: Graph | None = None,
    watch: Callable[[Module], None] = lambda module: None,
) -> Module:
    """A forward graph, or a joint graph made from `forward`, as a `precision` program runs it."""
    if precision != "bf16":
        return module
    names = frozenset() if forward is None else frozenset(v.name for v in forward.values())
    return run_pipeline(module, (MixedPrecision(forward=names),), lambda _, made: watch(made))


def running(made: Sequence[Lowered], precision: str, watch: Watch | None = None) -> list[Lowered]:
    """What runs for `made` in a program of `precision`; `tensors` keep the model's own besides."""
    return [_narrowed(one, precision, watch) if precision == "bf16" else one for one in made]


def used_weights(run: Sequence[Lowered]) -> set[str]:
    """The names of the weights that the code reads: others are for reference alone."""
    graphs = [g for one in run for c in one.codes for g in (one.graph, c.plain, c.with_ledger)]
    names = (name for graph in graphs for node in graph.nodes for name in weights_of(node))
    return {source(name) or name for name in names}


def _narrowed(one: Lowered, precision: str, watch: Watch | None) -> Lowered:
    def say(*parts: str) -> Callable[[Module], None]:
        name = ".".join(filter(None, (MixedPrecision.name, *parts)))
        return (lambda module: None) if watch is None else partial(watch, name)

    forward = as_run(
        Module(one.graph, one.tensors[0]), precision, None, say(one.codes[0].composite)
    )
    tensors = [one.tensors[0], forward.tensors]

    def joint(graph: Graph, own: Mapping[str, Tensor], *parts: str) -> Graph:
        module = as_run(Module(graph, own), precision, one.graph, say(*parts))
        tensors.append(module.tensors)
        return module.graph

    names = [(code.name.replace(":", "_"), code.composite) for code in one.codes]
    codes = tuple(
        replace(
            code,
            plain=joint(code.plain, own[0], *name),
            with_ledger=joint(code.with_ledger, own[1], *name, "ledger"),
        )
        for code, name, own in zip(one.codes, names, _pairs(one.tensors[1:]), strict=True)
    )
    return replace(one, graph=forward.graph, codes=codes, tensors=tuple(tensors))


def _pairs(parts: Sequence[Mapping[str, Tensor]]) -> list[tuple[Mapping[str, Tensor], ...]]:
    """Each target's weights, without and with ledger."""
    return list(zip(parts[::2], parts[1::2], strict=True))
