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
    start = _expression(code)
    chain = [] if goes_on else _chain(code.rstrip(","), start)
    pair = None if chain else _brackets(code, start, width, goes_on)
    if pair is None:
        yield from _in_brackets(code, start, chain, width)
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


def _in_brackets(code: str, start: int, chain: Sequence[int], width: int) -> Iterator[str]:
    """What a statement computes in brackets of its own, where it can stand there."""
    if not chain and (not start or not {" ", "("} & {*code[start:]}):
        yield code
        return
    pieces = [code[first:last] for first, last in pairwise([start, *chain, len(code)])]
    if not start:  # an argument
        yield from (line for piece in pieces for line in _broken(piece, width))
        return
    short = not chain or len(code) - start + 4 <= width
    yield f"{code[:start]}("
    for piece in _operators(code[start:], width - 4) if short else pieces:
        yield from (f"    {line}" for line in _broken(piece, width - 4))
    yield ")"


def _expression(code: str) -> int:
    """Where the expression of a statement starts, behind names that get its value."""
    equals = [i + 3 for i in _outside(code) if code.startswith(" = ", i)]
    return equals[-1] if equals else len("return ") if code.startswith("return ") else 0


def _chain(code: str, start: int) -> list[int]:
    """Where methods start in an expression that is nothing but a chain of several calls."""
    outside = [i for i in _outside(code) if i >= start]
    dots = [i for i in outside if code[i] == "." and code[i - 1] in CLOSING]
    return [] if len(dots) < 2 or any(code[i] in " ," for i in outside) else dots


def _operators(code: str, width: int) -> Iterator[str]:
    """An expression, in parts that start with the operators that bind least where it is long."""
    start = 0
    if len(code) > width:
        for level in ((" + ", " - "), (" * ", " / ", " @ ")):
            places = [i for i in _outside(code) if code.startswith(level, i)]
            for i in places:
                yield code[start:i].strip()
                start = i
            if places:
                break
    yield code[start:].strip()


def _outside(code: str) -> Iterator[int]:
    """The places in code outside brackets and strings."""
    depth = 0
    for i, c in _plain(code):
        depth += (c in OPENING) - (c in CLOSING)
        if not depth:
            yield i


def is_atom(code: str) -> bool:
    """Whether an expression needs no brackets, wherever it stands."""
    depth = 0
    for _, c in _plain(code):
        depth += (c in OPENING) - (c in CLOSING)
        if c == " " and not depth:
            return False
    return True


def _brackets(code: str, start: int, width: int, goes_on: bool) -> tuple[int, int] | None:
    """The last brackets around something before and after which the rest fits, else the last ones,
    where others before them can be broken. None where an expression that does not go on reads
    better in brackets of its own."""
    operators = any(code[i] == " " and i >= start for i in _outside(code))
    if operators and start and not goes_on and code[start] != "(" and code[-1] != ")":
        return None
    pairs = [(i, k) for i, k in _pairs(code) if k > i + 1 and i >= start]
    found = [(i, k) for i, k in pairs if i < width and len(code) - k + goes_on <= width]
    several = not start or (len(pairs) > 1 and pairs[0][0] < width)
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


def taken_out(names: Sequence[str]) -> list[str]:
    """The statements that give names to the values in `held`, and leave none in it."""
    if len(names) == 1:
        return [f"{names[0]} = held.pop()"]
    return [f"{', '.join(names)} = held", "held.clear()"]


def defined(name: str, head: Sequence[str], body: Iterable[str]) -> str:
    """The source of a function."""
    lines = [*laid_out(f"def {name}({', '.join(head)}):"), *(f"    {line}" for line in body)]
    return "\n".join(lines)
