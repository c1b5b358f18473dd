"""Names of functions and locals in a program, which hide no name of its module."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from lrpc.backend.body import Names, safe, stem
from lrpc.backend.quoting import ascii_word, identifier
from lrpc.backend.schedule.ir import (
    STEPS,
    Block,
    Call,
    Compute,
    Free,
    Function,
    Load,
    Only,
    Operand,
    Recompute,
    Save,
    Schedule,
    Statement,
    Target,
)
from lrpc.backend.schedule.walk import results, with_mains
from lrpc.backend.sources import GLOBALS
from lrpc.ir.graph import Value


@dataclass
class FunctionNames:
    """Gives names to functions: none in `taken`, or one that numbers make of a name there."""

    taken: Collection[str]
    given: set[str] = field(default_factory=set)

    def of(self, block: Block, half: str, composite: str) -> str:
        """The name of a function for a block: `encoder_layers_relevance_2`, or `gamma_linear` for
        the application of a rule."""
        words = [ascii_word(block.rule)] if block.rule else [function_stem(block.block), half]
        words += [ascii_word(composite)] if composite else []
        wish = identifier("_".join(words))
        while _counted(wish) in self.taken:
            wish += "_"
        name, count = wish, 1
        while name in self.given:
            count += 1
            name = f"{wish}_{count}"
        self.given.add(name)
        return name


def function_stem(block: str) -> str:
    """`sem_seg_head.pixel_decoder.transformer.encoder.layers.3` → `encoder_layers`."""
    parts = [ascii_word(part) for part in block.split(".") if not part.isdigit()]
    return "_".join(parts[-2:]) or "between"


def taken_names(schedule: Schedule) -> frozenset[str]:
    """The names that no block function may have: those of the module, and those that locals are
    made of, which would hide it."""
    values = {v.name for f in schedule.mains() for v in _values(f)}
    scopes = {"", *(s.key for s in schedule.forward.body if isinstance(s, Block))}
    names = {*values, *map(stem, values), *scopes}
    return GLOBALS | {_counted(safe(name)) for name in names}


def _counted(name: str) -> str:
    """A name without the numbers at its end."""
    return re.sub(r"(_\d+)+$", "", name)


def _values(function: Function) -> Iterator[Value]:
    yield from function.parameters
    for s in function.body:
        yield from results(s)
        yield from (v for x in s.body for v in results(x)) if isinstance(s, Block) else ()


def main_names(targets: Sequence[Target], others: Iterable[str]) -> tuple[Target, ...]:
    """The functions of targets by name: `encoder_feature:2` → `relevance_encoder_feature_2`, then
    the composite's name where there are several. Those that do the same for one target share a
    name; none is a name of the module or among `others`."""
    keys = [(t.name, t.plain.code) for t in targets]
    users = Counter(keys)
    names: dict[tuple[object, ...], str] = {}
    taken = {*GLOBALS, *others}
    for target, key in zip(targets, keys, strict=True):
        if key in names:
            continue
        own = [target.composite] if users[key] == 1 and target.composite else []
        name = "_".join(["relevance", *map(ascii_word, [target.name, *own])])
        while name in taken:
            name += "_"
        taken.add(name)
        names[key] = name
    return tuple(
        replace(target, functions=(replace(target.plain, name=names[key]),))
        for target, key in zip(targets, keys, strict=True)
    )


# -- locals of main functions ----------------------------------------------------------------------


def parts_of(schedule: Schedule) -> dict[str, str]:
    """The local name of each part of the state that relevance computes again."""
    again = {s.scope for f in schedule.mains() for s in f.body if isinstance(s, Recompute)}
    order = [s.part.scope for s in schedule.forward.body if isinstance(s, Call)]
    names = Names()
    return {scope: names.fresh(scope) for scope in order if scope in again}


def with_local_names(schedule: Schedule, parts: Iterable[str]) -> Schedule:
    """The schedule whose main functions have names of Python for their values: none of `parts`."""
    taken = set(parts)
    return with_mains(schedule, lambda f: _localised(f, taken))


def _localised(function: Function, taken: set[str]) -> Function:
    names = Names(taken=set(taken))
    found: dict[str, Value] = {}

    def name(value: Value) -> Value:
        if value.name in found:  # made under either condition
            return found[value.name]
        found[value.name] = named = Value(names.fresh(value.name), value.type)
        return named

    def operand(x: Operand) -> Operand:
        return x if isinstance(x, Load) else found[x.name]

    def statement(s: Statement) -> Statement:
        if isinstance(s, Save):
            return replace(s, value=found[s.value.name])
        if isinstance(s, Free):
            return replace(s, values=tuple(found[n].name for n in s.values))
        if isinstance(s, Only):
            return replace(s, body=tuple(map(statement, s.body)))
        if isinstance(s, Call):
            arguments = tuple(map(operand, s.arguments))
            own = {v.name: v for v in s.results}
            made = {n: names.fresh(n) for n in s.values}  # nothing inside has its name outside
            for n, v in own.items():
                found[n] = Value(made[n], v.type)
            return replace(s, arguments=arguments, results=tuple(found[n] for n in own))
        if isinstance(s, STEPS):
            s = replace(s, inputs=tuple(map(operand, s.inputs)))
            return replace(s, outputs=tuple(map(name, s.outputs))) if isinstance(s, Compute) else s
        return s

    parameters = tuple(map(name, function.parameters))
    body = tuple(map(statement, function.body))
    ends = tuple(found[v.name] for v in function.results)
    return replace(function, parameters=parameters, body=body, results=ends)
