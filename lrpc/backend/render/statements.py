"""The statements of one function of a schedule as lines of Python."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Set
from dataclasses import dataclass, field, replace
from functools import cached_property

from lrpc.backend.quoting import comment, literal, quoted
from lrpc.backend.render.expressions import Expressions
from lrpc.backend.render.families import NOTHING, Said
from lrpc.backend.render.inlining import tells_module
from lrpc.backend.render.layout import WIDTH, laid_out, taken_out
from lrpc.backend.render.rows import booked
from lrpc.backend.schedule.ir import (
    RECOMPUTED,
    Book,
    Call,
    Compute,
    Free,
    Only,
    Origin,
    Read,
    Recompute,
    Save,
    Statement,
)
from lrpc.backend.schedule.table import template
from lrpc.backend.schedule.walk import unconditional
from lrpc.ir.graph import Value


@dataclass
class Lines(Expressions):
    """Writes the statements of a function."""

    lines: list[str] = field(default_factory=list)
    indent: int = 4
    _comment: str = ""
    _last: int = 0  # the first line of the last operation, and the one behind it
    _end: int = -1
    _code: str = ""
    _types: str = ""

    def body(self) -> list[str]:
        """The lines of all statements, after those that name the parts of the state."""
        for line in (*self.saved.lines, *self.prefixes.lines):
            self._write(line)
        self._statements(self.written.body)
        return self.lines

    def _write(self, code: str, note: str = "") -> None:
        self.lines += laid_out(code, note, self.indent)

    def _statements(self, body: Iterable[Statement]) -> None:
        before: Statement | None = None
        rest = deque(body)
        while rest:
            s = rest.popleft()
            if rest and (both := self._both(s, rest[0])):
                s, rest[0] = both
            said = self._said.get(id(s), NOTHING)
            if isinstance(s, Compute) and s.outputs[0].name in self.written.within:
                continue
            if isinstance(s, Only):
                self._only(s, before)
            elif isinstance(s, Compute):
                self._compute(s, said)
            elif isinstance(s, Save):
                self._save(s, before)
            elif isinstance(s, Free):
                self._free(s)
            elif isinstance(s, Call):
                self._call(s, said)
            elif isinstance(s, Recompute):
                self._recompute(s, said)
            elif isinstance(s, Read):
                self._read(s)
            elif isinstance(s, Book):
                self._write(booked(s, list(map(self._operand, s.inputs))))
            before = s

    def _both(self, s: Statement, after: Statement) -> tuple[Only, Only] | None:
        """Write what runs with and without a ledger alike but for the operand that it writes over,
        and give the rest of both."""
        if not (isinstance(s, Only) and isinstance(after, Only) and s.ledger is not after.ledger):
            return None
        plain, ledger = (after, s) if s.ledger else (s, after)
        first, second = plain.body[:1], ledger.body[:1]
        if not all(isinstance(x, Compute) for x in (*first, *second)) or not (first and second):
            return None
        over, new = first[0], second[0]
        assert isinstance(over, Compute)
        assert isinstance(new, Compute)
        if over.over is None or replace(over, over=None, origin=new.origin) != new:
            return None
        if template(over.op, over.over) != f"{template(over.op)[:-1]}, over=True)":
            return None
        self._note(over.origin)
        code = f"{self.name(new.outputs[0])} = {self._expression(new)[:-1]}, over=ledger is None)"
        self._assign(code, ", ".join(self._said[id(new)].types))
        return replace(s, body=s.body[1:]), replace(after, body=after.body[1:])

    def _only(self, s: Only, before: Statement | None) -> None:
        if s.ledger and self.written.only_books(s.body):
            self._statements(s.body)  # `book` does nothing where there is no ledger
            return
        outer, self.lines = self.lines, []
        self.indent += 4
        self._statements(s.body)
        self.indent -= 4
        inner, self.lines = self.lines, outer
        if not inner:
            return
        other = isinstance(before, Only) and before.ledger != s.ledger and not self._empty(before)
        head = "else:" if other else f"if ledger is {'not ' * s.ledger}None:"
        self.lines += [head, *(f"    {line}" for line in inner)]

    def _empty(self, s: Only) -> bool:
        """Whether nothing is written of what runs under a condition."""
        gone = self.local.rebound
        return all(isinstance(x, Free) and not x.parts and gone >= {*x.values} for x in s.body)

    def _save(self, s: Save, before: Statement | None) -> None:
        """What is saved as soon as it is made is made and saved in one statement."""
        entry = self._entry(s.entry)
        if isinstance(before, Compute) and before.outputs == (s.value,):
            del self.lines[self._last :]
            self._end = -1
            types = ", ".join(self._said[id(before)].types)
            self._write(f"{entry} = {self.name(s.value)} = {self._expression(before)}", types)
        else:
            self._write(f"{entry} = {self.name(s.value)}")

    def returned(self, names: str) -> bool:
        """Whether the last statement makes what is called so, and now returns it."""
        made = self._just_made(names)
        if made is not None:
            self._write(f"return {made}", self._types)
        return made is not None

    def _just_made(self, names: str) -> str | None:
        """The expression of the last statement, which is taken back, if it makes what is called
        so."""
        code = f"{names} = "
        if self._end != len(self.lines) or not self._code.startswith(code):
            return None
        del self.lines[self._last :]
        return self._code.removeprefix(code)

    def _assign(self, code: str, types: str) -> None:
        """A statement, which may become what the function returns."""
        self._last, self._code, self._types = len(self.lines), code, types
        self._write(code, types)
        self._end = len(self.lines)

    def _compute(self, s: Compute, said: Said) -> None:
        if not tells_module(s):
            self._note(s.origin)
        outputs = ", ".join(map(self.name, s.outputs))
        self._assign(f"{outputs} = {self._expression(s)}", ", ".join(said.types))

    def _read(self, s: Read) -> None:
        self._note(s.origin)
        given = ", ".join([quoted(s.place), *map(self._operand, s.inputs)])
        self._write(f"if hand_out(out, read, ledger, {given}):")
        self._write("    return None" if self.function.half == "part" else "    return out")

    def _free(self, s: Free) -> None:
        """A `del`; names that functions close over become None, for torch.compile takes no `del` of
        them."""
        values = [n for n in s.values if n not in self.local.rebound]
        names = [*(self.local.names[n] for n in values), *(self.texts.parts[p] for p in s.parts)]
        closed = self._closed_over
        plain = ", ".join(name for name in names if name not in closed)
        if plain:
            self._write(f"del {plain}")
        for name in names:
            if name in closed:
                self._write(f"{name} = None")

    @cached_property
    def _closed_over(self) -> Set[str]:
        if not self.texts.chunked:
            return frozenset()
        steps = unconditional(self.function.body)
        calls = (s for s in steps if isinstance(s, Call) and s.over)
        return {name for s in calls for name in self._outer(s)}

    def _outer(self, s: Call) -> Iterable[str]:
        yield from (
            self.name(x)
            for i, x in enumerate(s.arguments)
            if isinstance(x, Value) and i not in s.over
        )
        if s.part.kind == RECOMPUTED:
            yield self.texts.parts[s.part.scope]

    def _part_of_main(self, s: Call) -> None:
        """What goes on is handed over in a list, and held no longer."""
        given, handed = list(map(self._operand, s.arguments)), self.texts.handed[s.function]
        made = self._just_made(", ".join(given)) if len(given) == len(handed) == 1 else None
        self._write(f"held = [{made or ', '.join(given)}]")
        gone = ", ".join(given[i] for i in handed)
        if gone and not made:
            self._write(f"del {gone}")
        chunk = "chunk, " if self.texts.chunked else ""
        call = f"{s.function}(w, saved, held, read, out, {chunk}ledger)"
        if not s.results:
            self._write(f"return {call}")
            return
        self._write(f"held = {call}")
        self._write("if held is None:")
        self._write("    return None" if self.function.half == "part" else "    return out")
        for line in taken_out([*map(self.name, s.results)]):
            self._write(line)

    def _call(self, s: Call, said: Said) -> None:
        if s.function not in self.texts.families:
            self._part_of_main(s)
            return
        call = self._called(s, said)
        if s.over:
            call = self._in_chunks(s, call)
        outputs = ", ".join(map(self.name, s.results))
        self._comment = ""
        code, note = f"{outputs} = {call}" if outputs else call, ", ".join(said.types)
        self._assign(code, note if len(code) + len(note) + 4 + self.indent <= WIDTH else "")

    def _called(self, s: Call, said: Said) -> str:
        prefix = s.prefix
        words = self.texts.words[s.function]
        given = {"p": self._prefix(prefix)}
        if "s" in words:
            given["s"] = self._part(s.part)
        head = [given.get(word, word) for word in words if word != "ledger"]
        sizes = [f"{key}={text}" for key, text in self._texts(said).items()]
        ledger = ["ledger"] if "ledger" in words else []
        arguments = [*head, *map(self._operand, s.arguments), *ledger, *sizes]
        return f"{self.texts.families[s.function].name}({', '.join(arguments)})"

    def _in_chunks(self, s: Call, call: str) -> str:
        """The call for `chunk` seeds at a time."""
        over = [self._operand(s.arguments[i]) for i in s.over]
        same = tuple(i for i, v in enumerate(s.results) if not v.type.seeded)
        end = [f"same={literal(same)}"] if same else []
        end += ["ledger=ledger"] if "ledger" in self.texts.words[s.function] else []
        inner = f"lambda {', '.join(['K', 'ledger', *over])}: {call}"
        return f"in_chunks({', '.join(['chunk', 'K', inner, *over, *end])})"

    def _recompute(self, s: Recompute, said: Said) -> None:
        part = self.texts.parts[s.scope]
        there = "{}" if s.whole else f"dict({self.saved.texts[s.scope]})"
        self._write(f"{part} = {there}", "computed again" if s.whole else "the rest computed again")
        if isinstance(s.run, Call):
            self._write(self._called(s.run, said))

    def _note(self, origin: Origin) -> None:
        """Module path, and the rule of relevance, where they change."""
        rule = str(origin.rule) if origin.rule and origin.role == "relevance" else ""
        text = ": ".join(part for part in (origin.module, rule) if part)
        if text and text != self._comment:
            self._write(f"# {comment(text)}")
        self._comment = text
