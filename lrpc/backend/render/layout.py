"""Lines of Python in at most 100 columns, broken as formatters break them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

WIDTH = 100
OPENING, CLOSING = "([{", ")]}"


def laid_out(code: str, note: str = "", indent: int = 0) -> Iterator[str]:
    """The lines of one statement, without the indent that they will get. A note that does not fit
    behind it, or behind the first of its lines, stands before it."""
    width = WIDTH - indent
    if note and len(code) + len(note) + 4 <= width:
        yield f"{code}  # {note}"
        return
    lines = list(_broken(code, width))
    if note and len(lines) > 1 and len(lines[0]) + len(note) + 4 <= width:
        lines[0] = f"{lines[0]}  # {note}"
    elif note:
        yield f"# {note}"
    yield from lines


def _broken(code: str, width: int, goes_on: bool = False) -> Iterator[str]:
    if len(code) + goes_on <= width or code.startswith("#"):  # a comment goes on in its line
        yield code
        return
    pair = _brackets(code, width, goes_on)
    if pair is None:
        yield from _in_brackets(code, width)
        return
    first, last = pair
    head, inside, tail = code[: first + 1], code[first + 1 : last], code[last:]
    called = head[-2:-1].isalnum() or head[-2:-1] in ("_", ")", "]")
    *before, end = _broken(head[:-1], width, True) if len(head) > width else [head[:-1]]
    yield from before
    yield end + head[-1]
    if called and len(inside) + 4 <= width:
        yield f"    {inside}"
    else:
        parts = list(_parts(inside))
        tuple_or_call = inside.endswith(",") or len(parts) > 1 or called != (head[-1] == "[")
        for part in parts:  # a lone index, or a lone part in brackets, takes no comma
            part += "," * tuple_or_call
            yield from (f"    {line}" for line in _broken(part, width - 4))
    yield tail


def _in_brackets(code: str, width: int) -> Iterator[str]:
    """What a statement computes in brackets of its own, where it can stand there."""
    start = _result(code)
    if not start or not {" ", "("} & {*code[start:]}:
        yield code
        return
    yield f"{code[:start]}("
    if len(code) - start + 4 <= width:
        yield f"    {code[start:]}"
    else:
        places = [start, *(start + i for i in _operators(code[start:])), len(code)]
        for first, last in pairwise(places):
            part = code[first:last].strip()
            yield from (f"    {line}" for line in _broken(part, width - 4))
    yield ")"


def _result(code: str) -> int:
    """Where what a statement assigns or returns begins; 0 where it does neither."""
    found = (i + 3 for i, _ in _plain(code) if code.startswith(" = ", i))
    return max(found, default=7 if code.startswith("return ") else 0)


def _operators(code: str) -> list[int]:
    """The places of the operators that bind least, of those outside all brackets."""
    found: dict[str, list[int]] = {}
    depth = 0
    for i, c in _plain(code):
        depth += (c in OPENING) - (c in CLOSING)
        if c in "+-*/@" and not depth and code[i - 1 : i] == " " and code[i + 1 : i + 2] == " ":
            found.setdefault("sum" if c in "+-" else "product", []).append(i)
    return found.get("sum") or found.get("product", [])


def is_atom(code: str) -> bool:
    """Whether an expression needs no brackets, wherever it stands."""
    depth = 0
    for _, c in _plain(code):
        depth += (c in OPENING) - (c in CLOSING)
        if c == " " and not depth:
            return False
    return True


def _brackets(code: str, width: int, goes_on: bool) -> tuple[int, int] | None:
    """The last brackets around something before and after which the rest fits, else the last ones,
    where others before them can be broken. None where an expression that does not go on reads
    better in brackets of its own."""
    start = _result(code)
    operators = _operators(code[start:]) != []
    if operators and start and not goes_on and code[start] != "(" and code[-1] != ")":
        return None
    pairs = [(i, k) for i, k in _pairs(code) if k > i + 1 and i >= start]
    found = [(i, k) for i, k in pairs if i < width and len(code) - k + goes_on <= width]
    calls = [i for i, _ in pairs if code[i] == "("]
    several = not start or (len(calls) > 1 and calls[0] < width)
    chosen = found or (pairs if several else [])
    return chosen[-1] if chosen else None


def _parts(inside: str) -> Iterator[str]:
    """What commas part in brackets."""
    start = depth = 0
    for i, c in _plain(inside):
        depth += (c in OPENING) - (c in CLOSING)
        if c == "," and not depth:
            yield inside[start:i].strip()
            start = i + 1
    rest = inside[start:].strip()
    if rest:
        yield rest


def _pairs(code: str) -> Iterator[tuple[int, int]]:
    """The places of brackets that are not within others."""
    opened: list[int] = []
    for i, c in _plain(code):
        if c in OPENING:
            opened.append(i)
        elif c in CLOSING:
            first = opened.pop()
            if not opened:
                yield first, i


def _plain(code: str) -> Iterator[tuple[int, str]]:
    """The characters outside strings, which are in double quotes."""
    inside = escaped = False
    for i, c in enumerate(code):
        if inside:
            inside = escaped or c != '"'
            escaped = c == "\\" and not escaped
        elif c == '"':
            inside, escaped = True, False
        else:
            yield i, c


def unpacked(names: Iterable[str]) -> str:
    """Names that the items of a list get."""
    found = ", ".join(names)
    return found if "," in found else f"({found},)"


def defined(name: str, head: Sequence[str], body: Iterable[str]) -> str:
    """The source of a function."""
    lines = [*laid_out(f"def {name}({', '.join(head)}):"), *(f"    {line}" for line in body)]
    return "\n".join(lines)
