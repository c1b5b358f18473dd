"""Stabilised ratios, as generated programs use them.

Relevance tensors have the seeds axis K in front. Every function is held against the reference
semantics of the op of the same name.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lrpc.runtime.kernels.transposes import narrowed, widened
from lrpc.runtime.kernels.triton_ratios import triton_ratio, triton_stab_mul
from lrpc.runtime.kernels.triton_support import has_triton


def stab_ratio(z: Tensor, eps: float) -> Tensor:
    """z / stab(z) = |z| / (|z| + eps), in [0, 1]; 1 where z is infinite (a masked score)."""
    size = widened(z.abs())
    size.clamp_(max=torch.finfo(size.dtype).max)
    return narrowed(size.div_(size + eps), z.dtype)


def stab_mul(g: Tensor, z: Tensor, eps: float, over: bool = False) -> Tensor:
    """g · z / stab(z) for every seed: [K, *z.shape]; with `over`, in the place of g.

    That is g − g / (1 + |z| / eps), which takes fewer passes, where the dtype has room for it. A
    segment at a time, so that what lies in between stays in the cache and takes no memory to speak
    of. torch.compile fuses the plain product.
    """
    room = g.dtype == z.dtype and g.dtype.itemsize >= 4 and eps >= torch.finfo(g.dtype).tiny
    whole = z.is_contiguous() and g.is_contiguous() and g.shape[1:] == z.shape
    if torch.compiler.is_compiling() or not whole or z.dtype != g.dtype:
        if room:
            part = stab_size(z, eps)
            return g.addcdiv_(g, part, value=-1) if over else torch.addcdiv(g, g, part, value=-1)
        part = stab_ratio(z, eps)
        return g.mul_(part) if over else g * part
    out = g if over else torch.empty_like(g)
    if has_triton(g):
        return triton_stab_mul(g, z, eps, out)
    rows = (g.shape[0], z.numel())
    flat, given, made = z.view(-1), g.view(rows), out.view(rows)
    for first in range(0, z.numel(), 1 << 18):
        here = slice(first, first + (1 << 18))
        old, new = given[:, here], made[:, here]
        if room:
            torch.addcdiv(old, old, stab_size(flat[here], eps), value=-1, out=new)
        else:
            torch.mul(old, stab_ratio(flat[here], eps), out=new)
    return out


def stab_size(z: Tensor, eps: float) -> Tensor:
    """1 + |z| / eps."""
    return torch.add(z.new_ones(()), z.abs(), alpha=1 / eps)


def ratio(a: Tensor, z: Tensor, eps: float) -> Tensor:
    """a / stab(z), and 0 where stab(z) is 0; by segments, as in `stab_mul`, where it can be."""
    dtype = torch.promote_types(a.dtype, z.dtype)
    whole = a.is_contiguous() and z.is_contiguous() and a.shape[a.dim() - z.dim() :] == z.shape
    alike = a.dtype == z.dtype and dtype.itemsize >= 4 and eps >= torch.finfo(dtype).tiny
    if torch.compiler.is_compiling() or not whole or not alike:
        a, z = widened(a), stabilised(widened(z), eps)
        if eps >= torch.finfo(z.dtype).tiny:
            return narrowed(a / z, dtype)
        return narrowed(torch.where(z == 0, 0.0, a / z), dtype)
    out = torch.empty_like(a)
    if has_triton(a):
        return triton_ratio(a, z, eps, out)
    rows = (a.numel() // max(z.numel(), 1), z.numel())
    flat, given, made = z.view(-1), a.view(rows), out.view(rows)
    for first in range(0, z.numel(), 1 << 18):
        here = slice(first, first + (1 << 18))
        torch.div(given[:, here], stabilised(flat[here], eps), out=made[:, here])
    return out


def stabilised(z: Tensor, eps: float) -> Tensor:
    """z + eps · sign(z), where −0 and 0 count as positive.

    The sign is copied, and not chosen: CPUs mispredict choices between entries.
    """
    z = z + 0.0  # no −0
    return z.add_(torch.copysign(z.new_full((), eps), z))
