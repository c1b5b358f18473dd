"""Waterfalls of ledgers: as steps, as text, as figures."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import lrpc
from lrpc.commands.session.ledgers import PARTS, values_of
from lrpc.results.waterfall import figure, of_row, steps, text
from lrpc.runtime.loading import ProgramError
from lrpc.runtime.results import Ledger, part_of


def test_steps_lead_from_the_target_to_the_image() -> None:
    found = steps(2.0, 4.5, {"head: bias": -3.0, "encoder: softmax": 0.5})
    assert [(one.name, one.low, one.high) for one in found] == [
        ("target", 0.0, 2.0),
        ("head: bias", 2.0, 5.0),
        ("encoder: softmax", 4.5, 5.0),
        ("image", 0.0, 4.5),
    ]
    lines = text("dog", found).splitlines()
    assert lines[0] == "dog"
    assert all(len(line) <= 80 for line in lines)
    assert lines[2].split()[:3] == ["head:", "bias", "-3"]
    assert lines[2].index("█") > lines[1].index("█")


def test_a_start_of_nothing_has_a_text_and_a_figure(tmp_path: Path) -> None:
    found = steps(0.0, 0.0, {})
    assert text("nothing", found).count("\n") == 2
    figure("nothing", found).savefig(tmp_path / "a.png")
    with pytest.raises(lrpc.ProgramError, match="there is no ledger"):
        of_row({"start": None})


@pytest.mark.parametrize(
    ("module", "part"),
    [
        ("backbone.res4.2.conv1", "backbone"),
        ("sem_seg_head.predictor.decoder.layers.0.norm1", "sem_seg_head.predictor.decoder"),
        ("sem_seg_head.predictor.class_embed", "sem_seg_head.predictor.class_embed"),
        ("0", "0"),
        ("add_3", "add_3"),
    ],
)
def test_parts_are_modules_down_to_their_lists(module: str, part: str) -> None:
    assert part_of(module) == part


def test_rows_that_cancel_are_netted() -> None:
    one = torch.ones(1, 1, dtype=torch.float64)
    rows = [
        ("n1", "head.norm", "bias", 5 * one),
        ("n1", "head.norm", "bias", -4.5 * one),
        ("n2", "head.norm", "bias", -1.5 * one),
        ("n3", "layers.0.a", "epsilon", 0.1 * one),
        ("n3", "layers.0.a", "out", 9 * one),
    ]
    ledger = Ledger(2 * one, 2.9 * one, rows)
    assert ledger.biggest() == [
        ("head.norm", "bias", -0.5),
        ("layers.0.a", "epsilon", pytest.approx(0.05)),
    ]
    assert {k: float(v) for k, v in ledger.net("node").items()} == {
        ("n1", "bias"): 0.5,
        ("n2", "bias"): -1.5,
        ("n3", "epsilon"): pytest.approx(0.1),
    }
    assert set(ledger.net("part")) == {("head.norm", "bias"), ("layers", "epsilon")}
    assert {kind: float(v) for (_, kind), v in ledger.net("kind").items()} == {
        kind: float(v) for kind, v in ledger.sinks.items()
    }
    with pytest.raises(ProgramError, match="node, module, part, kind; got 'layer'"):
        ledger.net("layer")


def test_parts_beyond_the_largest_are_summed_by_kind() -> None:
    one = torch.ones(1, 1, dtype=torch.float64)
    rows = [(f"n{i}", f"m{i}", "bias", (30 - i) * one) for i in range(20)]
    ((values,),) = values_of(Ledger(one, one, rows))
    assert len(values.parts) == PARTS + 1
    assert values.parts["rest: bias"] == sum(30 - i for i in range(PARTS, 20))
    assert sum(values.parts.values()) == values.sinks["bias"]


class Doubled(torch.nn.Module):
    """Its norm is applied twice, as MaskDINO's is."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = torch.nn.Linear(4, 6), torch.nn.LayerNorm(6)
        self.last = torch.nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.last(self.norm(self.norm(self.first(x))))
        return out


def test_netted_sinks_are_what_each_bias_contributes() -> None:
    """By autograd with σ constant: Σ b ∂out/∂b of every bias parameter, in float64."""
    torch.manual_seed(0)
    model = Doubled().double().eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    x = torch.randn(1, 4, dtype=torch.float64)
    program = lrpc.compile(model, (x,), composite="epsilon", epsilon=0.0)
    found = program.relevance(program.forward(x), "output", at=[(1,)], ledger=True)
    net = {name: float(a) for (name, kind), a in found.ledger.net().items() if kind == "bias"}

    def norm(h: torch.Tensor) -> torch.Tensor:
        centred = h - h.mean(-1, keepdim=True)
        sigma = (centred.square().mean(-1, keepdim=True) + model.norm.eps).sqrt().detach()
        return model.norm.weight * centred / sigma + model.norm.bias

    out = model.last(norm(norm(model.first(x))))[0, 1]
    out.backward()
    for name in ("first", "norm", "last"):
        bias = getattr(model, name).bias
        assert net[name] == pytest.approx(float((bias * bias.grad).detach().sum()), rel=1e-12)
    start = found.ledger.start.abs()
    grown = found.input.abs().sum() / start
    assert found.amplification["x"].item() == pytest.approx(float(grown))
