"""Which statements write over an operand: never one that anything can still see."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from lrpc.backend.expression import render
from lrpc.backend.schedule.free import free
from lrpc.backend.schedule.in_place import in_place
from lrpc.backend.schedule.ir import Compute, Free, Function, Read, Schedule, Statement
from lrpc.backend.schedule.verify import verify
from lrpc.ir.graph import Node, Value
from lrpc.ir.parser import parse_graph

HEAD = "graph @f(%x: f32[2,3], %y: f32[2,3]) {"


def function(nodes: Sequence[Node], inputs: Sequence[Value], keep: set[str]) -> Function:
    """A function of these nodes that returns the values named in `keep`."""
    body = tuple(
        Read(str(n.attr("name")), n.inputs)
        if n.op == "read"
        else Compute(n.op, n.inputs, n.outputs, n.attrs)
        for n in nodes
    )
    results = tuple(v for n in nodes for v in n.outputs if v.name in keep)
    return Function("f", tuple(inputs), body, results, half="relevance")


def over(body: str, keep: set[str] | None = None) -> list[int | None]:
    graph = parse_graph(f"{HEAD}\n{body}\nreturn\n}}")
    made = function(graph.nodes, graph.inputs, keep or set())
    found = verify(in_place(Schedule(made, ()))).forward.body
    return [s.over if isinstance(s, Compute) else None for s in found]


@pytest.mark.parametrize(
    ("body", "keep", "expected"),
    [
        ("%a: f32[2,3] = exp(%x)\n%b: f32[2,3] = relu(%a)", {"b"}, [None, 0]),
        ("%a: f32[2,3] = exp(%x)\n%b: f32[2,3] = relu(%a)", {"a", "b"}, [None, None]),
        ("%a: f32[2,3] = relu(%x)", {"a"}, [None]),  # the caller's
        ("%a: f32[2,3] = exp(%x)\n%b: f32[2,3] = add(%y, %a)", {"b"}, [None, 1]),
        ("%a: f32[2,3] = exp(%x)\n%b: f32[2,3] = mul(%a, %a)", {"b"}, [None, None]),
        (  # another name of the same memory, read later
            "%a: f32[2,3] = exp(%x)\n%r: f32[6] = reshape(%a) {shape=[6]}\n"
            "%b: f32[2,3] = relu(%a)\n%c: f32[6] = relu(%r)",
            {"b", "c"},
            [None, None, None, 0],
        ),
        (  # a part of it
            "%a: f32[2,3] = exp(%x)\n"
            "%r: f32[2,1] = slice(%a) {dim=-1, start=0, stop=1, step=1}\n"
            "%b: f32[2,3] = relu(%a)\n%c: f32[2,3] = add(%b, %r)",
            {"c"},
            [None, None, None, 0],
        ),
        (  # not as large as the result
            "%a: f32[3] = sum(%x) {dims=[0], keepdim=false}\n%e: f32[3] = exp(%a)\n"
            "%b: f32[2,3] = mul(%y, %e)",
            {"b"},
            [None, None, None],
        ),
        ("%a: f32[2,3] = detach(%x)\n%b: f32[2,3] = relu(%a)", {"b"}, [None, None]),
    ],
)
def test_small_bodies(body: str, keep: set[str], expected: list[int | None]) -> None:
    assert over(body, keep) == expected


def test_what_is_handed_out_stays() -> None:
    """A `read` of one value hands out that value itself; of two, their product."""
    body = '%a: f32[2,3] = exp(%x)\nread(%a{}) {{name="r"}}\n%b: f32[2,3] = relu(%a)'
    assert over(body.format(""), {"b"}) == [None, None, None]
    assert over(body.format(", %y"), {"b"}) == [None, None, 0]


UNARY = ("exp", "relu", "sigmoid", "tanh", "abs", "detach")
BINARY = ("add", "sub", "mul")


def drawn(seed: int) -> tuple[list[Node], list[Value], set[str]]:
    """A body of random operations, its inputs, and the names that are read after it."""
    chance = random.Random(seed)
    lines, flat, names = [], set[str](), ["x", "y"]
    for i in range(chance.randint(3, 14)):
        a, b = (chance.choice(names[-5:]) for _ in range(2))
        kind = "f32[6]" if a in flat else "f32[2,3]"
        if (a in flat) != (b in flat) or chance.random() < 0.5:
            if chance.random() < 0.3:
                other = "2,3" if a in flat else "6"
                lines.append(f"%v{i}: f32[{other}] = reshape(%{a}) {{shape=[{other}]}}")
                flat |= set() if a in flat else {f"v{i}"}
            else:
                lines.append(f"%v{i}: {kind} = {chance.choice(UNARY)}(%{a})")
                flat |= {f"v{i}"} if a in flat else set()
        else:
            lines.append(f"%v{i}: {kind} = {chance.choice(BINARY)}(%{a}, %{b})")
            flat |= {f"v{i}"} if a in flat else set()
        names.append(f"v{i}")
    graph = parse_graph(HEAD + "\n" + "\n".join(lines) + "\nreturn\n}")
    keep = {names[-1]} | {n for n in names[2:] if chance.random() < 0.2}
    return list(graph.nodes), list(graph.inputs), keep


def run(
    body: Sequence[Statement], inputs: list[Value], keep: set[str]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """What is left after the body, and its inputs."""
    torch.manual_seed(0)
    given = {v.name: torch.randn(2, 3) for v in inputs}
    scope: dict[str, Tensor] = dict(given)
    for s in body:
        if isinstance(s, Free):
            for name in s.values:
                scope.pop(name)
            continue
        assert isinstance(s, Compute)
        names = [v.name for v in s.inputs if isinstance(v, Value)]
        text = render(s, names, lambda name: name, over=s.over)
        scope[s.outputs[0].name] = eval(text, {"torch": torch, "F": torch.nn.functional}, scope)
    return {name: scope[name] for name in keep}, given


def test_random_bodies_compute_the_same() -> None:
    """300 bodies with views among their operations: results and inputs are as without."""
    written = 0
    for seed in range(300):
        nodes, inputs, keep = drawn(seed)
        plain = Schedule(function(nodes, inputs, keep), ())
        passed = verify(free(in_place(plain))).forward.body
        written += sum(isinstance(s, Compute) and s.over is not None for s in passed)
        wanted, before = run(free(plain).forward.body, inputs, keep)
        found, after = run(passed, inputs, keep)
        assert all(torch.equal(found[name], wanted[name]) for name in keep), seed
        assert all(torch.equal(after[name], before[name]) for name in before), seed
    assert written > 300  # so this shows something
