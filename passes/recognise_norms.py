"""Finds LayerNorm and RMSNorm spelled out in primitive operations, and names them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch

from lrpc.ir.graph import Graph, Module, Node, Value
from passes.eliminate_dead import EliminateDead
from passes.rewrite import Rewriter, rewrite

Before = Mapping[str, Node]  # value name → the node that makes it


@dataclass(frozen=True)
class RecogniseNorms:
    """Replaces x / √(mean(x²) + ε) and (x − μ) / √(mean((x − μ)²) + ε), each over the last axis.

    They become `rms_norm` and `layer_norm`; a constant gain, and for `layer_norm` then a constant
    shift, are taken in where nothing else reads what they are applied to. Values stay, up to
    rounding. Casts are not crossed: a norm that computes in another dtype still does.
    RMSNorm: Zhang and Sennrich 2019, equation 4 (1910.07467).
    """

    name: ClassVar[str] = "recognise_norms"

    def run(self, module: Module) -> Module:
        graph = module.graph
        cores = {n.out.name: found for n in graph.nodes if (found := _core(graph, n)) is not None}
        if not cores:
            return module
        single = _read_once(graph)
        made: dict[str, Node] = {}

        def emit(node: Node, new: Rewriter) -> tuple[Value, ...] | None:
            if node.outputs and node.out.name in cores:
                value = _emitted(cores[node.out.name], node, new)
            elif (taken := _affine(node, made, new, graph.producers)) is not None:
                value = taken
            else:
                return None
            if node.out.name in single:
                made[value.name] = new.nodes[-1]
            return (value,)

        return EliminateDead().run(rewrite(module, emit))


@dataclass(frozen=True)
class _Norm:
    """What a node was found to compute: `op` of `source`, times the constant `gain`."""

    op: str
    source: Value
    eps: float
    gain: Node | None = None


def _emitted(norm: _Norm, node: Node, new: Rewriter) -> Value:
    weight = None if norm.gain is None else _channels(norm.gain, new)
    source = new.now(norm.source)
    return new.one(norm.op, source, hint=node.out.name, loc=node.loc, eps=norm.eps, weight=weight)


def _read_once(graph: Graph) -> frozenset[str]:
    """Names of the values that one node reads, and that are no output and no place."""
    ends = {v.name for _, v in (*graph.outputs, *graph.places)}
    return frozenset(
        name for name, users in graph.users.items() if len(users) == 1 and name not in ends
    )


# -- the normalisation itself ----------------------------------------------------------------------


def _core(graph: Graph, node: Node) -> _Norm | None:
    """The norm, where `node` divides a tensor, or a constant times it, by its own root mean
    square."""
    before = graph.producers
    for numerator, (base, eps) in _quotients(node, before):
        gain = None if numerator == base else _gain(numerator, base, before)
        if (numerator != base and gain is None) or numerator.type != node.out.type:
            continue
        source = _centred(base, before)
        if source is None:
            return _Norm("rms_norm", base, eps, gain)
        return _Norm("layer_norm", source, eps, gain)
    return None


def _gain(numerator: Value, base: Value, before: Before) -> Node | None:
    """The constant that `numerator` is `base` times, one number for each channel."""
    node = before.get(numerator.name)
    if node is None or node.op != "mul" or base not in node.inputs:
        return None
    other = node.inputs[1] if node.inputs[0] == base else node.inputs[0]
    return _per_channel(other, base, before)


def _quotients(node: Node, before: Before) -> list[tuple[Value, tuple[Value, float]]]:
    """(numerator, (base, ε)) of every reading of `node` as numerator / √(mean(base²) + ε)."""
    if node.op not in ("div", "mul"):
        return []
    pairs = [node.inputs] if node.op == "div" else [node.inputs, node.inputs[::-1]]
    exponent = 0.5 if node.op == "div" else -0.5
    found = [(a, b, _root(b, before, exponent)) for a, b in pairs]
    return [(a, root) for a, b, root in found if root is not None and _spans_rows(b, root[0])]


def _spans_rows(value: Value, source: Value) -> bool:
    """Whether `value` has one number for each row of `source`, as it is or repeated."""
    shape = source.type.shape
    return value.type.shape in ((*shape[:-1], 1), shape)


def _root(value: Value, before: Before, exponent: float) -> tuple[Value, float] | None:
    """(base, ε) where `value` is (mean(base²) + ε) to the power of `exponent`, ± one half."""
    node = before.get(_bare(value, before).name)
    if node is None:
        return None
    if node.op == "reciprocal" and exponent < 0:
        return _root(node.inputs[0], before, 0.5)
    plain = node.op == "sqrt" and exponent > 0
    if not plain and not (node.op == "pow" and node.attr("exponent") == exponent):
        return None
    inner = _bare(node.inputs[0], before)
    shifted, eps = before.get(inner.name), 0.0
    if shifted is not None and shifted.op == "shift":
        inner, eps = shifted.inputs[0], shifted.number("by")
    base = _mean_square(inner, before)
    return None if base is None or eps < 0 else (base, eps)


def _mean_square(value: Value, before: Before) -> Value | None:
    """The tensor whose squares have the mean `value`, over the last axis."""
    squares = _mean(value, before)
    node = None if squares is None else before.get(squares.name)
    if node is None:
        return None
    if node.op == "pow" and node.attr("exponent") == 2:
        return node.inputs[0]
    return node.inputs[0] if node.op == "mul" and node.inputs[0] == node.inputs[1] else None


def _centred(value: Value, before: Before) -> Value | None:
    """x where `value` is x minus its mean over the last axis."""
    node = before.get(value.name)
    if node is None or node.op != "sub":
        return None
    source, mean = node.inputs
    own = _mean(mean, before) == source and _spans_rows(mean, source)
    return source if own and source.type == value.type else None


def _mean(value: Value, before: Before) -> Value | None:
    """The tensor of which `value` is the mean over the last axis."""
    node = before.get(_bare(value, before).name)
    if node is None or node.op != "mean" or node.integers("dims") != (-1,):
        return None
    return node.inputs[0]


def _bare(value: Value, before: Before) -> Value:
    """`value` before its last axis was added with extent 1, or repeated."""
    node = before.get(value.name)
    while node is not None and node.op in ("expand", "reshape"):
        old, new = node.inputs[0].type.shape, value.type.shape
        if new != (*old, 1) and not (node.op == "expand" and new[:-1] == old[:-1]):
            break
        value = node.inputs[0]
        node = before.get(value.name)
    return value


# -- gain and shift --------------------------------------------------------------------------------


def _affine(node: Node, made: Mapping[str, Node], new: Rewriter, before: Before) -> Value | None:
    """The norm of `made` that `node` scales or shifts by a constant, with that constant in it."""
    if node.op not in ("mul", "add"):
        return None
    for value, other in (node.inputs, node.inputs[::-1]):
        norm = made.get(value.name)
        if norm is None or value.type != node.out.type:
            continue
        key = "weight" if node.op == "mul" else "bias"
        fits = norm.attr("bias") is None and (key == "weight" or norm.op == "layer_norm")
        if not fits or norm.attr(key) is not None:
            continue
        constant = _per_channel(other, value, before)
        if constant is not None:
            attrs = dict(norm.attrs) | {key: _channels(constant, new)}
            return new.like(norm, *norm.inputs, hint=node.out.name, attrs=attrs)[0]
    return None


def _per_channel(constant: Value, like: Value, before: Before) -> Node | None:
    """The node of a constant that holds one number for each entry of the last axis of `like`."""
    node = before.get(constant.name)
    channels = like.type.shape[-1]
    if node is None or node.op != "constant" or constant.type.shape[-1:] != (channels,):
        return None
    return node if all(extent == 1 for extent in constant.type.shape[:-1]) else None


def _channels(constant: Node, new: Rewriter) -> str:
    """The weight [C] of such a constant."""
    name = str(constant.attr("weight"))
    if constant.out.type.rank == 1:
        return name
    return new.weight(f"{name}@flat", torch.flatten(new.tensors[name]))
