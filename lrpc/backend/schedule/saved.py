"""What the state holds after the forward pass of an outlined schedule."""

from __future__ import annotations

from lrpc.backend.schedule.ir import SAVED, Call, Save, Schedule
from lrpc.backend.schedule.state import names_made


def saved_values(schedule: Schedule) -> dict[str, tuple[str, str]]:
    """Part and name of each value in the state, by the names of graphs, in program order."""
    found: dict[str, tuple[str, str]] = {}
    for s in schedule.forward.body:
        if isinstance(s, Save):
            found[s.value.name] = (s.entry.part.scope, s.entry.name)
        elif isinstance(s, Call) and s.part.kind == SAVED:
            function = schedule.by_name[s.function]
            graph = dict(zip(names_made(function.body), s.values, strict=True))
            saves = (x for x in function.body if isinstance(x, Save))
            found.update((graph[x.value.name], (s.part.scope, x.entry.name)) for x in saves)
    return found
