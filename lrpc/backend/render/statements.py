"""The statements of one function of a schedule as lines of Python."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field

from lrpc.backend.expression import render
from lrpc.backend.quoting import comment, literal, quoted
from lrpc.backend.schedule.chunk import of_seeds
from lrpc.backend.schedule.ir import (
    AGAIN,
    NEW,
    OWN,
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
    Statement,
    WeightName,
)
from lrpc.backend.schedule.words import words_of
from lrpc.ir.graph import Value


@dataclass
class Lines:
    """Writes the statements of a function. `parts` are the local names of what is computed again;
    with `chunked`, calls take some seeds at a time; `words` are the extra arguments of block
    functions."""

    function: Function
    words: Mapping[str, Sequence[str]] = field(default_factory=dict)
    parts: Mapping[str, str] = field(default_factory=dict)
    chunked: bool = False
    lines: list[str] = field(default_factory=list)
    _said: str = ""
    _last: Only | None = None

    def body(self) -> list[str]:
        """The lines of all statements."""
        for s in self.function.body:
            self._statement(s)
            self._last = s if isinstance(s, Only) else None
        return self.lines

    def _only(self, s: Only) -> None:
        before, self.lines = self.lines, []
        for inner in s.body:
            self._statement(inner)
        word = "is not" if s.ledger else "is"
        head = f"if ledger {word} None:"
        if s.ledger and self._last is not None and not self._last.ledger:
            head = "else:"
        self.lines = [*before, head, *(f"    {line}" for line in self.lines)]

    def _statement(self, s: Statement) -> None:
        if isinstance(s, Compute):
            self._compute(s)
        elif isinstance(s, Save):
            self.lines.append(f"{self._entry(s.entry)} = {s.value.name}")
        elif isinstance(s, Free):
            self._free(s)
        elif isinstance(s, Call):
            self._call(s)
        elif isinstance(s, Recompute):
            self._recompute(s)
        elif isinstance(s, Read):
            self._read(s)
        elif isinstance(s, Book):
            self.lines.append(booked(s, list(map(self._operand, s.inputs))))
        elif isinstance(s, Only):
            self._only(s)

    def _compute(self, s: Compute) -> None:
        self._comment(s.origin)
        outputs = ", ".join(v.name for v in s.outputs)
        shapes = ", ".join(str(v.type) for v in s.outputs)
        kept = f", {self._part(s.keeps.part)}, {quoted(s.keeps.name)}" if s.keeps else ""
        text = render(s, list(map(self._operand, s.inputs)), _weight, kept, s.over)
        self.lines.append(f"{outputs} = {text}  # {shapes}")

    def _read(self, s: Read) -> None:
        self._comment(s.origin)
        name, given = quoted(s.place), handed_out(list(map(self._operand, s.inputs)))
        self.lines.append(f"if {name} in read:")
        self.lines.append(f"    out[{name}] = {given}  # {s.inputs[0].type}")
        self.lines.append("    if len(out) == len(read) and ledger is None:")
        self.lines.append("        return out")

    def _free(self, s: Free) -> None:
        """A `del`; names that functions close over become None, for torch.compile takes no `del` of
        them."""
        names = [*s.values, *(self.parts[scope] for scope in s.parts)]
        closed = self._closed_over
        plain = ", ".join(name for name in names if name not in closed)
        self.lines += [f"del {plain}"] if plain else []
        self.lines += [f"{name} = None" for name in names if name in closed]

    @property
    def _closed_over(self) -> Set[str]:
        if not self.chunked:
            return frozenset()
        return {name for s in self.function.body if isinstance(s, Call) for name in self._outer(s)}

    def _outer(self, s: Call) -> Iterable[str]:
        yield from (
            x.name for i, x in enumerate(s.arguments) if isinstance(x, Value) and i not in s.over
        )
        if s.part.kind == AGAIN:
            yield self.parts[s.part.scope]

    def _call(self, s: Call) -> None:
        call = self._called(s)
        if s.over:
            call = self._in_chunks(s, call)
        outputs = ", ".join(v.name for v in s.results)
        self.lines.append(f"{outputs} = {call}" if outputs else call)

    def _called(self, s: Call) -> str:
        prefix = quoted(s.prefix) if isinstance(s.prefix, str) else f"p + {quoted(s.prefix.name)}"
        words = self.words[s.function]
        head = ["w", prefix, self._part(s.part), *(w for w in words if w != "ledger")]
        end = ["ledger"] if "ledger" in words else []
        return f"{s.function}({', '.join([*head, *map(self._operand, s.arguments), *end])})"

    def _in_chunks(self, s: Call, call: str) -> str:
        """The call for `chunk` seeds at a time."""
        over = [self._operand(s.arguments[i]) for i in s.over]
        ledger = "ledger" in self.words[s.function]
        same = tuple(i for i, v in enumerate(s.results) if not of_seeds(v.type))
        end = [f"same={literal(same)}"] if same else []
        end += ["ledger=ledger"] if ledger else []
        inner = f"lambda {', '.join(['K', 'ledger', *over])}: {call}"
        return f"in_chunks({', '.join(['chunk', 'K', inner, *over, *end])})"

    def _recompute(self, s: Recompute) -> None:
        part = self.parts[s.scope]
        there = "{}  #" if s.whole else f"dict(saved[{quoted(s.scope)}])  # the rest is"
        self.lines.append(f"{part} = {there} computed again")
        if isinstance(s.run, Call):
            self.lines.append(self._called(s.run))

    def _operand(self, x: Operand) -> str:
        return self._entry(x.entry) if isinstance(x, Load) else x.name

    def _entry(self, entry: Entry) -> str:
        return f"{self._part(entry.part)}[{quoted(entry.name)}]"

    def _part(self, part: Part) -> str:
        if part.kind == OWN or (self.function.half == "forward" and not part.scope):
            return "s"
        if part.kind == NEW:
            return "{}"
        return self.parts[part.scope] if part.kind == AGAIN else f"saved[{quoted(part.scope)}]"

    def _comment(self, origin: Origin) -> None:
        """Module path, role and rule, where they change."""
        role = "" if origin.role == "relevance" else origin.role
        words = [w for w in (role, str(origin.rule) if origin.rule else "") if w]
        text = ": ".join(part for part in (origin.module, ", ".join(words)) if part)
        if text and text != self._said:
            self.lines.append(f"# {comment(text)}")
        self._said = text


def block_function(function: Function, called: Mapping[str, Sequence[str]]) -> str:
    """The source of a block function; `called` are the extra arguments of those before it."""
    lines = Lines(function, called).body()
    results = ", ".join(v.name for v in function.results)
    if results or function.half != "again":
        lines.append(f"return {results}".rstrip())
    words = words_of(function, called)
    head = ["w", "p", "s", *(word for word in words if word != "ledger")]
    head += [v.name for v in function.parameters]
    head += ["ledger=None"] if "ledger" in words else []
    return f"def {function.name}({', '.join(head)}):\n" + indented(lines)


def indented(lines: Iterable[str]) -> str:
    """The lines of a function's body."""
    return "\n".join(f"    {line}" if line else line for line in lines)


def _weight(name: str | WeightName) -> str:
    if isinstance(name, WeightName):
        return f"w[p + {quoted(name.name)}]"
    return f"w[{quoted(name)}]"


def handed_out(inputs: Sequence[str]) -> str:
    """The expression that a `Read` of these inputs hands out."""
    text = f"{inputs[0]} * {inputs[1]}" if len(inputs) > 1 else inputs[0]
    return text + (f" + {inputs[2]}" if len(inputs) > 2 else "")


def booked(row: Book, inputs: Sequence[str]) -> str:
    """The statement that books a row where there is a ledger."""
    more = [f"times={row.times}"] if row.times > 1 else []
    for key in ("batch", "fold"):
        value = row.attr(key)
        more += [f"{key}={literal(value)}"] if value not in (None, 1) else []
    more += ["negative=True"] if row.attr("negative") else []
    return f"book(ledger, {', '.join([*inputs, *more])})"


def booked_amount(row: Book, inputs: Sequence[str]) -> str:
    """The expression of the amount that a `Book` appends."""
    sign = "-" if row.attr("negative") else ""
    fold = f", {literal(row.attr('fold'))}" if row.attr("fold") is not None else ""
    return f"{sign}inner({inputs[0]}, {inputs[1]}, {literal(row.attr('batch'))}{fold})"
