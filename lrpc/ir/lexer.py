"""Tokens of the text form, and errors that show the place in the text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from lrpc.errors import IRError
from lrpc.ir import limits

# kind, text, offset: a plain tuple, since a large graph has some hundred thousand of them. That of
# kind `bad` has in the place of its text what is wrong with the text at the offset.
Token = tuple[str, str, int]

# Possessive quantifiers (`*+`) never give back what they took: no text is read twice.
STRING = r'"(?:[^"\\\n]|\\.)*+"'
WORD = r"[A-Za-z_]\w*+(?:[.-]\w++)*+"
NUMBER = r"-?(?:inf|nan|[0-9]++(?:\.[0-9]*+)?+(?:[eE][+-]?[0-9]++)?+)(?![\w.-])"

TOKEN = re.compile(
    rf"""
      (?P<skip>  (?: [ \t\r\n]++ | \#[^\n]*+ )++ )
    | (?P<value> % (?: \w++ | {STRING} ) )
    | (?P<punct> [(){{}}\[\]:=,*/+] )
    | (?P<number> {NUMBER} )
    | (?P<loc>   loc\( (?: {STRING} | [^)"\n] )*+ \)?+ )
    | (?P<word>  {WORD} )
    | (?P<string> {STRING} )
    | (?P<graph> @ (?: \w++ | {STRING} ) )
    | (?P<bad>   [\s\S] )
    """,
    re.VERBOSE,
)

MOST = {"number": limits.NUMBER, "loc": 3 * limits.NAME} | dict.fromkeys(
    ("value", "word", "string", "graph"), limits.NAME
)

EXCERPT = 100  # columns of the offending line that an error shows at most


@dataclass(frozen=True, slots=True)
class Source:
    """A text and the file name that errors call it by."""

    text: str
    file: str

    def place(self, offset: int) -> tuple[int, int]:
        """Line and column, both from 1, of an offset."""
        start = self.text.rfind("\n", 0, offset) + 1
        return self.text.count("\n", 0, offset) + 1, offset - start + 1

    def error(self, offset: int, what: str) -> IRError:
        """`file:line:column: what`, then the line with a caret under the column."""
        line, column = self.place(offset)
        begin = offset - column + 1
        end = self.text.find("\n", begin)
        content = self.text[begin : end if end >= 0 else len(self.text)].rstrip("\r")
        content = "".join(c if c.isprintable() else "\ufffd" for c in content.replace("\t", " "))
        cut = max(0, min(column - 1 - EXCERPT // 2, len(content) - EXCERPT))
        shown = content[cut : cut + EXCERPT]
        head, tail = "…" if cut else "", "…" if cut + EXCERPT < len(content) else ""
        caret = " " * (column - 1 - cut + len(head)) + "^"
        excerpt = f"  {head}{shown}{tail}"
        return IRError(f"{self.file}:{line}:{column}: {what}", excerpt, f"  {caret}")


def tokens(source: Source) -> Iterator[Token]:
    """The tokens of a text, with one of kind `end` last, or of kind `bad` where none begins."""
    if len(source.text) > limits.FILE:
        yield "bad", f"a text of {len(source.text):,} characters; at most {limits.FILE:,}", 0
        return
    for match in TOKEN.finditer(source.text):
        kind, start = str(match.lastgroup), match.start()
        if kind == "skip":
            continue
        text = match.group()
        if kind == "bad":
            yield _unreadable(source, start)
            return
        if kind in MOST and len(text) > MOST[kind]:
            what = "number" if kind == "number" else "name"
            yield "bad", f"a {what} of {len(text):,} characters; at most {MOST[kind]:,}", start
            return
        if kind == "loc" and text[-1] != ")":
            yield "bad", "unterminated loc(; expected a closing ) on this line", start
            return
        yield kind, text, start
    yield "end", "", len(source.text)


def _unreadable(source: Source, offset: int) -> Token:
    start = source.text[offset : offset + 2]
    if start[0] == '"' or start in ('%"', '@"'):
        at = source.text.index('"', offset)
        return "bad", 'unterminated string; expected a closing " on this line', at
    if start[0] in "%@":
        return "bad", f"found {start[0]!r}; expected a name after it", offset
    rest = re.match(r"[^\s,(){}\[\]=]{0,40}", source.text[offset : offset + 40])
    found = (rest.group() if rest else "") or start[0]
    return "bad", f"found {found!r}; expected a word, number, string or %value", offset
