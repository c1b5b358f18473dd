"""Netted sinks against autograd: what each bias of a MaskDINO contributes to a logit."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import lrpc
from lrpc.models.maskdino import build_maskdino
from tests.models.test_maskdino_model import small_config
from tests.oracle.patched import Patched


class Logits(nn.Module):
    """A small MaskDINO of normalised images; every bias is drawn anew."""

    def __init__(self) -> None:
        super().__init__()
        self.model = build_maskdino(small_config()).double()
        self.model.normalize = nn.Identity()
        generator = torch.Generator().manual_seed(1)
        for name, parameter in self.model.named_parameters():
            if name.endswith("bias"):
                parameter.data.normal_(0, 0.1, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.model(x)["pred_logits"]
        return found


@pytest.mark.parametrize("rules", ["attnlrp", "cp_lrp"])
def test_netted_sinks_are_what_each_bias_contributes(rules: str) -> None:
    """At ε = 0 relevance is a gradient of the partly detached model, and b ⊙ ∂z/∂b what ends in a
    bias b. A module that is called several times, as the decoder's norm is, has one sum."""
    model = Logits()
    x = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    composite = lrpc.composite(rules, epsilon=0.0, stop_at_detach=True)
    program = lrpc.compile(model, (x,), composite=composite)
    found = program.relevance(program.forward(x), "output", at=[(3, 1)], ledger=True)
    net = {name: float(a) for (name, kind), a in found.ledger.net().items() if kind == "bias"}

    wanted = by_autograd(model, x, rules)
    compared = {name: amount for name, amount in wanted.items() if abs(amount) > 1e-12}
    scale = max(abs(amount) for amount in compared.values())
    for name, amount in compared.items():
        assert net[name] == pytest.approx(amount, abs=1e-9 * scale), name
    assert len(compared) > 20


def by_autograd(model: Logits, x: Tensor, rules: str) -> dict[str, float]:
    """Σ b ∂z/∂y of every module y = f(x) + b that relevance reaches, those of an attention summed.

    Biases themselves stay constants: what depends on them alone takes no share of a product. The
    projections inside `nn.MultiheadAttention` are no modules that are called, and are left out.
    """
    outputs: list[tuple[str, Tensor, Tensor]] = []

    def note(name: str, module: nn.Module, output: Tensor) -> None:
        if output.requires_grad:
            output.retain_grad()
            outputs.append((name, module.bias, output))

    handles = [
        module.register_forward_hook(lambda m, _, out, n=name: note(n, m, out))
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d | nn.LayerNorm | nn.GroupNorm)
        and module.bias is not None
    ]
    with Patched(rules):
        model(x.clone().requires_grad_())[0, 3, 1].backward()
    for handle in handles:
        handle.remove()
    found: dict[str, float] = {}
    for name, bias, output in outputs:
        outer = name.rpartition(".")[0]
        name = outer if outer.endswith("_attn") else name
        if output.grad is not None:
            axis = 1 if output.dim() == 4 else output.dim() - 1
            slope = output.grad.movedim(axis, -1).flatten(0, -2).sum(0)
            found[name] = found.get(name, 0.0) + float((bias.detach() * slope).sum())
    return found
