"""Rules of linear maps against slow float64 twins written from their formulas."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.support.one_node import Case, flow
from tests.support.twins import (
    back,
    check,
    columns,
    n,
    stab,
)

CONV = {"stride": (2, 1), "padding": (1, 0), "dilation": (1, 1), "groups": 2}


def linear_cases() -> dict[str, tuple[Case, Callable[[Tensor], Tensor], Tensor]]:
    """Name → case, the map without its bias, the bias."""
    torch.manual_seed(0)
    w, b, x = n(3, 4), n(3), n(2, 5, 4)
    kernel, bias, image = n(4, 1, 3, 2), n(4), n(2, 2, 4, 3)
    up, up_bias = n(2, 3, 2, 2), n(3)
    scale, shift, mean, var = n(2), n(2), n(2), n(2).exp()
    factor = (scale / (var + 1e-5).sqrt()).reshape(-1, 1, 1)
    two = {**CONV, "stride": (2, 2), "padding": (0, 0), "groups": 1}
    return {
        "linear": (
            Case("linear", (x,), {}, {"weight": w, "bias": b}), lambda v: v @ w.T, b,
        ),
        "linear without bias": (
            Case("linear", (x,), {}, {"weight": w}), lambda v: v @ w.T, torch.zeros(()).double(),
        ),
        "conv2d": (
            Case("conv2d", (image,), CONV, {"weight": kernel, "bias": bias}),
            lambda v: F.conv2d(v, kernel, None, (2, 1), (1, 0), 1, 2),
            bias.reshape(-1, 1, 1),
        ),
        "conv_transpose2d": (
            Case("conv_transpose2d", (image,), {**two, "output_padding": (0, 0)},
                 {"weight": up, "bias": up_bias}),
            lambda v: F.conv_transpose2d(v, up, None, 2),
            up_bias.reshape(-1, 1, 1),
        ),
        "batch_norm": (
            Case("batch_norm", (image,), {"eps": 1e-5},
                 {"weight": scale, "bias": shift, "mean": mean, "var": var}),
            lambda v: v * factor,
            shift.reshape(-1, 1, 1) - mean.reshape(-1, 1, 1) * factor,
        ),
        "interpolate": (
            Case("interpolate", (image,),
                 {"size": (7, 5), "mode": "bilinear", "align_corners": False}),
            lambda v: F.interpolate(v, (7, 5), mode="bilinear", align_corners=False),
            torch.zeros(()).double(),
        ),
        "avg_pool2d": (
            Case("avg_pool2d", (image,), {"kernel": (2, 2), "stride": (1, 1), "padding": (1, 1)}),
            lambda v: F.avg_pool2d(v, 2, 1, 1),
            torch.zeros(()).double(),
        ),
    }  # fmt: skip


@pytest.mark.parametrize("eps", [0.0, 1e-6, 0.5])
@pytest.mark.parametrize("name", list(linear_cases()))
def test_epsilon_on_linear_maps(name: str, eps: float) -> None:
    case, f, bias = linear_cases()[name]
    (x,) = case.inputs
    matrix, z = columns(f, x), f(x) + bias
    found = check(case, "epsilon", z, lambda r: [back(matrix, r / stab(z, eps), x)], eps=eps)
    assert ("epsilon" in found.sinks) == (eps > 0)
    assert ("bias" in found.sinks) == ("bias" in case.weights)


@pytest.mark.parametrize("eps", [0.0, 0.5])
@pytest.mark.parametrize("name", list(linear_cases()))
def test_epsilon_with_the_bias_excluded(name: str, eps: float) -> None:
    case, f, bias = linear_cases()[name]
    (x,) = case.inputs
    matrix, z = columns(f, x), f(x) + bias
    pure = stab(f(x), eps)
    safe = torch.where(pure == 0, math.inf, pure)
    found = check(
        case, "epsilon", z, lambda r: [back(matrix, r / safe, x)], eps=eps, bias="excluded"
    )
    assert "bias" not in found.sinks


@pytest.mark.parametrize("name", list(linear_cases()))
def test_gradient_input_on_linear_maps(name: str) -> None:
    case, f, bias = linear_cases()[name]
    (x,) = case.inputs
    z, matrix = f(x) + bias, columns(f, x)
    check(case, "gradient_input", z, lambda r: [back(matrix, r / z, x)])


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 6), st.integers(1, 6), st.floats(0, 2), st.integers(0, 999))
def test_epsilon_sums(wide: int, out: int, eps: float, seed: int) -> None:
    """The formula as two loops; an output that is exactly 0 counts as positive."""
    torch.manual_seed(seed)
    w, b, x = n(out, wide), n(out), n(1, wide)
    w[0], b[0] = 0, 0
    g = n(1, 1, out)
    found = flow(Case("linear", (x,), {}, {"weight": w, "bias": b}), "epsilon", g, eps=eps)
    expected = [0.0] * wide
    for j in range(out):
        z = sum(float(w[j, i] * x[0, i]) for i in range(wide)) + float(b[j])
        divisor = z + (eps if z >= 0 else -eps)
        for i in range(wide):
            expected[i] += float(x[0, i] * w[j, i]) * (
                float(g[0, 0, j]) * z / divisor if z else 0.0
            )
    torch.testing.assert_close(found.inputs[0][0, 0], torch.tensor(expected).double())
