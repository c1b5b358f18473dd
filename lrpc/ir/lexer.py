"""Tokens of the text form, and errors that show the place in the text."""

from __future__ import annotations

import re
from dataclasses import dataclass

from lrpc.errors import IRError

# kind, text, offset: a plain tuple, since a large graph has some hundred thousand of them.
Token = tuple[str, str, int]

STRING = r'"(?:[^"\\\n]|\\.)*"'
WORD = r"[A-Za-z_]\w*(?:[.-]\w+)*"
NUMBER = r"-?(?:inf|nan|\d+(?:\.\d*)?(?:[eE][+-]?\d+)?)(?![\w.-])"

TOKEN = re.compile(
    rf"""
      (?P<skip>  (?: [ \t\r\n]+ | \#[^\n]* )+ )
    | (?P<value> % (?: \w+ | {STRING} ) )
    | (?P<punct> [(){{}}\[\]:=,*] )
    | (?P<number> {NUMBER} )
    | (?P<loc>   loc\( (?: {STRING} | [^)"\n] )* \) )
    | (?P<word>  {WORD} )
    | (?P<string> {STRING} )
    | (?P<graph> @ (?: \w+ | {STRING} ) )
    """,
    re.VERBOSE,
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
        content = content.replace("\t", " ")
        cut = max(0, min(column - 1 - EXCERPT // 2, len(content) - EXCERPT))
        shown = content[cut : cut + EXCERPT]
        head, tail = "…" if cut else "", "…" if cut + EXCERPT < len(content) else ""
        caret = " " * (column - 1 - cut + len(head)) + "^"
        excerpt = f"  {head}{shown}{tail}\n  {caret}"
        return IRError(f"{self.file}:{line}:{column}: {what}\n{excerpt}")


def tokenize(source: Source) -> list[Token]:
    """The tokens of a text, with one of kind `end` last; IRError where no token begins."""
    text, tokens, position = source.text, [], 0
    for match in TOKEN.finditer(text):
        start = match.start()
        if start != position:
            break
        position = match.end()
        kind = match.lastgroup
        if kind != "skip":
            tokens.append((str(kind), match.group(), start))
    if position != len(text):
        raise _unreadable(source, position)
    tokens.append(("end", "", position))
    return tokens


def _unreadable(source: Source, offset: int) -> IRError:
    start = source.text[offset : offset + 2]
    if start[0] == '"' or start in ('%"', '@"'):
        at = source.text.index('"', offset)
        return source.error(at, 'unterminated string; expected a closing " on this line')
    if start[0] in "%@":
        return source.error(offset, f"found {start[0]!r}; expected a name after it")
    rest = re.match(r"[^\s,(){}\[\]=]{0,40}", source.text[offset:])
    found = (rest.group() if rest else "") or start[0]
    return source.error(offset, f"found {found!r}; expected a word, number, string or %value")
