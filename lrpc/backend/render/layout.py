"""Lines of Python in at most 100 columns, broken as formatters break them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

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
    pair = _brackets(code, width)
    if pair is None:
        equals = max((i for i, _ in _plain(code) if code.startswith(" = ", i)), default=0)
        if equals and " " in code[equals + 3 :]:
            yield f"{code[:equals]} = ("
            yield f"    {code[equals + 3 :]}"
            yield ")"
        else:
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


def unpacked(names: Iterable[str]) -> str:
    """Names that the items of a list get."""
    found = ", ".join(names)
    return found if "," in found else f"({found},)"


def defined(name: str, head: Sequence[str], body: Iterable[str]) -> str:
    """The source of a function."""
    lines = [*laid_out(f"def {name}({', '.join(head)}):"), *(f"    {line}" for line in body)]
    return "\n".join(lines)
