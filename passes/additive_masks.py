"""Finds masks of minus infinity, added to scores or chosen in their place: they fill the scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from lrpc.ir.graph import Module, Node, Value
from lrpc.ir.ops import views
from lrpc.rules.masks import HIDES, hides
from passes.drop_identities import number
from passes.eliminate_dead import EliminateDead
from passes.rewrite import Rewriter, rewrite

MOVES = views() | {"cast"}


@dataclass(frozen=True)
class AdditiveMasks:
    """Replaces x + m by `masked_fill`, where m is −∞, or as good, at what is hidden; and `where`
    that chooses between x and −∞.

    m is a constant, or `where` and `masked_fill` by a mask of the inputs; what it is elsewhere, if
    not 0 (a bias of positions), is still added. A sum with −∞ has no relevance to split, and one
    with the least number of a dtype overflows in it.
    """

    name: ClassVar[str] = "additive_masks"

    def run(self, module: Module) -> Module:
        before: dict[str, Node] = {}  # value name → the node that makes it, in the new graph

        def emit(node: Node, new: Rewriter) -> tuple[Value, ...] | None:
            seen = len(new.nodes)
            filled = _replaced(node, before, new) or _filled(node, before, new)
            for made in new.nodes[seen:] if filled is not None else [node]:
                before.update((value.name, made) for value in made.outputs)
            return None if filled is None else (filled,)

        return EliminateDead().run(rewrite(module, emit))


@dataclass(frozen=True)
class _Hidden:
    """Where a mask hides, by what it does so, and what it is elsewhere (None: 0)."""

    places: Value
    value: float
    rest: Value | None = None


def _replaced(node: Node, before: dict[str, Node], new: Rewriter) -> Value | None:
    """What `node`, a choice between scores and −∞, becomes; None where it is none."""
    if node.op != "where" or not node.out.type.is_float:
        return None
    condition, one, other = node.inputs
    for kept, filling, turned in ((other, one, False), (one, other, True)):
        value = _uniform(filling, before, new)
        if value is None or not hides(value) or _uniform(kept, before, new) is not None:
            continue
        if turned:
            condition = new.one("logical_not", condition, hint=f"{node.out.name}_not", loc=node.loc)
        return _fill(kept, _Hidden(condition, value), node, new)
    return None


def _filled(node: Node, before: dict[str, Node], new: Rewriter) -> Value | None:
    """What `node`, a sum with a mask, becomes; None where it is none."""
    if node.op != "add" or not node.out.type.is_float:
        return None
    for x, mask in (node.inputs, node.inputs[::-1]):
        found = _hidden(mask, before, new)
        if found is None:
            continue
        if found.rest is not None:
            x = new.one("add", x, found.rest, hint=f"{node.out.name}_sum", loc=node.loc)
        return _fill(x, found, node, new)
    return None


def _fill(x: Value, hidden: _Hidden, node: Node, new: Rewriter) -> Value:
    name, shape, value = node.out.name, node.out.type.shape, hidden.value
    if x.type.shape != shape:
        x = new.one("expand", x, hint=f"{name}_wide", loc=node.loc, shape=shape)
    return new.one("masked_fill", x, hidden.places, hint=name, loc=node.loc, value=value)


def _hidden(mask: Value, before: dict[str, Node], new: Rewriter) -> _Hidden | None:
    """`mask` read as one, or None where it is none."""
    path: list[Node] = []
    made = before.get(mask.name)
    while made is not None and made.op in MOVES:
        path.append(made)
        made = before.get(made.inputs[0].name)
    if made is None:
        return None
    found = _constant(made, new) if made.op == "constant" else _chosen(made, before, new)
    if found is None:
        return None
    rest = None if found.rest is None else _moved(found.rest, made, path, new)
    return _Hidden(_moved(found.places, made, path, new), found.value, rest)


def _moved(value: Value, made: Node, path: list[Node], new: Rewriter) -> Value:
    """`value` spread like the mask that `made` makes, and through its moves; what hides stays
    boolean whatever the mask's dtype."""
    shape = made.out.type.shape
    if value.type.shape != shape:
        value = new.one("expand", value, hint=made.out.name, loc=made.loc, shape=shape)
    for move in reversed(path):
        if move.op == "cast" and not value.type.is_float:
            continue
        (value,) = new.like(move, value, hint=move.out.name, attrs=dict(move.attrs))
    return value


def _constant(made: Node, new: Rewriter) -> _Hidden | None:
    name = str(made.attr("weight"))
    tensor = new.tensors[name]
    if not tensor.is_floating_point() or not bool((tensor <= HIDES).any()):
        return None
    where = tensor <= HIDES
    values, rest = tensor[where], tensor.masked_fill(where, 0.0)
    if not bool((values == values[0]).all()):
        return None

    def constant(suffix: str, tensor: torch.Tensor) -> Value:
        weight = new.weight(f"{name}@{suffix}", tensor)
        return new.one("constant", hint=made.out.name, loc=made.loc, weight=weight)

    added = constant("added", rest) if bool(rest.any()) else None
    return _Hidden(constant("hidden", where), float(values[0]), added)


def _chosen(made: Node, before: dict[str, Node], new: Rewriter) -> _Hidden | None:
    """A mask that `where` or `masked_fill` makes."""
    if made.op == "masked_fill" and hides(number(made, "value")):
        return _Hidden(made.inputs[1], number(made, "value"), _rest(made.inputs[0], before, new))
    if made.op != "where":
        return None
    condition, one, other = made.inputs
    if (value := _uniform(one, before, new)) is not None and hides(value):
        return _Hidden(condition, value, _rest(other, before, new))
    if (value := _uniform(other, before, new)) is not None and hides(value):
        turned = new.one("logical_not", condition, hint=made.out.name, loc=made.loc)
        return _Hidden(turned, value, _rest(one, before, new))
    return None


def _rest(value: Value, before: dict[str, Node], new: Rewriter) -> Value | None:
    return None if _uniform(value, before, new) == 0 else value


def _uniform(value: Value, before: dict[str, Node], new: Rewriter) -> float | None:
    """The number that all entries of `value` are, if it is made that way."""
    made = before.get(value.name)
    while made is not None and made.op in MOVES:
        made = before.get(made.inputs[0].name)
    if made is not None and made.op == "constant":
        tensor = new.tensors[str(made.attr("weight"))]
        first = tensor.flatten()[:1]
        return float(first) if tensor.numel() and bool((tensor == first).all()) else None
    return number(made, "value") if made is not None and made.op == "full" else None
