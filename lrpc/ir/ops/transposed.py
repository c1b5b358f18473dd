"""The transpose of a linear map, from the map itself."""

from __future__ import annotations

from collections.abc import Callable

import torch


def no_grad_transpose(
    function: Callable[[torch.Tensor], torch.Tensor], like: torch.Tensor, g: torch.Tensor
) -> torch.Tensor:
    """The transpose of a linear map by autograd: what hand-written transposes are held to."""
    with torch.enable_grad():
        x = torch.zeros_like(like).requires_grad_(True)
        y = function(x)
    return torch.autograd.grad(y, x, g.expand_as(y))[0]


def seedwise(g: torch.Tensor, function: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """`function` of each seed of `g`, whose first axis they are."""
    if g.device.type == "meta":  # one seed gives the shape; the seed axis is free
        return function(g[0]).expand(g.shape[0], *([-1] * function(g[0]).dim()))
    return torch.stack([function(seed) for seed in g])
