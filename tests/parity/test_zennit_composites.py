"""Composites against zennit's of the same names, end to end on torchvision's networks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import lrpc
from tests.support.torchvision_shim import torchvision_models

models = torchvision_models()
composites = pytest.importorskip("zennit.composites")
from zennit.canonizers import SequentialMergeBatchNorm  # noqa: E402
from zennit.torchvision import ResNetBasicBlockCanonizer  # noqa: E402

PARITY = (
    ("add", "epsilon", "zennit", "test_resnet18"),
    ("mean", "epsilon", "zennit", "test_resnet18"),
    ("relu", "pass", "zennit", "test_resnet18"),
    ("max_pool2d", "pass", "zennit", "test_resnet18"),
)

#: ImageNet's normalisation of images in [0, 1].
MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
LOW, HIGH = ((bound - MEAN) / STD for bound in (0.0, 1.0))
BOX = {"low": tuple(LOW.tolist()), "high": tuple(HIGH.tolist())}
NAMES = {
    "epsilon_plus": "EpsilonPlus",
    "epsilon_alpha2_beta1": "EpsilonAlpha2Beta1",
    "epsilon_plus_flat": "EpsilonPlusFlat",
    "epsilon_gamma_box": "EpsilonGammaBox",
}


def vgg11(batch_norm: bool) -> nn.Module:
    """VGG-11 with an eighth of the channels and no last max-pool: of images of half the size, too,
    its 7 × 7 average pool sees a map of 7 × 7 cells."""
    widths: list[Any] = [8, "M", 16, "M", 32, 32, "M", 64, 64, "M", 64, 64]
    model = models.vgg.VGG(models.vgg.make_layers(widths, batch_norm), num_classes=7)
    model.classifier[0] = nn.Linear(64 * 49, 64)
    model.classifier[3] = nn.Linear(64, 64)
    model.classifier[6] = nn.Linear(64, 7)
    return model


def trained(model: nn.Module) -> nn.Module:
    """With weights and statistics such as training leaves: none is 0 or 1."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data = 0.5 + torch.rand_like(module.weight)
            module.bias.data = 0.3 * torch.randn_like(module.bias)
            module.running_mean = 0.3 * torch.randn_like(module.bias)
            module.running_var = 0.5 + torch.rand_like(module.bias)
        elif isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            module.bias.data = 0.1 * torch.randn_like(module.bias)
    return model.double().eval()


def image(size: int) -> Tensor:
    inside = torch.rand(1, 3, size, size).double()
    return (inside - MEAN.reshape(3, 1, 1)) / STD.reshape(3, 1, 1)


class ExactMerge(SequentialMergeBatchNorm):  # type: ignore[misc]
    """zennit's merge leaves a batch norm that divides by √(1 + ε); here it is the identity."""

    def register(self, linears: Any, batch_norm: Any) -> None:
        super().register(linears, batch_norm)
        self.eps, batch_norm.eps = batch_norm.eps, 0.0

    def remove(self) -> None:
        self.batch_norm.eps = self.eps
        super().remove()


def theirs(model: nn.Module, name: str, x: Tensor, seeds: Tensor, canonizers: list[Any]) -> Tensor:
    bounds = {k: torch.tensor(v).double().reshape(1, 3, 1, 1) for k, v in BOX.items()}
    given = bounds if name == "epsilon_gamma_box" else {}
    made = getattr(composites, NAMES[name])(canonizers=canonizers, **given)
    found = []
    with made.context(model) as changed:
        for seed in seeds:
            leaf = x.clone().requires_grad_(True)
            found.append(torch.autograd.grad(changed(leaf), leaf, seed)[0])
    return torch.stack(found)


def ours(model: nn.Module, name: str, x: Tensor, seeds: Tensor, fold: bool) -> Tensor:
    options = BOX if name == "epsilon_gamma_box" else {}
    rules = lrpc.composite(name, **options)
    program = lrpc.compile(model, (x,), composite=rules, fold_batch_norm=fold)
    result = program.relevance(program.forward(x), "output", seeds=seeds, ledger=True)
    assert float(result.ledger.closure.max()) < 1e-10
    return result.input


def equal_to_zennit(model: nn.Module, name: str, size: int, canonizers: list[Any]) -> None:
    x = image(size)
    seeds = torch.zeros(2, 1, 7, dtype=torch.float64)
    logits = model(x).detach()
    for k in range(2):
        seeds[k, :, 3 * k] = logits[:, 3 * k]
    expected = theirs(model, name, x, seeds, canonizers)
    fold = any(isinstance(canonizer, ExactMerge) for canonizer in canonizers)
    found = ours(model, name, x, seeds, fold)
    assert float((found - expected).norm() / expected.norm()) < 1e-7


@pytest.mark.parametrize("name", list(NAMES))
def test_vgg11(name: str) -> None:
    torch.manual_seed(0)
    equal_to_zennit(trained(vgg11(batch_norm=False)), name, 112, [])


@pytest.mark.parametrize(("name", "folded"), [("epsilon_plus", False), ("epsilon_gamma_box", True)])
def test_vgg11_with_batch_norm(name: str, folded: bool) -> None:
    torch.manual_seed(0)
    canonizers = [ExactMerge()] if folded else []
    equal_to_zennit(trained(vgg11(batch_norm=True)), name, 112, canonizers)


@pytest.mark.parametrize(
    ("name", "folded", "blocks"),
    [
        ("epsilon_alpha2_beta1", True, 2),
        *((name, True, 1) for name in NAMES if name != "epsilon_alpha2_beta1"),
        ("epsilon_gamma_box", False, 1),
    ],
)
def test_resnet18(name: str, folded: bool, blocks: int) -> None:
    """As it is, with 2 blocks in each stage, and with 1: an identity, then three projections."""
    torch.manual_seed(0)
    canonizers = [*([ExactMerge()] if folded else []), ResNetBasicBlockCanonizer()]
    model = models.resnet.ResNet(models.resnet.BasicBlock, [blocks] * 4, num_classes=7)
    equal_to_zennit(trained(model), name, 48, canonizers)


def test_zennit_s_merge_changes_the_logits_and_ours_does_not() -> None:
    """Its merged batch norms still divide by √(1 + 1e-5): eight of them are 4e-5 in the end."""
    torch.manual_seed(0)
    model, x = trained(vgg11(True)), image(112)
    logits = model(x).detach()
    program = lrpc.compile(model, (x,), composite="epsilon_plus")
    torch.testing.assert_close(program.forward(x).outputs, logits, rtol=1e-12, atol=1e-12)
    off = {}
    for merge in (SequentialMergeBatchNorm(), ExactMerge()):
        with composites.EpsilonPlus(canonizers=[merge]).context(model) as changed:
            off[type(merge)] = float((changed(x) - logits).norm().detach() / logits.norm())
    assert 1e-6 < off[SequentialMergeBatchNorm] < 8 * 5e-6
    assert off[ExactMerge] < 1e-12
