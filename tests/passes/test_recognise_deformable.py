"""Deformable attention written with grid_sample becomes one sampling; what is nearly so stays."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import lrpc
from lrpc.frontend import import_model
from lrpc.ir.graph import Module
from lrpc.ir.interpreter import interpret
from lrpc.ir.parser import parse_graph
from passes import Canonicalize, RecogniseDeformable
from tests.support.graphs import rewritten
from tests.support.sampled_models import (
    FORMS,
    Form,
    Levels,
    SampledAttention,
    concatenated,
    level_by_level,
    planes,
    result,
    sample,
    stacked,
)
from tests.support.sized_models import DeformableDetr

LEVELS = ((3, 4), (2, 2), (1, 1))


class Sampling(nn.Module):
    """A form as a module."""

    def __init__(self, form: Callable[..., Any], levels: Levels) -> None:
        super().__init__()
        self.form, self.levels = form, levels

    def forward(self, value: Tensor, loc: Tensor, weight: Tensor) -> Any:
        return self.form(value, loc, weight, self.levels)


@dataclass(frozen=True)
class Sizes:
    """Extents; `counts` are points of levels that differ, along one axis; `rows` more tokens than
    the levels have."""

    levels: Levels = LEVELS
    queries: int = 5
    heads: int = 2
    width: int = 3
    points: int = 4
    counts: tuple[int, ...] = ()
    rows: int = 0

    def given(self, batch: int) -> dict[str, Tensor]:
        torch.manual_seed(batch)
        rows = self.rows + sum(h * w for h, w in self.levels)
        points = (sum(self.counts),) if self.counts else (len(self.levels), self.points)
        first = (batch, self.queries, self.heads, *points)
        return {
            "value": torch.randn(batch, rows, self.heads, self.width, dtype=torch.float64),
            "loc": torch.rand(*first, 2, dtype=torch.float64) * 1.6 - 0.3,
            "weight": torch.rand(*first, dtype=torch.float64),
        }


def imported(form: Callable[..., Any], sizes: Sizes) -> tuple[nn.Module, Module]:
    model = Sampling(form, sizes.levels)
    return model, Canonicalize().run(import_model(model, sizes.given(2)).module)


def recognised(form: Callable[..., Any], sizes: Sizes) -> Counter[str]:
    """The operations afterwards, which compute the same for another number of images."""
    model, before = imported(form, sizes)
    after = rewritten(RecogniseDeformable(), before)
    given = sizes.given(3)
    (found,) = interpret(after.graph, after.tensors, given).values()
    torch.testing.assert_close(found, model(**given), rtol=1e-12, atol=1e-13)
    return Counter(node.op for node in after.graph.nodes)


EVERY = (
    Sizes(), Sizes(queries=1), Sizes(points=1), Sizes(heads=1), Sizes(width=1),
    Sizes(levels=((3, 2),)), Sizes(levels=((3, 2),), points=1), Sizes(queries=1, width=1),
    Sizes(levels=((2, 2), (2, 2)), queries=2, heads=2, width=2, points=2),
)  # fmt: skip


@pytest.mark.parametrize("sizes", EVERY, ids=str)
@pytest.mark.parametrize("form", FORMS)
def test_a_form_is_one_sampling(form: str, sizes: Sizes) -> None:
    assert recognised(FORMS[form], sizes) == {"deform_sample": 1}


@pytest.mark.parametrize("counts", [(3, 1, 2), (1, 3, 2)])
def test_levels_of_unequally_many_points(counts: tuple[int, ...]) -> None:
    ops = recognised(concatenated(counts), Sizes(counts=counts))
    assert ops["deform_sample"] == 1
    assert not ops["grid_sample"]


def apart(value: Tensor, loc: Tensor, weight: Tensor, levels: Levels) -> Tensor:
    """[B, H, Q, D], as nothing follows that makes it [B, Q, H·D]."""
    heads = value.shape[2:]
    return stacked(value, loc, weight, levels).unflatten(2, heads).transpose(1, 2)


def by_head(value: Tensor, loc: Tensor, weight: Tensor, levels: Levels) -> Tensor:
    """[B·H, D, Q], as it is summed."""
    grids = 2 * loc - 1
    total: Any = 0
    for i, plane in enumerate(planes(value, levels)):
        picked = sample(plane, grids[:, :, :, i].transpose(1, 2).flatten(0, 1))
        total = total + (picked * weight[..., i, :].transpose(1, 2).flatten(0, 1)[:, None]).sum(-1)
    return total  # type: ignore[no-any-return]


def of_maps(value: Tensor, loc: Tensor, weight: Tensor, levels: Levels) -> Tensor:
    """Maps of levels that do not come from one value."""
    parts = value.split([y * x for y, x in levels], 1)
    return stacked(torch.cat([p.relu() for p in parts], 1), loc, weight, levels)


def of_constants(value: Tensor, loc: Tensor, weight: Tensor, levels: Levels) -> Tensor:
    """Locations and weights that hang on no input, as those of a decoder's first layer."""
    generator = torch.Generator().manual_seed(0)
    shape = (1, *loc.shape[1:])
    places = torch.rand(shape, generator=generator, dtype=torch.float64)
    shares = torch.rand(shape[:-1], generator=generator, dtype=torch.float64)
    b = value.shape[0]
    return stacked(value, places.repeat(b, *[1] * 5), shares.repeat(b, *[1] * 4), levels)


@pytest.mark.parametrize("form", [apart, by_head, of_maps, of_constants])
def test_what_stands_around_it(form: Form) -> None:
    ops = recognised(form, Sizes())
    assert ops["deform_sample"] == 1
    assert not ops["grid_sample"]


def test_constant_weights_take_no_relevance() -> None:
    """All goes to the value, as where one factor of a product is constant."""
    sizes = Sizes()
    program = lrpc.compile(
        Sampling(of_constants, LEVELS),
        tuple(sizes.given(2).values()),
        composite=["attnlrp", "cp_lrp"],
    )
    state = program.forward(*sizes.given(3).values())
    a, b = (
        program.relevance(state, "output", at=[(2, 3)], composite=rules).inputs["value"]
        for rules in ("attnlrp", "cp_lrp")
    )
    assert a.abs().amax() > 0.1
    torch.testing.assert_close(a, b)


# -- near misses -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Changed:
    """`stacked` with something else than deformable attention has."""

    options: dict[str, Any] = field(default_factory=dict)
    scale: float = 2.0
    shift: float = -1.0
    order: tuple[int, ...] = (0, 1, 2)
    weighed: Callable[[Tensor], Tensor] = lambda w: w
    sampled: bool = False

    def __call__(self, value: Tensor, loc: Tensor, weight: Tensor, levels: Levels) -> Any:
        grids = self.scale * loc + self.shift
        maps = planes(value[:, : sum(y * x for y, x in levels)], levels)
        found = [
            sample(maps[i], grids[:, :, :, i].transpose(1, 2).flatten(0, 1), **self.options)
            for i in range(len(levels))
        ]
        n, q = found[0].shape[0], loc.shape[1]
        shares = self.weighed(weight.transpose(1, 2).reshape(n, 1, q, -1))
        picked = torch.stack([found[i] for i in self.order], -2).flatten(-2)
        y = result((picked * shares).sum(-1), value)
        return (y, found[1]) if self.sampled else y


NEAR: dict[str, tuple[Changed, Sizes]] = {
    "padding": (Changed({"padding_mode": "border"}), Sizes()),
    "corners": (Changed({"align_corners": True}), Sizes()),
    "nearest": (Changed({"mode": "nearest"}), Sizes()),
    "scale": (Changed(scale=2.001), Sizes()),
    "shift": (Changed(shift=-0.999), Sizes()),
    "another order of levels": (Changed(order=(0, 2, 1)), Sizes()),
    "one level twice": (Changed(order=(0, 1, 1)), Sizes()),
    "more tokens than the levels have": (Changed(), Sizes(rows=2)),
    "one weight for all points": (Changed(weighed=lambda w: w[..., :1]), Sizes()),
    "a weight for each channel": (
        Changed(weighed=lambda w: w * torch.arange(1.0, 4.0, dtype=w.dtype)[:, None, None]),
        Sizes(),
    ),
    "samples that are read elsewhere": (Changed(sampled=True), Sizes()),
}


@pytest.mark.parametrize("name", NEAR)
def test_near_misses_stay(name: str) -> None:
    form, sizes = NEAR[name]
    _, before = imported(form, sizes)
    assert RecogniseDeformable().run(before) == before
    assert sum(node.op == "grid_sample" for node in before.graph.nodes) >= 2


def test_near_misses_are_near() -> None:
    assert recognised(Changed(), Sizes()) == {"deform_sample": 1}


def test_a_near_miss_compiles() -> None:
    form, sizes = NEAR["corners"]
    given = tuple(sizes.given(2).values())
    program = lrpc.compile(Sampling(form, LEVELS), given, composite="attnlrp")
    other = tuple(sizes.given(3).values())
    state = program.forward(*other)
    torch.testing.assert_close(state.outputs, form(*other, LEVELS), rtol=1e-12, atol=1e-13)
    found = program.relevance(state, "output", at=[(2, 3)], ledger=True)
    assert float(found.ledger.closure.max()) < 1e-12


# -- as MSDeformAttn -------------------------------------------------------------------------------


def detector(form: Form | None) -> DeformableDetr:
    torch.manual_seed(0)
    model = DeformableDetr().double().eval()
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    if form is not None:
        model.attention = SampledAttention(model.attention, form)  # type: ignore[assignment]
    return model


@pytest.mark.parametrize("form", [stacked, level_by_level])
def test_of_any_size_it_is_what_the_module_is(form: Form) -> None:
    """Steps that a level's stride does not divide: extents with floors."""
    torch.manual_seed(1)
    x, y = (torch.randn(2, 3, *s, dtype=torch.float64) for s in ((64, 96), (56, 40)))
    dynamic = {"x": {2: ("H", 8), 3: ("W", 8)}}
    found = []
    for one in (None, form):
        program = lrpc.compile(detector(one), (x,), composite="attnlrp", dynamic=dynamic)
        graph = parse_graph((program.directory / "graph.lrp").read_text())
        roles = Counter(n.role for n in graph.nodes if n.op not in ("cat", "full", "slice"))
        state = program.forward(y)
        r = program.relevance(state, "classes", at=[(3, 1)], ledger=True)
        assert float(r.ledger.closure.max()) < 1e-12
        found.append((state.outputs["classes"], r.input, roles["deformable_sampling"]))
    torch.testing.assert_close(found[1][0], detector(form)(y)["classes"], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found[1], found[0], rtol=1e-10, atol=1e-12)
