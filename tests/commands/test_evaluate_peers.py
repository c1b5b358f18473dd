"""Our metrics against Quantus and captum, where those can take what they measure: a classifier."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import lrpc
from lrpc.commands.evaluate.methods import integrate, midpoints
from lrpc.commands.evaluate.perturb import Fill, deletions, patch_order
from lrpc.commands.session.metrics import pointing, rank_accuracy, share
from tests.support.programs import difference
from tests.support.torchvision_shim import torchvision_models

SIZE, FILL = 8, 0.25


@pytest.fixture
def quantus() -> Iterator[ModuleType]:
    torchvision_models()  # Quantus imports torchvision
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield pytest.importorskip("quantus")


def classifier() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(6 * SIZE**2, 4)
    ).eval()


def batch(channels: int = 3) -> tuple[Tensor, Tensor, list[int]]:
    """Images [2, 3, H, W] that differ everywhere from the fill, maps, classes."""
    generator = torch.Generator().manual_seed(5)
    images = torch.rand(2, 3, SIZE, SIZE, generator=generator) + 1
    maps = torch.randn(2, SIZE, SIZE, generator=generator)
    return images, maps, [1, 3]


def ours(model: nn.Module, patch: int, sign: int = 1) -> list[list[float]]:
    """The class's score with 1, 2, … of the most relevant patches gone."""
    images, maps, classes = batch()
    scores = []
    for image, relevance, label in zip(images, maps, classes, strict=True):
        order = patch_order(sign * relevance, (SIZE, SIZE), patch, torch.Generator())
        fill = torch.full_like(image, FILL)
        some = torch.stack(list(deletions(image, Fill(fill), order, range(1, order.count + 1))))
        with torch.no_grad():
            scores.append(model(some).softmax(1)[:, label].tolist())
    return scores


def theirs(metric: Any, model: nn.Module) -> Any:
    images, maps, classes = batch()
    return metric(
        model=model,
        x_batch=images.numpy(),
        y_batch=np.array(classes),
        a_batch=maps[:, None].expand(-1, 3, -1, -1).numpy(),
        device="cpu",
        softmax=True,
    )


def options(**more: Any) -> dict[str, Any]:
    return {"normalise": False, "disable_warnings": True, "perturb_baseline": FILL, **more}


@pytest.mark.parametrize(("order", "sign"), [("morf", 1), ("lerf", -1)])
def test_patches_removed_as_by_region_perturbation(
    quantus: ModuleType, order: str, sign: int
) -> None:
    model = classifier()
    metric = quantus.RegionPerturbation(
        patch_size=2, regions_evaluation=16, order=order, **options()
    )
    drops = np.array(theirs(metric, model))  # Quantus gives the score's drop
    images, _, classes = batch()
    with torch.no_grad():
        whole = model(images).softmax(1)[torch.arange(2), classes].numpy()
    assert whole[:, None] - drops == pytest.approx(np.array(ours(model, 2, sign)), abs=1e-6)


def test_pixels_removed_as_by_pixel_flipping(quantus: ModuleType) -> None:
    """Quantus flips colours singly, in their own order: maps of one colour make it ours."""
    torch.manual_seed(3)
    model = nn.Sequential(nn.Flatten(), nn.Linear(SIZE**2, 16), nn.ReLU(), nn.Linear(16, 4)).eval()
    images, maps, classes = batch()
    grey = images[:, :1]
    found = quantus.PixelFlipping(features_in_step=4, **options())(
        model=model,
        x_batch=grey.numpy(),
        y_batch=np.array(classes),
        a_batch=maps[:, None].numpy(),
        device="cpu",
        softmax=True,
    )
    for b, label in enumerate(classes):
        order = patch_order(maps[b], (SIZE, SIZE), 1, torch.Generator())
        fill = torch.full_like(grey[b], FILL)
        some = torch.stack(list(deletions(grey[b], Fill(fill), order, range(4, 65, 4))))
        with torch.no_grad():
            expected = model(some).softmax(1)[:, label].tolist()
        assert found[b] == pytest.approx(expected, abs=1e-6)


def test_localisation_as_by_quantus(quantus: ModuleType) -> None:
    _, maps, _ = batch()
    masks = torch.zeros(2, SIZE, SIZE, dtype=torch.bool)
    masks[0, 2:6, 1:5] = True
    masks[1].view(-1)[maps[1].argmax()] = True
    masks[1, :2] = True

    def ask(name: str, a: Tensor) -> list[float]:
        metric = getattr(quantus, name)(abs=False, normalise=False, disable_warnings=True)
        images, _, classes = batch()
        found = metric(
            model=classifier(),
            x_batch=images.numpy(),
            y_batch=np.array(classes),
            a_batch=a[:, None].numpy(),
            s_batch=masks[:, None].numpy(),
            device="cpu",
        )
        return [float(one) for one in found]

    pairs = list(zip(maps, masks, strict=True))
    assert ask("PointingGame", maps) == [pointing(m, s) for m, s in pairs] == [0.0, 1.0]
    assert ask("RelevanceRankAccuracy", maps) == pytest.approx(
        [rank_accuracy(m, s) for m, s in pairs]
    )
    for part in (maps.clamp(min=0), maps.abs()):
        expected = [share(m, s) for m, s in zip(part, masks, strict=True)]
        assert ask("RelevanceMassAccuracy", part) == pytest.approx(expected, abs=1e-6)


def test_integrated_gradients_as_by_captum() -> None:
    """From input × gradient of a compiled program alone, on a model that is curved."""
    attr = pytest.importorskip("captum.attr")
    torch.manual_seed(3)
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.GELU(), nn.Flatten(), nn.Linear(6 * 36, 16), nn.GELU(),
        nn.Linear(16, 4),
    ).double().eval()  # fmt: skip
    images, _, classes = batch()
    images = images.double()
    program = lrpc.compile(model, (images,), composite="gradient_input")
    steps = 12
    expected = attr.IntegratedGradients(model).attribute(
        images, target=torch.tensor(classes), n_steps=steps, method="riemann_middle"
    )
    for b, label in enumerate(classes):
        total = torch.zeros(1, 3, SIZE, SIZE, dtype=torch.float64)
        for alphas in torch.split(midpoints(steps), 5):
            state = program.forward(alphas[:, None, None, None] * images[b])
            at = torch.full((1, len(alphas), 1), label)
            total += integrate(program.relevance(state, "output", at=at).input, alphas, steps)
        assert difference(total[0], expected[b]) < 1e-6  # captum's steps are in single precision
