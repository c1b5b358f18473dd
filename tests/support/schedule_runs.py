"""Runs schedules: statement by statement by the references of the op table, and as programs."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from lrpc.backend.interface import Description, TargetCode
from lrpc.backend.render.program import KERNELS, RUNTIME, program_text
from lrpc.backend.schedule.ir import Book, Compute, Function, Load, Operand, Read, Schedule
from lrpc.backend.sources import MODULES
from lrpc.ir.ops import TABLE, resolve
from lrpc.ir.parser import parse_graph
from tests.support.schedules import X

ENDS = (KERNELS, RUNTIME)
SIZES = {"K": 2, "B": 3}
Found = tuple[dict[str, Tensor], list[Tensor]]  # relevance by place, and the rows of the ledger


def text_of(schedule: Schedule) -> str:
    """The text of a program whose forward pass makes %y of %x, each [B, 4]."""
    graph = parse_graph(f"graph @g(%x: {X}) {{\n%y: {X} = exp(%x)\nreturn %y\n}}")
    value = graph.nodes[0].outputs[0]
    code = [TargetCode(t.name, value, graph, graph, (1,), ("n",), None) for t in schedule.targets]
    return program_text(schedule, graph, code, Description("drawn", None, {}))


def functions_of(schedule: Schedule) -> dict[str, Any]:
    """The functions of its program, by name."""
    text = text_of(schedule)
    scope = {name: kernel for module in MODULES for name, kernel in vars(module).items()}
    exec(compile(text[: min(map(text.index, ENDS))], "<drawn>", "exec"), scope)
    return scope


def reference(function: Function, y: Tensor, g: Tensor, ledger: bool) -> Found:
    """What a main function of relevance without blocks hands out, and the rows that it books."""
    values = {function.parameters[0].name: g}
    found: Found = ({}, [])

    def of(x: Operand) -> Tensor:
        return y if isinstance(x, Load) else values[x.name]

    for s in function.body:
        if isinstance(s, Compute):
            settings = {key: resolve(value, SIZES) for key, value in s.attrs}  # type: ignore[arg-type]
            values[s.outputs[0].name] = TABLE[s.op].reference(*map(of, s.inputs), **settings)
        elif isinstance(s, Read):
            found[0][s.place] = of(s.inputs[0])
        elif isinstance(s, Book) and ledger:
            a, b = map(of, s.inputs)
            found[1].extend([(a * b).double().sum(-1)] * s.times)
    return found
