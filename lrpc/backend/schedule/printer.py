"""The text form of a schedule: one statement a line, parsed back to an equal schedule."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from lrpc.backend.schedule.ir import (
    OWN,
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
from lrpc.ir.extents import sizes_in
from lrpc.ir.graph import Value
from lrpc.ir.printer import (
    print_attr,
    print_name,
    print_rule,
    print_sizes,
    print_typed,
    print_value,
)
from lrpc.ir.stand_ins import coefficient

STEP = "  "


def print_schedule(schedule: Schedule) -> str:
    """The text of a schedule, ending in a newline; `parse_schedule` of it gives an equal one."""
    dims = (d for v in schedule.forward.parameters for d in v.type.shape)
    varying = print_sizes(sizes_in(map(coefficient, dims)))
    lines = [f"schedule{varying}{' chunked' * schedule.chunked} {{"]
    sizes = [] if schedule.sizes is None else [schedule.sizes]
    for function in (*schedule.functions, *sizes, schedule.forward):
        lines += _indented(_function(function))
    for target in schedule.targets:
        lines += _indented(_target(target))
    return "\n".join([*lines, "}"]) + "\n"


def _target(target: Target) -> Iterator[str]:
    name = " ".join(map(json.dumps, (target.name, target.composite)))
    yield f"target {name} from {_entry(target.start)} {{"
    for function in target.functions:
        yield from _indented(_function(function))
    yield "}"


def _function(function: Function) -> Iterator[str]:
    words = ["function", json.dumps(function.name), function.half, *["ledger"] * function.ledger]
    yield f"{' '.join(words)} ({print_typed(function.parameters)}) {{"
    yield from _indented(_body(function.body, function.results))
    yield "}"


def _body(body: Iterable[Statement], results: Iterable[Value]) -> Iterator[str]:
    for statement in body:
        yield from _statement(statement)
    yield f"return {', '.join(map(print_value, results))}".rstrip()


def _statement(s: Statement) -> Iterator[str]:
    if isinstance(s, Compute):
        row = f"{print_typed(s.outputs)} = {s.op}({_operands(s.inputs)}){_attrs(s.attrs)}"
        row += f" over={s.over}" if s.over is not None else ""
        row += f" keeps={_entry(s.keeps)}" if s.keeps is not None else ""
        yield row + _origin(s.origin)
    elif isinstance(s, Read):
        yield f"read {json.dumps(s.place)} ({_operands(s.inputs)}){_origin(s.origin)}"
    elif isinstance(s, Book):
        times = f" times={s.times}" if s.times > 1 else ""
        yield f"book ({_operands(s.inputs)}){_attrs(s.attrs)}{times}{_origin(s.origin)}"
    elif isinstance(s, Only):
        yield f"only {'ledger' if s.ledger else 'plain'} {{"
        for inner in s.body:
            yield from _indented(_statement(inner))
        yield "}"
    elif isinstance(s, Save):
        yield f"save {_entry(s.entry)} = {print_value(s.value)}"
    elif isinstance(s, Free):
        values = ", ".join(map(print_name, s.values))
        parts = ", ".join(map(json.dumps, s.parts))
        yield " ".join(filter(None, ["free", values, "parts" * bool(parts), parts]))
    elif isinstance(s, Recompute):
        yield f"recompute {json.dumps(s.scope)} {'whole' if s.whole else 'rest'} {{"
        yield from _indented(_statement(s.run)) if s.run is not None else ()
        yield "}"
    else:
        yield from _callee(s)


def _callee(s: Block | Call) -> Iterator[str]:
    over = "".join(
        f" {word}=[{','.join(map(str, places))}]"
        for word, places in (("over", s.over), ("gives", s.gives))
        if places
    )
    if isinstance(s, Call):
        outputs = f"{print_typed(s.results)} = " if s.results else ""
        prefix = json.dumps(s.prefix) if isinstance(s.prefix, str) else _setting(s.prefix)
        head = f"call {json.dumps(s.function)} {prefix} {_part(s.part)}"
        yield f"{outputs}{head} ({_operands(s.arguments)}){over}"
        return
    pairs = zip(s.parameters, s.arguments, strict=True)
    given = ", ".join(f"{print_value(p)}: {p.type} = {_operand(a)}" for p, a in pairs)
    head = f"block {json.dumps(s.key)} {json.dumps(s.block)} {_part(s.part)}"
    rule = f" rule={json.dumps(s.rule)}" if s.rule else ""
    yield f"{head} ({given}){over}{rule} {{"
    yield from _indented(_body(s.body, s.results))
    yield "}"


def _indented(lines: Iterable[str]) -> list[str]:
    return [f"{STEP}{line}" for line in lines]


def _operands(operands: Iterable[Operand]) -> str:
    return ", ".join(map(_operand, operands))


def _operand(x: Operand) -> str:
    return f"{_entry(x.entry)}: {x.type}" if isinstance(x, Load) else print_value(x)


def _entry(entry: Entry) -> str:
    return f"{_part(entry.part)}[{json.dumps(entry.name)}]"


def _part(part: Part) -> str:
    return OWN if part.kind == OWN else f"{part.kind}[{json.dumps(part.scope)}]"


def _attrs(attrs: Iterable[tuple[str, Setting]]) -> str:
    inner = ", ".join(f"{key}={_setting(value)}" for key, value in attrs)
    return f" {{{inner}}}" if inner else ""


def _setting(value: Setting) -> str:
    return f"w[{json.dumps(value.name)}]" if isinstance(value, WeightName) else print_attr(value)


def _origin(origin: Origin) -> str:
    words = [f"role={json.dumps(origin.role)}"] if origin.role else []
    words += [f"rule={print_rule(origin.rule)}"] if origin.rule is not None else []
    words += [f"in={json.dumps(origin.module)}"] if origin.module else []
    return "".join(f" {word}" for word in words)
