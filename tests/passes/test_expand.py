"""expand_attention and expand_deformable: primitive operations with the composite's values."""

from __future__ import annotations

import pytest
import torch

from passes import ExpandAttention, ExpandDeformable
from tests.support.graphs import check_values, module, random, rewritten

ATTENTION = """
graph @g(%q: f64[B,5,8], %k: f64[B,7,8], %v: f64[B,7,8]{mask_input}) {{
  weight "in_proj_weight": f64[24,8]{bias}
  weight "out.weight": f64[8,8]
  %y: f64[B,5,8] = multi_head_attention(%q, %k, %v{mask}) {{heads=2, in_weight="in_proj_weight"{named}, out_weight="out.weight"}} loc(layer.attn, m.py:3)
  return %y
}}
"""  # noqa: E501


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("mask", ["", "bool[5,7]", "bool[B,1,1,7]"])
def test_attention_keeps_its_values(bias: bool, mask: str) -> None:
    before = module(
        ATTENTION.format(
            mask_input=f", %m: {mask}" if mask else "",
            mask=", %m" if mask else "",
            bias='\n  weight "in_proj_bias": f64[24]' if bias else "",
            named=', in_bias="in_proj_bias"' if bias else "",
        )
    )
    after = rewritten(ExpandAttention(), before)
    masks = {v.name: random(v.type) for v in before.graph.inputs if v.name == "m"}
    for value in masks.values():
        value[..., 0] = False  # a row with nothing to attend to has no values
    check_values(before, after, masks)
    assert {str(n.loc) for n in after.graph.nodes} == {"layer.attn, m.py:3"}


WEIGHTS = {"value": "8,8", "offset": "24,8", "attention": "12,8", "output": "8,8"}
DEFORMABLE = """
graph @g(%x: f64[B,5,8], %ref: f64[{ref}], %s: f64[B,16,8]{mask_input}) {{
  {weights}
  %y: f64[B,5,8] = deformable_attention(%x, %ref, %s{mask}) {{heads=2, points=3, levels=[[3,4],[2,2]], {named}}} loc(layer.self_attn, m.py:3)
  return %y
}}
"""  # noqa: E501


@pytest.mark.parametrize("ref", ["B,5,2,2", "1,5,2,2", "B,5,2,4"])
@pytest.mark.parametrize("mask", [False, True])
def test_deformable_attention_keeps_its_values(ref: str, mask: bool) -> None:
    declared = [
        f'weight "{part}.{kind}": f64[{shape if kind == "weight" else shape.split(",")[0]}]'
        for part, shape in WEIGHTS.items()
        for kind in ("weight", "bias")
    ]
    named = [f'{p}_{k}="{p}.{k}"' for p in WEIGHTS for k in ("weight", "bias")]
    before = module(
        DEFORMABLE.format(
            ref=ref,
            mask_input=", %m: bool[B,16]" if mask else "",
            mask=", %m" if mask else "",
            weights="\n  ".join(declared),
            named=", ".join(named),
        )
    )
    after = rewritten(ExpandDeformable(), before)
    reference = before.graph.inputs[1].type
    check_values(before, after, {"ref": torch.rand(reference.sized({"B": 2}), dtype=torch.float64)})
    ops = [n.op for n in after.graph.nodes]
    assert ops.count("linear") == 4
    assert ops.count("deform_sample") == ops.count("softmax") == 1
    assert ops.count("masked_fill") == mask
    assert {str(n.loc) for n in after.graph.nodes} == {"layer.self_attn, m.py:3"}
