"""Blocks of relevance functions take some seeds at a time."""

from __future__ import annotations

from dataclasses import replace

from lrpc.backend.schedule.ir import Block, Function, Schedule, Statement
from lrpc.ir.graph import Value
from lrpc.ir.types import Sym, TensorType


def chunk(schedule: Schedule) -> Schedule:
    """Every block of a relevance function goes through the seeds of its arguments in chunks."""
    targets = (target.changed(_main) for target in schedule.targets)
    return replace(schedule, targets=tuple(targets), chunked=True)


def _main(function: Function) -> Function:
    return replace(function, body=tuple(map(_chunked, function.body)))


def _chunked(s: Statement) -> Statement:
    if not isinstance(s, Block):
        return s
    over = (i for i, x in enumerate(s.arguments) if isinstance(x, Value) and of_seeds(x.type))
    return replace(s, over=tuple(over))


def of_seeds(kind: TensorType) -> bool:
    """Whether a value has an entry for each seed; those that cross blocks have them in front."""
    dims = [d for d in kind.shape if isinstance(d, Sym) and d.seeds]
    if dims and dims != [kind.shape[0]]:
        raise AssertionError(f"seeds are not the leading axis: {kind}")
    return bool(dims)
