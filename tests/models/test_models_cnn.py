"""Networks of convolutions, compiled as they are: outputs, relevance against autograd, ledgers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import lrpc
from lrpc.errors import LrpcError
from lrpc.program.verify import checks
from tests.support.convolutional import CURVED, LINEAR_PIECES, REFUSED, disturbed
from tests.support.programs import difference
from tests.support.torchvision_shim import torchvision_models
from tests.support.twins import stab

LIMIT = 1e-10
COMPOSITES = ("attnlrp", "epsilon", "gradient_input")


def example(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gradient_times_input(model: nn.Module, x: Tensor, g: Tensor) -> Tensor:
    """x ⊙ ∂(g · model(x))/∂x for each seed of g [K, *output]."""
    leaf = x.clone().requires_grad_(True)
    y = model(leaf * 1)  # a model may write into what it is given
    return torch.stack([x * torch.autograd.grad(y, leaf, one, retain_graph=True)[0] for one in g])


def check(model: nn.Module, shape: tuple[int, ...], composites: Mapping[str, bool]) -> None:
    """The program at ε = 0 against the model, and its ledger; under each composite that is True
    also against the model's gradient."""
    x = example(3, *shape, seed=2)
    given = list(composites)
    program: Any = lrpc.compile(model, (example(2, *shape),), composite=given, epsilon=0.0)
    state = program.forward(x)
    expected = model(x.clone())
    assert difference(state.outputs, expected) < LIMIT
    g = example(2, *expected.shape, seed=3)
    start = {"seeds": g * expected, "ledger": True}
    for composite, gradient in composites.items():
        found = program.relevance(state, "output", composite=composite, **start)
        closes(found.ledger)
        if gradient:
            assert difference(found.input, gradient_times_input(model, x, g)) < LIMIT, composite


def closes(ledger: Any) -> None:
    assert float(ledger.closure.max()) < LIMIT
    nodes = {node: float(rest.max()) for node, rest in ledger.node_closure().items()}
    assert max(nodes.values()) < LIMIT, max(nodes, key=lambda node: nodes[node])


@pytest.mark.parametrize("name", LINEAR_PIECES)
def test_piecewise_linear_models_without_stabiliser_give_gradient_times_input(name: str) -> None:
    """Biases absorb their share, and what is left is x ⊙ ∂f/∂x, whatever the composite."""
    make, shape = LINEAR_PIECES[name]
    torch.manual_seed(0)
    check(disturbed(make()), shape, dict.fromkeys(COMPOSITES, True))


@pytest.mark.parametrize("name", CURVED)
def test_other_activations_and_norms(name: str) -> None:
    make, shape = CURVED[name]
    torch.manual_seed(0)
    check(disturbed(make()), shape, {c: c == "gradient_input" for c in COMPOSITES})


MAPS = (
    *(nn.Linear, nn.Conv1d, nn.Conv2d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.Upsample),
    *(nn.BatchNorm1d, nn.BatchNorm2d, nn.AvgPool1d, nn.AvgPool2d),
)
ACTIVATIONS = (nn.ReLU, nn.LeakyReLU, nn.RReLU, nn.GELU, nn.Hardswish, nn.Mish, nn.ReLU6, nn.ELU)
STEPWISE = (
    *("multilayer perceptron", "classifier", "groups and depths", "dilated", "signal", "leaky"),
    *("transposed in groups", "max pooling, ceil", "max pooling, adaptive", "up and resized"),
    *("average of what is there", "average pooling, ceil", "average pooling, a divisor"),
    *("shuffled", "GELU", "Hardswish", "Mish", "ReLU6", "ELU"),
)


def carried_back(model: nn.Sequential, x: Tensor, r: Tensor, eps: float) -> Tensor:
    """Relevance itself, layer by layer: ε for linear maps, unchanged through activations, and with
    the entries where they are moved."""
    inputs = [x]
    for layer in model:
        inputs.append(layer(inputs[-1]))
    for layer, given in zip(reversed(model), reversed(inputs[:-1]), strict=True):
        if isinstance(layer, ACTIVATIONS):
            continue
        leaf = given.clone().requires_grad_(True)
        out = layer(leaf)
        z = out.detach()
        exact = torch.where(z == 0, 0.0, r / torch.where(z == 0, 1.0, z))
        share = r / stab(z, eps) if isinstance(layer, MAPS) else exact
        r = given * torch.autograd.grad(out, leaf, share)[0]
    return r


@pytest.mark.parametrize("name", STEPWISE)
def test_with_a_stabiliser_relevance_is_what_the_rules_carry_back(name: str) -> None:
    make, shape = {**LINEAR_PIECES, **CURVED}[name]
    torch.manual_seed(0)
    model, x = disturbed(make()), example(3, *shape, seed=2)
    assert isinstance(model, nn.Sequential)
    program: Any = lrpc.compile(
        model, (x,), composite="epsilon", epsilon=0.1, fold_batch_norm=False
    )
    state = program.forward(x)
    start = example(*state.outputs.shape, seed=3) * state.outputs
    found = program.relevance(state, "output", seeds=start[None], ledger=True)
    assert difference(found.input[0], carried_back(model, x, start, 0.1)) < LIMIT
    closes(found.ledger)


@pytest.mark.parametrize("composite", ["attnlrp", "epsilon"])
def test_the_stabiliser_s_share_is_booked(composite: str) -> None:
    torch.manual_seed(0)
    model, x = disturbed(LINEAR_PIECES["u-net"][0]()), example(2, 3, 8, 8)
    exact, damped = (
        lrpc.compile(model, (x,), composite=composite, epsilon=epsilon) for epsilon in (0.0, 0.05)
    )
    g = example(1, *model(x).shape, seed=3)
    for program in (exact, damped):
        found: Any = program.relevance(
            program.forward(x),
            "output",
            seeds=g * model(x),
            ledger=True,  # type: ignore[call-arg]
        )
        closes(found.ledger)
        share = found.ledger.sinks.get("epsilon")
        assert (share is not None and float(share.abs().max()) > 1e-3) == (program is damped)


@pytest.mark.parametrize("composite", ["attnlrp", "gradient_input"])
@pytest.mark.parametrize("name", ["u-net", "signal", "average of what is there", "mirrored edges"])
def test_programs_hold_against_the_interpreter(name: str, composite: str) -> None:
    """In float32, by what `lrpc verify` checks."""
    make, shape = LINEAR_PIECES[name]
    torch.manual_seed(0)
    model = disturbed(make()).float()
    program: Any = lrpc.compile(model, (example(2, *shape).float(),), composite=composite)
    found = list(checks(program.directory))
    assert [c for c in found if not c.passed] == []
    assert "output → input.input" in {c.what for c in found} or name == "u-net"


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_compiled_is_refused_in_one_line(name: str) -> None:
    make, shape, reason = REFUSED[name]
    model = disturbed(make())
    with pytest.raises(LrpcError) as error:
        lrpc.compile(model, (example(2, *shape),))
    text = str(error.value)
    assert "\n" not in text
    assert re.sub(r"\.py:\d+", ".py:LINE", text) == reason


def test_hardsigmoid_has_its_exact_gradient() -> None:
    """torch's own backward rounds 1/6 to float32: the slope is written out here."""
    torch.manual_seed(0)
    model = disturbed(nn.Sequential(nn.Linear(4, 6), nn.Hardsigmoid(), nn.Linear(6, 2)))
    x, g = 4 * example(3, 4), example(1, 3, 2, seed=1)
    program: Any = lrpc.compile(model, (x,), composite="gradient_input")
    state = program.forward(x)
    assert difference(state.outputs, model(x)) < LIMIT
    found = program.relevance(state, "output", seeds=g * state.outputs, ledger=True)
    closes(found.ledger)
    first, last = (model.get_submodule(i).weight for i in "02")
    inside = (model[0](x).abs() < 3).double() / 6  # type: ignore[index]
    assert difference(found.input[0], x * (((g[0] @ last) * inside) @ first)) < LIMIT


# -- of torchvision --------------------------------------------------------------------------------


def small(name: str) -> tuple[nn.Module, int]:
    """A torchvision model with five classes, narrow where its function allows, and a size."""
    models = torchvision_models()
    if name == "vgg11_bn":
        vgg = models.vgg
        layers = vgg.make_layers([4, "M", 8, "M", 8, 8, "M", 8, 8, "M", 8, 8, "M"], batch_norm=True)
        model: nn.Module = vgg.VGG(layers, num_classes=5, init_weights=False)
        model.classifier = nn.Sequential(
            nn.Linear(8 * 49, 16), nn.ReLU(True), nn.Dropout(), nn.Linear(16, 5)
        )
        return model, 64
    if name.startswith("resnet"):
        resnet = models.resnet
        block, blocks = {
            "resnet18": (resnet.BasicBlock, [2, 2, 2, 2]),
            "resnet50": (resnet.Bottleneck, [3, 4, 6, 3]),
        }[name]
        width = {"width_per_group": 8} if name == "resnet50" else {}
        model = resnet.ResNet(block, blocks, num_classes=5, **width)
        return model, 33 if name == "resnet18" else 32
    if name in GATED:
        return GATED[name](models), 32
    options = {"googlenet": {"aux_logits": False, "init_weights": False}}.get(name, {})
    return models.get_model(name, weights=None, num_classes=5, **options), 64


def efficientnet(models: Any) -> nn.Module:
    of = models.efficientnet.MBConvConfig
    settings = [of(1, 3, 1, 8, 8, 1, 1, 1), of(4, 5, 2, 8, 12, 2, 1, 1)]
    made: nn.Module = models.efficientnet.EfficientNet(settings, dropout=0.0, num_classes=5)
    return made


def regnet(models: Any) -> nn.Module:
    params = models.regnet.BlockParams.from_init_params(4, 16, 20.0, 2.0, 8, se_ratio=0.25)
    made: nn.Module = models.regnet.RegNet(params, num_classes=5)
    return made


def convnext(models: Any) -> nn.Module:
    of = models.convnext.CNBlockConfig
    made: nn.Module = models.convnext.ConvNeXt([of(8, 16, 1), of(16, None, 2)], num_classes=5)
    return made


GATED = {"efficientnet": efficientnet, "regnet": regnet, "convnext": convnext}


PIECEWISE = ("vgg11_bn", "resnet18", "squeezenet1_1", "shufflenet_v2_x0_5", "mnasnet0_5")


@pytest.mark.parametrize("name", PIECEWISE)
def test_torchvision_models_of_linear_pieces(name: str) -> None:
    torch.manual_seed(0)
    model, size = small(name)
    check(disturbed(model), (3, size, size), {"epsilon": True})


@pytest.mark.parametrize("name", ["mobilenet_v2", "mobilenet_v3_small"])
def test_torchvision_models_of_other_activations(name: str) -> None:
    torch.manual_seed(0)
    model, size = small(name)
    model = disturbed(model)
    check(model, (3, size, size), {"attnlrp": False, "gradient_input": name == "mobilenet_v2"})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "composite"),
    [
        ("vgg11", "epsilon"),
        ("resnet50", "attnlrp"),
        ("densenet121", "epsilon"),
        ("googlenet", "gradient_input"),
    ],
)
def test_torchvision_models_as_released(name: str, composite: str) -> None:
    torch.manual_seed(0)
    models = torchvision_models()
    options = {
        "vgg11": {"init_weights": False},
        "googlenet": {"aux_logits": False, "init_weights": False},
    }.get(name, {})
    model = disturbed(models.get_model(name, weights=None, **options))
    check(model, (3, 64, 64), {composite: True})


@pytest.mark.parametrize("name", GATED)
def test_small_gated_torchvision_models(name: str) -> None:
    torch.manual_seed(0)
    model, size = small(name)
    model = disturbed(model)
    check(model, (3, size, size), {"attnlrp": False, "gradient_input": True})


@pytest.mark.slow
@pytest.mark.parametrize("name", ["efficientnet_b0", "regnet_y_400mf", "convnext_tiny"])
def test_gated_torchvision_models(name: str) -> None:
    torch.manual_seed(0)
    model = disturbed(torchvision_models().get_model(name, weights=None, num_classes=5))
    check(model, (3, 64, 64), {"attnlrp": False, "gradient_input": True})
