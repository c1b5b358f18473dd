"""What numbers along one size tell of the steps over which they are floors."""

from __future__ import annotations

from collections.abc import Sequence

from lrpc.frontend.records import found
from lrpc.frontend.tracer import Trace
from lrpc.ir.sizes import OF_LONG, SHORT, Size


def in_doubt(period: int) -> bool:
    """Whether it costs less to look along each size first than to try all choices of sizes."""
    return OF_LONG < period <= SHORT


def along(sizes: Sequence[Size]) -> list[list[dict[str, int]]]:
    """For each size the points from the example to a step beyond the period, in order."""
    example = {s.name: s.example for s in sizes}
    return [
        [example | {s.name: s.example + s.step * more} for more in range(s.period + 2)]
        for s in sizes
    ]


def refuted(lines: Sequence[Sequence[Trace]], period: int) -> bool:
    """Whether some number in the traces `along` a size grows otherwise over one period than over
    the next: then it is no sum of floors over divisors of the period."""
    return any(
        len({later - earlier for earlier, later in zip(row, row[period:], strict=False)}) > 1
        for line in lines
        for row in _rows(line)
    )


def _rows(line: Sequence[Trace]) -> list[tuple[int, ...]]:
    """Each integer in what is called and in what comes out, in all traces; none where the traces
    are no instances of one program, of which there is more to say."""
    numbers = [
        [n for x in t.graph.nodes for n in found((x.args, x.kwargs, x.meta.get("type")), int)]
        for t in line
    ]
    return [*zip(*numbers, strict=True)] if len({*map(len, numbers)}) == 1 else []
