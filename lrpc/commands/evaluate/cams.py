"""Class activation maps of detections, by autograd of the model itself.

A is a map [C, h, w] of the backbone and G = ∂y/∂A, y being the class logit. Then

- *Grad-CAM* (Selvaraju et al. 2017, 1610.02391, eqs. 1 and 2): Σ over channels of mean(G) · A.
- *Grad-CAM++* (Chattopadhay et al. 2018, 1710.11063, eqs. 10 and 19): weights Σ α max(G, 0) with
  α = G² / (2 G² + ΣA · G³), sums over the cells of a channel.
- *SSGrad-CAM++* (Yamauchi & Ishikawa 2022): the same with G · abs(G) / max abs(G) in max(·, 0), so
  that a gradient at one place does not raise others.
- *HiResCAM* (Draelos & Carin 2020, 2011.08891, eq. 2): Σ over channels of G · A.
- *ODAM* (Zhao & Chan 2023, 2304.06354, eq. 3): the same with G smoothed by a Gaussian. Its standard
  deviation here is an eighth of the object's box on each axis, a cell at least.

Each map's positive part is resized to the image.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lrpc.commands.evaluate.likeness import logits_of
from lrpc.commands.evaluate.methods import Maps
from lrpc.commands.evaluate.model import Picture, Subject
from lrpc.commands.session.calls import padding_of
from lrpc.commands.session.metrics import gaussian
from lrpc.errors import ProgramError
from lrpc.program.protocol import Size

_STRIDE = 8  # of the map: the last ones are coarser than small objects
Sides = tuple[float, float]  # of an object, in cells: height, width


@dataclass(frozen=True, eq=False)
class Cam:
    """One kind of map, at the module `place` of a model that takes images [B, 3, H, W].

    `padding_mask`: whether the model takes one, since queries are numbered by what it sees.
    """

    network: nn.Module
    name: str
    place: str = ""  # "": the last map of the backbone with stride 8
    padding_mask: bool = False
    passes: float = 1

    def maps(self, pictures: Sequence[Picture]) -> Maps:
        """One forward pass for each picture, one backward pass for each object."""
        place = self.place or map_place(self.network, pictures[0].frame)
        return [self._picture(picture, place) for picture in pictures]

    def _picture(self, picture: Picture, place: str) -> list[Tensor]:
        image = picture.image
        mask = padding_of([image.attended], image.frame) if self.padding_mask else None
        activation, outputs = watched(self.network, place, image.pixels[None], mask)
        found = []
        for subject in picture.subjects:
            logit = logits_of(outputs, subject.detection.query)[subject.truth.label]
            (gradient,) = torch.autograd.grad(logit, activation, retain_graph=True)
            weighed = KINDS[self.name](
                activation.detach()[0].double(),
                gradient[0].double(),
                _sides(subject, image.frame, gradient.shape[2:]),
            )
            small = weighed.clamp(min=0)[None, None]
            large = F.interpolate(small, image.frame, mode="bilinear", align_corners=False)
            found.append(large[0, 0].float().cpu())
        return found


def watched(
    network: nn.Module, place: str, images: Tensor, mask: Tensor | None = None
) -> tuple[Tensor, dict[str, Tensor]]:
    """What the module `place` returned for one image, as a leaf, and the image's outputs."""
    kept: list[Tensor] = []

    def cut(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        if kept:  # a module that is called again: the first map is meant
            return output
        kept.append(output.detach().requires_grad_(True))
        return kept[0]

    example = next(network.parameters())
    given = [images.to(example), *([] if mask is None else [mask.to(example.device)])]
    handle = network.get_submodule(place).register_forward_hook(cut)
    try:
        with torch.enable_grad():
            outputs = network(*given)
    finally:
        handle.remove()
    return kept[0], {name: value[0] for name, value in outputs.items()}


@torch.no_grad()
def map_place(network: nn.Module, frame: Size) -> str:
    """The module whose map is meant: of those of the backbone that return an eighth of the image's
    size, or where there is none the largest of the coarser ones, the last of the outermost. Raises
    ProgramError where there is no map."""
    found: dict[str, int] = {}
    paths = {module: path for path, module in network.named_modules()}

    def note(module: nn.Module, inputs: Any, output: Any) -> None:
        if isinstance(output, Tensor) and output.dim() == 4 and "backbone" in paths[module]:
            found[paths[module]] = round(frame[0] / output.shape[2])

    handles = [module.register_forward_hook(note) for module in paths]
    try:
        network(next(network.parameters()).new_zeros(1, 3, *frame))
    finally:
        for handle in handles:
            handle.remove()
    coarse = sorted({stride for stride in found.values() if stride >= _STRIDE})
    if not coarse:
        raise ProgramError("the model has no module 'backbone' with maps for CAMs")
    alike = [path for path, stride in found.items() if stride == coarse[0]]
    return min(reversed(alike), key=lambda path: path.count("."))


def _sides(subject: Subject, frame: Size, grid: Sequence[int]) -> Sides:
    x0, y0, x1, y1 = subject.detection.box
    return (y1 - y0) * grid[0] / frame[0], (x1 - x0) * grid[1] / frame[1]


def grad_cam(a: Tensor, g: Tensor, sides: Sides) -> Tensor:
    """[h, w] of A and G [C, h, w]."""
    return (g.mean((1, 2), keepdim=True) * a).sum(0)


def grad_cam_pp(a: Tensor, g: Tensor, sides: Sides) -> Tensor:
    """[h, w]; α is 0 where G is."""
    return ((_alpha(a, g) * g.clamp(min=0)).sum((1, 2), keepdim=True) * a).sum(0)


def ssgrad_cam_pp(a: Tensor, g: Tensor, sides: Sides) -> Tensor:
    """[h, w]; max abs(G) is over the cells of a channel."""
    largest = g.abs().amax((1, 2), keepdim=True)
    local = torch.where(largest > 0, g.abs() / largest.clamp(min=1e-300), 0.0)
    return ((_alpha(a, g) * (g * local).clamp(min=0)).sum((1, 2), keepdim=True) * a).sum(0)


def _alpha(a: Tensor, g: Tensor) -> Tensor:
    below = 2 * g**2 + a.sum((1, 2), keepdim=True) * g**3
    return torch.where(below != 0, g**2 / torch.where(below != 0, below, 1.0), 0.0)


def hirescam(a: Tensor, g: Tensor, sides: Sides) -> Tensor:
    """[h, w]."""
    return (g * a).sum(0)


def odam(a: Tensor, g: Tensor, sides: Sides) -> Tensor:
    """[h, w]."""
    for axis, side in enumerate(sides):
        g = smoothed(g, axis + 1, max(1.0, side / 8))
    return (g * a).sum(0)


def smoothed(values: Tensor, axis: int, sigma: float) -> Tensor:
    """Values [C, h, w] under a Gaussian along an axis, 1 or 2; zero beyond the border."""
    radius = int(3 * sigma + 0.5)
    kernel = gaussian(sigma, radius).to(values)
    shape, pad = ((1, 1, -1, 1), (radius, 0)) if axis == 1 else ((1, 1, 1, -1), (0, radius))
    return F.conv2d(values[:, None], kernel.view(shape), padding=pad)[:, 0]


KINDS: dict[str, Callable[[Tensor, Tensor, Sides], Tensor]] = {
    "grad_cam": grad_cam,
    "grad_cam_pp": grad_cam_pp,
    "ssgrad_cam_pp": ssgrad_cam_pp,
    "hirescam": hirescam,
    "odam": odam,
}
