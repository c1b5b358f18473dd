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
