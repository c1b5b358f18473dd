"""The Triton kernels of stabilised ratios against plain torch; `test_triton.py` runs this."""

from __future__ import annotations

import pytest
import torch

from lrpc.runtime.kernels.ratios import stab_ratio, stabilised
from lrpc.runtime.kernels.triton_ratios import SEGMENT, triton_ratio, triton_stab_mul

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
LIMITS = {torch.float32: 2e-7, torch.bfloat16: 1e-2, torch.float16: 2e-3}


@pytest.mark.parametrize("dtype", LIMITS)
@pytest.mark.parametrize("shape", [(1,), (3, 5), (SEGMENT,), (2, SEGMENT + 1)])
@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("over", [False, True])
def test_stab_mul(seeds: int, shape: tuple[int, ...], dtype: torch.dtype, over: bool) -> None:
    generator = torch.Generator().manual_seed(seeds)
    z = 1e-2 * torch.randn(shape, generator=generator)
    z.view(-1)[:1] = 0.0
    z.view(-1)[1:2] = -float("inf")
    g = torch.randn(seeds, *shape, generator=generator)
    z, g = z.to(DEVICE, dtype), g.to(DEVICE, dtype)
    wanted = g.double() * stab_ratio(z.double(), 1e-2)
    out = g if over else torch.full_like(g, float("nan"))
    found = triton_stab_mul(g, z, 1e-2, out)
    assert found is out
    error = float((found.double() - wanted).norm() / wanted.norm().clamp_min(1e-30))
    assert error < LIMITS[dtype]
    assert not bool(found.reshape(seeds, -1)[:, 0].any())  # exactly 0 where z is


@pytest.mark.parametrize("dtype", LIMITS)
@pytest.mark.parametrize("shape", [(1,), (3, 5), (2, SEGMENT + 1)])
@pytest.mark.parametrize("seeds", [1, 3])
def test_ratio(seeds: int, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(seeds)
    z = torch.randn(shape, generator=generator)
    z.view(-1)[:1] = -0.0
    a = torch.randn(seeds, *shape, generator=generator)
    z, a = z.to(DEVICE, dtype), a.to(DEVICE, dtype)
    wanted = a.double() / stabilised(z.double(), 0.25)
    found = triton_ratio(a, z, 0.25, torch.full_like(a, float("nan")))
    error = float((found.double() - wanted).norm() / wanted.norm())
    assert error < LIMITS[dtype]
