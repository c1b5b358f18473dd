"""Feeds mutated graph texts to the parser, the verifier and the printer.

python -m tests.fuzz.graphs --count 1000000 --seed 0
"""

from __future__ import annotations

import random
import re
import sys
from functools import cache
from pathlib import Path

from lrpc.errors import IRError
from lrpc.ir.graph import Graph
from lrpc.ir.parser import parse_graph
from lrpc.ir.printer import print_graph
from tests.fuzz.mutate import Pieces, mutant, pieces
from tests.fuzz.report import command
from tests.support.op_samples import SAMPLES

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "tiny.lrp"
PLACE = re.compile(r"<text>:\d+:\d+: ")
LONGEST = 10_000  # characters of an error: names of up to 4096 characters may be in it twice


@cache
def bases() -> tuple[Pieces, ...]:
    """One small graph for each use of each op, and stretches of an annotated model."""
    texts = [print_graph(sample.graph()) for sample in SAMPLES]
    model = parse_graph(GOLDEN.read_text())
    texts += [print_graph(stretch(model, start)) for start in range(0, len(model.nodes) - 4, 3)]
    return tuple(pieces(text) for text in texts)


def stretch(graph: Graph, start: int, length: int = 5) -> Graph:
    """Some nodes of a graph as a graph of their own."""
    nodes = graph.nodes[start : start + length]
    made = {v.name for node in nodes for v in node.outputs}
    read = dict.fromkeys(v for node in nodes for v in node.inputs if v.name not in made)
    used = {value for node in nodes for _, value in node.attrs if isinstance(value, str)}
    weights = tuple((name, kind) for name, kind in graph.weights if name in used)
    return Graph("part", tuple(read), nodes, (("output", nodes[-1].out),), weights)


def case(number: int, seed: int) -> str:
    """Parse a mutant; what parses is printed and parsed again."""
    return outcome(mutant(random.Random(f"{seed}:{number}"), bases()))


def outcome(text: str) -> str:
    """What came of a text; any other exception, and a graph that does not come back, is raised."""
    try:
        graph = parse_graph(text)
    except IRError as error:
        said = str(error)
        assert PLACE.match(said), said
        assert len(said) < LONGEST, len(said)
        said.encode()
        return "refused by the verifier" if "(from " in said else "refused by the parser"
    assert parse_graph(print_graph(graph)) == graph
    print_graph(graph).encode()
    return "taken"


if __name__ == "__main__":
    sys.exit(command("graph texts", case, 1_000_000))
