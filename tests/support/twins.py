"""What the slow twins of rules are written with.

They carry relevance R itself, form Jacobians column by column and divide by stab_ε(z), as the
formulas in docs/rules.md do; the compiler carries G = R / x and never divides.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from tests.support.one_node import Case, Flow, flow

Twin = Callable[[Tensor], list[Tensor]]
SEEDS = 2


def n(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64)


def stab(z: Tensor, eps: float) -> Tensor:
    return z + eps * torch.where(z >= 0, 1.0, -1.0).double()


def columns(f: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """The matrix of a linear f: one column for each entry of x, f applied to unit vectors."""
    units = torch.eye(x.numel(), dtype=torch.float64).reshape(-1, *x.shape)
    return torch.stack([f(unit).flatten() for unit in units], 1)


def back(matrix: Tensor, s: Tensor, x: Tensor) -> Tensor:
    """x ⊙ Mᵀ s."""
    return x * (matrix.T @ s.flatten()).reshape(x.shape)


def jacobian(f: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    full: Tensor = torch.autograd.functional.jacobian(f, x)  # type: ignore[no-untyped-call]
    return full.reshape(-1, x.numel())


def seeds_for(z: Tensor) -> Tensor:
    return n(SEEDS, *z.shape)


def check(
    case: Case, rule: str, z: Tensor, twin: Callable[[Tensor], list[Tensor]], **params: object
) -> Flow:
    """The lowered rule gives what `twin` gives for R = z ⊙ g, and its ledger closes, whichever
    form relevance arrives in."""
    g = seeds_for(z)
    for itself in (True, False):
        found = flow(case, rule, g, itself, **params)
        torch.testing.assert_close(found.z, z, rtol=1e-10, atol=1e-12)
        for k in range(SEEDS):
            for mine, expected in zip(found.inputs, twin(z * g[k]), strict=True):
                if mine.dim() == 1:  # nothing was sent here
                    assert not expected.any()
                    continue
                torch.testing.assert_close(mine[k], expected, rtol=1e-9, atol=1e-10)
        closes(found)
    return found


def closes(found: Flow) -> None:
    """Σ R arriving = Σ R passed on + Σ sinks; what is passed on is what the inputs hold."""
    arrived, passed = found.booked["out"], found.booked.get("in", torch.zeros(()))
    rest = arrived - passed - sum(found.sinks.values(), torch.zeros(()))
    scale = torch.stack([v.abs().max() for v in found.booked.values()]).max()
    assert float(rest.abs().max() / scale) < 1e-10
    held = sum((r.flatten(1).sum(1) for r in found.inputs if r.dim() > 1), torch.zeros(SEEDS))
    total = passed.sum(1) if passed.dim() else torch.zeros(SEEDS)
    torch.testing.assert_close(held, total, rtol=1e-9, atol=1e-9)
