"""Moves constants that several blocks read to the front, so that equal blocks stay equal."""

from __future__ import annotations

from dataclasses import replace

from lrpc.ir.blocks import block_of
from lrpc.ir.graph import Graph, Module, Node


def hoist_constants(module: Module) -> Module:
    """`module` with the constants of one block that another reads in front, outside of any block.

    A constant is what depends on no graph input; its place becomes what those of its readers share.
    """
    graph = module.graph
    fixed: dict[str, Node] = {}
    for node in graph.nodes:
        if node.outputs and all(value.name in fixed for value in node.inputs):
            fixed.update((value.name, node) for value in node.outputs)
    moved: dict[str, Node] = {}
    for node in reversed(graph.nodes):
        if node.outputs and node.out.name in fixed:
            paths = [user.loc.module for user in _users(graph, node)]
            needed = any(user.out.name in moved for user in _users(graph, node) if user.outputs)
            if needed or _shared(node, paths):
                common = _common([node.loc.module, *paths])
                moved[node.out.name] = replace(node, loc=replace(node.loc, module=common))
    rest = [n for n in graph.nodes if not n.outputs or n.out.name not in moved]
    return module.with_graph(graph.with_nodes([*reversed(moved.values()), *rest]))


def _users(graph: Graph, node: Node) -> list[Node]:
    return [user for value in node.outputs for user in graph.users.get(value.name, ())]


def _shared(node: Node, paths: list[str]) -> bool:
    own = block_of(node.loc.module)
    return bool(own) and any(block_of(path) != own for path in paths)


def _common(paths: list[str]) -> str:
    """The longest module path that all of `paths` lie in, cut before a block's index."""
    parts = [path.split(".") for path in paths]
    common: list[str] = []
    for level in zip(*parts, strict=False):
        if len(set(level)) > 1 or level[0].isdigit():
            break
        common.append(level[0])
    return ".".join(common)
