"""Assembles the text of a program from its schedule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import lrpc
from lrpc.backend.interface import Description, TargetCode
from lrpc.backend.quoting import comment, docstring, quoted
from lrpc.backend.render.interface import tables
from lrpc.backend.render.statements import Lines, block_function, indented
from lrpc.backend.schedule.ir import Call, Function, Schedule
from lrpc.backend.schedule.names import parts_of, with_local_names
from lrpc.backend.schedule.pipeline import Scheduler
from lrpc.backend.schedule.words import kernels_of, words_of
from lrpc.backend.sources import imports_text, needed, runtime_text
from lrpc.ir.graph import Graph
from lrpc.ir.types import Sym

HEADER = """Relevance program `{name}`, made by lrpc {version}. Change the config, not this file.

It needs torch and the files beside it, nothing else:

    import program
    p = program.load(device="cpu")
    state = p.forward(images)
    R = p.relevance(state, {target}, at=[{example}])

Targets: {targets}.
{composites}{notes}"""

MODEL = "# ---- The model: forward pass, then relevance, by kind of block " + 34 * "-"
KERNELS = "# ---- Kernels that the model calls " + 63 * "-"
RUNTIME = "# ---- Runtime: the same in every program " + 57 * "-"


def generate(forward: Graph, targets: Sequence[TargetCode], about: Description) -> str:
    """The source text of program.py, from graphs: same graphs, same bytes."""
    schedule = Scheduler(forward, targets).schedule(about.again, about.sweep > 0)
    return program_text(schedule, forward, targets, about)


def program_text(
    schedule: Schedule, forward: Graph, targets: Sequence[TargetCode], about: Description
) -> str:
    """The source text of program.py: same schedule, same bytes."""
    parts = parts_of(schedule)
    schedule = with_local_names(schedule, parts.values())
    words: dict[str, list[str]] = {}
    for f in schedule.functions:
        words[f.name] = words_of(f, words)
    blocks = [block_function(f, words) for f in schedule.functions]
    functions = [_forward(schedule.forward, forward, words, parts)]
    relevance = {t.plain.name: t.plain for t in schedule.targets}
    functions += [_relevance(f, words, parts, schedule.chunked) for f in relevance.values()]
    scopes = ["", *(s.part.scope for s in schedule.forward.body if isinstance(s, Call))]
    interface = tables(forward, targets, schedule.targets, about, scopes)
    carried = needed(kernels_of(schedule))
    sections = [f"{imports_text()}\n\n{MODEL}", *blocks, *functions]
    sections += [KERNELS, carried] if carried else []
    sections += [RUNTIME, runtime_text(), interface]
    return _header(targets, about) + "\n\n\n".join(sections)


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
    head += [*["chunk"] * chunked, "ledger=None"]
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


def _header(targets: Sequence[TargetCode], about: Description) -> str:
    first, composites = targets[0], list(dict.fromkeys(t.composite for t in targets))
    example = ", ".join("0" for _ in first.index_axes)
    text = HEADER.format(
        name=comment(about.name),
        version=lrpc.__version__,
        target=quoted(first.name.split(":")[0]),
        example=f"({example},)" if len(first.index_axes) == 1 else f"({example})",
        targets=", ".join(dict.fromkeys(comment(t.name) for t in targets)),
        composites=f"Composites: {', '.join(map(comment, composites))}.\n" if composites[0] else "",
        notes="".join(f"\n{comment(note)}\n" for note in about.notes),
    )
    return f"{docstring(text)}\n\n"
