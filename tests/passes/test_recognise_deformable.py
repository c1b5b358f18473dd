"""Deformable attention written with grid_sample becomes one sampling; what is nearly so stays."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
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
from lrpc.models.maskdino.layers import MSDeformAttn
from passes import Canonicalize, RecogniseDeformable
from tests.support.graphs import rewritten
from tests.support.sampled_models import (
    FORMS,
    Form,
    Levels,
    SampledAttention,
    concatenated,
    level_by_level,
    parts,
    planes,
    result,
    sample,
    samples,
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
    maps = value.split([y * x for y, x in levels], 1)
    return stacked(torch.cat([p.relu() for p in maps], 1), loc, weight, levels)


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


def relevance_of(form: Form) -> list[Tensor]:
    """Of value, locations and weights."""
    sizes = Sizes()
    given, other = (tuple(sizes.given(batch).values()) for batch in (2, 3))
    program = lrpc.compile(Sampling(form, LEVELS), given, composite="attnlrp", check=False)
    found = program.relevance(program.forward(*other), "output", at=[(2, 3)]).inputs
    return [found[name] for name in ("value", "weight")]


@pytest.mark.parametrize("form", [name for name in FORMS if name != "stacked"])
def test_relevance_does_not_hang_on_the_form(form: str) -> None:
    torch.testing.assert_close(
        relevance_of(FORMS[form]), relevance_of(stacked), rtol=1e-12, atol=1e-14
    )


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


def einsum_as(equation: str, of: Callable[[Tensor], Tensor] = lambda w: w) -> Callable[..., Any]:
    def form(value: Tensor, loc: Tensor, weight: Tensor, levels: Levels) -> Any:
        found = torch.stack(samples(value, loc, levels), -2)
        return torch.einsum(equation, found, of(weight.transpose(1, 2).flatten(0, 1)))

    return form


def by_channel(weight: Tensor) -> Tensor:
    return weight[:, None] * torch.arange(1.0, 4.0, dtype=weight.dtype)[:, None, None, None]


def two_columns(value: Tensor, loc: Tensor, weight: Tensor, levels: Levels) -> Tensor:
    """Two weights of each sample: the result has two of each channel."""
    found = torch.cat(samples(value, loc, levels), -1).transpose(1, 2)
    column = weight.transpose(1, 2).reshape(*found.shape[:2], -1, 1)
    return found @ torch.cat([column, column.square()], -1)


def levels_of(order: Sequence[int], start: float | None = None) -> Callable[..., Any]:
    """These levels accumulated, from a tensor of this number on."""

    def form(value: Tensor, loc: Tensor, weight: Tensor, levels: Levels) -> Tensor:
        each = parts(value, loc, weight, levels)
        first = torch.einsum("ncqp,nqp->ncq", *each[order[0]])
        out = first if start is None else torch.full_like(first, start) + first
        for i in order[1:]:
            out = out + torch.einsum("ncqp,nqp->ncq", *each[i])
        return out

    return form


def unweighed(value: Tensor, loc: Tensor, weight: Tensor, levels: Levels) -> Tensor:
    """The weight comes after the sum of points."""
    each = parts(value, loc, weight, levels)
    return torch.stack([s.sum(-1) * w[:, None, :, 0] for s, w in each]).sum(0)


def averaged(value: Tensor, loc: Tensor, weight: Tensor, levels: Levels) -> Tensor:
    each = parts(value, loc, weight, levels)
    return torch.stack([s * w[:, None] for s, w in each], -2).flatten(-2).mean(-1)


def read_on_the_way(value: Tensor, loc: Tensor, weight: Tensor, levels: Levels) -> Any:
    each = [s * w[:, None] for s, w in parts(value, loc, weight, levels)]
    return torch.stack(each, -2).sum((-1, -2)), each[0]


def over_heads(value: Tensor, loc: Tensor, weight: Tensor, levels: Levels) -> Tensor:
    found = torch.stack(samples(value, loc, levels), -2).unflatten(0, value.shape[::2][:2])
    return torch.einsum("bhcqlp,bqhlp->bqc", found, weight)


def over_queries(value: Tensor, loc: Tensor, weight: Tensor, levels: Levels) -> Any:
    each = parts(value, loc, weight, levels)
    return torch.stack([s * w[:, None] for s, w in each], -2).sum((-1, -2, -3))


MISSES: dict[str, Callable[..., Any]] = {
    "summed over heads": over_heads,
    "einsum over queries": einsum_as("ncqlp,nqlp->nc"),
    "einsum that leaves levels": einsum_as("ncqlp,nqlp->ncql"),
    "einsum with a weight for each channel": einsum_as("ncqlp,ncqlp->ncq", by_channel),
    "einsum with one weight for all points": einsum_as("ncqlp,nql->ncq", lambda w: w[..., 0]),
    "two columns": two_columns,
    "a level twice": levels_of((0, 1, 2, 1)),
    "levels in another order": levels_of((0, 2, 1)),
    "from ones": levels_of((0, 1, 2), 1.0),
    "weights after the sum": unweighed,
    "the mean": averaged,
    "read on the way": read_on_the_way,
    "summed over queries": over_queries,
}


@pytest.mark.parametrize("name", MISSES)
def test_misses_of_other_forms_stay(name: str) -> None:
    ops = recognised_of(MISSES[name])
    assert ops["grid_sample"] >= 2
    assert not ops["deform_sample"]


def recognised_of(form: Callable[..., Any]) -> Counter[str]:
    """The operations afterwards."""
    after = rewritten(RecogniseDeformable(), imported(form, Sizes())[1])
    return Counter(node.op for node in after.graph.nodes)


@pytest.mark.parametrize(
    "form", [einsum_as("ncqlp,nqlp->ncq"), levels_of((0, 1, 2)), levels_of((0, 1, 2), 0.0)]
)
def test_misses_of_other_forms_are_near(form: Callable[..., Any]) -> None:
    assert recognised_of(form)["deform_sample"] == 1


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


class TokensFirst(nn.Module):
    """A layer as packages around mmcv have it: tokens before images, and the position, a mask and
    the residual inside of the attention."""

    def __init__(self, form: Form | None) -> None:
        super().__init__()
        torch.manual_seed(0)
        own = MSDeformAttn(8, 3, 2, 2)
        self.attention = own if form is None else SampledAttention(own, form)
        self.position = nn.Parameter(torch.randn(17, 8))
        self.drop, self.norm, self.head = nn.Dropout(0.1), nn.LayerNorm(8), nn.Linear(8, 3)
        for parameter in self.parameters():
            parameter.data += 0.1 * torch.randn_like(parameter)

    def forward(self, x: Tensor) -> Tensor:
        query = x.permute(1, 0, 2)
        skip, query = query, query + self.position[:, None]
        places = torch.linspace(0.1, 0.9, 17, dtype=x.dtype)[:, None, None].expand(17, 3, 2)
        mask = (torch.arange(17) > 15).expand(x.shape[0], -1)
        y = self.attention(
            query.permute(1, 0, 2), places.expand(x.shape[0], -1, -1, -1), x, LEVELS, None, mask
        )
        y = self.drop(y.permute(1, 0, 2)) + skip
        return self.head(self.norm(y)).permute(1, 0, 2)  # type: ignore[no-any-return]


@pytest.mark.parametrize("form", [stacked, FORMS["accumulated"], FORMS["einsum by head"]])
def test_tokens_first(form: Form) -> None:
    x, y = (torch.randn(n, 17, 8, dtype=torch.float64) for n in (2, 3))
    found = []
    for one in (None, form):
        program = lrpc.compile(TokensFirst(one).double().eval(), (x,), composite="attnlrp")
        graph = parse_graph((program.directory / "graph.lrp").read_text())
        roles = Counter(n.role for n in graph.nodes)
        wanted = ("residual", "positional", "deformable_sampling", "deformable_probabilities")
        assert [roles[role] for role in wanted] == [1, 1, 1, 1]
        found.append(program.relevance(program.forward(y), "output", at=[(9, 1)]).input)
    torch.testing.assert_close(*found, rtol=1e-12, atol=1e-13)
