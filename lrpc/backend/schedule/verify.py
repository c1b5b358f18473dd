"""Checks that a schedule can run: names, calls, memory and the state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from lrpc.backend.schedule.chunk import of_seeds
from lrpc.backend.schedule.ir import (
    NEW,
    OWN,
    RECOMPUTED,
    SAVED,
    STEPS,
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
    Part,
    Read,
    Recompute,
    Save,
    Schedule,
    Statement,
    Step,
)
from lrpc.backend.schedule.known_calls import Look, Looks, Touch
from lrpc.backend.schedule.scope import Scope, Wrong
from lrpc.backend.schedule.table import operands_over
from lrpc.errors import IRError
from lrpc.ir.graph import Value
from lrpc.ir.types import TensorType

MAINS = ("relevance", "tail", "part")  # the functions of relevance that read places
Shelf = dict[str, TensorType]  # what lies in a part of the state, by name


def verify(schedule: Schedule, after: str = "") -> Schedule:
    """The same schedule. Raises IRError that names the function and the statement where a value is
    read before it is made or after it is freed, or is freed twice; where a call does not fit its
    function; where a result is written over what something else can see; where relevance reads what
    the state does not hold; where chunks do not go over exactly the values of seeds."""
    looks = Looks()
    try:
        if schedule.sizes is not None:
            _Main(schedule, looks, {}).run(schedule.sizes)
        forward = _Main(schedule, looks, {"": {}})
        forward.run(schedule.forward)
        for target in schedule.targets:
            forward.entry(target.start, None)
            for ledger in (False, True):
                state = {scope: dict(shelf) for scope, shelf in forward.state.items()}
                function = target.with_ledger if ledger else target.plain
                _Main(schedule, looks, state, ledger=ledger).run(function)
    except Wrong as error:
        raise IRError(f"{f'after {after}: ' if after else ''}schedule: {error}") from None
    return schedule


@dataclass
class _Main:
    """Runs a main function on names: `state` and `copies` have what lies in each part."""

    schedule: Schedule
    looks: Looks
    state: dict[str, Shelf]
    copies: dict[str, Shelf] = field(default_factory=dict)
    ledger: bool = False
    where: str = ""

    def run(self, function: Function) -> None:
        """All of a main function."""
        self.where = function.name
        scope = Scope()
        scope.define(function.parameters)
        self._body(function, function.body, function.results, scope, None)

    def _body(
        self,
        function: Function,
        body: Sequence[Statement],
        results: Sequence[Value],
        scope: Scope,
        own: Part | None,
    ) -> None:
        """Statements of a main function, or of a function that is handed the part `own`."""
        for s in body:
            try:
                self._statement(function, s, scope, own)
            except Wrong as error:
                raise Wrong(f"{error}; in {self.where}, {_said(s)}") from None
        for value in results:  # of what a function returns, its caller reads what is still there
            scope.read(value, named=scope.inner)

    def _statement(self, function: Function, s: Statement, scope: Scope, own: Part | None) -> None:
        if isinstance(s, STEPS):
            self._step(function, s, scope, own)
        elif isinstance(s, Only):
            for inner in s.body if s.ledger == self.ledger else ():
                self._statement(function, inner, scope, own)
        elif isinstance(s, Save):
            scope.read(s.value)
            scope.memory.seen(s.value.name)
            makes = function.half == "forward"
            shelf = self._shelf(s.entry.part, own, make=makes)
            shelf[s.entry.name] = s.value.type
            self.looks.touch(s.entry.part, own, Touch(s.entry.name, s.value.type, True, makes))
        elif isinstance(s, Free):
            scope.free(s.values)
            for part in s.parts:
                self.looks.beyond()
                if self.copies.pop(part, None) is None:
                    raise Wrong(f'the copy of part "{part}" is dropped where there is none')
        elif isinstance(s, Recompute):
            self.looks.beyond()
            there = {} if s.whole else self.state.get(s.scope, {})
            self.copies[s.scope] = dict(there)
            if s.run is not None:
                self._callee(s.run, scope, function, own)
        else:
            self._callee(s, scope, function, own)
            scope.define(s.results)

    # -- operations ------------------------------------------------------------------------------

    def _step(self, function: Function, s: Step, scope: Scope, own: Part | None) -> None:
        named = isinstance(s, Book) and not self.ledger
        for x in s.inputs:
            self._read(x, scope, own, named)
        if isinstance(s, Compute):
            scope.define(s.outputs)
            if s.over is not None:
                self._over(s, scope)
            if s.keeps is not None and (s.keeps.part.kind == OWN) != (own is not None):
                raise Wrong("tables are kept in a part that is out of reach")
        elif isinstance(s, Read) and (own is not None or function.half not in MAINS):
            raise Wrong("relevance is handed out by main functions alone")
        elif isinstance(s, Book) and not function.ledger:
            raise Wrong("a row is booked without a ledger")
        scope.memory.note(s)

    def _over(self, s: Compute, scope: Scope) -> None:
        """A result is written over what nothing else can see."""
        if not 0 <= (s.over or 0) < operands_over(s.op):
            raise Wrong(f"{s.op} cannot write over its operand {s.over}")
        operand = s.inputs[s.over or 0]
        if isinstance(operand, Load) or not scope.memory.owns(operand.name):
            raise Wrong(f"operand {s.over} is written over, whose memory is not the function's")
        if operand.type != s.outputs[0].type:
            raise Wrong(f"{s.outputs[0].type} is written over {operand.type}")
        if scope.memory.shared(s, operand.name):
            raise Wrong(f"%{operand.name} is written over and read twice")

    def _read(self, x: Operand, scope: Scope, own: Part | None, named: bool = False) -> None:
        """What an operand holds, or its name alone, is read."""
        if isinstance(x, Load):
            self.entry(x.entry, own, x.type)
        else:
            scope.read(x, named)

    # -- the state -------------------------------------------------------------------------------

    def entry(self, entry: Entry, own: Part | None, kind: TensorType | None = None) -> None:
        """An entry is there, with this type."""
        found = self._shelf(entry.part, own).get(entry.name)
        if found is None:
            raise Wrong(f'the state has no "{entry.name}" in its part {_part(entry.part, own)}')
        if kind is not None and kind != found:
            raise Wrong(f'"{entry.name}" of the state is {found}, read as {kind}')
        self.looks.touch(entry.part, own, Touch(entry.name, found))

    def _shelf(self, part: Part, own: Part | None, make: bool = False) -> Shelf:
        if part.kind == OWN:
            if own is None:
                raise Wrong("a main function has no part of its own")
            part = own
        if part.kind in (RECOMPUTED, NEW):
            if part.scope not in self.copies:
                raise Wrong(f"part {_part(part, None)} is not computed again here")
            return self.copies[part.scope]
        if part.kind != SAVED:
            raise Wrong(f"unknown part {part.kind}")
        return self.state.setdefault(part.scope, {}) if make else self.state.get(part.scope, {})

    # -- functions -------------------------------------------------------------------------------

    def _callee(self, s: Block | Call, scope: Scope, caller: Function, own: Part | None) -> None:
        for x in s.arguments:
            self._read(x, scope, own, named=True)
        self._chunks(s, caller, own)
        if s.part.kind == NEW:
            self.looks.beyond()
            self.copies[s.part.scope] = {}
        function, results = caller, s.results
        if isinstance(s, Call):
            function = self._called(s, caller)
            parameters, body, results = function.parameters, function.body, function.results
        else:
            parameters, body = s.parameters, s.body
        if [v.type for v in parameters] != [x.type for x in s.arguments]:
            raise Wrong("the arguments do not fit the parameters")
        names = [x.name if isinstance(x, Value) else None for x in s.arguments]
        for name in (names[i] for i in s.gives):
            if name is None or not scope.memory.owns(name):
                raise Wrong("gives away what is not the caller's")
        if s.part.kind == OWN and own is None:
            raise Wrong("a main function has no part of its own")
        part = own if s.part.kind == OWN else Part(s.part.kind, s.part.scope)
        part = None if function.half in MAINS[1:] else part
        given = zip(parameters, names, strict=True)
        gone = frozenset(v.name for v, name in given if scope.memory.gone(name or ""))
        key = (id(function), s.gives, self.ledger, gone) if isinstance(s, Call) else None
        look = self.looks.ended.get(key)
        if look is None or not self._as_before(look, part):
            inside = Scope(memory=self.looks.begin(part).memory, inner=True)
            inside.define(parameters)
            inside.memory.given([v.name for v in parameters], s.gives)
            inside.memory.dead.update(gone)
            where, self.where = self.where, f"{self.where}, {_said(s)}"
            self._body(function, body, results, inside, part)
            self.where, look = where, self.looks.end(key)
        made = zip((v.name for v in s.results), (v.name for v in results), strict=False)
        scope.memory.called(look.memory, names, s.gives, dict(made))
        if s.part.kind == NEW:
            del self.copies[s.part.scope]

    def _as_before(self, look: Look, own: Part | None) -> bool:
        """Whether a function that is handed the part `own` finds there what it found at that look,
        and so does what it did."""
        if not look.touched:
            return True
        part = Part(OWN)
        shelf = dict(self._shelf(part, own))
        for x in look.touched:
            if x.put:
                shelf[x.name] = x.type
            elif shelf.get(x.name) != x.type:
                return False
        for x in look.touched:
            if x.put:
                self._shelf(part, own, make=x.makes)[x.name] = x.type
            self.looks.touch(part, own, x)
        return True

    def _chunks(self, s: Block | Call, caller: Function, own: Part | None) -> None:
        """A block of relevance goes over exactly the values of seeds; what lies in one goes with
        it, and so does what lies between blocks."""
        over = tuple(i for i, x in enumerate(s.arguments) if of_seeds(x.type))
        main = caller.half in MAINS and own is None
        whole = not self.schedule.chunked or not main
        if isinstance(s, Block):
            whole = whole or bool(s.rule)
        elif s.function in self.schedule.by_name:
            whole = whole or self.schedule.by_name[s.function].half != "relevance"
        if s.over != (() if whole else over):
            raise Wrong(f"goes through arguments {s.over} in chunks; those of seeds are {over}")

    def _called(self, s: Call, caller: Function) -> Function:
        function = self.schedule.by_name.get(s.function)
        if function is None:
            raise Wrong(f"there is no function {s.function}")
        kinds = [v.type for v in function.results]
        if s.results and [v.type for v in s.results] != kinds:
            raise Wrong(f"{s.function} returns {', '.join(map(str, kinds)) or 'nothing'}")
        if function.ledger and not caller.ledger:
            raise Wrong(f"{s.function} wants a ledger")
        return function


def _part(part: Part, own: Part | None) -> str:
    return f'"{(own or part).scope if part.kind == OWN else part.scope}"'


def _said(s: Statement) -> str:
    if isinstance(s, (Block, Call)):
        return f"block {s.key}" if isinstance(s, Block) else f"call of {s.function}"
    if isinstance(s, Compute):
        return f"%{s.outputs[0].name} = {s.op}"
    return type(s).__name__.lower()
