"""A cursor over the tokens of a text: what the parser takes its steps with."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from lrpc.errors import IRError
from lrpc.ir.lexer import Source, Token, tokens
from lrpc.ir.strings import out_of_quotes

T = TypeVar("T")


class Cursor:
    """The next token of `source`, and the one that follows it."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self._rest = tokens(source)
        self.following = next(self._rest)
        self.token: Token = self.following
        self.step()

    def step(self) -> None:
        """Go on by a token; IRError where the text has none that can be read."""
        self.token = self.following
        self.following = next(self._rest, self.following)
        if self.token[0] == "bad":
            raise self.fail(self.token[1])

    def fail(self, what: str, token: Token | None = None) -> IRError:
        """The error at a token, by default the next one."""
        return self.source.error((token or self.token)[2], what)

    def expected(self, what: str) -> IRError:
        """The error that says what was found and what should be there."""
        kind, text, _ = self.token
        shown = (
            "the end of the text" if kind == "end" else text if len(text) < 40 else text[:39] + "…"
        )
        return self.fail(f"found {shown}; expected {what}")

    def at(self, text: str) -> bool:
        return self.token[1] == text

    def accept(self, text: str) -> bool:
        """Step over `text` where it is next."""
        if self.token[1] != text:
            return False
        self.step()
        return True

    def expect(self, text: str, why: str = "") -> None:
        if not self.accept(text):
            raise self.expected(f"{text!r}{why}")

    def take(self, kind: str, what: str) -> Token:
        """The next token, which must be of `kind`."""
        token = self.token
        if token[0] != kind:
            raise self.expected(what)
        self.step()
        return token

    def unquoted(self, token: Token, skip: int = 0) -> str:
        """The text of a string or bare token, behind `skip` characters."""
        text = token[1][skip:]
        if text[:1] != '"':
            return text
        try:
            return out_of_quotes(text)
        except ValueError:
            raise self.fail("bad escape in a string; expected JSON escapes", token) from None

    def word(self, what: str) -> str:
        """A bare word, or any string in quotes."""
        if self.token[0] == "string":
            return self.string(what)
        return self.take("word", what)[1]

    def string(self, what: str) -> str:
        return self.unquoted(self.take("string", what))

    def listed(self, item: Callable[[], T], close: str) -> tuple[T, ...]:
        """Items between commas up to `close`, which is stepped over."""
        items: list[T] = []
        if self.accept(close):
            return ()
        items.append(item())
        while self.accept(","):
            items.append(item())
        self.expect(close, " or ','")
        return tuple(items)
