"""Functions, orders, reductions and products that are lowered to others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.support.held import Apply, hold

FUNCTIONS: dict[str, Callable[[Apply, Tensor], Any]] = {
    "erf": lambda m, x: torch.erf(x),
    "gelu by erf": lambda m, x: x * 0.5 * (1 + torch.erf(x / 2**0.5)),
    "gelu by erf 2": lambda m, x: 0.5 * x * (torch.erf(x * 0.7071067811865476) + 1),
    "log1p": lambda m, x: torch.log1p(x.abs()),
    "expm1": lambda m, x: torch.expm1(x),
    "exp2": lambda m, x: torch.exp2(x),
    "log2": lambda m, x: torch.log2(x.abs()),
    "log10": lambda m, x: x.abs().log10(),
    "tan": lambda m, x: x.tan(),
    "sinh": lambda m, x: x.sinh(),
    "cosh": lambda m, x: x.cosh(),
    "erfc": lambda m, x: torch.erfc(x),
    "softsign": lambda m, x: F.softsign(x),
    "tanhshrink": lambda m, x: F.tanhshrink(x),
    "hardshrink": lambda m, x: F.hardshrink(x),
    "logit": lambda m, x: torch.logit(x.sigmoid()),
    "logaddexp": lambda m, x: torch.logaddexp(x, x[:, :1] * 2),
    "hypot": lambda m, x: torch.hypot(x, x[:, :1] * 2),
    "addcdiv": lambda m, x: torch.addcdiv(x, x * 2, m.scale, value=0.5),
    "floor": lambda m, x: x - x.floor(),
    "ceil": lambda m, x: x * x.ceil(),
    "round dec": lambda m, x: x * torch.round(x, decimals=1),
    "sign": lambda m, x: x * x.sign(),
    "trunc": lambda m, x: x * x.trunc(),
    "frac": lambda m, x: x.frac(),
    "mod": lambda m, x: x % 0.7,
    "mod traced": lambda m, x: x % (x[:, :1].abs() + 1),
    "fmod": lambda m, x: torch.fmod(x, 0.7),
    "div floor": lambda m, x: x * torch.div(x, 0.3, rounding_mode="floor"),
    "div trunc": lambda m, x: x * torch.div(x, 0.3, rounding_mode="trunc"),
    "isnan": lambda m, x: x.masked_fill(torch.isnan(x), 0.0) * 2,
    "isinf": lambda m, x: torch.where(torch.isinf(x) | ~torch.isfinite(x), 0.0, x),
    "nan_to_num": lambda m, x: torch.nan_to_num(x * 2),
    "one_hot": lambda m, x: F.one_hot((x > 0).long(), 3).double() * x[..., None],
    "one_hot topk": lambda m, x: F.one_hot(x.argmax(-1), 6).double() * x,
    "argsort": lambda m, x: x.gather(1, x.argsort(1)),
    "argsort desc": lambda m, x: x.gather(-1, torch.argsort(x, descending=True, stable=True)),
    "sort": lambda m, x: (lambda v, i: v * 2)(*x.sort(-1)),
    "msort": lambda m, x: x.transpose(0, 1).contiguous().msort(),
    "kth": lambda m, x: x.kthvalue(2, 1)[0] * 2,
    "median": lambda m, x: x.median(-1)[0] * 2,
    "prod": lambda m, x: x.prod(-1),
    "prod keep": lambda m, x: x.prod(1, keepdim=True),
    "prod 40": lambda m, x: x.repeat(1, 1, 7).prod(-1),
    "cumprod": lambda m, x: x.cumprod(-1),
    "prod of all per image": lambda m, x: x.flatten(1).prod(1),
    "logsumexp": lambda m, x: x.logsumexp(-1),
    "logsumexp 2": lambda m, x: torch.logsumexp(x, (1, 2), True),
    "log_softmax": lambda m, x: F.log_softmax(x, -1),
    "softmin": lambda m, x: F.softmin(x, -1),
    "cos sim": lambda m, x: F.cosine_similarity(x, x[:, :1].exp(), dim=-1),
    "cos sim bcast": lambda m, x: F.cosine_similarity(x[:, :, None], m.w[None, None], dim=-1),
    "cdist": lambda m, x: torch.cdist(x, x[:, :2].exp()),
    "cdist const": lambda m, x: torch.cdist(x, m.w),
    "cdist 1": lambda m, x: torch.cdist(x, m.w, p=1.0),
    "pairwise": lambda m, x: F.pairwise_distance(x, x.exp()),
    "tril": lambda m, x: (x @ x.mT).tril(),
    "triu": lambda m, x: x.triu(1),
    "diagonal": lambda m, x: torch.diagonal(x, dim1=1, dim2=2) * 2,
    "diagonal off": lambda m, x: torch.diagonal(x, 1, 1, 2) * 2,
    "linalg.diagonal": lambda m, x: torch.linalg.diagonal(x, offset=-1) * 2,
    "diag_embed": lambda m, x: torch.diag_embed(x[:, 0], 1) * 2,
    "vector_norm": lambda m, x: torch.linalg.vector_norm(x, dim=-1, keepdim=True),
    "vector_norm 3": lambda m, x: torch.linalg.vector_norm(x, 3, dim=-1),
    "vector_norm inf": lambda m, x: torch.linalg.vector_norm(x, float("inf"), dim=(1, 2)),
    "norm 1": lambda m, x: x.norm(1, -1),
    "norm 0": lambda m, x: x * x.norm(0, -1, True),
    "linalg.norm": lambda m, x: torch.linalg.norm(x, dim=-1),
    "matrix_norm": lambda m, x: torch.linalg.matrix_norm(x),
    "linalg.norm mat": lambda m, x: torch.linalg.norm(x, dim=(1, 2)),
    "normalize 1": lambda m, x: F.normalize(x, p=1, dim=-1),
    "baddbmm": lambda m, x: torch.baddbmm(x @ x.mT, x, x.mT, beta=0.5, alpha=0.3),
    "baddbmm beta 0": lambda m, x: torch.baddbmm(
        torch.empty(1, dtype=x.dtype), x, x.mT, beta=0, alpha=0.3
    ),
    "addmm": lambda m, x: torch.addmm(m.b, x[:, 0], m.w.T, beta=2.0, alpha=0.5),
    "addmm lin": lambda m, x: torch.addmm(m.b, x[:, 0], m.w.T),
    "addmv": lambda m, x: torch.addmv(x[:, 0, 0], x[:, 0], m.scale),
    "addmv by name": lambda m, x: torch.addmv(input=m.b[:1], mat=x[:, 0], vec=m.scale)[:, None],
    "hsplit": lambda m, x: torch.cat(torch.hsplit(input=x, indices=[1, 2])[::-1], 1) * x,
    "dsplit": lambda m, x: torch.cat(x.dsplit(2)[::-1], 2) * x,
    "mv": lambda m, x: x[:, 0].mv(m.scale),
    "inner": lambda m, x: torch.inner(x, m.w),
    "tensordot": lambda m, x: torch.tensordot(x, m.w, dims=([2], [1])),
    "einsum 3": lambda m, x: torch.einsum("bij,bkj,bkl->bil", x, x.sin(), x),
    "einsum 1": lambda m, x: torch.einsum("bij->bji", x) * 2,
    "einsum 1 sum": lambda m, x: torch.einsum("bij->bj", x) * 2,
    "einsum diag": lambda m, x: torch.einsum("bii->bi", x @ x.mT) * 2,
    "einsum trace 2": lambda m, x: torch.einsum("bii,bik->bk", x @ x.mT, x),
    "einsum 4": lambda m, x: torch.einsum("bij,kj,b...j,j->bk...", x, m.w, x[:, 0], m.scale),
    "einsum implicit": lambda m, x: torch.einsum("bij,jk,kl", x, m.w.T, m.w),
    "vecdot": lambda m, x: torch.linalg.vecdot(x, x.sin()),
    "cross": lambda m, x: torch.linalg.cross(x[..., :3], x[..., 3:]),
    "count_nonzero": lambda m, x: x * (x > 0).count_nonzero(1)[:, None],
    "nansum": lambda m, x: x.nansum(-1),
    "round straight through": lambda m, x: x + (x.round() - x).detach() + 1,
    "clamp between tensors": lambda m, x: x.clamp(min=x[:, :1], max=x[:, 1:2] + 3),
    "kthvalue, kept": lambda m, x: x.kthvalue(2, -1, True),
    "median, both": lambda m, x: x.median(1, True),
    "whole quotients": lambda m, x: (
        x.flatten(1)[torch.arange(x.shape[0])[:, None], x.flatten(1).topk(3).indices // 6] * 2
    ),
    "whole remainders": lambda m, x: (
        x.flatten(1)[torch.arange(x.shape[0])[:, None], x.flatten(1).topk(3).indices % 6] * 2
    ),
    "heaviside": lambda m, x: torch.heaviside(x.detach(), x.new_ones(())) * x,
    "order of ties": lambda m, x: (
        x * 2,
        x.round().argsort(stable=True),
        x.round().sort(1, descending=True)[1],
    ),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name: str) -> None:
    hold(Apply(FUNCTIONS[name]), (4, 6))
