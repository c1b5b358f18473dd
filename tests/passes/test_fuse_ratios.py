"""fuse_ratios: products with a stabilised ratio that serves nothing else."""

from __future__ import annotations

import pytest

from lrpc.ir.parser import parse_graph
from passes.fuse_ratios import fused

RATIO = "%s: f32[B,3] = stab_ratio(%z) {eps=0.5}"
PRODUCT = "%p: f32[K,B,3] = mul(%g, %s)"


def ops(body: str, forward: tuple[str, ...] = ()) -> list[str]:
    inputs = "%z: f32[B,3], %g: f32[K,B,3], %h: f32[B,3]"
    graph = parse_graph(f"graph @f({inputs}) {{\n{body}\nreturn %p\n}}")
    return [node.op for node in fused(graph, forward).nodes]


@pytest.mark.parametrize("product", [PRODUCT, "%p: f32[K,B,3] = mul(%s, %g)"])
def test_a_ratio_of_its_own_is_fused(product: str) -> None:
    graph = parse_graph(
        f"graph @f(%z: f32[B,3], %g: f32[K,B,3]) {{\n{RATIO}\n{product}\nreturn %p\n}}"
    )
    (node,) = fused(graph, ()).nodes
    assert (node.op, node.attrs, node.out.name) == ("stab_mul", (("eps", 0.5),), "p")
    assert [v.name for v in node.inputs] == ["g", "z"]


def test_others_stay() -> None:
    again = "%q: f32[K,B,3] = mul(%p, %s)"
    assert ops(f"{RATIO}\n{PRODUCT}\n{again}") == ["stab_ratio", "mul", "mul"]
    assert ops(f"{RATIO}\n{PRODUCT}", ("s",)) == ["stab_ratio", "mul"]  # the state keeps it
    seedless = "%p: f32[B,3] = mul(%h, %s)"
    assert ops(f"{RATIO}\n{seedless}") == ["stab_ratio", "mul"]
