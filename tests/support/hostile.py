"""A program that a name can be put into at every place there is, and what becomes of it."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from typing import Any

from lrpc.backend.body import stem
from lrpc.backend.quoting import identifier
from lrpc.backend.render.texts import LONG
from lrpc.errors import LrpcError
from lrpc.ir.blocks import block_of
from lrpc.ir.graph import Graph, Loc, Module, Node, Value
from lrpc.program.targets import Places
from tests.support.hostile_case import Case, case
from tests.support.hostile_names import NAMES, drawn
from tests.support.program_shape import difference

QUIET = "quiet"  # what stands in the same field of the benign program


# -- the fields ------------------------------------------------------------------------------------


def _renamed(graph: Graph, old: str, new: str) -> Graph:
    """A value under another name."""

    def value(v: Value) -> Value:
        return replace(v, name=new) if v.name == old else v

    def node(n: Node) -> Node:
        return replace(n, inputs=tuple(map(value, n.inputs)), outputs=tuple(map(value, n.outputs)))

    return replace(
        graph,
        inputs=tuple(map(value, graph.inputs)),
        nodes=tuple(map(node, graph.nodes)),
        outputs=tuple((k, value(v)) for k, v in graph.outputs),
        places=tuple((k, value(v)) for k, v in graph.places),
    )


def _nodes(graph: Graph, change: Callable[[Node], Node]) -> Graph:
    return replace(graph, nodes=tuple(map(change, graph.nodes)))


def _of(graph: Graph, module: str, op: str) -> Node:
    return next(n for n in graph.nodes if n.op == op and n.loc.module.startswith(module))


def _value(module: str, op: str) -> Callable[[Case, str], Case]:
    def change(one: Case, name: str) -> Case:
        old = _of(one.variants[0].module.graph, module, op).out.name
        return one.of_graph(lambda graph: _renamed(graph, old, name))

    return change


def _input(one: Case, name: str) -> Case:
    return one.of_graph(
        lambda graph: replace(
            _renamed(graph, "x", name),
            places=tuple((f"input.{name}" if k == "input.x" else k, v) for k, v in
                        _renamed(graph, "x", name).places),
        )
    )  # fmt: skip


def _weight(module: str) -> Callable[[Case, str], Case]:
    def change(one: Case, name: str) -> Case:
        old = str(_of(one.variants[0].module.graph, module, "linear").attr("weight"))
        new = f"{module}.{name}" if module == "layers.0" else name

        def graph(g: Graph) -> Graph:
            def node(n: Node) -> Node:
                return replace(n, attrs=tuple((k, new if v == old else v) for k, v in n.attrs))

            weights = tuple((new if k == old else k, kind) for k, kind in g.weights)
            return replace(_nodes(g, node), weights=weights)

        made = one.of_graph(graph)
        return replace(
            made,
            variants=tuple(
                replace(v, module=Module(v.module.graph, {
                    new if k == old else k: t for k, t in v.module.tensors.items()
                }))
                for v in made.variants
            ),
        )  # fmt: skip

    return change


def _attr(op: str, key: str) -> Callable[[Case, str], Case]:
    def change(one: Case, name: str) -> Case:
        def node(n: Node) -> Node:
            return replace(n, attrs=tuple((k, name if k == key else v) for k, v in n.attrs))

        return one.of_graph(lambda g: _nodes(g, lambda n: node(n) if n.op == op else n))

    return change


def _loc(module: str, make: Callable[[str], str]) -> Callable[[Case, str], Case]:
    def change(one: Case, name: str) -> Case:
        def node(n: Node) -> Node:
            if not n.loc.module.startswith(module):
                return n
            path = make(name) + n.loc.module[len(module) :]
            return replace(n, loc=Loc(path, name, n.loc.line))

        return one.of_graph(lambda g: _nodes(g, node))

    return change


def _each_node(change: Callable[[Node, str], Node]) -> Callable[[Case, str], Case]:
    return lambda one, name: one.of_graph(lambda g: _nodes(g, lambda n: change(n, name)))


def _rule(node: Node, name: str) -> Node:
    return node if node.rule is None else replace(node, rule=replace(node.rule, name=name))


def _word(node: Node, name: str) -> Node:
    if node.rule is None:
        return node
    return replace(node, rule=replace(node.rule, params=(*node.rule.params, (name, name))))


def _place(one: Case, name: str) -> Case:
    return one.of_graph(
        lambda g: replace(g, places=tuple((name if k == "place" else k, v) for k, v in g.places))
    )


def _output(one: Case, name: str) -> Case:
    made = one.of_graph(
        lambda g: replace(g, outputs=tuple((name if k == "other" else k, v) for k, v in g.outputs))
    )
    return replace(made, settings=replace(made.settings, structure={"list": ["output", name]}))


def _setting(**change: Callable[[str], Any]) -> Callable[[Case, str], Case]:
    return lambda one, name: replace(
        one, settings=replace(one.settings, **{k: f(name) for k, f in change.items()})
    )


def _target(**change: Callable[[str], Any]) -> Callable[[Case, str], Case]:
    return lambda one, name: replace(
        one,
        targets=(replace(one.targets[0], **{k: f(name) for k, f in change.items()}),
                 *one.targets[1:]),
    )  # fmt: skip


def _composite(one: Case, name: str) -> Case:
    first, *rest = one.variants
    return replace(one, variants=(replace(first, composite=name), *rest))


FIELDS: Mapping[str, Callable[[Case, str], Case]] = {
    "graph name": lambda one, name: one.of_graph(lambda g: replace(g, name=name)),
    "input": _input,
    "value in glue": _value("enter", "linear"),
    "value in a block": _value("layers.0.up", "linear"),
    "value that enters a block": _value("", "add"),
    "role": _each_node(lambda n, name: replace(n, role=name)),
    "rule": _each_node(_rule),
    "rule parameter": _each_node(_word),
    "module of glue": _loc("enter", lambda name: name),
    "module of a block": _loc("layers.0", lambda name: f"{name}.0"),
    "module in a block": _loc("layers.0.up", lambda name: f"layers.0.{name}"),
    "weight": _weight("enter"),
    "weight in a block": _weight("layers.0"),
    "attribute": _attr("gelu", "approximate"),
    "place": _place,
    "output": _output,
    "program name": _setting(name=lambda name: name),
    "note": _setting(notes=lambda name: (name, name)),
    "structure key": _setting(structure=lambda name: {"dict": {name: "output", "b": "other"}}),
    "structure value": _setting(
        structure=lambda name: {"tuple": ["output", "other", {"value": name}]}
    ),
    "structure number key": _setting(
        structure=lambda name: {"items": [[1, "output"], [name, "other"]]}
    ),
    "place for an input": _setting(places=lambda name: Places({}, (), {"input.x": name})),
    "boundary": _setting(places=lambda name: Places({}, (name,))),
    "target": _target(name=lambda name: name),
    "index": _target(index_names=lambda name: (name,)),
    "composite": _composite,
}


# -- attempts --------------------------------------------------------------------------------------

#: Fields that hold a word out of a closed list: nothing else may get through.
CLOSED = ("rule", "rule parameter", "attribute")
#: Fields that lie in one another: one of them at a time.
STRUCTURES = ("output", "structure key", "structure value", "structure number key")
#: Names of values, which become names of variables.
VALUES = tuple(f for f in FIELDS if f.startswith("value") or f == "input")
#: The module of what lies outside every block, unless an index in its path makes it one.
GLUE = "module of glue"
BLOCK = "module of a block"
#: From the inside out, since a field is found by where it lies.
ORDER = tuple(
    sorted(
        (f for f in FIELDS if f not in (*CLOSED, *STRUCTURES)),
        key=lambda f: ("module" in f, f == "module of a block", "value" not in f),
    )
)


def filled(names: Mapping[str, str], several: bool, checkpoint: str) -> Case:
    """The program with a name in each of these fields."""
    one = case(several, checkpoint)
    for field in (*ORDER, *STRUCTURES, *CLOSED):
        if field in names:
            one = FIELDS[field](one, names[field])
    return one


@cache
def benign(
    fields: tuple[str, ...],
    listed: bool,
    several: bool,
    checkpoint: str,
    long: frozenset[str],
    empty: frozenset[str],
) -> str:
    """The text with harmless names in these fields, those in `long` too long to be repeated, none
    in those in `empty`; with `listed`, glue lies in a list."""
    names = {f: f"{QUIET}{'abcdefghijklmnopqrstuvwxyz'[i]}" for i, f in enumerate(fields)}
    names |= {f: names[f] + "e" * LONG for f in long}
    names |= dict.fromkeys(empty, "")
    if listed:
        names[GLUE] += ".0"
    return filled(names, several, checkpoint).text()


def attempt(names: Mapping[str, str], several: bool = False, checkpoint: str = "none") -> str:
    """The text of a program with these names in these fields, or "" where one is refused.

    AssertionError where the text has another shape than with harmless names.
    """
    try:
        text = filled(names, several, checkpoint).text()
    except LrpcError:
        return ""
    listed = bool(block_of(names.get(GLUE, "")))  # then it is a block, with functions of its own
    paths = {GLUE: names.get(GLUE, ""), BLOCK: f"{names.get(BLOCK, '')}.0"}
    long = frozenset(f for f, path in paths.items() if len(f"{block_of(path)}.") > LONG)
    empty = frozenset(f for f, name in names.items() if not name)  # as others that have no path
    quiet = benign(tuple(sorted(names)), listed, several, checkpoint, long, empty)
    found = difference(quiet, text)
    assert not found, f"{names!r:.2000}: {found}"
    return text


def attempts(count: int, seed: int) -> Iterator[tuple[dict[str, str], bool, str]]:
    """Names for all fields at once, or for one of them, in programs of several kinds."""
    chance = random.Random(seed)
    more = drawn(count * len(FIELDS), seed)
    for number in range(count):
        fields = [*ORDER, chance.choice(STRUCTURES)]
        if number % 4 == 3:
            fields = [chance.choice([*FIELDS])]
        names = chance.sample(NAMES, len(fields))
        if number % 2:
            names = [next(more) for _ in fields]
        kind = chance.choice([(False, "none"), (True, "none"), (False, "block")])
        found = dict(zip(fields, names, strict=True))
        if _as_apart_as_harmless_ones(found):
            yield found, *kind


def _as_apart_as_harmless_ones(names: Mapping[str, str]) -> bool:
    """Whether no name means the same as another: one local for two values, where functions may be
    alike that are not otherwise, or one block for glue, its weight and a block."""
    locals_ = [identifier(stem(n)) for f, n in names.items() if f in VALUES]
    glue = block_of(names.get(GLUE, ""))
    others = (f"{names.get('module of a block', '')}.0", f"{names.get('weight', '')}")
    return len(set(locals_)) == len(locals_) and not (glue and glue in map(block_of, others))
