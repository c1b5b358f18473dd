"""Names are freed right after the last statement that reads them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import lru_cache

from lrpc.backend.schedule.ir import Block, Free, Function, Save, Schedule, Statement
from lrpc.backend.schedule.walk import operands, results, with_blocks, with_mains
from lrpc.ir.graph import Value


def free(schedule: Schedule) -> Schedule:
    """Every value is freed after its last use, unless it is returned."""
    schedule = with_blocks(schedule, _block)
    return with_mains(schedule, _main)


def _block(block: Block) -> Block:
    return replace(block, body=_body(block.body, frozenset(v.name for v in block.results)))


@lru_cache(maxsize=4096)
def _body(body: tuple[Statement, ...], results: frozenset[str]) -> tuple[Statement, ...]:
    return _freed(body, results)


def _main(function: Function) -> Function:
    return replace(function, body=_freed(function.body, {v.name for v in function.results}))


def _freed(body: Sequence[Statement], kept: Collection[str]) -> tuple[Statement, ...]:
    """Values are freed behind what is saved of a statement's results."""
    seen, found = set(kept), list[Statement]()
    saves: list[Statement] = []
    parts: tuple[str, ...] = ()
    for s in reversed(body):
        if isinstance(s, Save):
            saves.append(s)
            continue
        if isinstance(s, Free):
            parts = s.parts
            continue
        used = dict.fromkeys(x.name for x in (*operands(s), *results(s)) if isinstance(x, Value))
        dead = tuple(name for name in used if name not in seen)
        seen |= used.keys()
        found += [Free(dead, parts)] if dead or parts else []
        found += [*saves, s]
        saves, parts = [], ()
    return tuple(reversed([*found, *saves]))
