"""Numbers, extents, types, attributes and settings in the text form."""

from __future__ import annotations

import math

from lrpc.ir import limits
from lrpc.ir.cursor import Cursor
from lrpc.ir.extents import Extent, NotInSteps, Size
from lrpc.ir.graph import Attr, Setting
from lrpc.ir.lexer import Source
from lrpc.ir.types import DTYPES, B, Dim, K, Sym, TensorType
from lrpc.support.untrusted import short

SYMBOLS = {"B": B, "K": K}
BOOLS = {"true": True, "false": False}


class Literals(Cursor):
    """Reads what stands for a value of Python, or for a type; `symbols` are those of extents."""

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self.symbols: dict[str, Dim] = dict(SYMBOLS)

    def sizes(self) -> None:
        """The sizes that extents depend on: `[H=160/32, W=224/32]`, each over its step and, where
        it is not 1, its period: `H=160/32/2`."""
        for size in self.listed(self.size, "]"):
            self.symbols[size.name] = Extent.size(size)

    def size(self) -> Size:
        token = self.token
        name = self.take("word", "the name of a size")[1]
        self.expect("=")
        example = self.whole()
        self.expect("/", " and the step")
        step = self.whole()
        period = self.whole() if self.accept("/") else 1
        if name in self.symbols or not name.isidentifier():
            raise self.fail(f"{short(name)} cannot name a size", token)
        if example % step or example > limits.INTEGER:
            raise self.fail(f"{example} is no multiple of the step {step}", token)
        if period > limits.PERIOD:
            raise self.fail(f"a period of {period} steps; at most {limits.PERIOD}", token)
        return Size(name, step, example, period)

    def whole(self) -> int:
        """A positive integer."""
        token = self.token
        text = self.take("number", "a positive integer")[1]
        if not text.isdigit() or not int(text):
            raise self.fail(f"found {short(text)}; expected a positive integer", token)
        return int(text)

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
        if kind == "number" and self.following[1] not in ("*", "/", "+"):
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
        if kind == "number" or text in self.symbols or text == "(":
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
        """A sum of products of integers and symbols; sums without B and K."""
        token, factors = self.token, [0]
        dim = self.product(factors)
        while self.accept("+"):
            more = self.product(factors)
            if isinstance(dim, Sym) or isinstance(more, Sym):
                raise self.fail("a sum with B or K in it; expected a product", token)
            dim = dim + more
        return dim

    def product(self, factors: list[int]) -> Dim:
        """A product of integers and symbols, divided by integers; `factors` counts them."""
        dim, token = self.factor(factors), self.token
        while self.at("*") or self.at("/"):
            if self.accept("*"):
                dim = dim * self.factor(factors)
                continue
            self.step()
            floor = self.accept("/")
            by = self.factor(factors)
            if not (isinstance(dim, int) and isinstance(by, int) and by > 0):
                raise self.fail("expected a product of sizes over a positive integer", token)
            try:
                dim, rest = divmod(dim, by)
            except NotInSteps as error:
                raise self.fail(str(error), token) from None
            if rest and not floor:
                raise self.fail(f"a division by {by} that leaves {rest}", token)
        return dim

    def factor(self, factors: list[int]) -> Dim:
        factors[0] += 1
        if factors[0] > limits.FACTORS:
            raise self.fail(f"more than {limits.FACTORS} factors of one extent")
        kind, text, _ = token = self.token
        if self.accept("("):
            dim = self.dim()
            self.expect(")")
            return dim
        if kind == "number" and text.lstrip("-").isdigit():
            self.step()
            return int(text)
        if kind == "word" and text not in self.symbols:
            *known, last = self.symbols
            expected = f"an integer, {', '.join(known)} or {last}"
            raise self.fail(f"unknown symbol {short(text)}; expected {expected}", token)
        if kind != "word":
            raise self.expected("an integer, B or K")
        self.step()
        return self.symbols[text]


def _number(text: str) -> int | float:
    if text.lstrip("-").isdigit():
        return int(text)
    return math.nan if text.endswith("nan") else float(text)
