"""The attention of a forward pass as data: weights, and where deformable attention samples."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from torch import Tensor

from lrpc.errors import ProgramError
from lrpc.ir.graph import Graph, Node, Value
from lrpc.ir.interpreter import interpret, sizes_of
from lrpc.ir.ops import resolve
from lrpc.ir.parser import read_graph
from lrpc.ir.types import Dim
from lrpc.models.weights import load_weights
from lrpc.program.loading import FILES
from lrpc.runtime.program import Program as Loaded
from lrpc.runtime.results import State
from lrpc.support.untrusted import meant

_WEIGHTS, _GRAPH = FILES[1:3]
_LISTED = 6  # modules in an error
_DENSE, _SAMPLED = "attention_probabilities", "deform_sample"


@dataclass(frozen=True, eq=False)
class Attention:
    """One attention of a model, by the module that it is in.

    Dense attention has `weights` as its softmax gives them, [B, heads, queries, keys] in most
    models; windows or heads may lie in the first axis. Deformable attention has `weights`
    [B, Q, heads, L, P], `points` [B, Q, heads, L, P, 2] as (x, y) from 0 to 1 across each map, and
    `levels`, the (height, width) of the maps.
    """

    module: str
    weights: Tensor
    points: Tensor | None = None
    levels: tuple[tuple[int, int], ...] = ()

    def level(self, number: int) -> tuple[Tensor, Tensor]:
        """Weights [B, Q, heads, P] and points [B, Q, heads, P, 2] of one level."""
        if self.points is None:
            raise ProgramError(f"{self.module}: dense attention has no levels")
        if not 0 <= number < len(self.levels):
            raise ProgramError(
                f"{self.module}: there is no level {number}; there are {len(self.levels)}"
            )
        return self.weights[:, :, :, number], self.points[:, :, :, number]

    def of_query(self, image: int, query: int) -> Attention:
        """What one query looks at, with image and query axes of length 1."""
        image_of, rows = slice(image, image + 1), slice(query, query + 1)
        if self.points is None:
            return replace(self, weights=self.weights[image_of, :, rows])
        return replace(
            self, weights=self.weights[image_of, rows], points=self.points[image_of, rows]
        )


def attention(program: Loaded, state: State, modules: str = "*") -> dict[str, Attention]:
    """The attentions of the forward pass that `state` is of, by module, in the model's order.

    `modules` is a name or glob, such as `*decoder.layers.2.cross_attn`. They are computed again
    from the inputs in `state`, by the reference interpreter, which is slower than the program. A
    module that is called more than once has its later calls as `MODULE@1` and so on. Raises
    ProgramError where nothing matches.
    """
    directory = Path(program.directory)
    graph = read_graph(directory / _GRAPH)
    chosen = matching(graph, modules)
    outputs = {v.name: v for node in chosen.values() for v in _values(node)}
    part = needed(graph, list(outputs.values()))
    device = next(iter(state.inputs.values())).device
    tensors = {n: t.to(device) for n, t in load_weights(directory / _WEIGHTS).items()}
    found = interpret(part, tensors, state.inputs)
    sizes = sizes_of(graph, state.inputs)
    return {name: _attention(name, node, found, sizes) for name, node in chosen.items()}


def token_levels(program: Any, frame: tuple[int, int]) -> tuple[tuple[int, int], ...]:
    """The (height, width) of the maps whose pixels are the tokens of deformable attention, one map
    after the other, for an input of (H, W); none where a program has no such attention."""
    graph = read_graph(Path(program.directory) / _GRAPH)
    node = next((one for one in graph.nodes if one.op == _SAMPLED), None)
    sizes = dict(zip(("H", "W"), frame, strict=True))
    if node is None or not {size.name for size in graph.sizes} <= set(sizes):
        return ()
    levels = node.attr("levels")
    assert isinstance(levels, tuple)  # as the op table has it
    found: tuple[tuple[int, int], ...] = resolve(levels, sizes)
    return found


def needed(graph: Graph, values: Sequence[Value]) -> Graph:
    """The part of a graph that makes these values, which are its outputs, by their names."""
    wanted = {value.name for value in values}
    nodes: list[Node] = []
    for node in reversed(graph.nodes):
        if any(value.name in wanted for value in node.outputs):
            nodes.append(node)
            wanted |= {value.name for value in node.inputs}
    outputs = tuple((value.name, value) for value in values)
    return replace(graph, nodes=tuple(nodes[::-1]), outputs=outputs, places=())


def check_queries(program: Any, modules: str) -> None:
    """Raise ProgramError where no attention of a program matches, or none of those that do is of
    its queries."""
    graph = read_graph(Path(program.directory) / _GRAPH)
    chosen, logits = matching(graph, modules), dict(graph.outputs).get("pred_logits")
    if logits is None:
        raise ProgramError("--attention draws what queries look at, and this model has none")
    count = logits.type.shape[1]
    if all(_queries(node) != count for node in chosen.values()):
        raise ProgramError(
            f"--attention: {_some(chosen)} are of tokens; name attention of the {count} queries,"
            " such as '*decoder.layers.*'"
        )


def _queries(node: Node) -> Dim:
    """How many queries an attention has: of dense attention, among themselves."""
    if node.op == _SAMPLED:
        return node.inputs[2].type.shape[1]
    shape = node.out.type.shape
    return shape[2] if len(shape) == 4 and shape[2] == shape[3] else 0


def matching(graph: Graph, modules: str) -> dict[str, Node]:
    """The attentions of a graph whose module matches, by name; ProgramError for none."""
    every = dict(_named(graph))
    found = {name: node for name, node in every.items() if fnmatchcase(name, modules)}
    if not found:
        known = f"; there are {_some(every)}" if every else ""
        raise ProgramError(
            f"no attention of this program matches {modules!r}{meant(modules, list(every))}{known}"
        )
    return found


def _some(names: Collection[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(list(names)[:_LISTED]) + more


def _named(graph: Graph) -> Iterator[tuple[str, Node]]:
    calls: dict[str, int] = {}
    for node in graph.nodes:
        if node.op == _SAMPLED or node.role == _DENSE:
            count = calls.get(node.loc.module, 0)
            calls[node.loc.module] = count + 1
            yield f"{node.loc.module}@{count}" if count else node.loc.module, node


def _values(node: Node) -> tuple[Value, ...]:
    """Of sampling its locations and weights, of a softmax what it gives."""
    return node.inputs[1:] if node.op == _SAMPLED else node.outputs


def _attention(
    name: str, node: Node, found: Mapping[str, Tensor], sizes: Mapping[str, int]
) -> Attention:
    if node.op != _SAMPLED:
        return Attention(name, found[node.out.name])
    points, weights = (found[value.name] for value in node.inputs[1:])
    levels = node.attr("levels")
    assert isinstance(levels, tuple)  # as the op table has it
    return Attention(name, weights, points, resolve(levels, sizes))
