"""Finds SiLU and both forms of GELU spelled out in primitive operations, and names them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from lrpc.ir.graph import Module, Node, Value
from passes.eliminate_dead import EliminateDead
from passes.rewrite import Rewriter, rewrite

Before = Mapping[str, Node]  # value name → the node that makes it
CUBIC, SLOPE = 0.044715, math.sqrt(2 / math.pi)


@dataclass(frozen=True)
class RecogniseActivations:
    """Replaces x·σ(ax), ½x(1 + erf(x/√2)) and ½x(1 + tanh(√(2/π)(x + 0.044715x³))), which are one
    function of x.

    The first becomes `silu` between two scalings (a = 1.702: the quick GELU), the others `gelu`.
    As products of two activations they would share relevance between x and itself.
    """

    name: ClassVar[str] = "recognise_activations"

    def run(self, module: Module) -> Module:
        before = module.graph.producers

        def emit(node: Node, new: Rewriter) -> tuple[Value, ...] | None:
            if node.op != "mul":
                return None
            for x, gate in (node.inputs, node.inputs[::-1]):
                if x.type != node.out.type or gate.type != x.type:
                    continue
                made = (
                    _swish(x, gate, node, before, new)
                    or _gelu(x, gate, node, before, new)
                    or _gelu_by_erf(x, gate, node, before, new)
                )
                if made is not None:
                    return (made,)
            return None

        return EliminateDead().run(rewrite(module, emit))


def _swish(x: Value, gate: Value, node: Node, before: Before, new: Rewriter) -> Value | None:
    """x·σ(ax) = silu(ax) / a."""
    sigmoid = _made_by("sigmoid", gate, before)
    if sigmoid is None:
        return None
    inner, slope = _scaled(sigmoid.inputs[0], before)
    if inner != x or slope == 0:
        return None
    name, loc = node.out.name, node.loc
    if slope == 1:
        return new.one("silu", x, hint=name, loc=loc)
    value = new.one("silu", sigmoid.inputs[0], hint=f"{name}_silu", loc=loc)
    return new.one("scale", value, hint=name, loc=loc, by=1 / slope)


def _gelu(half: Value, gate: Value, node: Node, before: Before, new: Rewriter) -> Value | None:
    """cx·(1 + tanh(√(2/π)(x + 0.044715x³))) = 2c gelu(x)."""
    shift = _made_by("shift", gate, before)
    tanh = None if shift is None else _made_by("tanh", shift.inputs[0], before)
    if shift is None or tanh is None or shift.number("by") != 1:
        return None
    cubic, slope = _scaled(tanh.inputs[0], before)
    total = _made_by("add", cubic, before)
    x, factor = _scaled(half, before)
    if total is None or not _near(slope, SLOPE):
        return None
    others = [value for value in total.inputs if value != x]
    if len(others) != 1 or not _is_cube(others[0], x, before):
        return None
    return _times_gelu(x, 2 * factor, "tanh", node, new)


def _gelu_by_erf(
    half: Value, gate: Value, node: Node, before: Before, new: Rewriter
) -> Value | None:
    """cx·d(1 + erf(x/√2)) = 2cd gelu(x)."""
    risen, more = _scaled(gate, before)
    shift = _made_by("shift", risen, before)
    erf = None if shift is None else _made_by("erf", shift.inputs[0], before)
    if shift is None or erf is None or shift.number("by") != 1:
        return None
    inner, slope = _scaled(erf.inputs[0], before)
    x, factor = _scaled(half, before)
    if inner != x or not _near(slope, math.sqrt(0.5)):
        return None
    return _times_gelu(x, 2 * factor * more, "none", node, new)


def _times_gelu(x: Value, by: float, form: str, node: Node, new: Rewriter) -> Value:
    name, loc = node.out.name, node.loc
    if _near(by, 1.0):
        return new.one("gelu", x, hint=name, loc=loc, approximate=form)
    value = new.one("gelu", x, hint=f"{name}_gelu", loc=loc, approximate=form)
    return new.one("scale", value, hint=name, loc=loc, by=by)


def _is_cube(value: Value, x: Value, before: Before) -> bool:
    """Whether `value` is 0.044715x³."""
    cube, factor = _scaled(value, before)
    power = _made_by("pow", cube, before)
    cubed = power is not None and power.attr("exponent") == 3 and power.inputs[0] == x
    return cubed and _near(factor, CUBIC)


def _near(found: float, wanted: float) -> bool:
    return math.isclose(found, wanted, rel_tol=1e-12)


def _made_by(op: str, value: Value, before: Before) -> Node | None:
    node = before.get(value.name)
    return node if node is not None and node.op == op else None


def _scaled(value: Value, before: Before) -> tuple[Value, float]:
    """What `value` is a multiple of, and the number."""
    node = _made_by("scale", value, before)
    return (value, 1.0) if node is None else (node.inputs[0], node.number("by"))
