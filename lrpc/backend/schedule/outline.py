"""Blocks become functions: one for all that do the same, whatever their values are called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from lrpc.backend.schedule.canonical import canonical, values_of
from lrpc.backend.schedule.ir import (
    Block,
    Call,
    Function,
    Recompute,
    Schedule,
    Statement,
)
from lrpc.backend.schedule.names import FunctionNames, main_names, taken_names
from lrpc.backend.schedule.walk import changed


def outline(schedule: Schedule, named: bool = True) -> Schedule:
    """Every block as a call of a function, which equal blocks share. So do the main functions of
    composites for which a target comes to the same. Functions are numbered unless `named`."""
    library = _Library()
    forward = library.main(schedule.forward)
    targets = []
    for target in schedule.targets:
        targets.append(target.changed(lambda f: library.main(f, target.composite)))  # noqa: B023
    if not named:
        functions = tuple(library.functions.values())
        return replace(schedule, forward=forward, targets=tuple(targets), functions=functions)
    found = library.named(FunctionNames(taken_names(schedule)))
    called = {number: f.name for number, f in found.items()}
    pairs = [t.changed(lambda f: _named(f, called)) for t in targets]
    return replace(
        schedule,
        forward=_named(forward, called),
        targets=main_names(pairs, called.values()),
        functions=tuple(found.values()),
    )


def _named(function: Function, names: Mapping[str, str]) -> Function:
    """A main function whose calls, numbered so far, have names."""

    def named(s: Statement) -> Statement:
        if isinstance(s, Recompute) and isinstance(s.run, Call):
            return replace(s, run=replace(s.run, function=names[s.run.function]))
        return replace(s, function=names[s.function]) if isinstance(s, Call) else s

    return replace(function, body=changed(function.body, named))


@dataclass
class _Library:
    """The functions so far by what they do, with the blocks that they were made for first, and the
    composites that use them. Calls name them by their numbers."""

    functions: dict[tuple[object, ...], Function] = field(default_factory=dict)
    blocks: list[Block] = field(default_factory=list)
    users: list[set[str]] = field(default_factory=list)

    def main(self, function: Function, composite: str = "") -> Function:
        """A main function that calls what was a block."""

        def called(s: Statement) -> Statement:
            if isinstance(s, Block):
                half = "rule" if s.rule else function.half
                return self._call(s, half, function.ledger, composite)
            if isinstance(s, Recompute) and isinstance(s.run, Block):
                call = self._call(s.run, "forward" if s.whole else "recompute", False, "")
                return replace(s, run=replace(call, results=()))
            return s

        return replace(function, body=changed(function.body, called))

    def _call(self, block: Block, half: str, ledger: bool, composite: str) -> Call:

        def called(s: Statement) -> Statement:
            return self._call(s, "rule", ledger, composite) if isinstance(s, Block) else s

        block = replace(block, body=changed(block.body, called))
        function = canonical(block, half, ledger)
        known = self.functions.setdefault(
            function.code, replace(function, name=str(len(self.functions)))
        )
        if len(self.blocks) < len(self.functions):
            self.blocks.append(block)
            self.users.append(set())
        self.users[int(known.name)].add(composite)
        made = values_of(block)
        return Call(
            *(known.name, block.prefix, block.part, block.arguments, block.results),
            over=block.over,
            gives=block.gives,
            values=made,
        )

    def named(self, names: FunctionNames) -> dict[str, Function]:
        """The functions by their numbers. Where there are several composites, one that a single
        composite uses has its name."""
        found: dict[str, Function] = {}
        for function, block, users in zip(
            self.functions.values(), self.blocks, self.users, strict=True
        ):
            own = next(iter(users)) if len(users) == 1 else ""
            name = names.of(block, function.half, own)
            called = {number: f.name for number, f in found.items()}
            found[function.name] = replace(_named(function, called), name=name)
        return found
