"""Writes into tensors, traced and plain: what a program gives is what torch leaves there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.support.held import Apply, hold

WRITES: dict[str, Callable[[Apply, Tensor], Any]] = {}


def case(name: str) -> Callable[..., Any]:
    def add(function: Callable[[Apply, Tensor], Any]) -> Callable[[Apply, Tensor], Any]:
        WRITES[name] = function
        return function

    return add


@case("zeros slice")
def zeros_slice(m: Apply, x: Tensor) -> Any:
    z = torch.zeros_like(x)
    z[:, :2] = x[:, :2] * 2
    return z * x


@case("places of a mask")
def places_of_a_mask(m: Apply, x: Tensor) -> Any:
    kept = x > 0.3
    kept[torch.where(kept.sum(-1) == 0)] = True  # how many rows differs between images
    z = x * 2
    z[kept.nonzero(as_tuple=True)] = -1.0
    return z.masked_fill(~kept, 3.0) * x


@case("new_zeros ints")
def new_zeros_ints(m: Apply, x: Tensor) -> Any:
    z = x.new_zeros(x.shape[0], 3, 6)
    z[:, 0] = x[:, 1]
    z[:, 2, 1:3] = x[:, 2, :2]
    return z + m.scale


@case("slice iadd")
def slice_iadd(m: Apply, x: Tensor) -> Any:
    z = torch.zeros(x.shape, dtype=x.dtype)
    z[:, 0] += x[:, 1]
    z[:, 1:] -= x[:, :3] * 3
    return z.sin()


@case("plain view before write")
def plain_view_before_write(m: Apply, x: Tensor) -> Any:
    z = torch.ones(x.shape, dtype=x.dtype)
    v = z[:, 1]
    z[:, 1] = x[:, 0]
    return v * 2 + z.sum(1)


@case("write into plain view")
def write_into_plain_view(m: Apply, x: Tensor) -> Any:
    z = torch.ones(x.shape, dtype=x.dtype)
    v = z[:, 1:3]
    v.copy_(x[:, :2])
    v.mul_(2.0)
    return z * m.scale


@case("plain view of view, permuted")
def plain_view_of_view_permuted(m: Apply, x: Tensor) -> Any:
    z = torch.zeros(x.shape[0], 6, 4, dtype=x.dtype)
    v = z.transpose(1, 2)[:, 1:]
    v[:, 0] = x[:, 0]
    return z.transpose(1, 2) * x


@case("flat view of plain")
def flat_view_of_plain(m: Apply, x: Tensor) -> Any:
    z = torch.zeros(x.shape[0], 4, 6, dtype=x.dtype)
    v = z.view(-1, 24)
    v[:] = x.flatten(1).exp()
    return z


@case("clone of a buffer")
def clone_of_a_buffer(m: Apply, x: Tensor) -> Any:
    z = m.scale.expand(x.shape[0], 6).clone()
    z[:, 2:4] = x[:, 0, 2:4]
    return z.unsqueeze(1) * x


@case("read before write")
def read_before_write(m: Apply, x: Tensor) -> Any:
    z = torch.ones_like(x)
    a = z.clone() * x
    z[:, 0] = x[:, 1].tanh()
    return a + z * x


@case("plain after write used in plain-only call")
def plain_after_write_used_in_plain_only_call(m: Apply, x: Tensor) -> Any:
    z = torch.zeros_like(x)
    v = z[..., 0]
    z[..., 0] = x[..., 1]
    u = v + 1.0
    return u * 2


@case("mask write scalar")
def mask_write_scalar(m: Apply, x: Tensor) -> Any:
    z = x.clone()
    z[z > 0.3] = 0
    return z * 2


@case("mask write into zeros")
def mask_write_into_zeros(m: Apply, x: Tensor) -> Any:
    z = torch.zeros_like(x)
    z[:] = x
    z[x > 0] = -1.0
    return z * x


@case("mask of const, traced value")
def mask_of_const_traced_value(m: Apply, x: Tensor) -> Any:
    z = torch.zeros_like(x)
    k = torch.tensor([True, False, True, False])
    z[:, k] = x[:, :2].relu()
    return z


@case("const index")
def const_index(m: Apply, x: Tensor) -> Any:
    z = torch.zeros_like(x)
    z[:, torch.tensor([2, 0])] = x[:, :2]
    return z.cos()


@case("const list index last")
def const_list_index_last(m: Apply, x: Tensor) -> Any:
    z = x.clone()
    z[..., [5, 1]] = x[..., :2].exp()
    return z


@case("two const indices")
def two_const_indices(m: Apply, x: Tensor) -> Any:
    z = torch.zeros_like(x)
    z[:, torch.tensor([2, 0, 1]), torch.tensor([0, 1, 5])] = x[:, :3, 0]
    return z * x


@case("step slice")
def step_slice(m: Apply, x: Tensor) -> Any:
    z = torch.zeros_like(x)
    z[:, ::2] = x[:, :2]
    z[:, :, 1::2] *= 2
    z[..., ::3] = x[..., :2]
    return z * 2


@case("None in index")
def none_in_index(m: Apply, x: Tensor) -> Any:
    z = torch.zeros_like(x)
    z[:, 0:1] = x[:, 1, None]
    z[:, None, 2] = x[:, None, 3]
    return z * 2


@case("topk index")
def topk_index(m: Apply, x: Tensor) -> Any:
    i = x[..., 0].topk(2, dim=1).indices
    z = torch.zeros_like(x)
    b = torch.arange(x.shape[0])[:, None]
    z[b, i] = x[:, :2].sin()
    return z * x


@case("topk index number")
def topk_index_number(m: Apply, x: Tensor) -> Any:
    i = x[..., 0].topk(2, dim=1).indices
    z = torch.zeros(x.shape[:2], dtype=x.dtype)
    b = torch.arange(x.shape[0])[:, None]
    z[b, i] = 1.0
    return z[..., None] * x


@case("index_add const")
def index_add_const(m: Apply, x: Tensor) -> Any:
    z = torch.zeros_like(x)
    z.index_add_(1, torch.tensor([0, 0, 1, 2]), x.exp())
    return z * 2


@case("index_add alpha traced base")
def index_add_alpha_traced_base(m: Apply, x: Tensor) -> Any:
    return x.index_add(2, torch.tensor([1, 3]), x[..., :2], alpha=2.0) * x


@case("index_copy")
def index_copy(m: Apply, x: Tensor) -> Any:
    return x.index_copy(1, torch.tensor([3, 1]), x[:, :2] * 3) * 2


@case("index_fill")
def index_fill(m: Apply, x: Tensor) -> Any:
    return x.index_fill(1, torch.tensor([3, 1]), 0.5) * x


@case("scatter const")
def scatter_const(m: Apply, x: Tensor) -> Any:
    return (
        torch.zeros_like(x).scatter(
            1, torch.tensor([[[1] * 6, [3] * 6]]).expand(x.shape[0], 2, 6), x[:, :2]
        )
        * 2
    )


@case("scatter traced idx")
def scatter_traced_idx(m: Apply, x: Tensor) -> Any:
    i = x.argsort(1)
    return x.scatter(1, i, x.exp())


@case("scatter number")
def scatter_number(m: Apply, x: Tensor) -> Any:
    return torch.zeros_like(x).scatter_(2, x.topk(2, -1).indices, 1.0) * x


@case("scatter_add")
def scatter_add(m: Apply, x: Tensor) -> Any:
    return torch.zeros_like(x).scatter_add(1, (x > 0).long(), x) * 2


@case("scatter_add_ narrower")
def scatter_add__narrower(m: Apply, x: Tensor) -> Any:
    z = x.new_zeros(x.shape[0], 7, 6)
    z.scatter_add_(1, (x[:, :3, :4] > 0).long() + 2, x[:, :3, :4].sin())
    return z * z


@case("scatter_reduce sum")
def scatter_reduce_sum(m: Apply, x: Tensor) -> Any:
    return x.scatter_reduce(1, (x > 0).long(), x.exp(), "sum")


@case("scatter_reduce sum not self")
def scatter_reduce_sum_not_self(m: Apply, x: Tensor) -> Any:
    return x.scatter_reduce(1, (x > 0).long(), x.exp(), "sum", include_self=False)


@case("scatter_reduce mean")
def scatter_reduce_mean(m: Apply, x: Tensor) -> Any:
    return x.scatter_reduce(1, (x > 0).long(), x.exp(), "mean", include_self=False)


@case("index_put const")
def index_put_const(m: Apply, x: Tensor) -> Any:
    return x.index_put((torch.arange(x.shape[0])[:, None], torch.tensor([[0, 2]])), x[:, :2].sin())


@case("index_put accumulate")
def index_put_accumulate(m: Apply, x: Tensor) -> Any:
    return x.index_put(
        (torch.arange(x.shape[0])[:, None], torch.tensor([[0, 0, 2]])),
        x[:, :3].sin(),
        accumulate=True,
    )


@case("masked rows of tensor")
def masked_rows_of_tensor(m: Apply, x: Tensor) -> Any:
    z = x.clone()
    k = x[..., 0] > 0
    z[k] = m.scale
    return z * x


@case("nested padding")
def nested_padding(m: Apply, x: Tensor) -> Any:
    t = torch.zeros(x.shape[0], 6, 8, dtype=x.dtype)
    mask = torch.ones(x.shape[0], 6, 8, dtype=torch.bool)
    for _ in range(1):
        t[:, :4, :6].copy_(x)
        mask[:, :4, :6] = False
    return t.masked_fill(mask, 1.0) * 2


@case("add_ plain")
def add__plain(m: Apply, x: Tensor) -> Any:
    z = torch.zeros_like(x)
    z.add_(x)
    z.mul_(x)
    z += 1
    return z


@case("no grad write")
def no_grad_write(m: Apply, x: Tensor) -> Any:
    z = torch.zeros_like(x)
    with torch.no_grad():
        z[:, :2] = x[:, :2]
    return z * x


@case("diag write")
def diag_write(m: Apply, x: Tensor) -> Any:
    y = x @ x.transpose(1, 2)
    torch.diagonal(y, dim1=1, dim2=2).add_(1.0)
    return y


@case("swap rows")
def swap_rows(m: Apply, x: Tensor) -> Any:
    y = x.clone()
    y[:, 0], y[:, 1] = y[:, 1].clone(), y[:, 0].clone()
    return y * 2


@case("ffill of list")
def ffill_of_list(m: Apply, x: Tensor) -> Any:
    out = torch.empty(x.shape[0], 4, dtype=x.dtype)
    for i in range(4):
        out[:, i] = x[:, i].sum(-1)
    return out


@pytest.mark.parametrize("name", WRITES)
def test_writes(name: str) -> None:
    hold(Apply(WRITES[name]), (4, 6))
