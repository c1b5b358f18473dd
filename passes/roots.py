"""Which values of a graph share the memory of another, and what each would cost to keep."""

from __future__ import annotations

import math

from lrpc.ir.graph import Graph, Value
from lrpc.ir.ops import View, views
from lrpc.ir.types import DTYPES

VIEWS = views()
STRIDED = views(View.PERMUTED, View.REPEATED, View.PART)


def roots(graph: Graph) -> dict[str, Value]:
    """The value whose memory each value lies in, itself where it has memory of its own.

    A reshape of what is not laid out in order copies it.
    """
    found, strided = {v.name: v for v in graph.inputs}, set[str]()
    for node in graph.nodes:
        found.update((v.name, v) for v in node.outputs)
        if node.op not in VIEWS:
            continue
        source, copies = node.inputs[0], node.op == "reshape" and node.inputs[0].name in strided
        if copies:
            continue
        found[node.out.name] = found[source.name]
        if node.op in STRIDED or source.name in strided:
            strided.add(node.out.name)
    return found


def size(value: Value) -> int:
    """Bytes of a value for one image."""
    return math.prod(value.type.sized({"B": 1, "K": 1})) * DTYPES[value.type.dtype].itemsize


def free(graph: Graph) -> set[str]:
    """Values whose memory is there anyway: inputs, outputs and what comes from weights alone."""
    found = {v.name for v in graph.inputs} | {v.name for _, v in graph.outputs}
    found |= {v.name for node in graph.nodes if node.op == "constant" for v in node.outputs}
    return found
