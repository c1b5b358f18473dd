"""From graphs to the schedule of a program, pass by pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lrpc.backend.schedule.blocks import blocks
from lrpc.backend.schedule.build import build
from lrpc.backend.schedule.chunk import chunk
from lrpc.backend.schedule.free import free
from lrpc.backend.schedule.in_place import in_place
from lrpc.backend.schedule.ir import Schedule
from lrpc.backend.schedule.outline import outline
from lrpc.backend.schedule.recompute import Kept, recompute
from lrpc.codegen.interface import TargetCode
from lrpc.ir.graph import Graph


def schedule(
    forward: Graph, targets: Sequence[TargetCode], kept: Kept, chunked: bool
) -> Schedule:
    """All passes."""
    found = build(forward, targets)
    found = blocks(found, kept)
    found = recompute(found, kept)
    found = in_place(found)
    found = free(found)
    if chunked:
        found = chunk(found)
    return outline(found)
