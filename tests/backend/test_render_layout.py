"""Lines of at most 100 columns, broken as formatters break them: on drawn statements."""

from __future__ import annotations

import ast
import random
import subprocess
import sys
from pathlib import Path

import pytest

from lrpc.backend.render.layout import WIDTH, defined, is_atom, laid_out

NAMES = ("g", "g_2", "self_attn_probabilities", "value_projection_of_the_encoder", "K", "B")
FUNCTIONS = ("F.linear", "torch.cat", "stab_mul", "deform_weight_transpose", "encoder_relevance")
METHODS = ("unflatten", "permute", "add_", "reshape", "mul_")


class Drawn:
    """Expressions of the kinds that programs have."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)

    def expression(self, depth: int) -> str:
        """A name, a number, a text, an entry, a call, a tuple, a product."""
        kinds = [self.name, self.number, self.entry, self.weight]
        kinds += (
            [self.call, self.call, self.method, self.chain, self.product, self.tuple]
            if depth
            else []
        )
        return self.rng.choice(kinds)(depth)

    def name(self, depth: int) -> str:
        return self.rng.choice(NAMES)

    def number(self, depth: int) -> str:
        return self.rng.choice(["1e-06", "20", "-1", "0.25"])

    def entry(self, depth: int) -> str:
        return f's["{self.rng.choice(NAMES)}"]'

    def weight(self, depth: int) -> str:
        text = self.rng.choice(["weight", "a, (b", "sampling_offsets.bias", "c)]", 'd\\", (e'])
        return f'w[p + "{text}"]'

    def call(self, depth: int) -> str:
        many = [self.expression(depth - 1) for _ in range(self.rng.randint(1, 5))]
        many += [f"kernel={self.expression(0)}"] * (self.rng.random() < 0.3)
        return f"{self.rng.choice(FUNCTIONS)}({', '.join(many)})"

    def method(self, depth: int) -> str:
        inner = ", ".join(self.expression(depth - 1) for _ in range(self.rng.randint(1, 2)))
        return f"{self.rng.choice(NAMES)}.{self.rng.choice(METHODS)}({inner})"

    def chain(self, depth: int) -> str:
        found = self.method(depth)
        for _ in range(self.rng.randint(1, 3)):
            found += f".{self.rng.choice(METHODS)}({self.expression(depth - 1)})"
        return found

    def product(self, depth: int) -> str:
        sides = [self.expression(0), self.expression(0)]
        return f"({sides[0]} * {sides[1]})"

    def tuple(self, depth: int) -> str:
        inner = [self.expression(0) for _ in range(self.rng.randint(2, 6))]
        return f"({', '.join(inner)})"

    def statement(self) -> str:
        """A statement as the renderer writes it."""
        call, name = self.call(self.rng.randint(1, 3)), self.rng.choice(NAMES)
        sides = [self.entry(0), self.method(1), self.call(1), self.product(0), f"{name}_{name}"]
        operation = f" {self.rng.choice('+-*/@')} ".join(self.rng.sample(sides, 2))
        made = self.rng.choice([call, call, self.chain(2), operation, operation])
        return self.rng.choice([f"{name} = ", f"{self.entry(0)} = {name} = ", "return "]) + made


DRAWN = [Drawn(seed).statement() for seed in range(400)]


def text(code: str, note: str = "", indent: int = 0) -> str:
    return "\n".join(" " * indent + line for line in laid_out(code, note, indent))


def parsed(lines: list[str]) -> str:
    return ast.dump(ast.parse("\n".join(["def f():", *(f"    {line}" for line in lines)])))


@pytest.mark.parametrize("indent", [0, 12])
def test_statements_stay_what_they_are_within_the_width(indent: int) -> None:
    for code in DRAWN:
        lines = list(laid_out(code, indent=indent))
        assert parsed(lines) == parsed([code])
        assert all(len(line) + indent <= WIDTH for line in lines), code


def test_they_are_as_formatters_leave_them(tmp_path: Path) -> None:
    """So a program that somebody formats changes in nothing."""
    plain = (code for code in DRAWN if '\\"' not in code)  # else it prefers single quotes
    body = "\n".join(text(code, indent=4) for code in plain)
    file = tmp_path / "drawn.py"
    file.write_text(f"def drawn():\n{body}\n")
    ruff = [sys.executable, "-m", "ruff", "format", "--diff", "--line-length", str(WIDTH)]
    found = subprocess.run([*ruff, "--isolated", file], capture_output=True, text=True)
    assert found.stdout == ""


def test_a_note_stands_behind_the_line_where_it_fits() -> None:
    """Behind the first of several lines, or before them all."""
    short = "g = g.exp()"
    assert text(short, "f32[B]") == "g = g.exp()  # f32[B]"
    code = f"g = stab_mul({', '.join(['a_long_name_of_a_value'] * 5)})"
    first, *rest = laid_out(code, "f32[B]")
    assert first == "g = stab_mul(  # f32[B]"
    assert rest[-1] == ")"
    edge = f"g = {'x' * (WIDTH - 4)}"
    assert list(laid_out(edge, "f32[B]")) == ["# f32[B]", edge]
    assert all(len(line) <= WIDTH for line in laid_out(code, "f32[B]" * 12))


def test_comments_are_not_broken() -> None:
    code = f"# a.very.long.module.path{'.of.which.nothing.is.an.operator' * 4} = (x)"
    assert list(laid_out(code)) == [code]


@pytest.mark.parametrize("code", ["g", "f(a, b)", "g[0].t()", '"a b"', "(a * b)", 'w[p + "x"]'])
def test_atoms_need_no_brackets(code: str) -> None:
    assert is_atom(code)
    assert ast.dump(ast.parse(f"({code}).t()")) == ast.dump(ast.parse(f"{code}.t()"))


@pytest.mark.parametrize("code", ["a * b", "a @ f(b)", "a if b else c", "-a + b"])
def test_what_is_none_needs_them(code: str) -> None:
    assert not is_atom(code)


def test_the_head_of_a_function() -> None:
    name = "a_parameter_of_some_length"
    head = defined("f", [f"{name}_{i}" for i in range(6)], ["return 1"])
    assert ast.unparse(ast.parse(head)).startswith(f"def f({name}_0, {name}_1")
    assert max(map(len, head.splitlines())) <= WIDTH
