"""The verifier: SSA, known ops, types as inferred, weights declared. Runs after every pass."""

from __future__ import annotations

from collections.abc import Mapping

from lrpc.errors import IRError
from lrpc.ir.builder import weight_types
from lrpc.ir.graph import Graph, Module, Node, Value
from lrpc.ir.ops import TABLE, infer
from lrpc.ir.types import DTYPES, Sym, TensorType
from lrpc.support.untrusted import short


class NodeError(IRError):
    """What is wrong with the node `index` of a graph, the first that is wrong."""

    def __init__(self, index: int, what: str) -> None:
        super().__init__(what)
        self.index = index


def verify(graph: Graph, after: str = "") -> Graph:
    """Return `graph` unchanged, or raise IRError naming the first node that is wrong."""
    where = f" after {after}" if after else ""
    defined: dict[str, Value] = {}
    for value in graph.inputs:
        _define(defined, value, f"input of @{graph.name}{where}")
    weights = graph.weight_types
    for name, declared in weights.items():
        if any(isinstance(dim, Sym) for dim in declared.shape):
            raise IRError(
                f'weight "{short(name)}" is {declared}{where}; expected extents in numbers'
            )
    for index, node in enumerate(graph.nodes):
        try:
            _check(node, defined, weights, where)
        except IRError as error:
            raise NodeError(index, str(error)) from None
    for kind, pairs in (("output", graph.outputs), ("place", graph.places)):
        for name, value in pairs:
            _require(defined, value, f'{kind} "{name}" of @{graph.name}{where}')
    return graph


def verify_tensors(module: Module, held: str) -> Module:
    """Return `module` unchanged, or raise IRError naming the first weight whose tensor is missing
    or of another type than its graph declares; `held` says what the tensors came from."""
    for name, declared in module.graph.weights:
        tensor, weight = module.tensors.get(name), f'weight "{short(name)}" is declared {declared}'
        if tensor is None:
            raise IRError(f"{weight}, but {held} has no such tensor")
        if (DTYPES[declared.dtype], declared.shape) != (tensor.dtype, tuple(tensor.shape)):
            found = f"{str(tensor.dtype).removeprefix('torch.')}{list(tensor.shape)}"
            raise IRError(f"{weight}, but {held} has it as {found}")
    return module


def _check(
    node: Node, defined: dict[str, Value], weights: Mapping[str, TensorType], where: str
) -> None:
    """Hold a node against what stands before it. Its types, which hang on itself and its weights
    alone, are inferred when it is first met."""
    for value in node.inputs:
        if defined.get(value.name) is not value:
            _require(defined, value, _place(node, where))
    if not _verified(node, weights):
        _check_types(node, weights, where)
    for value in node.outputs:
        if value.name in defined:
            _define(defined, value, _place(node, where))
        defined[value.name] = value


def _place(node: Node, where: str) -> str:
    name = node.outputs[0].name if node.outputs else "?"
    return f"%{name} = {node.op}{where} (from {node.loc})"


def _verified(node: Node, weights: Mapping[str, TensorType]) -> bool:
    """Whether this very node was found right before, with weights of these types."""
    known = node.verified
    return known is not None and all(weights.get(str(node.attr(key))) == t for key, t in known)


def _define(defined: dict[str, Value], value: Value, place: str) -> None:
    if value.name in defined:
        raise IRError(f"%{value.name} is defined twice, the second time by {place}")
    defined[value.name] = value


def _require(defined: dict[str, Value], value: Value, place: str) -> None:
    known = defined.get(value.name)
    if known is None:
        raise IRError(f"%{value.name} is used before it is defined, by {place}")
    if known.type != value.type:
        raise IRError(f"%{value.name} is {known.type} but {place} reads it as {value.type}")


def _check_types(node: Node, weights: Mapping[str, TensorType], where: str) -> None:
    row = TABLE.get(node.op)
    if row is None:
        raise IRError(f"unknown op {node.op!r} at {_place(node, where)}")
    try:
        found = weight_types(row, node.attrs, weights)
        types = infer(row, tuple(v.type for v in node.inputs), node.attrs, found)
    except IRError as error:
        raise IRError(f"{error}, at {_place(node, where)}") from None
    if types != tuple(v.type for v in node.outputs):
        got = ", ".join(str(v.type) for v in node.outputs)
        said = f"yields {', '.join(map(str, types))}, but is declared {got}"
        raise IRError(f"{_place(node, where)} {said}")
    node.found_right(found)
