"""Functions that differ in sizes alone have one text, and compute what each of them says."""

from __future__ import annotations

import random
import re
from dataclasses import replace

import pytest
import torch

from lrpc.backend.render.families import ShapeOf, families
from lrpc.backend.schedule.free import free
from lrpc.backend.schedule.ir import Function
from lrpc.ir.graph import Graph, Node
from lrpc.ir.interpreter import interpret
from lrpc.ir.types import TensorType
from tests.support.schedule_runs import functions_of, text_of
from tests.support.schedules import G, targets

PASS = 'role="relevance" rule=pass'


def rule(name: str, body: str, given: str = f"%g: {G}") -> dict[str, str]:
    """A function for the application of a rule."""
    return {f'"{name}" rule ledger ({given})': body}


def repeated(count: int, more: str = "") -> str:
    """Relevance repeated so many times, and summed again."""
    return f"""
        %r: f32[K,B,1,4] = reshape(%g) {{shape=[K,B,1,4]}} {PASS}
        %e: f32[K,B,{count},4] = expand(%r) {{shape=[K,B,{count},4]}} {PASS}
        %s: {G} = sum(%e) {{dims=[2], keepdim=false}} {PASS}
        {more}
        return %s
    """


def calls(*names: str) -> str:
    lines, value = [], "%g"
    for i, name in enumerate(names):
        lines.append(f'%r_{i}: {G} = call "{name}" "" saved[""] ({value})')
        value = f"%r_{i}"
    return "\n".join([*lines, f'read "input" ({value})', "return"])


def defined(text: str) -> list[str]:
    return re.findall(r"^def (\w+)\(", text, re.MULTILINE)


def test_functions_that_differ_in_a_size_have_one_text_that_takes_it() -> None:
    both = rule("three", repeated(3)) | rule("five", repeated(5))
    found = free(targets({"a": calls("three", "five")}, both))
    text = text_of(found)
    assert defined(text)[:2] == ["three", "forward"]
    assert "g = three(g, size=3)" in text
    assert "g = three(g, size=5)" in text
    out = functions_of(found)["relevance_a"]({}, {"": {}}, torch.ones(2, 3, 4), {"input"})
    torch.testing.assert_close(out["input"], torch.full((2, 3, 4), 15.0))


@pytest.mark.parametrize(
    "other",
    [
        repeated(5).replace("keepdim=false", "keepdim=true").replace(
            f"%s: {G}", "%u: f32[K,B,1,4]"
        ).replace("return %s", f"%s: {G} = reshape(%u) {{shape=[K,B,4]}} {PASS}\nreturn %s"),
        repeated(5).replace("sum", "amax"),
        repeated(5, f"book (%s, %g) {{batch=1}} {PASS}"),
        repeated(5).replace('rule=pass', 'rule=epsilon(eps=0.1)', 1),
    ],
    ids=["a flag", "an operation", "a row", "a rule"],
)  # fmt: skip
def test_what_else_differs_makes_another_text(other: str) -> None:
    both = rule("three", repeated(3)) | rule("five", other)
    found = free(targets({"a": calls("three", "five")}, both))
    assert defined(text_of(found))[:2] == ["three", "five"]


def of(*bodies: str, given: str = f"%g: {G}") -> list[Function]:
    """Functions by their bodies."""
    made: dict[str, str] = {}
    for i, body in enumerate(bodies):
        made |= rule(f"f{i}", body, given)
    return list(targets({"a": 'read "input" (%g)\nreturn'}, made).functions)


def test_numbers_that_are_no_sizes_make_another_text() -> None:
    """And so do types, and how many axes there are."""
    one = f"%s: {G} = stab_mul(%g, %g) {{{{eps={{0}}}}}} {PASS}\nreturn %s"
    assert len({id(f) for f in families(of(one.format(0.1), one.format(0.2))).values()}) == 2
    assert len({id(f) for f in families(of(one.format(0.1), one.format(0.1))).values()}) == 1
    axes = f"%s: {G} = tanh(%g)\nreturn %s"
    (plain,) = of(axes)
    for kind in ("f64[K,B,4]", "f32[K,B,4,1]", "f32[K,3,4]"):
        (other,) = of(axes.replace(G, kind), given=f"%g: {kind}")
        found = families([plain, replace(other, name="other")])
        assert found["f0"] is not found["other"], kind


def test_a_rule_reads_sizes_off_its_arguments_where_all_of_them_can() -> None:
    def made(extent: int, size: int) -> Function:
        """A rule that makes [B, extent, size, 2] of something else."""
        kind, shape = f"f32[B,{extent},{size},2]", f"[{extent},{size},2]"
        body = f'%f: f32{shape} = full() {{shape={shape}, value=1.0, dtype="f32"}}\nreturn %f'
        (function,) = of(body, given=f"%g: {G}, %x: {kind}")
        return replace(function, name=f"f{extent}{size}")

    family = families([made(3, 4), made(5, 6)])["f34"]
    assert family.arguments == {}
    assert [dict(said.sizes) for said in family.said] == [{"shape": ShapeOf("x", 3)}]
    other = made(5, 6)
    longer = TensorType("f32", (*other.parameters[1].type.shape[:3], 7))
    x = replace(other.parameters[1], type=longer)
    other = replace(other, parameters=(other.parameters[0], x))
    family = families([made(3, 4), other])["f34"]
    assert list(family.arguments.values()) == [((3, 4, 2), (5, 6, 2))]


def test_a_size_that_stands_twice_is_one_argument_and_what_all_share_none() -> None:
    body = f"""
        %r: f32[K,B,1,1,4] = reshape(%g) {{{{shape=[K,B,1,1,4]}}}}
        %e: f32[K,B,{{0}},{{0}},4] = expand(%r) {{{{shape=[K,B,{{0}},{{0}},4]}}}}
        %m: f32[K,B,{{0}},{{1}},4] = slice(%e) {{{{dim=3, start=0, stop={{1}}, step=1}}}}
        %s: {G} = sum(%m) {{{{dims=[2,3], keepdim=false}}}}
        return %s
    """
    two, three = of(body.format(3, 2), body.format(5, 2)), of(body.format(3, 2), body.format(5, 4))
    family = families(two)["f1"]
    assert list(family.arguments.values()) == [(3, 5)]
    assert (family.given("f0"), family.given("f1")) == (
        dict.fromkeys(family.arguments, 3),
        dict.fromkeys(family.arguments, 5),
    )
    assert sorted(families(three)["f0"].arguments.values()) == [(2, 4), (3, 5)]


def test_types_have_letters_for_what_differs() -> None:
    bodies = (f"%s: f32[K,B,4,{n}] = expand(%g) {{shape=[K,B,4,{n}]}}\nreturn %s" for n in (3, 5))
    family = families(of(*bodies, given="%g: f32[K,B,4,1]"))["f0"]
    assert [said.types for said in family.said] == [("f32[K,B,4,C]",)]
    alone = families(of(f"%s: {G} = tanh(%g)\nreturn %s"))["f0"]
    assert [said.types for said in alone.said] == [("f32[K,B,4]",)]


# -- random functions ------------------------------------------------------------------------------


def moved(structure: random.Random, sizes: random.Random) -> str:
    """Operations that cut, repeat, join and pad relevance; which is up to `structure`, how much of
    it to `sizes`."""
    n, value, lines = 4, "%g", []
    for i in range(structure.randint(2, 6)):
        kind = structure.choice(["slice", "pad", "repeat", "cat", "half"])
        count = sizes.randint(2, 5)
        if kind == "slice":
            start, stop = sizes.randint(1, n - 2), n - 1
            text, m = f"slice({value}) {{dim=2, start={start}, stop={stop}, step=1}}", stop - start
        elif kind == "pad":
            text, m = f"pad({value}) {{pad=[{count},1], value=0.5}}", n + count + 1
        elif kind == "cat":
            text, m = f"cat({', '.join([value] * 2)}) {{dim=2}}", 2 * n
        elif kind == "half":
            m = count
            lines.append(f"%h{i}: f32[K,B,{n},1] = reshape({value}) {{shape=[K,B,{n},1]}}")
            lines.append(f"%e{i}: f32[K,B,{n},{m}] = expand(%h{i}) {{shape=[K,B,{n},{m}]}}")
            text = f"amax(%e{i}) {{dims=[2], keepdim=false}}"
        else:
            m = n * count
            lines.append(f"%h{i}: f32[K,B,1,{n}] = reshape({value}) {{shape=[K,B,1,{n}]}}")
            lines.append(f"%e{i}: f32[K,B,{count},{n}] = expand(%h{i}) {{shape=[K,B,{count},{n}]}}")
            text = f"reshape(%e{i}) {{shape=[K,B,{m}]}}"
        m_text = f"pad(%c{i}) {{pad=[2,1], value=0.25}}"  # so that enough is left to cut
        lines.append(f"%c{i}: f32[K,B,{m}] = {text}")
        lines.append(f"%p{i}: f32[K,B,{m + 3}] = {m_text}")
        n, value = m + 3, f"%p{i}"
    return "\n".join([*lines, f"return {value}"])


@pytest.mark.parametrize("seed", range(12))
def test_random_functions_of_several_sizes(seed: int) -> None:
    """Each of three is called with its sizes, whether it shares its text or not."""
    made: dict[str, str] = {}
    mains: dict[str, str] = {}
    for i in range(3):
        body = moved(random.Random(seed), random.Random(f"{seed}:{i}"))
        made |= rule(f"f{i}", body)
        kind = re.findall(r"%p\d+: (\S+) =", body)[-1]
        call = f'%r: {kind} = call "f{i}" "" saved[""] (%g)'
        mains[f"t{i}"] = f'{call}\nread "input" (%r)\nreturn'
    found = free(targets(mains, made))
    assert defined(text_of(found)).count("f1") == 0  # it has the text of the first
    g = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(seed))
    for i, function in enumerate(found.functions):
        out = functions_of(found)[f"relevance_t{i}"]({}, {"": {}}, g, {"input"})
        nodes = [Node(s.op, s.inputs, s.outputs, s.attrs) for s in function.body]
        outputs = (("r", function.results[0]),)
        graph = Graph("f", function.parameters, tuple(nodes), outputs)
        assert torch.equal(out["input"], interpret(graph, {}, {"g": g})["r"])


def test_other_axes_make_another_text() -> None:
    """Shapes of as many axes, of which others are joined, or split."""
    join = "%s: f32[K,B,{out}] = reshape(%g) {{shape=[K,B,{out}]}}\nreturn %s"
    (last,) = of(join.format(out="3,8"), given="%g: f32[K,B,3,4,2]")
    (first,) = of(join.format(out="30,2"), given="%g: f32[K,B,5,6,2]")
    (same,) = of(join.format(out="5,14"), given="%g: f32[K,B,5,2,7]")
    found = families([last, replace(first, name="first"), replace(same, name="same")])
    assert found["f0"] is not found["first"]
    assert found["f0"] is found["same"]
