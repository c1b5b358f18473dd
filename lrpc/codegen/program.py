"""Assembles the text of a program from its forward graph and one joint graph per target."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import lrpc
from lrpc.codegen.expression import TORCH_DTYPES, literal
from lrpc.codegen.functions import INDENT, Emitter, Library, Saved, local_places
from lrpc.codegen.segments import cut
from lrpc.codegen.sources import needed, runtime_text
from lrpc.ir.graph import Graph, Node, Value
from lrpc.ir.types import Sym

HEADER = '''"""Relevance program `{name}`, made by lrpc {version}. Change the config, not this file.

It needs torch and the files beside it, nothing else:

    import program
    p = program.load(device="cpu")
    state = p.forward(images)
    R = p.relevance(state, "{target}", at=[{example}])

Targets: {targets}.
{notes}"""

'''


@dataclass(frozen=True)
class TargetCode:
    """One target: its mark, its joint graphs without and with ledger, and how `at` indexes it."""

    name: str
    value: Value
    plain: Graph
    booked: Graph
    index_axes: tuple[int, ...]
    index_names: tuple[str, ...]
    token_axis: int | None


@dataclass(frozen=True)
class Description:
    """What the program says of itself and how it presents the model."""

    name: str
    structure: object
    read_inputs: Mapping[str, str]
    notes: tuple[str, ...] = ()
    tf32: bool = False
    chunk: int = 8


@dataclass(frozen=True)
class Emitted:
    """The text of program.py, and where its state keeps each value it saves: scope and name."""

    text: str
    saved: dict[str, tuple[str, str]]


def generate(forward: Graph, targets: Sequence[TargetCode], about: Description) -> Emitted:
    """The source text of program.py: same graphs, same bytes."""
    own = {v.name for v in forward.values()}
    parts = {
        t.name: (_relevance_nodes(t.plain, own), _relevance_nodes(t.booked, own)) for t in targets
    }
    saved_names = {t.value.name for t in targets}
    for nodes in (n for pair in parts.values() for n in pair):
        saved_names |= {v.name for n in nodes for v in n.inputs if v.name in own}
    forward_nodes = _needed_nodes(forward, saved_names)
    segments = cut(forward_nodes, repeats=True)
    places = local_places(segments, forward.inputs)
    scopes = tuple(dict.fromkeys(["", *(s.key for s in segments)]))
    saved = Saved(places, frozenset(saved_names), scopes)
    library = Library()
    main = _forward(forward, forward_nodes, saved, library)
    functions = [_relevance(t, *parts[t.name], saved, library) for t in targets]
    tables = _tables(forward, targets, about, saved)
    emitted = "\n\n\n".join(part for part in [library.text(), main, *functions, tables] if part)
    text = "\n\n\n".join([runtime_text(), needed(emitted), emitted])
    kept = {name: place for name, place in places.items() if name in saved_names}
    return Emitted(_header(targets, about) + text, kept)


def _relevance_nodes(joint: Graph, own: set[str]) -> list[Node]:
    return [n for n in joint.nodes if not n.outputs or n.outputs[0].name not in own]


def _needed_nodes(graph: Graph, saved: set[str]) -> list[Node]:
    alive = {v.name for _, v in graph.outputs} | saved
    kept: list[Node] = []
    for node in reversed(graph.nodes):
        if any(v.name in alive for v in node.outputs):
            kept.append(node)
            alive |= {v.name for v in node.inputs}
    return kept[::-1]


def _forward(graph: Graph, nodes: Sequence[Node], saved: Saved, library: Library) -> str:
    emitter = Emitter(library, saved, "forward")
    keep = [v.name for _, v in graph.outputs]
    body = emitter.main(nodes, keep, graph.inputs)
    names = {v.name: emitter.names.local(v) for v in graph.inputs}
    lines = ['s = saved[""]']
    lines += [f's["{name}"] = {local}' for name, local in names.items() if name in saved.needed]
    results = ", ".join(f'"{name}": {emitter.names.local(v)}' for name, v in graph.outputs)
    first = graph.inputs[0]
    sizes = _sizes(body, first, names[first.name])
    text = "\n".join([*sizes, *lines, body, f"return {{{results}}}"])
    signature = ", ".join(["w", "saved", *names.values()])
    return f"def forward({signature}):\n{_indent(text)}"


def _relevance(
    target: TargetCode,
    plain: Sequence[Node],
    booked: Sequence[Node],
    saved: Saved,
    library: Library,
) -> str:
    return "\n\n\n".join(
        _relevance_function(target, nodes, graph, saved, library, ledger)
        for nodes, graph, ledger in ((plain, target.plain, False), (booked, target.booked, True))
    )


def _relevance_function(
    target: TargetCode,
    nodes: Sequence[Node],
    graph: Graph,
    saved: Saved,
    library: Library,
    ledger: bool,
) -> str:
    seed = graph.inputs[-1]
    body = Emitter(library, saved, "relevance", ledger).main(nodes, [], [seed])
    name = function_name(target.name) + ("_ledger" if ledger else "")
    signature = f"w, saved, {seed.name}, read" + (", ledger" if ledger else "")
    text = "\n".join([*_sizes(body, seed, seed.name), "out = {}", body, "return out"])
    return f"def {name}({signature}):\n{_indent(text)}"


def _sizes(body: str, first: Value, local: str) -> list[str]:
    """Definitions of K, B and device, from the value `first`, where the body uses them."""
    code = re.sub(r"#.*", "", body)
    lines = []
    for axis, dim in enumerate(first.type.shape):
        if isinstance(dim, Sym) and str(dim) in ("K", "B") and re.search(rf"\b{dim}\b", code):
            lines.append(f"{dim} = {local}.shape[{axis}]")
    if re.search(r"\bdevice\b", code):
        lines.append(f"device = {local}.device")
    return lines


def function_name(target: str) -> str:
    """`encoder_feature:2` → `relevance_encoder_feature_2`."""
    return "relevance_" + re.sub(r"\W", "_", target)


def _tables(forward: Graph, targets: Sequence[TargetCode], about: Description, saved: Saved) -> str:
    inputs = "".join(
        f'        "{v.name}": ("{TORCH_DTYPES[v.type.dtype]}", {_shape(v.type.shape)}),\n'
        for v in forward.inputs
    )
    blocks = "".join(f'        "{scope}",\n' for scope in saved.scopes)
    rows = "".join(_target_row(t, saved) for t in targets)
    dtype = next(v.type.dtype for v in forward.inputs if v.type.is_float)
    return (
        "INTERFACE = Interface(\n    forward=forward,\n"
        f"    inputs={{\n{inputs}    }},\n    blocks=(\n{blocks}    ),\n   "
        f" targets={{\n{rows}    }},\n"
        f"    read_inputs={_mapping(about.read_inputs)},\n"
        f"    structure={_python(about.structure)},\n    dtype={TORCH_DTYPES[dtype]},\n"
        f"    tf32={about.tf32},\n    chunk={about.chunk},\n)\n\n\n"
        'def load(path=None, device="cpu"):\n'
        '    """The program with its weights on `device`; its files are checked first."""\n'
        "    directory = Path(__file__).resolve().parent if path is None else Path(path)\n"
        "    return Program(INTERFACE, directory, device)\n"
    )


def _target_row(target: TargetCode, saved: Saved) -> str:
    shape = target.value.type.shape
    batch = next((i for i, d in enumerate(shape) if isinstance(d, Sym)), 0)
    reads = [str(n.attr("name")) for n in target.plain.nodes if n.op == "read"]
    name = function_name(target.name)
    return (
        f'        "{target.name}": Target(\n            {name}, {name}_ledger,'
        f" {_python(saved.places[target.value.name])},\n"
        f"            shape={_shape(shape)}, batch_axis={batch},\n"
        f"            index_axes={literal(target.index_axes)},"
        f" index_names={literal(target.index_names)},\n"
        f"            token_axis={target.token_axis}, reads={literal(tuple(reads))},\n"
        "        ),\n"
    )


def ledger_rows(booked: Graph) -> list[tuple[str, str, str]]:
    """(node, module path, kind) of every ledger row, in the order the program appends them."""
    return [
        (str(n.attr("node")), n.loc.module, str(n.attr("kind")))
        for n in booked.nodes
        if n.op == "record"
    ]


def _python(value: object) -> str:
    if isinstance(value, Mapping):
        return _mapping(value)
    if isinstance(value, (list, tuple)):
        inner = ", ".join(_python(v) for v in value)
        return (
            f"[{inner}]"
            if isinstance(value, list)
            else f"({inner},)"
            if len(value) == 1
            else f"({inner})"
        )
    return literal(value) if isinstance(value, (str, int, float)) else repr(value)


def _mapping(value: Mapping[str, object]) -> str:
    return "{" + ", ".join(f"{literal(k)}: {_python(v)}" for k, v in value.items()) + "}"


def _shape(shape: Sequence[object]) -> str:
    inner = ", ".join(f'"{d}"' if isinstance(d, Sym) else str(d) for d in shape)
    return f"({inner},)"


def _indent(text: str) -> str:
    return "\n".join(INDENT + line if line else line for line in text.splitlines())


def _header(targets: Sequence[TargetCode], about: Description) -> str:
    first = targets[0]
    example = ", ".join("0" for _ in first.index_axes)
    return HEADER.format(
        name=about.name,
        version=lrpc.__version__,
        target=first.name.split(":")[0],
        example=f"({example},)" if len(first.index_axes) == 1 else f"({example})",
        targets=", ".join(t.name for t in targets),
        notes="".join(f"\n{note}\n" for note in about.notes),
    )
