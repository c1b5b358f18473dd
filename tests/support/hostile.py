"""Names that nobody should give, every field of a program that one can stand in, and the proof that
they stay names: the shape of the emitted module."""

from __future__ import annotations

import ast
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from lrpc.build import Settings, Variant, annotate, build
from lrpc.codegen.sources import runtime_text
from lrpc.errors import LrpcError
from lrpc.frontend.arguments import import_call
from lrpc.ir.graph import Graph, Loc, Module, Node, Value
from lrpc.marks import startable
from lrpc.rules.composite import composite
from lrpc.targets import Places, Target

MARK = "LRPC_WAS_RUN"  # what the code in these names leaves among the builtins
CODE = f'__import__("builtins").__dict__.__setitem__("{MARK}", 1)'
QUIET = "quiet"  # what stands in the same field of the benign program

#: Ways out of a literal, a comment, a template or an identifier, and names that mean something.
NAMES: tuple[str, ...] = (
    *(f"a\n{CODE}\n#", f"a\r{CODE}\r#", f"a\x0c{CODE}", f"a\x85{CODE}", f"a\u2028{CODE}\u2029"),
    *(f'"+{CODE}+"', f"'+{CODE}+'", f'"""\n{CODE}\n"""', f"'''\n{CODE}\n'''", f'a"]+{CODE}+w["a'),
    *(f'x": {CODE}, "y', f'x\\", {CODE})#', f'\\" + {CODE} + \\"', "\\", "a\\\\\\", 'a"', '""', "'"),
    *(f"{{{CODE}}}", "{", "}", "{0}", "{inputs}", "{kind:bare}", "%s", "%(x)s", "%", "#", f"# {CODE}"),
    *(f"\\N{{DIGIT ONE}}{CODE}", "\\x22", "\\u0022", "\\", "\x00", "\x1b[31m", "\x7f", "\x9b31m"),
    *("\ud800", "\udfff\ud800", "\ufffe", "\uffff", "\U0010ffff", "\u202e" + CODE, "\u2066", "\ufeff"),
    *("class", "lambda", "None", "True", "await", "match", "_", "__debug__", "__import__", "__class__"),
    *("torch", "F", "w", "p", "s", "g", "x", "self", "print", "len", "dict", "float", "out", "read"),
    *("saved", "ledger", "chunk", "in_chunks", "inner", "stab_mul", "K", "B", "device", "seed", "load"),
    *("forward", "INTERFACE", "Program", "relevance_output", "layers_forward", "layers_relevance"),
    *("layers_relevance_ledger", "layers_again", "layers_0", "between", "same", "exec", "type"),
    *("\ufb01", "fi", "\uff4bey", "\u212a", "\u00b5", "\u03bc", "x\u0301", "\u00e9", "\u00bd", "\u2460"),
    *("9", "0x", "1e5", "9 lives", "", " ", "\t", "a" * 20_000, '"' * 500, "\n" * 50, "a.b", ".", ".."),
    *("../../x", "/etc/passwd", "a/b", "a:b", "[red]x[/]", "<script>", "]]>", "-->", "*", "**", "a,b"),
)  # fmt: skip


def drawn(count: int, seed: int) -> Iterator[str]:
    """Names put together from those above, by chance."""
    chance = random.Random(seed)
    for _ in range(count):
        parts = [chance.choice(NAMES)[:200] for _ in range(chance.randint(1, 3))]
        if chance.random() < 0.5:
            parts.append("".join(chr(chance.randrange(0x110000)) for _ in range(4)))
        chance.shuffle(parts)
        yield chance.choice(["", "\n", '"', "\\", " "]).join(parts)


# -- a program with every kind of place for a name ---------------------------------------------------


class Block(nn.Module):
    """Enough statements for a function of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down, self.norm = nn.Linear(4, 6), nn.Linear(6, 4), nn.LayerNorm(4)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x + self.down(nn.functional.gelu(self.up(x))) * 0.5 + x.tanh())


class Small(nn.Module):
    """Two inputs, glue, a block, two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Linear(3, 4)
        self.layers = nn.ModuleList([Block()])
        self.leave = nn.Linear(4, 2)

    def forward(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        h = self.layers[0](self.enter(x) + y)
        return {"output": self.leave(torch.relu(h)), "other": h}


@dataclass(frozen=True)
class Case:
    """What a program is built from."""

    variants: tuple[Variant, ...]
    targets: tuple[Target, ...]
    settings: Settings

    def text(self) -> str:
        return build(self.variants, self.targets, self.settings)["program.py"].decode()

    def of_graph(self, change: Callable[[Graph], Graph]) -> Case:
        made = tuple(
            replace(v, module=v.module.with_graph(change(v.module.graph))) for v in self.variants
        )
        return replace(self, variants=made)


@cache
def case(several: bool = False, checkpoint: str = "none") -> Case:
    torch.manual_seed(0)
    model, example = Small().eval(), (torch.randn(2, 3), torch.randn(2, 4))
    imported, _ = import_call(
        model, example, None, scope="", marks={"place": "layers.0"}, unbatched=()
    )
    names = ("epsilon", "gradient_input") if several else ("epsilon",)
    variants = annotate(imported.module, [composite(name) for name in names])
    settings = Settings(
        "Small", imported.structure, Places({"place": "layers.0"}), notes=("a note",),
        precision="fp32", checkpoint=checkpoint, chunk=4,
    )  # fmt: skip
    return Case(variants, tuple(startable(variants[0].module.graph)), settings)


# -- the fields ----------------------------------------------------------------------------------------


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
        marks=tuple((k, value(v)) for k, v in graph.marks),
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
            marks=tuple((f"input.{name}" if k == "input.x" else k, v) for k, v in
                        _renamed(graph, "x", name).marks),
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


def _mark(one: Case, name: str) -> Case:
    return one.of_graph(
        lambda g: replace(g, marks=tuple((name if k == "place" else k, v) for k, v in g.marks))
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
    "mark": _mark,
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


# -- the shape -----------------------------------------------------------------------------------------


def difference(benign: str, hostile: str) -> str:
    """The first place where the modules differ in more than texts and names of their own; nothing
    where there is none. A name that a function does not bind itself must be the same in both."""
    runtime = runtime_text()
    parts = [text.split(runtime) for text in (benign, hostile)]
    if [len(p) for p in parts] != [2, 2]:
        return "the runtime is not there once, as it is"
    for a, b in zip(*parts, strict=True):
        try:
            tree = ast.parse(b)
        except SyntaxError as error:
            return f"not Python: {error}"
        if found := _Shape().differ(ast.parse(a), tree):
            return found
    return ""


class _Shape:
    """Goes through two trees side by side."""

    def __init__(self) -> None:
        self.functions: dict[str, str] = {}
        self.locals: list[dict[str, str]] = []
        self.bound: tuple[set[str], set[str]] = (set(), set())

    def differ(self, a: Any, b: Any) -> str:
        if type(a) is not type(b):
            return f"{ast.dump(a)[:80]} became {ast.dump(b)[:80]}"
        if isinstance(a, ast.Constant):
            same = type(a.value) is type(b.value) and (
                isinstance(a.value, str) or a.value == b.value
            )
            return "" if same else f"{a.value!r} became {b.value!r}"
        if isinstance(a, ast.FunctionDef):
            return self._function(a, b)
        if isinstance(a, ast.Name):
            return self._name(a.id, b.id)
        if isinstance(a, ast.arg):
            return self._name(a.arg, b.arg)
        return self._fields(a, b)

    def _fields(self, a: ast.AST, b: ast.AST) -> str:
        for key in a._fields:
            one, other = getattr(a, key, None), getattr(b, key, None)
            pairs = [(one, other)]
            if isinstance(one, list) and isinstance(other, list):
                if len(one) != len(other):
                    return f"{type(a).__name__}.{key}: {len(one)} became {len(other)}"
                pairs = list(zip(one, other, strict=True))
            for x, y in pairs:
                if isinstance(x, ast.AST) and isinstance(y, ast.AST):
                    if found := self.differ(x, y):
                        return found
                elif x != y:
                    return f"{type(a).__name__}.{key}: {x!r} became {y!r}"
        return ""

    def _function(self, a: ast.FunctionDef, b: ast.FunctionDef) -> str:
        if self.functions.setdefault(a.name, b.name) != b.name:
            return f"def {a.name} became {b.name}"
        self.locals.append({})
        self.bound = (_bound(a), _bound(b))
        found = self._fields(ast.Module([a.args, *a.body], []), ast.Module([b.args, *b.body], []))
        self.locals.pop()
        self.bound = (set(), set())
        return found

    def _name(self, a: str, b: str) -> str:
        bound = a in self.bound[0], b in self.bound[1]
        known = self.locals[-1] if all(bound) else {a: self.functions.get(a, a)}
        same = bound[0] == bound[1] and known.setdefault(a, b) == b
        same = same and list(known.values()).count(b) == 1
        return "" if same else f"{a} became {b}"


def _bound(function: ast.FunctionDef) -> set[str]:
    nodes = list(ast.walk(function))
    stored = {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    return stored | {n.arg for n in nodes if isinstance(n, ast.arg)}


# -- attempts ------------------------------------------------------------------------------------------

#: Fields that hold a word out of a closed list: nothing else may get through.
CLOSED = ("rule", "rule parameter", "attribute")
#: Fields that lie in one another: one of them at a time.
STRUCTURES = ("output", "structure key", "structure value", "structure number key")
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
def benign(fields: tuple[str, ...], several: bool, checkpoint: str) -> str:
    """The text with harmless names in these fields."""
    names = {f: f"{QUIET}{'abcdefghijklmnopqrstuvwxyz'[i]}" for i, f in enumerate(fields)}
    return filled(names, several, checkpoint).text()


def attempt(names: Mapping[str, str], several: bool = False, checkpoint: str = "none") -> str:
    """The text of a program with these names in these fields, or "" where one is refused.

    AssertionError where the text has another shape than with harmless names.
    """
    try:
        text = filled(names, several, checkpoint).text()
    except LrpcError as error:
        assert str(error), "refused without a word"
        return ""
    found = difference(benign(tuple(sorted(names)), several, checkpoint), text)
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
        yield dict(zip(fields, names, strict=True)), *kind
