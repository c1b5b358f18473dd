"""Parses the text form of a schedule, which lrpc/backend/schedule/printer.py writes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from lrpc.backend.schedule.ir import (
    NEW,
    OWN,
    RECOMPUTED,
    SAVED,
    Block,
    Book,
    Call,
    Compute,
    Entry,
    Free,
    Function,
    Load,
    Only,
    Operand,
    Origin,
    Part,
    Read,
    Recompute,
    Save,
    Schedule,
    Setting,
    Statement,
    Target,
    WeightName,
)
from lrpc.ir.graph import Rule, Value
from lrpc.ir.lexer import Source
from lrpc.ir.literals import Literals
from lrpc.support.untrusted import short

T = TypeVar("T")


def parse_schedule(text: str, file: str = "<text>") -> Schedule:
    """The schedule that `text` stands for. Raises IRError at the place in the text."""
    return _Parser(Source(text, file)).schedule()


class _Parser(Literals):
    """Recursive descent; values are known from their definition to the end of a function."""

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self._values: dict[str, Value] = {}

    def schedule(self) -> Schedule:
        self.expect("schedule")
        if self.accept("["):
            self.sizes()
        chunked = self.accept("chunked")
        self.expect("{")
        functions: list[Function] = []
        while self.at("function"):
            functions.append(self.function())
        targets: list[Target] = []
        while not self.accept("}"):
            targets.append(self.target())
        if not functions:
            raise self.expected("a function")
        *others, forward = functions
        sizes = others.pop() if others and others[-1].half == "sizes" else None
        return Schedule(forward, tuple(targets), tuple(others), chunked, sizes)

    def target(self) -> Target:
        self.expect("target")
        name, composite = self.string("a name"), self.string("a composite")
        self.expect("from")
        start = self.entry()
        self.expect("{")
        functions = [self.function()]
        while not self.accept("}"):
            functions.append(self.function())
        return Target(name, composite, start, tuple(functions))

    def function(self) -> Function:
        self.expect("function")
        name, half = self.string("a name"), self.word("a half")
        ledger = self.accept("ledger")
        self._values = {}
        self.expect("(")
        parameters = self.listed(self.define, ")")
        body, results = self.body()
        return Function(name, parameters, body, results, ledger, half)

    def body(self) -> tuple[tuple[Statement, ...], tuple[Value, ...]]:
        """Statements in braces, the last of which returns."""
        self.expect("{")
        found: list[Statement] = []
        while not self.accept("return"):
            found.append(self.statement())
        results: list[Value] = []
        while not self.accept("}"):
            if results:
                self.expect(",")
            results.append(self.use())
        return tuple(found), tuple(results)

    # -- statements ------------------------------------------------------------------------------

    def statement(self) -> Statement:
        kinds: dict[str, Callable[[], Statement]] = {
            "read": self.read,
            "book": self.book,
            "only": self.only,
            "save": self.save,
            "free": self.free,
            "block": self.block,
            "recompute": self.recompute,
            "call": lambda: self.call(()),
        }
        kind, text, _ = self.token
        if kind == "word" and text in kinds:
            self.step()
            return kinds[text]()
        outputs = [self.define()]
        while self.accept(","):
            outputs.append(self.define())
        self.expect("=")
        return self.call(tuple(outputs)) if self.accept("call") else self.compute(tuple(outputs))

    def compute(self, outputs: tuple[Value, ...]) -> Compute:
        op = self.word("an op")
        self.expect("(")
        inputs = self.listed(self.operand, ")")
        attrs = self.attrs()
        over = int(self.number()) if self.keyword("over") else None
        keeps = self.entry() if self.keyword("keeps") else None
        return Compute(op, inputs, outputs, attrs, self.origin(), over, keeps)

    def read(self) -> Read:
        place = self.string("a place")
        self.expect("(")
        return Read(place, self.listed(self.operand, ")"), self.origin())

    def book(self) -> Book:
        self.expect("(")
        inputs = self.listed(self.operand, ")")
        attrs = self.attrs()
        times = int(self.number()) if self.keyword("times") else 1
        return Book(inputs, attrs, self.origin(), times)

    def only(self) -> Only:
        condition = self.word("'ledger' or 'plain'")
        if condition not in ("ledger", "plain"):
            raise self.fail(f"unknown condition {short(condition)}; expected ledger or plain")
        self.expect("{")
        found: list[Statement] = []
        while not self.accept("}"):
            found.append(self.statement())
        return Only(condition == "ledger", tuple(found))

    def save(self) -> Save:
        entry = self.entry()
        self.expect("=")
        return Save(entry, self.use())

    def free(self) -> Free:
        values = [self.use().name] if self.token[0] == "value" else []
        while values and self.accept(","):
            values.append(self.use().name)
        parts: list[str] = []
        if self.accept("parts"):
            parts.append(self.string("a part"))
            while self.accept(","):
                parts.append(self.string("a part"))
        return Free(tuple(values), tuple(parts))

    def recompute(self) -> Recompute:
        scope, whole = self.string("a part"), self.word("'whole' or 'rest'") == "whole"
        self.expect("{")
        run = None if self.at("}") else self.statement()
        self.expect("}")
        if run is not None and not isinstance(run, (Block, Call)):
            raise self.expected("a block or a call")
        return Recompute(scope, whole, run)

    def call(self, results: tuple[Value, ...]) -> Call:
        function = self.string("a function")
        prefix = self.weight() if self.at("w") else self.string("a prefix")
        part = self.part()
        self.expect("(")
        arguments = self.listed(self.operand, ")")
        places = self.places("over"), self.places("gives")
        return Call(function, prefix, part, arguments, results, *places)

    def block(self) -> Block:
        key, path, part = self.string("a key"), self.string("a block"), self.part()
        outer = dict(self._values)

        def pair() -> tuple[Value, Operand]:
            self._values = inner
            value = self.define()
            self._values = outer
            self.expect("=")
            return value, self.operand()

        inner: dict[str, Value] = {}
        self.expect("(")
        pairs = self.listed(pair, ")")
        over, gives = self.places("over"), self.places("gives")
        rule = self.string("a rule") if self.keyword("rule") else ""
        self._values = inner
        body, results = self.body()
        self._values = outer | {v.name: v for v in results}
        parameters, arguments = tuple(p for p, _ in pairs), tuple(a for _, a in pairs)
        return Block(key, path, part, arguments, parameters, body, results, over, rule, gives)

    # -- parts of statements ---------------------------------------------------------------------

    def keyword(self, word: str) -> bool:
        """Step over `word=` where it is next."""
        if not (self.at(word) and self.following[1] == "="):
            return False
        self.step()
        self.step()
        return True

    def places(self, word: str) -> tuple[int, ...]:
        if not self.keyword(word):
            return ()
        self.expect("[")
        return tuple(int(n) for n in self.listed(self.number, "]"))

    def origin(self) -> Origin:
        role = self.string("a role") if self.keyword("role") else ""
        rule = self.rule() if self.keyword("rule") else None
        return Origin(self.string("a module") if self.keyword("in") else "", role, rule)

    def rule(self) -> Rule:
        name = self.word("a rule")
        return Rule(name, self.pairs(self.setting, ")") if self.accept("(") else ())

    def attrs(self) -> tuple[tuple[str, Setting], ...]:
        return self.pairs(self.attribute, "}") if self.accept("{") else ()

    def attribute(self) -> Setting:
        return self.weight() if self.at("w") and self.following[1] == "[" else self.attr()

    def weight(self) -> WeightName:
        """`w["NAME"]`, of a block."""
        self.step()
        self.step()
        name = self.string("a weight")
        self.expect("]")
        return WeightName(name)

    def pairs(self, item: Callable[[], T], close: str) -> tuple[tuple[str, T], ...]:
        def pair() -> tuple[str, T]:
            key = self.word("a name")
            self.expect("=")
            return key, item()

        return self.listed(pair, close)

    def operand(self) -> Operand:
        if self.token[0] == "value":
            return self.use()
        entry = self.entry()
        self.expect(":")
        return Load(entry, self.type())

    def entry(self) -> Entry:
        part = self.part()
        self.expect("[")
        name = self.string("a name")
        self.expect("]")
        return Entry(part, name)

    def part(self) -> Part:
        kind = self.word("a part of the state")
        if kind not in (OWN, SAVED, RECOMPUTED, NEW):
            raise self.fail(f"unknown part {short(kind)}; expected own, saved, recomputed or new")
        if kind == OWN:
            return Part(OWN)
        self.expect("[")
        scope = self.string("a scope")
        self.expect("]")
        return Part(kind, scope)

    def define(self) -> Value:
        name = self.unquoted(self.take("value", "a %value"), 1)
        self.expect(":")
        value = self._values[name] = Value(name, self.type())
        return value

    def use(self) -> Value:
        token = self.take("value", "a %value")
        name = self.unquoted(token, 1)
        if name not in self._values:
            raise self.fail(f"%{short(name)} is not defined", token)
        return self._values[name]
