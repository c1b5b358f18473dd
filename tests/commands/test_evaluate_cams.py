"""Class activation maps against their formulas, written out cell by cell, and other tools."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lrpc.commands.evaluate.cams import KINDS, Cam, map_place, smoothed, watched
from lrpc.commands.evaluate.model import Picture, Subject
from lrpc.commands.evaluate.truth import Framed
from lrpc.commands.session.images import LoadedImage
from lrpc.errors import ProgramError
from lrpc.program.protocol import Detection
from tests.support.maskdino_cases import digits_image, digits_model

SIDES = (24.0, 9.0)  # of the object, in cells


def expected(name: str, a: Tensor, g: Tensor) -> Tensor:
    """The formulas as sums over channels k and cells i, j."""
    found = torch.zeros(a.shape[1:], dtype=a.dtype)
    cells = [(i, j) for i in range(a.shape[1]) for j in range(a.shape[2])]
    for k in range(len(a)):
        whole = sum(float(a[k, i, j]) for i, j in cells)
        steepest = max(abs(float(g[k, i, j])) for i, j in cells)
        weight = 0.0
        for i, j in cells:
            slope = float(g[k, i, j])
            if name == "grad_cam":
                weight += slope / len(cells)
            elif slope and name in ("grad_cam_pp", "ssgrad_cam_pp"):
                alpha = slope**2 / (2 * slope**2 + whole * slope**3)
                local = abs(slope) / steepest if name == "ssgrad_cam_pp" else 1.0
                weight += alpha * max(slope * local, 0.0)
        for i, j in cells:
            if name == "hirescam":
                weight = float(g[k, i, j])
            elif name == "odam":
                weight = around(g[k], i, j)
            found[i, j] += weight * a[k, i, j]
    return found


def around(g: Tensor, i: int, j: int) -> float:
    """A slope under the Gaussian of an object of `SIDES`, cut at three deviations."""
    down, across = SIDES[0] / 8, SIDES[1] / 8
    total, mass = 0.0, 0.0
    for y in range(i - 9, i + 10):
        for x in range(j - 3, j + 4):
            share = 2.718281828459045 ** (
                -(((y - i) / down) ** 2) / 2 - ((x - j) / across) ** 2 / 2
            )
            mass += share
            if 0 <= y < len(g) and 0 <= x < g.shape[1]:
                total += share * float(g[y, x])
    return total / mass


@pytest.mark.parametrize("name", KINDS)
def test_formulas(name: str) -> None:
    generator = torch.Generator().manual_seed(3)
    a = torch.randn(3, 5, 6, generator=generator, dtype=torch.float64).clamp(min=0)
    g = torch.randn(3, 5, 6, generator=generator, dtype=torch.float64)
    g[0, 1:3], g[2] = 0.0, 0.0  # a channel without any gradient
    found = KINDS[name](a, g, SIDES)
    assert float(found.abs().max()) > 0.1
    assert torch.allclose(found, expected(name, a, g), rtol=1e-12, atol=1e-14)


def test_a_gaussian_keeps_what_stays_inside() -> None:
    values = torch.zeros(1, 9, 9, dtype=torch.float64)
    values[0, 4, 4] = 2.0
    wide = smoothed(values, 2, 1.0)
    assert float(wide.sum()) == pytest.approx(2.0)
    assert torch.equal(wide[0, 4] > 0, (torch.arange(9) - 4).abs() <= 3)


class Net(nn.Module):
    """A classifier whose backbone has maps of strides 4, 8 and 16."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv2d(3, 6, 4, 4), nn.ReLU(), nn.Conv2d(6, 8, 2, 2), nn.ReLU(), nn.MaxPool2d(2)
        )
        self.head = nn.Linear(8, 4)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return {"logits": self.head(self.backbone(images).mean((2, 3)))}


def picture(image: Tensor, label: int, box: tuple[float, float, float, float]) -> Picture:
    frame = (image.shape[1], image.shape[2])
    truth = Framed("one", label, torch.ones(frame, dtype=torch.bool), box)
    seen = Detection(0, label, 0.9, box, None)
    return Picture(LoadedImage(Path("a.png"), image, frame, frame), (Subject(truth, seen),))


def test_grad_cam_is_captums() -> None:
    captum = pytest.importorskip("captum.attr")
    torch.manual_seed(1)
    network = Net().eval().requires_grad_(False)
    place = map_place(network, (32, 48))
    assert place == "backbone.3"
    image = torch.rand(3, 32, 48) * 255
    found = Cam(network, "grad_cam").maps([picture(image, 2, (0.0, 0.0, 9.0, 9.0))])[0][0]

    class Logits(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = network

        def forward(self, images: Tensor) -> Tensor:
            return network(images)["logits"]

    plain = Logits().requires_grad_(True)
    layer = captum.LayerGradCam(plain, network.backbone[3])
    small = layer.attribute(image[None], target=2, relu_attributions=True).detach()
    large = F.interpolate(small, (32, 48), mode="bilinear", align_corners=False)[0, 0]
    assert float(large.max()) > 0
    assert torch.allclose(found, large, rtol=1e-5, atol=1e-7)


def test_a_model_without_maps_is_refused() -> None:
    with pytest.raises(ProgramError, match="no module 'backbone' with maps"):
        map_place(nn.Sequential(nn.Conv2d(3, 3, 8, 8)), (32, 32))


def test_maps_of_the_trained_digits_model() -> None:
    network = digits_model(torch.float32)
    image = digits_image("02")[0].float()
    frame = (image.shape[1], image.shape[2])
    assert map_place(network, frame) == "backbone.res3"
    activation, outputs = watched(network, "backbone.res3", image[None])
    query = int(outputs["pred_logits"][:, 5].argmax())
    (gradient,) = torch.autograd.grad(outputs["pred_logits"][query, 5], activation)
    cx, cy, w, h = outputs["pred_boxes"][query].tolist()
    height, width = frame
    x0, x1, y0, y1 = (
        (cx - w / 2) * width, (cx + w / 2) * width, (cy - h / 2) * height, (cy + h / 2) * height,
    )  # fmt: skip
    one = picture(image, 5, (x0, y0, x1, y1))
    detection = Detection(query, 5, 0.9, (x0, y0, x1, y1), None)
    one = Picture(one.image, (Subject(one.subjects[0].truth, detection),))
    for name in KINDS:
        (found,) = Cam(network, name, "backbone.res3").maps([one])[0]
        assert found.shape == frame
        assert float(found.min()) >= 0
        inside = found[int(y0) : int(y1) + 1, int(x0) : int(x1) + 1].sum() / found.sum()
        assert float(found.max()) > 2 * float(found.mean()), name
        if name in ("hirescam", "odam"):  # weights of whole channels say little of one object
            assert float(inside) > 2 * w * h
    hires = (activation * gradient)[0].detach().double().sum(0).clamp(min=0)
    large = F.interpolate(hires[None, None], frame, mode="bilinear", align_corners=False)[0, 0]
    (found,) = Cam(network, "hirescam", "backbone.res3").maps([one])[0]
    assert torch.allclose(found, large.float(), rtol=1e-4, atol=1e-6 * float(large.max()))
