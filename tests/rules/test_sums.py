"""Rules that share a sum out per token, against slow float64 twins: one token after the other."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lrpc.rules.addition import channel_axis
from tests.support.graphs import module
from tests.support.one_node import Case, flow
from tests.support.twins import check, closes, n, seeds_for

Weight = Callable[[Tensor, Tensor], float]
WEIGHTS: dict[str, Weight] = {
    "z_sign": lambda a, y: float(a.sum()),
    "energy": lambda a, y: float((a * a).sum()),
    "dot_positive": lambda a, y: sum(max(float(p), 0.0) for p in a * y),
}


def twin(rule: str, a: Tensor, b: Tensor, eps: float) -> Callable[[Tensor], list[Tensor]]:
    """Per token: w(a) / stab(w(a) + w(b)) of R to a, the rest to b; `b` with its sign."""
    y = a + b

    def shared(r: Tensor) -> list[Tensor]:
        first = torch.zeros_like(y)
        for token in torch.cartesian_prod(*(torch.arange(k) for k in y.shape[:-1])):
            t = tuple(token.tolist())
            left, right = (WEIGHTS[rule](v.expand_as(y)[t], y[t]) for v in (a, b))
            total = left + right
            first[t] = left / (total + (eps if total >= 0 else -eps)) * r[t]
        return [first.sum_to_size(a.shape), (r - first).sum_to_size(b.shape)]

    return shared


@pytest.mark.parametrize("rule", sorted(WEIGHTS))
@pytest.mark.parametrize("op", ["add", "sub"])
@settings(max_examples=5, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 2), st.integers(1, 3), st.integers(1, 4)),
    broadcast=st.sampled_from([None, 1, 2]),
    eps=st.sampled_from([0.0, 1e-6, 0.5]),
    seed=st.integers(0, 99),
)
def test_sums_per_token(
    rule: str, op: str, shape: tuple[int, ...], broadcast: int | None, eps: float, seed: int
) -> None:
    torch.manual_seed(seed)
    other = [1 if i == broadcast else k for i, k in enumerate(shape)]
    a, b = n(*shape), n(*other)
    case = Case(op, (a, b), role="residual")
    found = check(
        case, rule, a + b if op == "add" else a - b,
        twin(rule, a, b if op == "add" else -b, eps), eps=eps,
    )  # fmt: skip
    assert not found.sinks


def test_all_to_the_skip_path() -> None:
    a, b = n(2, 3, 4), n(2, 3, 4)
    found = check(
        Case("add", (a, b), role="residual"), "skip", a + b, lambda r: [r, torch.zeros_like(r)]
    )
    assert not found.sinks


@pytest.mark.parametrize("rule", sorted(WEIGHTS))
def test_a_position_keeps_its_share_or_splits(rule: str) -> None:
    a, b = n(2, 3, 4), n(2, 3, 4)
    case, z = Case("add", (a, b), role="positional"), a + b
    kept = flow(case, rule, g := seeds_for(z))
    closes(kept)
    for k, seed in enumerate(g):
        mine, position = twin(rule, a, b, 1e-6)(z * seed)
        torch.testing.assert_close(kept.inputs[0][k], mine, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(kept.sinks["position"][k], position.sum((1, 2)))
    assert kept.inputs[1].dim() == 1
    split = check(case, rule, z, twin(rule, a, b, 1e-6), position="split")
    assert not split.sinks


@pytest.mark.parametrize("rule", [*sorted(WEIGHTS), "skip"])
def test_a_token_of_zeros_sends_nothing(rule: str) -> None:
    a, b = n(2, 3, 4), n(2, 3, 4)
    a[0, 1] = b[0, 1] = 0.0
    found = flow(Case("add", (a, b), role="residual"), rule, seeds_for(a))
    closes(found)
    for r in found.inputs:
        assert torch.isfinite(r).all()
        assert r.dim() == 1 or not r[:, 0, 1].any()


MAPS = """
graph @g(%x: f64[B,4,4,4]) {{
  weight "w": f64[4,4,1,1]
  weight "v": f64[4,4]
  %a: f64[B,4,4,4] = {op}
  %r: f64[B,4,4,4] = relu(%a)
  %y: f64[B,4,4,4] = add(%x, %r)
  %s: f64[B,4,4,4] = silu(%y)
  %z: f64[B,4,4,4] = {last}
  return %z
}}
"""
CONV = 'conv2d(%{x}) {{weight="w", stride=[1,1], padding=[0,0], dilation=[1,1], groups=1}}'
LINEAR = 'linear(%{x}) {{weight="v"}}'


@pytest.mark.parametrize(
    ("op", "last", "axis"),
    [
        (CONV.format(x="x"), "exp(%s)", -3),
        (LINEAR.format(x="x"), "exp(%s)", -1),
        ("exp(%x)", CONV.format(x="s"), -3),
        ("exp(%x)", LINEAR.format(x="s"), -1),
        ("exp(%x)", "exp(%s)", -1),
        ("exp(%x)", "exp(%s)\n  %q: f64[B,4,4,4] = " + CONV.format(x="z"), -3),
        ("permute(%x) {dims=[0,3,1,2]}", "exp(%s)", -1),
    ],
)
def test_channels_of_maps_come_before_their_places(op: str, last: str, axis: int) -> None:
    graph = module(MAPS.format(op=op, last=last)).graph
    assert channel_axis(graph, graph.producers["y"].out) == axis


def test_tokens_have_their_channels_last() -> None:
    text = "graph @g(%x: f64[B,4,4]) {\n  %y: f64[B,4,4] = add(%x, %x)\n  return %y\n}"
    graph = module(text).graph
    assert channel_axis(graph, graph.producers["y"].out) == -1
