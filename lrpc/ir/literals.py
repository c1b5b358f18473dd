"""Numbers, extents, types, attributes and settings in the text form."""

from __future__ import annotations

import math

from lrpc.ir import limits
from lrpc.ir.cursor import Cursor
from lrpc.ir.graph import Attr, Setting
from lrpc.ir.types import DTYPES, B, Dim, K, Sym, TensorType
from lrpc.support.untrusted import short

SYMBOLS = {"B": B, "K": K}
BOOLS = {"true": True, "false": False}


class Literals(Cursor):
    """Reads what stands for a value of Python, or for a type."""

    def setting(self) -> Setting:
        """A rule's parameter: a number, numbers, a boolean, or text as a bare word or string."""
        kind, text, _ = self.token
        if self.accept("["):
            return self.listed(self.number, "]")
        if kind == "number":
            self.step()
            return _number(text)
        if kind == "word" and text in BOOLS:
            self.step()
            return BOOLS[text]
        return self.word("a number, true, false, a word or [numbers]")

    def number(self) -> float:
        return _number(self.take("number", "a number")[1])

    def attr(self, depth: int = 0) -> Attr:
        """An attribute's value, inside `depth` lists."""
        kind, text, _ = self.token
        if kind == "number" and self.following[1] != "*":
            self.step()
            return _number(text)
        if kind == "string":
            return self.string("a string")
        if kind == "punct" and text == "[":
            if depth == limits.DEPTH:
                raise self.fail(f"more than {limits.DEPTH} lists inside each other")
            self.step()
            return self.listed(lambda: self.attr(depth + 1), "]")
        if kind == "word" and text in BOOLS:
            self.step()
            return BOOLS[text]
        if kind == "number" or text in SYMBOLS:
            return self.dim()
        raise self.expected("a number, true, false, a string, B, K or a [list]")

    def type(self) -> TensorType:
        token = self.take("word", "a type such as f32[B,256]")
        if token[1] not in DTYPES:
            known = ", ".join(DTYPES)
            raise self.fail(f"unknown dtype {short(token[1])}; expected one of {known}", token)
        self.expect("[", " and the shape")
        shape = self.listed(self.extent, "]")
        if len(shape) > limits.RANK:
            raise self.fail(f"{len(shape)} extents; at most {limits.RANK}", token)
        return TensorType(token[1], shape)

    def extent(self) -> Dim:
        """An extent of a type: not negative, and no more than torch takes."""
        token = self.token
        dim = self.dim()
        coeff = dim.coeff if isinstance(dim, Sym) else dim
        if not 0 <= coeff <= limits.INTEGER:
            raise self.fail(
                f"found {short(str(dim))}; expected an extent from 0 to 2^63 - 1", token
            )
        return dim

    def dim(self) -> Dim:
        """A product of integers and symbols."""
        dim, factors = self.factor(), 1
        while self.accept("*"):
            factors += 1
            if factors > limits.FACTORS:
                raise self.fail(f"more than {limits.FACTORS} factors of one extent")
            dim = dim * self.factor()
        return dim

    def factor(self) -> Dim:
        kind, text, _ = token = self.token
        if kind == "number" and text.lstrip("-").isdigit():
            self.step()
            return int(text)
        if kind == "word" and text not in SYMBOLS:
            raise self.fail(f"unknown symbol {short(text)}; expected an integer, B or K", token)
        if kind != "word":
            raise self.expected("an integer, B or K")
        self.step()
        return SYMBOLS[text]


def _number(text: str) -> int | float:
    if text.lstrip("-").isdigit():
        return int(text)
    return math.nan if text.endswith("nan") else float(text)
