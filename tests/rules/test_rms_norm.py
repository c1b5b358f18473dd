"""Rules of RMSNorm against slow float64 twins."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.support.one_node import Case
from tests.support.twins import back, check, jacobian, n, stab

RMS_NORM = ("detach_sigma", "identity", "gradient_input")
EPS = 1e-2


def case(gained: bool) -> tuple[Case, Tensor, Tensor, Tensor]:
    """The case, x, its gain, its output from the definition."""
    torch.manual_seed(0)
    x, weight = 0.3 * n(2, 4, 3), n(3)
    gain = weight if gained else torch.ones(3).double()
    y = torch.empty_like(x)
    for row in torch.cartesian_prod(torch.arange(2), torch.arange(4)):
        values = x[tuple(row)]
        y[tuple(row)] = gain * values / (sum(float(v) ** 2 for v in values) / 3 + EPS) ** 0.5
    weights = {"weight": weight} if gained else {}
    return Case("rms_norm", (x,), {"eps": EPS}, weights), x, gain, y


@pytest.mark.parametrize("eps", [0.0, 0.5])
@pytest.mark.parametrize("gained", [True, False])
def test_detach_sigma(gained: bool, eps: float) -> None:
    made, x, _, y = case(gained)
    matrix = torch.diag((y / x).flatten())  # γ / rms, held constant
    found = check(made, "detach_sigma", y, lambda r: [back(matrix, r / stab(y, eps), x)], eps=eps)
    assert set(found.sinks) == ({"epsilon"} if eps else set())


@pytest.mark.parametrize("gained", [True, False])
def test_identity(gained: bool) -> None:
    made, _, _, y = case(gained)
    found = check(made, "identity", y, lambda r: [r])
    assert found.sinks == {}


@pytest.mark.parametrize("gained", [True, False])
def test_gradient_input(gained: bool) -> None:
    made, x, gain, y = case(gained)

    def whole(v: Tensor) -> Tensor:
        return gain * v / (v.square().mean(-1, keepdim=True) + EPS).sqrt()

    matrix = jacobian(whole, x)
    found = check(made, "gradient_input", y, lambda r: [back(matrix, r / y, x)])
    assert set(found.sinks) == {"rescale"}
