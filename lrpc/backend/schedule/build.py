"""The schedule as the graphs have it: one function for the forward pass, two for each target.

The state has a single part, whose entries are called by their values' names.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, replace

from lrpc.backend.interface import TargetCode
from lrpc.backend.quoting import ascii_word
from lrpc.backend.schedule.ir import (
    SAVED,
    Book,
    Compute,
    Entry,
    Function,
    Load,
    Operand,
    Origin,
    Part,
    Read,
    Save,
    Schedule,
    Statement,
    Step,
    Target,
)
from lrpc.backend.schedule.state import application
from lrpc.backend.schedule.tables import Tables, shared_tables, with_tables
from lrpc.ir.graph import Graph, Node, Value
from lrpc.ir.types import Sym

STATE = Part(SAVED)


@dataclass(frozen=True)
class Reading:
    """What a program runs: the nodes of its forward pass, of which relevance reads the values
    `needed`, or starts from them; for each target the nodes of its relevance, without and with
    ledger."""

    run: tuple[Node, ...]
    parts: tuple[tuple[tuple[Node, ...], tuple[Node, ...]], ...]
    needed: frozenset[str]


def reading(forward: Graph, targets: Sequence[TargetCode]) -> Reading:
    """What a program runs whose forward pass computes what its outputs and relevance need."""
    own = {v.name for v in forward.values()}
    parts = tuple((_relevance(t.plain, own), _relevance(t.with_ledger, own)) for t in targets)
    needed = {t.value.name for t in targets}
    for nodes in (nodes for pair in parts for nodes in pair):
        needed |= {v.name for n in nodes for v in n.inputs if v.name in own}
    return Reading(tuple(_needed_nodes(forward, needed)), parts, frozenset(needed))


def build(forward: Graph, targets: Sequence[TargetCode], read: Reading) -> Schedule:
    """The schedule of a forward graph and of one joint graph per target without and with ledger.
    The forward pass saves what relevance reads."""
    own, needed, run = {v.name for v in forward.values()}, read.needed, list(read.run)
    if targets[0].composite:  # which rules a node of the forward pass has is up to each of several
        run = [replace(node, rule=None) for node in run]
    alone = of_sizes(run) if forward.sizes else []
    sizes, run = _sizes(forward, alone, run, needed)
    inputs = (*forward.inputs, *(sizes.results if sizes else ()))
    steps = [_step(node, ()) for node in run]
    tables = shared_tables(steps, {v.name: Entry(STATE, v.name) for v in forward.values()})
    body: list[Statement] = [_saved(v) for v in inputs if v.name in needed]
    for step in steps:
        body.append(with_tables(step, tables, needed))
        body += [_saved(v) for v in step.outputs if v.name in needed]
    results = tuple(value for _, value in forward.outputs)
    made = Function("forward", inputs, tuple(body), results)
    return Schedule(made, tuple(_targets(targets, read.parts, own, tables)), sizes=sizes)


def of_sizes(run: Sequence[Node]) -> list[Node]:
    """The nodes that depend on the sizes of images alone: on no input, nor on how many images."""
    constants = {v.name for n in run if n.op == "constant" for v in n.outputs}
    found: list[Node] = []
    made = set[str]()
    for node in run:
        many = any(isinstance(d, Sym) for v in node.outputs for d in v.type.shape)
        if node.op != "constant" and not many and {v.name for v in node.inputs} <= made | constants:
            found.append(node)
            made |= {v.name for v in node.outputs}
    return found


def _sizes(
    forward: Graph, alone: Sequence[Node], run: Sequence[Node], needed: Set[str]
) -> tuple[Function | None, list[Node]]:
    """The function that computes what depends on sizes `alone`, None where there is nothing, and
    the nodes of the forward pass. Constants stand where they are read."""
    mine = {id(node) for node in alone}
    rest = [node for node in run if id(node) not in mine]
    read = {v.name for n in rest for v in n.inputs} | needed | {v.name for _, v in forward.outputs}
    results = tuple(v for node in alone for v in node.outputs if v.name in read)
    if not results:
        return None, [*run]
    own = {v.name for node in alone for v in node.inputs}
    theirs = {v.name for n in rest for v in n.inputs if n.op != "constant"} | needed
    theirs |= {v.name for _, v in forward.outputs}
    nodes = [n for n in run if id(n) in mine or (n.op == "constant" and n.outputs[0].name in own)]
    rest = [n for n in rest if n.op != "constant" or n.outputs[0].name in theirs]
    body = tuple(_step(node, ()) for node in nodes)
    return Function("of_sizes", (), body, results, half="sizes"), rest


def _targets(
    targets: Sequence[TargetCode],
    parts: Sequence[Sequence[Sequence[Node]]],
    own: Set[str],
    tables: Tables,
) -> list[Target]:
    found = []
    for code, nodes in zip(targets, parts, strict=True):
        words = [code.name, code.composite] if code.composite else [code.name]
        name = "_".join(["relevance", *map(ascii_word, words)])
        pair = []
        for graph, run, end in zip(
            (code.plain, code.with_ledger), nodes, ("", "_ledger"), strict=True
        ):
            steps = [with_tables(_step(node, own), tables, own) for node in run]
            body = tuple(_gathered(steps))
            *masks, seed = graph.inputs[-1 - len(code.conditions) :]
            given = (seed, *masks)
            pair.append(Function(name + end, given, body, (), bool(end), "relevance"))
        start = Entry(STATE, code.value.name)
        found.append(Target(code.name, code.composite, start, tuple(pair)))
    return found


def _saved(value: Value) -> Save:
    return Save(Entry(STATE, value.name), value)


def _step(node: Node, own: Set[str] | tuple[()]) -> Step:
    """The statement for a node, which reads values named in `own` from the state."""

    def operand(value: Value) -> Operand:
        return Load(Entry(STATE, value.name), value.type) if value.name in own else value

    inputs = tuple(map(operand, node.inputs))
    origin = Origin(node.loc.module, node.role, node.rule, node.loc.source)
    if node.op == "read":
        return Read(str(node.attr("name")), inputs, origin)
    if node.op == "record":
        return Book(inputs, node.attrs, origin)
    return Compute(node.op, inputs, node.outputs, node.attrs, origin)


def _gathered(steps: Iterable[Step]) -> list[Step]:
    """Steps, with what an application of a rule computes again of the forward pass before it."""
    found: list[Step] = []
    first, made = 0, set[str]()  # where the present application begins, and what it has made
    waiting: list[Step] = []
    for step in steps:
        if application(step) is None and not isinstance(step, Read):
            waiting.append(step)
            continue
        if not found or application(step) != application(found[first]):
            found += waiting
            first, made = len(found), set()
        elif any(x.name in made for s in waiting for x in s.inputs if isinstance(x, Value)):
            found += waiting
        else:
            found[first:first] = waiting
            first += len(waiting)
        waiting = []
        found.append(step)
        made |= {v.name for v in step.outputs}
    return found + waiting


def _relevance(joint: Graph, own: Set[str]) -> tuple[Node, ...]:
    return tuple(n for n in joint.nodes if not n.outputs or n.outputs[0].name not in own)


def _needed_nodes(graph: Graph, saved: Set[str]) -> list[Node]:
    alive = {v.name for _, v in graph.outputs} | saved
    kept: list[Node] = []
    for node in reversed(graph.nodes):
        if any(v.name in alive for v in node.outputs):
            kept.append(node)
            alive |= {v.name for v in node.inputs}
    return kept[::-1]
