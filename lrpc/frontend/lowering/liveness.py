"""Which recorded calls a set of results needs, in-place operations on the way included."""

from __future__ import annotations

from lrpc.frontend.records import Call, Ref, found


def live_calls(calls: tuple[Call, ...], wanted: tuple[Ref, ...]) -> set[int]:
    """The calls to lower so that the `wanted` results are right."""
    roots = memory_roots(calls)
    needed = {ref.index for ref in wanted}
    memory = {roots[index] for index in needed}
    for call in reversed(calls):
        if call.writes is not None and roots[call.writes] in memory:
            needed.add(call.index)
        if call.index in needed:
            refs = {ref.index for ref in found((call.args, call.kwargs), Ref)}
            needed |= refs
            memory |= {roots[index] for index in refs}
    return needed


def memory_roots(calls: tuple[Call, ...]) -> list[int]:
    """For every call the one whose result first held the memory that its result lies in."""
    roots: list[int] = []
    for call in calls:
        roots.append(call.index if call.view_of is None else roots[call.view_of])
    return roots
