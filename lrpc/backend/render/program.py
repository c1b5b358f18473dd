"""Assembles the text of a program from its schedule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import fill

import lrpc
from lrpc.backend.interface import Description, TargetCode
from lrpc.backend.quoting import comment, docstring, quoted
from lrpc.backend.render.families import Family, alone, families
from lrpc.backend.render.interface import tables
from lrpc.backend.render.layout import WIDTH, defined, laid_out, taken_out
from lrpc.backend.render.statements import Lines
from lrpc.backend.render.texts import Texts
from lrpc.backend.schedule.ir import Call, Function, Schedule
from lrpc.backend.schedule.names import parts_of
from lrpc.backend.schedule.pipeline import Scheduler
from lrpc.backend.schedule.walk import handed_over
from lrpc.backend.schedule.words import (
    WORDS,
    called_by_shape,
    in_order,
    kernels_of,
    words_in,
    words_of,
)
from lrpc.backend.sources import imports_text, needed, runtime_text
from lrpc.ir.extents import Extent
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
    schedule = Scheduler(forward, targets).schedule(about.recomputed, about.per_pass > 0)
    return program_text(schedule, forward, targets, about)


def program_text(
    schedule: Schedule, forward: Graph, targets: Sequence[TargetCode], about: Description
) -> str:
    """The source text of program.py: same schedule, same bytes."""
    parts = [f for f in schedule.functions if f.half in ("tail", "part")]
    blocks = [f for f in schedule.functions if f.half not in ("tail", "part")]
    handed = {f.name: handed_over(f) for f in parts}
    of = families(blocks)
    texts = Texts(of, _words(blocks, of), parts_of(schedule), schedule.chunked, handed)
    kinds = {family.name: family for family in texts.families.values()}
    functions = [_block_function(family, texts) for family in kinds.values()]
    if schedule.sizes is not None:
        functions.append(_of_sizes(schedule.sizes, forward, texts))
    functions.append(_forward(schedule.forward, forward, texts))
    functions += [_part(f, texts) for f in parts]
    mains = {t.plain.name: t.plain for t in schedule.targets}
    functions += [_relevance(f, texts) for f in mains.values()]
    scopes = ["", *(s.part.scope for s in schedule.forward.body if isinstance(s, Call))]
    own = schedule.sizes is not None
    interface = tables(forward, targets, schedule.targets, about, scopes, own)
    carried = needed(kernels_of(schedule))
    imports = imports_text("has_triton" in carried)
    sections = [f"{imports}\n\n{MODEL}", *functions]
    sections += [KERNELS, carried] if carried else []
    sections += [RUNTIME, runtime_text(), interface]
    return _header(targets, about) + "\n\n\n".join(sections)


def _words(blocks: Sequence[Function], of: Mapping[str, Family]) -> dict[str, list[str]]:
    """The words that each function takes: those of all functions that share its text, for a size
    may depend on the image's in some of them alone."""
    before: dict[str, list[str]] | None = None
    words: dict[str, list[str]] = {}
    while words != before:
        before = dict(words)
        for f in blocks:
            words[f.name] = words_of(f, words)
        for family in {id(family): family for family in of.values()}.values():
            taken = in_order({word for f in family.functions for word in words[f.name]})
            words |= {f.name: taken for f in family.functions}
    return words


def _of_sizes(function: Function, graph: Graph, texts: Texts) -> str:
    lines = Lines(function, alone(function, texts.families), texts)
    body = lines.body()
    results = ", ".join(map(lines.name, function.results))
    said = "# What depends on the sizes of images alone: computed once for each."
    body = [said, *body, *laid_out(f"return [{results}]", indent=4)]
    return defined("of_sizes", ["w", *(size.name for size in graph.sizes), "device"], body)


def _forward(function: Function, graph: Graph, texts: Texts) -> str:
    lines = Lines(function, alone(function, texts.families), texts)
    body = lines.body()
    outputs = zip((name for name, _ in graph.outputs), function.results, strict=True)
    results = ", ".join(f"{quoted(name)}: {lines.name(v)}" for name, v in outputs)
    sizes = _sizes(function, lines, texts)
    body = [*sizes, *body, *laid_out(f"return {{{results}}}", indent=4)]
    return defined("forward", ["w", "saved", *map(lines.name, function.parameters)], body)


def _part(function: Function, texts: Texts) -> str:
    """A part of several main functions. It is handed what it goes on with in a list, so that nobody
    else holds it, and hands over what others go on with so; None where nothing more is wanted."""
    lines = Lines(function, alone(function, texts.families), texts)
    body = lines.body()
    start = taken_out([*map(lines.name, function.parameters)])
    body = [*start, *_sizes(function, lines, texts), *body]
    if function.results:
        body.append(f"return [{', '.join(map(lines.name, function.results))}]")
    elif not any(s.startswith("return ") for s in body):
        body.append("return out")
    head = ["w", "saved", "held", "read", "out", *["chunk"] * texts.chunked, "ledger"]
    return defined(function.name, head, body)


def _relevance(function: Function, texts: Texts) -> str:
    lines = Lines(function, alone(function, texts.families), texts)
    body = lines.body()
    body = [*_sizes(function, lines, texts), "out = {}", *body]
    body += [] if any(s.startswith("return ") for s in body) else ["return out"]
    head = ["w", "saved", *map(lines.name, function.parameters), "read"]
    return defined(function.name, [*head, *["chunk"] * texts.chunked, "ledger=None"], body)


def _sizes(function: Function, lines: Lines, texts: Texts) -> list[str]:
    """Definitions of K, B and device, from the arguments, where the function uses them."""
    found: dict[str, str] = {}
    for value in function.parameters:
        for axis, dim in enumerate(value.type.shape):
            if isinstance(dim, Sym) and dim.batch + dim.seeds == 1:
                extent = f"{lines.name(value)}.shape[{axis}]"
                merged = f" // {dim.coeff}" if dim.coeff != 1 else ""
                found.setdefault("B" if dim.batch else "K", extent + merged)
            elif isinstance(dim, Extent) and function.half == "forward":
                for size in dim.sizes() if dim == Extent.size(min(dim.sizes())) else ():
                    found.setdefault(size.name, f"{lines.name(value)}.shape[{axis}]")
    found["device"] = f"{lines.name(function.parameters[0])}.device"
    used = words_in(function, texts.words)
    if function.half == "forward":
        kept = [name for name in found if name not in WORDS]
        used |= {*kept}
        end = [f'saved[""]["{name}"] = {name}' for name in kept]
    else:
        end = [f'{name} = saved[""]["{name}"]' for name in in_order(used - {*WORDS})]
    return [*(f"{name} = {text}" for name, text in found.items() if name in used), *end]


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
        notes="".join(f"\n{fill(comment(note), WIDTH)}\n" for note in about.notes),
    )
    return f"{docstring(text)}\n\n"


def _block_function(family: Family, texts: Texts) -> str:
    """The source of a block function, or of a rule."""
    function = family.functions[0]
    lines = Lines(function, family, texts)
    body = lines.body()
    results = ", ".join(map(lines.name, function.results))
    if results and not lines.returned(results):
        body.append(f"return {results}")
    used = words_in(function, texts.words) if called_by_shape(function) else set[str]()
    sizes = [word for word in ("K", "B") if word in used]
    if sizes:
        first = lines.name(function.parameters[0])
        axes = ":2" if len(sizes) == 2 else 1 if sizes == ["B"] else 0
        body = [f"{', '.join(sizes)} = {first}.shape[{axes}]", *body]
    words = texts.words[function.name]
    head = [word for word in words if word != "ledger"]
    head += map(lines.name, function.parameters)
    head += [*(["ledger"] if "ledger" in words else []), *family.arguments]
    return defined(function.name, head, body or ["pass"])
