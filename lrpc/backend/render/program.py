"""Assembles the text of a program from its schedule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import lrpc
from lrpc.backend.render.statements import Lines, block_function, indented
from lrpc.backend.schedule.ir import Call, Entry, Function, Schedule
from lrpc.backend.schedule.names import parts_of, with_local_names
from lrpc.backend.schedule.words import words_of
from lrpc.codegen.interface import Description, TargetCode, tables
from lrpc.codegen.program import _header
from lrpc.codegen.quoting import quoted
from lrpc.codegen.sources import needed, runtime_text
from lrpc.ir.graph import Graph, Value
from lrpc.ir.types import Sym


@dataclass
class Saved:
    scopes: tuple[str, ...]
    places: dict[str, tuple[str, str]]


def _place(entry: Entry) -> tuple[str, str]:
    return entry.part.scope, entry.name


def program_text(
    schedule: Schedule, forward: Graph, targets: Sequence[TargetCode], about: Description
) -> str:
    """The source text of program.py: same schedule, same bytes."""
    parts = parts_of(schedule)
    schedule = with_local_names(schedule, parts.values())
    words = {f.name: words_of(f) for f in schedule.functions}
    blocks = [block_function(f) for f in schedule.functions]
    functions = [_forward(schedule.forward, forward, words, parts)]
    relevance = {f.name: f for t in schedule.targets for f in (t.plain, t.booked)}
    functions += [
        _relevance(f, words, parts, schedule.chunked) for f in relevance.values()
    ]
    saved = Saved(
        ("", *(s.part.scope for s in schedule.forward.body if isinstance(s, Call))),
        {code.value.name: _place(t.start) for code, t in zip(targets, schedule.targets, strict=True)},
    )
    names = [t.plain.name for t in schedule.targets]
    interface = tables(forward, targets, names, about, saved)
    emitted = "\n\n\n".join([*blocks, *functions, interface])
    text = "\n\n\n".join([runtime_text(), needed(emitted), emitted])
    return _header(targets, about) + text


def _forward(
    function: Function,
    graph: Graph,
    words: Mapping[str, Sequence[str]],
    parts: Mapping[str, str],
) -> str:
    lines = Lines(function, words, parts).body()
    names = [name for name, _ in graph.outputs]
    given = zip(names, function.results, strict=True)
    results = ", ".join(f"{quoted(name)}: {v.name}" for name, v in given)
    sizes = _sizes(function, words)
    body = [*sizes, 's = saved[""]', *lines, f"return {{{results}}}"]
    head = ", ".join(["w", "saved", *(v.name for v in function.parameters)])
    return f"def forward({head}):\n{indented(body)}"


def _relevance(
    function: Function,
    words: Mapping[str, Sequence[str]],
    parts: Mapping[str, str],
    chunked: bool,
) -> str:
    lines = Lines(function, words, parts, chunked).body()
    body = [*_sizes(function, words), "out = {}", *lines, "return out"]
    head = ["w", "saved", function.parameters[0].name, "read"]
    head += ["chunk"] * chunked + ["ledger"] * function.ledger
    return f"def {function.name}({', '.join(head)}):\n{indented(body)}"


def _sizes(function: Function, words: Mapping[str, Sequence[str]]) -> list[str]:
    """Definitions of K, B and device, from the arguments, where the function uses them."""
    given = function.parameters
    found: dict[str, str] = {}
    for value in given:
        for axis, dim in enumerate(value.type.shape):
            if isinstance(dim, Sym) and dim.batch + dim.seeds == 1:
                extent = f"{value.name}.shape[{axis}]"
                merged = f" // {dim.coeff}" if dim.coeff > 1 else ""
                found.setdefault("B" if dim.batch else "K", extent + merged)
    found["device"] = f"{given[0].name}.device"
    used = words_of(function, words)
    return [f"{name} = {text}" for name, text in found.items() if name in used]
