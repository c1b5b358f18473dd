"""Norms spelled out in primitive operations get their name; what is only alike does not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from lrpc.frontend import import_model
from lrpc.ir.graph import Module
from passes import Canonicalize, RecogniseNorms
from tests.support.graphs import check_text, check_values, module, rewritten
from tests.support.models import Apply

RMS = """
graph @g(%x: f64[B,5,4]) {{
  weight "g": f64[4]
  %g: f64[4] = constant() {{weight="g"}}
  {body}
  %y: f64[B,5,4] = mul(%n, %g)
  return %y
}}
"""
SPELLED = """%q: f64[B,5,4] = pow(%x) {exponent=2}
  %m: f64[B,5,1] = mean(%q) {dims=[-1], keepdim=true}
  %s: f64[B,5,1] = shift(%m) {by=1e-05}
  %r: f64[B,5,1] = pow(%s) {exponent=-0.5}
  %n: f64[B,5,4] = mul(%x, %r)"""


def test_rms_norm_takes_its_gain_in() -> None:
    check_text(
        RecogniseNorms(),
        RMS.format(body=SPELLED),
        """
        graph @g(%x: f64[B,5,4]) {
          weight "g": f64[4]
          %y: f64[B,5,4] = rms_norm(%x) {weight="g", eps=1e-05}
          return %y
        }
        """,
    )


def test_casts_are_not_crossed() -> None:
    """The norm computes in float32 as before, and its gain is applied in float64 as before."""
    body = (
        SPELLED.replace("f64[B,5,4]", "f32[B,5,4]").replace("f64[B,5,1]", "f32[B,5,1]")
        .replace("%x", "%c").replace("%n:", "%o:")
    )  # fmt: skip
    cast, back = (
        f'%{new}: {kind}[B,5,4] = cast(%{old}) {{dtype="{kind}"}}'
        for new, old, kind in (("c", "x", "f32"), ("n", "o", "f64"))
    )
    before = module(RMS.format(body=f"{cast}\n  {body}\n  {back}"))
    after = rewritten(RecogniseNorms(), before)
    ops = [(node.op, node.out.type.dtype) for node in after.graph.nodes if node.op != "constant"]
    assert ops == [("cast", "f32"), ("rms_norm", "f32"), ("cast", "f64"), ("mul", "f64")]


def rms(m: Apply, x: Tensor, eps: float = 1e-3) -> Tensor:
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps)


def centred(x: Tensor) -> Tensor:
    return x - x.mean(-1, keepdim=True)


# Functions of (module with `scale` [6] and `w` [4, 6], x [B, 4, 6]).
SAME: dict[str, tuple[str, set[str], Callable[[Any, Tensor], Tensor]]] = {
    "llama": ("rms_norm", {"weight", "eps"}, lambda m, x: m.scale * rms(m, x).to(x.dtype)),
    "gemma": ("rms_norm", {"weight", "eps"}, lambda m, x: rms(m, x) * (1.0 + m.scale)),
    "no gain": ("rms_norm", {"eps"}, rms),
    "no epsilon": ("rms_norm", {"eps"}, lambda m, x: rms(m, x, 0.0)),
    "square root and division": (
        "rms_norm", {"weight", "eps"},
        lambda m, x: x / ((x * x).mean(-1, keepdim=True) + 1e-3).sqrt() * m.scale,
    ),
    "reciprocal of a root": (
        "rms_norm", {"eps"}, lambda m, x: (1 / (x.square().mean(-1, True) + 1e-3).sqrt()) * x
    ),
    "power of one half": (
        "rms_norm", {"eps"}, lambda m, x: x / ((x**2).mean(-1, keepdim=True) + 1e-3) ** 0.5
    ),
    "axis added later": (
        "rms_norm", {"eps"}, lambda m, x: x * torch.rsqrt((x**2).mean(-1) + 1e-3)[..., None]
    ),
    "repeated": (
        "rms_norm", {"eps"},
        lambda m, x: x / ((x**2).mean(-1, keepdim=True) + 1e-3).sqrt().expand(-1, -1, 6),
    ),
    "gain with axes": (
        "rms_norm", {"weight", "eps"}, lambda m, x: rms(m, x) * m.scale[None, None]
    ),
    "layer norm": (
        "layer_norm", {"weight", "bias", "eps"},
        lambda m, x: m.scale * centred(x)
        / ((centred(x) ** 2).mean(-1, keepdim=True) + 1e-3).sqrt() + m.scale.square(),
    ),
    "layer norm by its variance": (
        "layer_norm", {"weight", "bias", "eps"},
        lambda m, x: centred(x) * (x.var(-1, unbiased=False, keepdim=True) + 1e-3).rsqrt()
        * m.scale + m.scale.square(),
    ),
    "layer norm by its deviation": (
        "layer_norm", {"eps"}, lambda m, x: centred(x) / x.std(-1, correction=0, keepdim=True)
    ),
}  # fmt: skip


def imported(function: Callable[[Any, Tensor], Tensor]) -> Module:
    model = Apply(function).double()
    x = torch.randn(2, 4, 6, dtype=torch.float64)
    return Canonicalize().run(import_model(model, {"x": x}).module)


@pytest.mark.parametrize("name", SAME)
def test_spellings(name: str) -> None:
    op, attrs, function = SAME[name]
    before = imported(function)
    after = rewritten(RecogniseNorms(), before)
    (node,) = after.graph.nodes
    assert (node.op, {key for key, _ in node.attrs}) == (op, attrs)
    check_values(before, after)


OTHER: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "another axis": lambda m, x: x * torch.rsqrt(x.pow(2).mean(-2, keepdim=True) + 1e-3),
    "two axes": lambda m, x: x * torch.rsqrt(x.pow(2).mean((-2, -1), keepdim=True) + 1e-3),
    "another tensor below": lambda m, x: (x + m.scale) * torch.rsqrt(
        x.pow(2).mean(-1, keepdim=True) + 1e-3),
    "centred below only": lambda m, x: x / (x.var(-1, correction=0, keepdim=True) + 1e-3).sqrt(),
    "unbiased variance": lambda m, x: centred(x) / (x.var(-1, keepdim=True) + 1e-3).sqrt(),
    "epsilon behind the root": lambda m, x: x / (x.pow(2).mean(-1, keepdim=True).sqrt() + 1e-3),
    "a fourth power": lambda m, x: x / (x.pow(4).mean(-1, keepdim=True) + 1e-3).sqrt(),
    "no root": lambda m, x: x / (x.pow(2).mean(-1, keepdim=True) + 1e-3),
    "a sum": lambda m, x: x * torch.rsqrt(x.pow(2).sum(-1, keepdim=True) + 1e-3),
    "its own mean of squares": lambda m, x: x * (x.pow(2).mean(-1, keepdim=True) + 1e-3).sqrt(),
    "numbers of another axis": lambda m, x: x[..., :4] * torch.rsqrt(
        x[..., :4].pow(2).mean(-1) + 1e-3)[:, None],
    "subtracts another mean": lambda m, x: (x - x.mean(-2, keepdim=True)) * torch.rsqrt(
        (x - x.mean(-2, keepdim=True)).pow(2).mean(-2, keepdim=True) + 1e-3),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHER)
def test_near_misses_stay_as_they_are(name: str) -> None:
    before = imported(OTHER[name])
    after = rewritten(RecogniseNorms(), before)
    assert after.graph.nodes == before.graph.nodes


def test_what_is_read_twice_is_not_scaled_for_one_reader() -> None:
    before = imported(lambda m, x: rms(m, x) * m.scale + rms(m, x))
    after = rewritten(RecogniseNorms(), before)
    assert sorted(n.op for n in after.graph.nodes) == ["add", "constant", "mul", "rms_norm"]
    check_values(before, after)


def test_a_gain_from_the_data_stays_a_product() -> None:
    before = imported(lambda m, x: rms(m, x) * x)
    after = rewritten(RecogniseNorms(), before)
    assert [n.op for n in after.graph.nodes] == ["rms_norm", "mul"]
    check_values(before, after)


def test_a_shift_before_the_gain_is_no_part_of_the_norm() -> None:
    def function(m: Any, x: Tensor) -> Tensor:
        y = centred(x) / (x.var(-1, correction=0, keepdim=True) + 1e-3).sqrt()
        found: Tensor = (y + m.scale.square()) * m.scale
        return found

    before = imported(function)
    after = rewritten(RecogniseNorms(), before)
    norm = next(n for n in after.graph.nodes if n.op == "layer_norm")
    assert {key for key, _ in norm.attrs} == {"bias", "eps"}
    assert after.graph.nodes[-1].op == "mul"
    check_values(before, after)
