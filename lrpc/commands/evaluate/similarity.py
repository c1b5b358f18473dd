"""How alike two maps are: rank correlation and structural similarity."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_SIGMA, _RADIUS = 1.5, 5  # Wang et al. 2004: 11 × 11, σ = 1.5
_K1, _K2 = 0.01, 0.03


def spearman(a: Tensor, b: Tensor) -> float | None:
    """Spearman's rank correlation of all values, ties sharing their mean rank; None where one of
    the two is constant."""
    x, y = _ranks(a.flatten()), _ranks(b.flatten())
    x, y = x - x.mean(), y - y.mean()
    scale = float(x.norm() * y.norm())
    return float(x @ y) / scale if scale > 0 else None


def _ranks(values: Tensor) -> Tensor:
    """Mean ranks, float64 [n]."""
    found = torch.unique(values, return_inverse=True, return_counts=True)
    place: Tensor = found[1]
    size: Tensor = found[2].double()
    return (size.cumsum(0) - (size - 1) / 2)[place]


def ssim(a: Tensor, b: Tensor, span: float) -> float:
    """Mean structural similarity of two maps [h, w] (Wang et al. 2004), Gaussian window.

    `span` is the range that values can have. Means are over the windows that lie inside the map
    whole; both sides must be 11 pixels or more.
    """
    offsets = torch.arange(-_RADIUS, _RADIUS + 1, dtype=torch.float64)
    kernel = torch.exp(-0.5 * (offsets / _SIGMA) ** 2)
    kernel = kernel / kernel.sum()
    x, y = a.double(), b.double()
    parts = torch.stack([x, y, x * x, y * y, x * y])[:, None]
    smooth = F.conv2d(F.conv2d(parts, kernel.view(1, 1, -1, 1)), kernel.view(1, 1, 1, -1))
    mx, my, xx, yy, xy = smooth[:, 0]
    c1, c2 = (_K1 * span) ** 2, (_K2 * span) ** 2
    top = (2 * mx * my + c1) * (2 * (xy - mx * my) + c2)
    bottom = (mx**2 + my**2 + c1) * (xx - mx**2 + yy - my**2 + c2)
    return float((top / bottom).mean())


def unit(values: Tensor, share: float = 0.99) -> Tensor:
    """A map in [−1, 1]: over the magnitude that `share` of its values do not pass, and clipped.

    A few pixels far above the rest would else make all maps alike: zero nearly everywhere. Zeros
    stay zeros.
    """
    magnitudes = values.abs().flatten().double().sort().values
    bound = float(magnitudes[round(share * (len(magnitudes) - 1))])
    bound = bound if bound > 0 else float(magnitudes[-1])
    return (values.double() / bound).clamp(-1, 1) if bound > 0 else values.double()
