"""Rules of deformable sampling and of structure against slow float64 twins."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import lrpc
from lrpc.ir.types import B
from tests.support.one_node import Case, flow
from tests.support.twins import (
    SEEDS,
    back,
    check,
    closes,
    jacobian,
    n,
    seeds_for,
    stab,
)

LEVELS = ((3, 4), (1, 2))


def sampled(value: Tensor, loc: Tensor, weight: Tensor) -> Tensor:
    """o[q, h] = Σ A · bilinear(V_l, loc): four corners each, those outside the map are 0."""
    batch, queries, heads, _, points, _ = loc.shape
    rows = []
    for b in range(batch):
        for q in range(queries):
            for h in range(heads):
                total, start = torch.zeros(value.shape[-1], dtype=torch.float64), 0
                for level, (height, width) in enumerate(LEVELS):
                    for p in range(points):
                        x = loc[b, q, h, level, p, 0] * width - 0.5
                        y = loc[b, q, h, level, p, 1] * height - 0.5
                        left, top = math.floor(x.item()), math.floor(y.item())
                        for row in (top, top + 1):
                            for column in (left, left + 1):
                                if 0 <= row < height and 0 <= column < width:
                                    near = (1 - (x - column).abs()) * (1 - (y - row).abs())
                                    entry = value[b, start + row * width + column, h]
                                    total = total + weight[b, q, h, level, p] * near * entry
                    start += height * width
                rows.append(total)
    return torch.stack(rows).reshape(batch, queries, -1)


def deformable() -> tuple[Case, Tensor, Tensor, Tensor]:
    """The case; its output; its matrices in the value and in the weight."""
    torch.manual_seed(0)
    value, weight = n(2, 14, 2, 2), n(2, 3, 2, 2, 2)
    loc = torch.rand(2, 3, 2, 2, 2, 2, dtype=torch.float64) * 1.4 - 0.2
    case = Case("deform_sample", (value, loc, weight), {"levels": LEVELS})
    z = sampled(value, loc, weight)
    to_value = jacobian(lambda v: sampled(v, loc, weight), value)
    to_weight = jacobian(lambda a: sampled(value, loc, a), weight)
    return case, z, to_value, to_weight


@pytest.mark.parametrize(
    ("rule", "params", "share"),
    [
        ("value", {"eps": 0.0}, 0.0),
        ("value", {"eps": 0.3}, 0.0),
        ("value_and_weights", {"eps": 0.3, "share": 0.25}, 0.25),
        ("value_and_weights", {"eps": 0.0, "share": 1.0}, 1.0),
    ],
)
def test_deformable(rule: str, params: dict[str, float], share: float) -> None:
    case, z, to_value, to_weight = deformable()
    value, _, weight = case.inputs
    found = flow(case, rule, g := seeds_for(z), **params)
    closes(found)
    for k in range(SEEDS):
        s = z * g[k] / stab(z, params["eps"])
        for mine, expected in (
            (found.inputs[0], (1 - share) * back(to_value, s, value)),
            (found.inputs[2], share * back(to_weight, s, weight)),
        ):
            if mine.dim() > 1:
                torch.testing.assert_close(mine[k], expected, rtol=1e-9, atol=1e-10)
            else:
                assert not expected.any()
    assert found.inputs[1].dim() == 1  # nothing for the locations


def test_gradient_input_on_deformable() -> None:
    case, z, to_value, to_weight = deformable()
    value, loc, weight = case.inputs
    to_loc = jacobian(lambda p: sampled(value, p, weight), loc)
    check(
        case, "gradient_input", z,
        lambda r: [back(to_value, r / z, value), back(to_loc, r / z, loc),
                   back(to_weight, r / z, weight)],
    )  # fmt: skip


X = n(2, 4, 6)
INDEX = torch.randint(6, (2, 4, 3))
PLACES = torch.tensor([4, 0, 4, 1, 3, 0]).expand(2, 4, 6)
MASK = torch.rand(2, 4, 6) > 0.5
STRUCTURE: dict[str, tuple[Case, Callable[..., Tensor]]] = {
    "permute": (Case("permute", (X,), {"dims": (0, 2, 1)}), lambda x: x.permute(0, 2, 1)),
    "detach": (Case("detach", (X,)), lambda x: x),
    "cat": (Case("cat", (X, n(2, 1, 6)), {"dim": -2}), lambda x, y: torch.cat((x, y), 1)),
    "slice": (
        Case("slice", (X,), {"dim": -1, "start": 1, "stop": 6, "step": 2}),
        lambda x: x[:, :, 1:6:2],
    ),
    "pad": (
        Case("pad", (X,), {"pad": (1, 2, 0, 1), "value": 0.0}),
        lambda x: F.pad(x, (1, 2, 0, 1)),
    ),
    "flip": (Case("flip", (X,), {"dims": (-1,)}), lambda x: x.flip(2)),
    "gather": (Case("gather", (X, INDEX), {"dim": -1}), lambda x: x.gather(2, INDEX)),
    "scatter_sum": (
        Case("scatter_sum", (X, PLACES), {"dim": -1, "size": 7}),
        lambda x: F.pad(x @ (PLACES[0, 0, :, None] == torch.arange(5)).double(), (0, 2)),
    ),
    "topk": (Case("topk", (X,), {"k": 2, "dim": -1}), lambda x: x.topk(2, 2)[0]),
    "max_pool2d": (
        Case("max_pool2d", (n(2, 3, 5, 6),),
             {"kernel": (3, 2), "stride": (2, 2), "padding": (1, 0), "dilation": (1, 1),
              "ceil": False}),
        lambda x: F.max_pool2d(x, (3, 2), 2, (1, 0)),
    ),
    "masked_fill": (
        Case("masked_fill", (X, MASK), {"value": 0.0}), lambda x: x.masked_fill(MASK, 0.0),
    ),
    "where": (Case("where", (MASK, X, n(2, 4, 6))), lambda x, y: torch.where(MASK, x, y)),
    "scale": (Case("scale", (X,), {"by": -2.5}), lambda x: -2.5 * x),
    "sum": (Case("sum", (X,), {"dims": (-2,), "keepdim": False}), lambda x: x.sum(1)),
    "sum, kept": (Case("sum", (X,), {"dims": (-1,), "keepdim": True}), lambda x: x.sum(-1, True)),
    "mean": (Case("mean", (X,), {"dims": (-2, -1), "keepdim": False}), lambda x: x.mean((1, 2))),
    "amax": (
        Case("amax", (X,), {"dims": (-1,), "keepdim": False}), lambda x: x.sort(2)[0][:, :, -1],
    ),
    "amin, kept": (
        Case("amin", (X,), {"dims": (-2, -1), "keepdim": True}),
        lambda x: x.flatten(1).sort(1)[0][:, :1, None],
    ),
    "div": (Case("div", (X,), constants={1: n(6)}), None),  # type: ignore[dict-item]
    "cast": (Case("cast", (X,), {"dtype": "f64"}), lambda x: x),
}  # fmt: skip


@pytest.mark.parametrize("rule", ["pass", "gradient_input"])
@pytest.mark.parametrize("name", list(STRUCTURE))
def test_structure(name: str, rule: str) -> None:
    """R_x = x ⊙ ∂: each entry's relevance goes where the entry came from, and none is lost."""
    case, f = STRUCTURE[name]
    if name == "div":
        by = case.constants[1]
        f = lambda x: x / by  # noqa: E731
    floats = [x for x in case.inputs if x.is_floating_point()]
    z = f(*floats)
    parts = [
        jacobian(lambda v, i=i: f(*floats[:i], v, *floats[i + 1 :]), x)  # type: ignore[misc]
        for i, x in enumerate(floats)
    ]
    safe = torch.where(z == 0, 1.0, z)
    found = check(
        case, rule, z,
        lambda r: [back(m, r / safe, x) for m, x in zip(parts, floats, strict=True)],
    )  # fmt: skip
    assert all(float(v.abs().max()) < 1e-12 for v in found.sinks.values())


@pytest.mark.parametrize(
    ("case", "f"),
    [
        (Case("shift", (X,), {"by": 1.5}), lambda x: x + 1.5),
        (Case("masked_fill", (X, MASK), {"value": -3.0}), lambda x: x.masked_fill(MASK, -3.0)),
        (Case("pad", (X,), {"pad": (1, 0), "value": 2.0}), lambda x: F.pad(x, (1, 0), value=2.0)),
    ],
    ids=["shift", "masked_fill", "pad"],
)
def test_added_constants_are_a_bias(case: Case, f: Callable[[Tensor], Tensor]) -> None:
    x = case.inputs[0]
    z, matrix = f(x), jacobian(f, x)
    found = check(case, "pass", z, lambda r: [back(matrix, r / z, x)])
    assert list(found.sinks) == ["bias"]


def test_reshape_and_expand() -> None:
    x = n(2, 4, 6)
    shaped = Case("reshape", (x,), {"shape": (B, 24)})
    check(shaped, "pass", x.reshape(2, 24), lambda r: [r.reshape(2, 4, 6)])
    x = n(2, 1, 6)
    check(
        Case("expand", (x,), {"shape": (B, 4, 6)}), "pass", x.expand(2, 4, 6),
        lambda r: [r.sum(1, keepdim=True)],
    )  # fmt: skip


def test_detach_stops() -> None:
    found = flow(Case("detach", (X,)), "detach", g := seeds_for(X))
    torch.testing.assert_close(found.sinks["detached"], (g * X).sum((2, 3)))
    assert found.inputs[0].dim() == 1


@pytest.mark.parametrize("op", ["amax", "amin"])
def test_equal_winners_share(op: str) -> None:
    sign = 1.0 if op == "amax" else -1.0
    x = sign * torch.tensor([[[1.0, 3.0, 3.0], [0.5, 3.0, 2.0]]], dtype=torch.float64)
    case = Case(op, (x,), {"dims": (-2, -1), "keepdim": False})
    third = torch.tensor([[[0.0, 1.0, 1.0], [0.0, 1.0, 0.0]]], dtype=torch.float64) / 3
    check(case, "pass", 3 * sign * torch.ones(1).double(), lambda r: [third * r])


@pytest.mark.parametrize(
    ("rule", "eps"), [("epsilon", 0.0), ("epsilon", 0.3), ("gradient_input", 0.0)]
)
@pytest.mark.parametrize("dim", [-1, -2])
def test_cumsum(dim: int, rule: str, eps: float) -> None:
    def f(x: Tensor) -> Tensor:
        return torch.stack([x.narrow(dim, 0, i + 1).sum(dim) for i in range(x.shape[dim])], dim)

    z, matrix = f(X), jacobian(f, X)
    given = {"eps": eps} if rule == "epsilon" else {}
    case = Case("cumsum", (X,), {"dim": dim})
    check(case, rule, z, lambda r: [back(matrix, r / stab(z, eps), X)], **given)


def test_a_sum_of_what_comes_to_one_place() -> None:
    case, f = STRUCTURE["scatter_sum"]
    z, matrix = f(X), jacobian(f, X)
    check(case, "epsilon", z, lambda r: [back(matrix, r / stab(z, 0.3), X)], eps=0.3)


A, D = n(2, 4, 6), n(2, 1, 6).abs() + 0.5


def test_a_divisor_is_taken_as_constant() -> None:
    found = check(Case("div", (A, D)), "pass", A / D, lambda r: [r, torch.zeros_like(D)])
    assert not found.sinks
    over = Case("div", (D,), constants={0: A[0]})
    assert list(check(over, "pass", A[0] / D, lambda r: [0 * D]).sinks) == ["detached"]


@pytest.mark.parametrize("constant", [False, True])
def test_gradient_input_on_division(constant: bool) -> None:
    a = A[0] if constant else A
    z = a / D
    inverse = Case("div", (D,), constants={0: a}) if constant else Case("div", (A, D))
    to_a = jacobian(lambda v: v / D, A)
    to_d = jacobian(lambda v: a / v, D)
    found = check(
        inverse, "gradient_input", z,
        lambda r: [*([] if constant else [back(to_a, r / z, A)]), back(to_d, r / z, D)],
    )  # fmt: skip
    assert list(found.sinks) == ["rescale"]


def test_what_a_narrower_type_rounds_is_booked() -> None:
    """A float64 model whose result is in float32 closes as if it were not."""

    class Narrowing(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (3 * x).exp().float()

    x = torch.rand(2, 5, dtype=torch.float64)
    program = lrpc.compile(Narrowing(), (x,), composite="gradient_input", check=False)
    found = program.relevance(program.forward(x), "output", at=[(2,)], ledger=True).ledger
    rounding = (3 * x).exp() - (3 * x).exp().float()
    assert float(rounding[:, 2].abs().max()) > 1e-9
    assert max(float(v.max()) for v in (found.closure, *found.node_closure().values())) < 1e-14
