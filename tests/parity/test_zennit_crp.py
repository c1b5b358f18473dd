"""Conditional relevance against zennit-crp (0.6.0), on torchvision's networks in float64."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import lrpc
from tests.parity.test_zennit_composites import ExactMerge, trained, vgg11
from tests.support.programs import difference
from tests.support.torchvision_shim import torchvision_models

models = torchvision_models()
crp = pytest.importorskip("crp.attribution", reason="pip install --no-deps zennit-crp==0.6.0")
composites = pytest.importorskip("zennit.composites")
from zennit.torchvision import ResNetBasicBlockCanonizer  # noqa: E402

LIMIT = 1e-9
Condition = dict[str, list[int]]


def by_zennit(
    model: nn.Module, x: Tensor, condition: Condition, composite: Any, read: Sequence[str]
) -> tuple[Tensor, dict[str, Tensor]]:
    """Relevance of class 3 at the input and at layers, through the channels of a condition."""
    data = x.clone().requires_grad_()
    attribute = crp.CondAttribution(model)
    given = [{"y": [3], **condition}] * len(x)
    found = attribute(data, given, composite, record_layer=list(read), exclude_parallel=False)
    assert data.grad is not None
    return data.grad, found.relevances


def check(
    model: nn.Module, x: Tensor, ours: str, theirs: Any, places: Sequence[tuple[str, str]]
) -> None:
    """Channels alone, several of them, and both places at once; a place is a module of ours, and
    that of theirs whose output is the same."""
    names = {f"p{i}": path for i, (_, path) in enumerate(places)}
    read = {f"p{i}": path for i, (path, _) in enumerate(places)}
    program: Any = lrpc.compile(model, (x,), composite=ours, read=read, conditions=[*read])
    first, last = names
    conditions: list[dict[str, list[int]]] = [
        *({first: [c]} for c in (0, 3, 6)), {last: [1, 2, 5]}, {first: [2, 4], last: [0, 7]}, {},
    ]  # fmt: skip
    found = program.relevance(program.forward(x), at=[(3,)], condition=conditions)
    for seed, one in enumerate(conditions):
        condition = {names[place]: channels for place, channels in one.items()}
        at_input, at_layers = by_zennit(model, x, condition, theirs, [*names.values()])
        assert difference(found.input[seed], at_input.detach()) < LIMIT, one
        for place, path in names.items():
            if place not in one:  # zennit-crp records what it has masked
                assert difference(found.layers[place][seed], at_layers[path]) < LIMIT, one


def test_vgg() -> None:
    torch.manual_seed(0)
    model, x = trained(vgg11(False)), torch.randn(2, 3, 112, 112, dtype=torch.float64)
    places = [("features.3", "features.3"), ("features.13", "features.13")]
    check(model, x, "epsilon_plus", composites.EpsilonPlus(), places)


def test_resnet() -> None:
    """A batch norm is part of the convolution before it, in both."""
    torch.manual_seed(0)
    model = trained(models.resnet.ResNet(models.resnet.BasicBlock, [1] * 4, num_classes=5))
    x = torch.randn(2, 3, 48, 48, dtype=torch.float64)
    theirs = composites.EpsilonPlusFlat(canonizers=[ExactMerge(), ResNetBasicBlockCanonizer()])
    places = [
        ("layer2.0.downsample.1", "layer2.0.downsample.0"),
        ("layer4.0.bn1", "layer4.0.conv1"),
    ]
    check(model, x, "epsilon_plus_flat", theirs, places)
