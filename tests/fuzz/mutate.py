"""Mutations of graph texts that know the grammar: most mutants still parse far into the text."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence

from lrpc.ir.lexer import TOKEN
from lrpc.ir.ops import TABLE
from lrpc.ir.types import DTYPES

Pieces = list[str]
Mutation = Callable[[random.Random, Pieces, Sequence[Pieces]], None]

# fmt: off
NUMBERS = [
    *("0", "1", "-1", "2", "3", "7", "-2", "10007", "2147483648", "4294967295", "9007199254740993"),
    *("9223372036854775807", "9223372036854775808", "-9223372036854775808", str(2**70)),
    *("1e999", "-1e999", "nan", "-nan", "inf", "-inf", "0.5", "1e-320", "-0.0", "1e308", "٣"),
    *(
        "1" * 41,
        "1" * 5000,
        "0x10",
        "1_000",
        "true",
        "false",
        '"2"',
        "B",
        "K",
        "B*K",
        "0*B",
        "-1*B",
    ),
    *("2*3", "B*B*B", "[1,2]", "[]", "[[1,2],[3,4]]", "[B,4]", "[true]", "[-1]", "[0,0]", '["a"]'),
]
NAMES = [
    *("é", "数", "a b", "x.y", "", "%", '"', "\\", "\\n", "\\ud800", "\\u0000", "loc", "role", "B"),
    *("return", "weight", "place", "true", "inf", "graph", "x" * 300, "x" * 5000, "import os", "0"),
]
WORDS = [
    "role",
    "rule",
    "loc",
    "loc(",
    "loc()",
    "loc(:1)",
    "return",
    "place",
    "weight",
    "(",
    "#",
    "=",
]
SHAPES = [
    *("[]", "[0]", "[1]", "[B]", "[K]", "[B,4]", "[K,B,5,4]", "[B,5,4]", "[4,5,B]", "[2,3,4,5,6]"),
    *(
        "[B*B,2]",
        "[B,0,4]",
        "[1,1,1,1]",
        "[9223372036854775807,9223372036854775807]",
        "[K*B,4,6,8]",
    ),
    *("[-1,4]", f"[{','.join('1' * 64)}]", f"[{','.join('2' * 63)}]", f"[{','.join('1' * 65)}]"),
]


def pieces(text: str) -> Pieces:
    """A text as tokens and what lies between them."""
    return [match.group() for match in TOKEN.finditer(text)]


def _at(rng: random.Random, parts: Pieces, pattern: str) -> int:
    """A place whose piece begins as `pattern` says; any, where there is none."""
    found = [i for i, part in enumerate(parts) if re.match(pattern, part)]
    return rng.choice(found) if found else rng.randrange(len(parts))


def _swap(rng: random.Random, parts: Pieces, others: Sequence[Pieces]) -> None:
    i, j = rng.randrange(len(parts)), rng.randrange(len(parts))
    parts[i], parts[j] = parts[j], parts[i]


def _double(rng: random.Random, parts: Pieces, others: Sequence[Pieces]) -> None:
    i = rng.randrange(len(parts))
    parts.insert(i, parts[i])


def _drop(rng: random.Random, parts: Pieces, others: Sequence[Pieces]) -> None:
    del parts[rng.randrange(len(parts))]


def _number(rng: random.Random, parts: Pieces, others: Sequence[Pieces]) -> None:
    parts[_at(rng, parts, r"-?[0-9]")] = rng.choice(NUMBERS)


def _setting(rng: random.Random, parts: Pieces, others: Sequence[Pieces]) -> None:
    """Another value behind some `key=`."""
    places = [i for i, part in enumerate(parts[:-1]) if part == "="]
    if places:
        parts[rng.choice(places) + 1] = rng.choice(NUMBERS)


def _name(rng: random.Random, parts: Pieces, others: Sequence[Pieces]) -> None:
    i = _at(rng, parts, r'[%@"]')
    head = parts[i][:1] if parts[i][:1] in "%@" else ""
    parts[i] = f'{head}"{rng.choice(NAMES)}"'


def _value(rng: random.Random, parts: Pieces, others: Sequence[Pieces]) -> None:
    parts[_at(rng, parts, "%")] = parts[_at(rng, parts, "%")]


def _op(rng: random.Random, parts: Pieces, others: Sequence[Pieces]) -> None:
    places = [i for i, part in enumerate(parts[:-1]) if part in TABLE and parts[i + 1] == "("]
    if places:
        parts[rng.choice(places)] = rng.choice(OPS)


def _attribute(rng: random.Random, parts: Pieces, others: Sequence[Pieces]) -> None:
    """An attribute of another op: a `key` is renamed, or a `key=value` put in."""
    keys = [i for i, part in enumerate(parts[:-1]) if parts[i + 1] == "=" and part in KEYS]
    if keys and rng.random() < 0.5:
        parts[rng.choice(keys)] = rng.choice(KEYS)
    elif keys:
        parts[rng.choice(keys)] = f"{rng.choice(KEYS)}={rng.choice(NUMBERS)}, {rng.choice(KEYS)}"
    else:
        i = _at(rng, parts, r"\)")
        parts[i] += f" {{{rng.choice(KEYS)}={rng.choice(NUMBERS)}}}"


def _dtype(rng: random.Random, parts: Pieces, others: Sequence[Pieces]) -> None:
    parts[_at(rng, parts, "f32|f64|i64|bool|bf16")] = rng.choice([*DTYPES, "f33", "int"])


def _shape(rng: random.Random, parts: Pieces, others: Sequence[Pieces]) -> None:
    """Another shape behind a dtype."""
    i = _at(rng, parts, "f32|f64|i64|bool|bf16")
    if "]" in parts[i:]:
        parts[i + 1 : parts.index("]", i) + 1] = [rng.choice(SHAPES)]


def _word(rng: random.Random, parts: Pieces, others: Sequence[Pieces]) -> None:
    parts.insert(rng.randrange(len(parts) + 1), rng.choice([*WORDS, *OPS[:5]]))


def _cut(rng: random.Random, parts: Pieces, others: Sequence[Pieces]) -> None:
    del parts[rng.randrange(1, len(parts) + 1) :]


def _block(rng: random.Random, parts: Pieces, others: Sequence[Pieces]) -> None:
    """Some tokens again at another place, or from another graph."""
    source = parts if rng.random() < 0.5 else rng.choice(others)
    start = rng.randrange(len(source))
    at = rng.randrange(len(parts))
    parts[at:at] = source[start : start + rng.randrange(1, 30)]


def _line(rng: random.Random, parts: Pieces, others: Sequence[Pieces]) -> None:
    """A line again, elsewhere, or not at all."""
    lines = "".join(parts).split("\n")
    line = lines.pop(rng.randrange(len(lines)))
    for _ in range(rng.choice([0, 1, 1, 2])):
        lines.insert(rng.randrange(len(lines) + 1), line)
    parts[:] = pieces("\n".join(lines)) or [" "]


def _character(rng: random.Random, parts: Pieces, others: Sequence[Pieces]) -> None:
    i = rng.randrange(len(parts))
    part = parts[i]
    at = rng.randrange(len(part) + 1)
    parts[i] = part[:at] + rng.choice('\0\r\n\t "\\%@#(){}[]=,*:.-0aé\U0001f600') + part[at + 1 :]


KEYS = sorted({key for row in TABLE.values() for key in row.attrs})
OPS = sorted(TABLE)
#: Those that leave a text well-formed more often stand in it several times.
MUTATIONS: list[Mutation] = [
    *(_swap, _double, _drop, _name, _word, _cut, _block, _line, _character),
    *([_number, _setting, _value, _op, _attribute, _dtype, _shape] * 2),
]


def mutant(rng: random.Random, bases: Sequence[Pieces]) -> str:
    """One of the texts, changed in one to three ways."""
    parts = list(rng.choice(bases))
    for _ in range(rng.choice([1, 1, 2, 3])):
        rng.choice(MUTATIONS)(rng, parts, bases)
        parts = parts or [" "]
    return "".join(parts)
