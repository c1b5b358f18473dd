"""Assembles the text of a program from its forward graph and one joint graph per target."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import lrpc
from lrpc.backend.body import safe, stem
from lrpc.backend.functions import INDENT, Call, Emitter, Library
from lrpc.backend.interface import Description, TargetCode, tables
from lrpc.backend.keeping import keeping
from lrpc.backend.quoting import ascii_word, code_of, comment, docstring, quoted
from lrpc.backend.recompute import Again, recompute
from lrpc.backend.saved import Saved, local_places
from lrpc.backend.segments import cut
from lrpc.backend.sources import GLOBALS, needed, runtime_text
from lrpc.ir.graph import Graph, Node, Value
from lrpc.ir.types import Sym

Bodies = tuple[str, str]
NOTHING: Again = MappingProxyType({})

HEADER = """Relevance program `{name}`, made by lrpc {version}. Change the config, not this file.

It needs torch and the files beside it, nothing else:

    import program
    p = program.load(device="cpu")
    state = p.forward(images)
    R = p.relevance(state, {target}, at=[{example}])

Targets: {targets}.
{composites}{notes}"""


@dataclass(frozen=True)
class Emitted:
    """The text of program.py, and where its state keeps each value it saves: scope and name."""

    text: str
    saved: dict[str, tuple[str, str]]


@dataclass(frozen=True)
class Halves:
    """What a program runs: the nodes of its forward pass, where it saves which values, and for each
    target the nodes of its relevance, without and with ledger."""

    forward: tuple[Node, ...]
    saved: Saved
    relevance: tuple[tuple[tuple[Node, ...], tuple[Node, ...]], ...]


@dataclass(frozen=True)
class Reading:
    """The nodes of the halves, and what each wants of the other: where relevance starts, and all
    that it reads of the forward pass."""

    run: tuple[Node, ...]
    parts: tuple[tuple[tuple[Node, ...], tuple[Node, ...]], ...]
    starts: frozenset[str]
    needed: frozenset[str]


def reading(forward: Graph, targets: Sequence[TargetCode]) -> Reading:
    """What the halves of a program read, whatever of it is computed again."""
    own = {v.name for v in forward.values()}
    parts = tuple(
        (_relevance_nodes(t.plain, own), _relevance_nodes(t.booked, own)) for t in targets
    )
    starts = {t.value.name for t in targets}
    needed = set(starts)
    for nodes in (n for pair in parts for n in pair):
        needed |= {v.name for n in nodes for v in n.inputs if v.name in own}
    run = tuple(_needed_nodes(forward, needed))
    return Reading(run, parts, frozenset(starts), frozenset(needed))


def halves(
    forward: Graph,
    targets: Sequence[TargetCode],
    again: Again = NOTHING,
    read: Reading | None = None,
) -> Halves:
    """The two halves of a program, as `generate` writes them. Relevance computes the segments of
    the forward pass named in `again` anew, as far as they are not kept."""
    read = read or reading(forward, targets)
    segments = cut(read.run, repeats=True, stretches=again)
    places = local_places(segments, forward.inputs)
    outside = read.starts | {v.name for _, v in forward.outputs}
    anew = recompute(segments, again, outside, read.needed, places)
    scopes = tuple(dict.fromkeys(["", *(s.key for s in segments)]))
    needed_names = read.needed | anew.reads() | anew.named
    shared = keeping(read.run, places, needed_names)
    return Halves(read.run, Saved(places, needed_names, scopes, shared, anew), read.parts)


def as_computed(forward: Graph, targets: Sequence[TargetCode], made: Halves) -> Iterator[Graph]:
    """The halves of a program as graphs, to be verified: the forward pass; and each relevance pass
    from what the state holds and its seeds, behind all that it computes again."""
    yield replace(forward, nodes=made.forward, marks=())
    anew = [node for segment in made.saved.again.segments.values() for node in segment.nodes]
    there = made.saved.kept.keys() - {v.name for node in anew for v in node.outputs}
    kept = [v for v in forward.values() if v.name in there]
    for target, parts in zip(targets, made.relevance, strict=True):
        for joint, nodes in zip((target.plain, target.booked), parts, strict=True):
            inputs = (*kept, joint.inputs[-1])
            weights = tuple({**dict(forward.weights), **joint.weight_types}.items())
            yield Graph(joint.name, inputs, (*anew, *nodes), (), weights)


def generate(forward: Graph, targets: Sequence[TargetCode], about: Description) -> Emitted:
    """The source text of program.py: same graphs, same bytes."""
    several = targets[0].composite != ""
    forward = _without_rules(forward) if several else forward
    made = halves(forward, targets, about.again)
    saved = made.saved
    jobs = list(zip(targets, made.relevance, strict=True))
    trial, taken = Library(), _taken(made)
    if several:  # to learn which functions composites share
        _, calls = _forward(forward, made.forward, saved, trial)
        for target, part in jobs:
            _bodies(target, part, Emitting(saved, trial, calls, about.sweep > 0))
    library = Library(trial.used_by_several(), taken)
    main, calls = _forward(forward, made.forward, saved, library)
    emitting = Emitting(saved, library, calls, about.sweep > 0)
    bodies = [_bodies(target, part, emitting) for target, part in jobs]
    names = function_names(targets, bodies, GLOBALS | library.names)
    functions = [
        f"def {name}{end}{text}"
        for name, pair in dict(zip(names, bodies, strict=True)).items()
        for end, text in zip(("", "_ledger"), pair, strict=True)
    ]
    interface = tables(forward, targets, names, about, saved)
    emitted = "\n\n\n".join(part for part in [library.text(), main, *functions, interface] if part)
    text = "\n\n\n".join([runtime_text(), needed(emitted), emitted])
    return Emitted(_header(targets, about) + text, saved.kept)


def _taken(made: Halves) -> frozenset[str]:
    """The names that no block function may have: those of the module, and those that locals are
    made of, which would hide it."""
    nodes = (*made.forward, *(n for pair in made.relevance for part in pair for n in part))
    values = {v.name for n in nodes for v in (*n.inputs, *n.outputs)}
    names = {*values, *map(stem, values), *made.saved.scopes}
    return GLOBALS | {re.sub(r"(_\d+)+$", "", safe(name)) for name in names}


@dataclass(frozen=True)
class Emitting:
    """What the relevance functions of a program are written into and refer to."""

    saved: Saved
    library: Library
    calls: Mapping[str, Call]
    chunked: bool


def _relevance_nodes(joint: Graph, own: set[str]) -> tuple[Node, ...]:
    return tuple(n for n in joint.nodes if not n.outputs or n.outputs[0].name not in own)


def _without_rules(forward: Graph) -> Graph:
    """The forward graph alone: which rules a node has is up to the composites."""
    return replace(forward, nodes=tuple(replace(n, rule=None) for n in forward.nodes))


def _needed_nodes(graph: Graph, saved: set[str]) -> list[Node]:
    alive = {v.name for _, v in graph.outputs} | saved
    kept: list[Node] = []
    for node in reversed(graph.nodes):
        if any(v.name in alive for v in node.outputs):
            kept.append(node)
            alive |= {v.name for v in node.inputs}
    return kept[::-1]


def _forward(
    graph: Graph, nodes: Sequence[Node], saved: Saved, library: Library
) -> tuple[str, Mapping[str, Call]]:
    """The text of `forward`, and its calls of block functions."""
    emitter = Emitter(library, saved, "forward")
    keep = [v.name for _, v in graph.outputs]
    body = emitter.main(nodes, keep, graph.inputs)
    names = {v.name: emitter.names.local(v) for v in graph.inputs}
    lines = ['s = saved[""]']
    needed = [(name, local) for name, local in names.items() if name in saved.needed]
    lines += [f"s[{quoted(name)}] = {local}" for name, local in needed]
    results = ", ".join(f"{quoted(name)}: {emitter.names.local(v)}" for name, v in graph.outputs)
    sizes = _sizes(body, graph.inputs, names)
    text = "\n".join([*sizes, *lines, body, f"return {{{results}}}"])
    signature = ", ".join(["w", "saved", *names.values()])
    return f"def forward({signature}):\n{_indent(text)}", emitter.calls


def _bodies(
    target: TargetCode, parts: tuple[Sequence[Node], Sequence[Node]], into: Emitting
) -> Bodies:
    """What follows the name of a target's function, and of the one that keeps a ledger."""
    return (
        _body(target, parts[0], target.plain, into, False),
        _body(target, parts[1], target.booked, into, True),
    )


def _body(
    target: TargetCode, nodes: Sequence[Node], graph: Graph, into: Emitting, ledger: bool
) -> str:
    seed, composite = graph.inputs[-1], ascii_word(target.composite)
    emitter = Emitter(
        into.library, into.saved, "relevance", ledger, composite, dict(into.calls), into.chunked
    )
    body = emitter.main(nodes, [], [seed])
    more = ", chunk" * into.chunked + ", ledger" * ledger
    local = emitter.names.local(seed)
    sizes = _sizes(body, [seed], {seed.name: local})
    text = "\n".join([*sizes, "out = {}", body, "return out"])
    return f"(w, saved, {local}, read{more}):\n{_indent(text)}"


def _sizes(body: str, given: Sequence[Value], names: Mapping[str, str]) -> list[str]:
    """Definitions of K, B and device, from the arguments `given`, where the body uses them."""
    code = code_of(body)
    found: dict[str, str] = {}
    for value in given:
        for axis, dim in enumerate(value.type.shape):
            if isinstance(dim, Sym) and dim.batch + dim.seeds == 1:
                extent = f"{names[value.name]}.shape[{axis}]"
                merged = f" // {dim.coeff}" if dim.coeff > 1 else ""
                found.setdefault("B" if dim.batch else "K", extent + merged)
    found["device"] = f"{names[given[0].name]}.device"
    return [f"{k} = {text}" for k, text in found.items() if re.search(rf"\b{k}\b", code)]


def function_names(
    targets: Sequence[TargetCode], bodies: Sequence[Bodies], others: Collection[str] = ()
) -> list[str]:
    """A Python name for each: `encoder_feature:2` → `relevance_encoder_feature_2`, then the
    composite's name where there are several. Those that do the same for one target share a name;
    none is among `others`."""
    keys = [(t.name, body) for t, body in zip(targets, bodies, strict=True)]
    users = Counter(keys)
    names: dict[tuple[str, Bodies], str] = {}
    taken: set[str] = set(others)
    for target, key in zip(targets, keys, strict=True):
        if key in names:
            continue
        own = [target.composite] if users[key] == 1 and target.composite else []
        name = "_".join(["relevance", *map(ascii_word, [target.name, *own])])
        while {name, f"{name}_ledger"} & taken:
            name += "_"
        taken |= {name, f"{name}_ledger"}
        names[key] = name
    return [names[key] for key in keys]


def ledger_rows(booked: Graph) -> list[tuple[str, str, str]]:
    """(node, module path, kind) of every ledger row, in the order the program appends them."""
    return [
        (str(n.attr("node")), n.loc.module, str(n.attr("kind")))
        for n in booked.nodes
        if n.op == "record"
    ]


def _indent(text: str) -> str:
    return "\n".join(INDENT + line if line else line for line in text.splitlines())


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
