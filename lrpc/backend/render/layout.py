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


def _broken(code: str, width: int) -> Iterator[str]:
    if len(code) <= width or code.startswith("#"):  # a comment goes on in its line
        yield code
        return
    start = _expression(code)
    chain = _chain(code, start)
    pair = _brackets(code, width)
    if chain or (pair is None and start and " " in code[start:]):
        pieces = [code[first:last] for first, last in pairwise([start, *chain, len(code)])]
        pieces = pieces if chain else [*_operators(code[start:], width - 4)]
        yield f"{code[:start]}("
        for piece in pieces:
            yield from (f"    {line}" for line in _broken(piece, width - 4))
        yield ")"
        return
    if pair is None:
        yield code
        return
    first, last = pair
    head, inside, tail = code[: first + 1], code[first + 1 : last], code[last:]
    called = head[-2:-1].isalnum() or head[-2:-1] in ("_", ")", "]")
    yield head
    if called and len(inside) + 4 <= width:
        yield f"    {inside}"
    else:
        parts = list(_parts(inside))
        tuple_or_call = inside.endswith(",") or len(parts) > 1 or called != (head[-1] == "[")
        for part in parts:  # a lone index, or a lone part in brackets, takes no comma
            part += "," * tuple_or_call
            yield from (f"    {line}" for line in _broken(part, width - 4))
    yield tail


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


def _brackets(code: str, width: int) -> tuple[int, int] | None:
    """The last brackets around something before and after which the rest fits, where the statement
    ends with brackets, or a colon or comma behind them."""
    if code.rstrip(":,")[-1:] not in (*CLOSING,):
        return None
    found = [(first, last) for first, last in _pairs(code) if last > first + 1]
    for first, last in reversed(found):
        if first + 1 <= width and len(code) - last <= width:
            return first, last
    return found[-1] if found else None


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
