"""What formulas say of views and convolutions without values is what torch says of them."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from lrpc.frontend.views import VIEWS
from lrpc.ir.meta import FORMULAS

aten = torch.ops.aten
TENSORS = (
    *((2, 3, 4), (), (4,), (1, 5), (6, 4), (2, 1, 3), (0, 3), (2, 3, 4, 5)),
    *("permuted", "expanded", "part"),
)
ARGUMENTS: dict[Any, tuple[tuple[Any, ...], ...]] = {
    aten.view.default: (([-1],), ([2, -1],), ([4, 6],), ([24],), ([-1, 0],), ([1, 24, 1],)),
    aten._unsafe_view.default: (([4, 6],), ([24],)),
    aten.t.default: ((),),
    aten.permute.default: (([1, 0],), ([2, 0, 1],), ([-1, 0, 1],), ([0, 3, -3, 2],), ([],)),
    aten.transpose.int: ((0, 1), (-1, -2), (1, 1), (0, 2), (0, 5)),
    aten.unsqueeze.default: ((0,), (1,), (-1,), (-2,), (3,), (9,)),
    aten.expand.default: (([2, 3, 4],), ([-1, 5],), ([7, 5],), ([2, 6, 3],), ([9, 9, 9],)),
    aten.slice.Tensor: (
        *((), (0,), (0, 1), (1, 0, 2), (1, -2, 9), (-1, 1, None, 2), (0, 5, 2), (0, 0, -1)),
        *((2, 1, 9, 3), (7, 0, 1)),
    ),
    aten.select.int: ((0, 0), (-1, 1), (1, -1), (0, 9), (3, 2), (8, 0)),
    aten.split.Tensor: ((2,), (1, 1), (3, -1), (2, 0), (9, 0), (1, 7)),
    aten.split_with_sizes.default: (([1, 1],), ([1, 2], 1), ([2, 0, 2], -1), ([4, 4], 0)),
}
IMAGES = ((2, 4, 5, 6), (1, 4, 5, 6), (2, 1, 5, 6), (2, 4, 1, 1), (1, 1, 1, 1), (2, 4, 9, 1))
WEIGHTS = ((8, 4, 3, 3), (8, 4, 1, 1), (8, 1, 3, 3), (8, 1, 1, 1), (1, 4, 1, 1), (4, 2, 3, 1))


def tensor(kind: Any, device: str) -> Tensor:
    if kind == "permuted":
        return torch.empty(4, 2, 3, device=device).permute(1, 2, 0)
    if kind == "expanded":
        return torch.empty(3, 1, device=device).expand(2, 3, 4)
    return torch.empty((2, 3, 8) if kind == "part" else kind, device=device)[
        ..., : 4 if kind == "part" else None
    ]


def said(result: Any) -> Any:
    if isinstance(result, (tuple, list)):
        return [said(part) for part in result]
    return tuple(result.shape), result.stride(), result.dtype


@pytest.mark.parametrize("func", ARGUMENTS, ids=str)
def test_views(func: Any) -> None:
    assert ARGUMENTS.keys() == VIEWS.keys()
    told = []
    for kind, more in product(TENSORS, ARGUMENTS[func]):
        if kind == () and func is not aten.unsqueeze.default and more:
            continue
        shape = (3,) if kind == () else kind
        found = VIEWS[func]((tensor(shape, "meta"), *more), {})
        told.append(found is not None)
        if found is not None:
            assert said(found) == said(func(tensor(shape, "cpu"), *more)), (kind, more)
    assert any(told)
    assert not all(told)


@pytest.mark.parametrize(("groups", "stride", "padding", "dilation"), [*product(*[[1, 2]] * 4)])
def test_convolutions(groups: int, stride: int, padding: int, dilation: int) -> None:
    told = 0
    formula = FORMULAS[aten.convolution.default]
    for image, weight in product(IMAGES, WEIGHTS):
        x, w = (torch.empty(shape, device="meta") for shape in (image, weight))
        steps = ([stride] * 2, [padding] * 2, [dilation] * 2)
        found = formula((x, w, None, *steps, False, [0, 0], groups), {})
        if found is None:
            continue
        told += 1
        with FakeTensorMode():
            x, w = (torch.empty(shape) for shape in (image, weight))
            wanted = torch.conv2d(x, w, None, *steps, groups)
        assert said(found) == said(wanted), (image, weight)
    assert told
