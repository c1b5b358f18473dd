"""Triton kernels for stabilised ratios of relevance.

They take float32, bfloat16 or float16 and compute in float32. Without triton this module imports
all the same; `ratios.py` asks `has_triton` first.
"""

from __future__ import annotations

from torch import Tensor

from lrpc.runtime.kernels.triton_support import jit

try:
    import triton.language as tl
except ImportError:
    tl = None

SEGMENT = 1024  # entries of one program


@jit
def stab_mul_kernel(g, z, out, M, K, eps, BM: tl.constexpr):
    """out[k, i] = g[k, i] · |z[i]| / (|z[i]| + eps), where an infinite z counts as 1."""
    i = tl.program_id(0).to(tl.int64) * BM + tl.arange(0, BM)
    inside = i < M
    size = tl.minimum(tl.abs(tl.load(z + i, inside, 0.0).to(tl.float32)), 3.4028234663852886e38)
    part = size / (size + eps)
    for _ in range(K):
        product = tl.load(g + i, inside, 0.0).to(tl.float32) * part
        tl.store(out + i, product.to(out.dtype.element_ty), inside)
        i += M


def triton_stab_mul(g: Tensor, z: Tensor, eps: float, out: Tensor) -> Tensor:
    """g · z / stab(z) into `out`, which may be g: [K, *z.shape], both in order."""
    size = z.numel()
    if size:
        grid = (-(-size // SEGMENT),)
        stab_mul_kernel[grid](g, z, out, size, g.shape[0], eps, SEGMENT)
    return out


@jit
def ratio_kernel(a, z, out, M, K, eps, BM: tl.constexpr):
    """out[k, i] = a[k, i] / (z[i] + eps · sign(z[i])), where 0 counts as positive."""
    i = tl.program_id(0).to(tl.int64) * BM + tl.arange(0, BM)
    inside = i < M
    under = tl.load(z + i, inside, 1.0).to(tl.float32)
    under += tl.where(under < 0, -eps, eps)
    for _ in range(K):
        share = tl.load(a + i, inside, 0.0).to(tl.float32) / under
        tl.store(out + i, share.to(out.dtype.element_ty), inside)
        i += M


def triton_ratio(a: Tensor, z: Tensor, eps: float, out: Tensor) -> Tensor:
    """a / stab(z) into `out`: [..., *z.shape], all in order; eps is not 0."""
    size = z.numel()
    if size:
        grid = (-(-size // SEGMENT),)
        ratio_kernel[grid](a, z, out, size, a.numel() // size, eps, SEGMENT)
    return out
