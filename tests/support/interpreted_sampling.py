"""The Triton kernels of the sampling map against plain torch; `test_triton.py` runs this.

On a GPU they are compiled; elsewhere triton interprets them, which it must be told before its
import (TRITON_INTERPRET=1).
"""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from lrpc.runtime.kernels import cells, deformable, triton_deformable
from tools.gpu.kernels import LIMITS, MAPS, Map, compared, drawn, transposed


def close(found: Tensor, expected: Tensor, dtype: torch.dtype) -> None:
    assert found.dtype == dtype
    scale = float(expected.abs().max())
    assert scale > 0
    limit = LIMITS[dtype]
    torch.testing.assert_close(found.double(), expected, rtol=limit, atol=limit * scale)


def check(m: Map) -> None:
    """Every kernel against the reference semantics of the operation it serves, in float64."""
    for _, found, exact in compared(m):
        close(found, exact, m.g.dtype)


@pytest.mark.parametrize("levels", MAPS, ids=str)
def test_maps(levels: tuple[tuple[int, int], ...]) -> None:
    check(drawn(levels))


@pytest.mark.parametrize("dtype", LIMITS, ids=str)
def test_precisions(dtype: torch.dtype) -> None:
    check(drawn(MAPS[1], k=2, b=2).to(dtype))


@pytest.mark.parametrize("q", [1, 16, 19])
def test_queries_beside_the_block(q: int) -> None:
    check(drawn(MAPS[1], q=q))


@pytest.mark.parametrize("d", [1, 24, 32, 64])
def test_channels(d: int) -> None:
    check(drawn(MAPS[1], d=d, k=2))


@pytest.mark.parametrize("p", [1, 3, 8])
def test_points(p: int) -> None:
    check(drawn(MAPS[1], p=p))


@pytest.mark.parametrize("k", [1, 2, 3, 4, 5])
def test_seeds(k: int) -> None:
    check(drawn(MAPS[1], k=k, b=2))


def test_storage_out_of_order() -> None:
    check(drawn(MAPS[1], k=2, b=2, h=3).scattered())


def test_more_entries_in_a_row_than_a_step_takes() -> None:
    check(drawn(((1, 1),), q=35, h=1, p=4))


def test_nothing_inside() -> None:
    m = drawn(MAPS[0])
    outside = torch.full_like(m.loc, 7.0)
    assert not triton_deformable.triton_sample(m.value, outside, m.weight, m.sizes).any()
    assert not triton_deformable.triton_splat(m.g, outside, m.weight, m.sizes).any()
    offsets, *_ = transposed(Map(m.g, m.value, outside, m.weight, m.levels), False)
    assert not offsets.any()


def test_entries_are_those_of_plain_torch() -> None:
    m = drawn(MAPS[3], b=2)
    first, coefficient = cells.deform_corners(m.loc, m.levels)
    rows = m.value.shape[0] * m.value.shape[1] * m.value.shape[2]

    def matrix(index: Tensor, entry: Tensor) -> Tensor:
        """A row for every point; one more column takes the entries that are 0."""
        made = entry.new_zeros(m.weight.numel(), rows + 1)
        return made.scatter_add_(1, index.view(-1, 4).long(), entry.view(-1, 4))

    expected = matrix(cells.deform_rows(first, m.levels), coefficient * m.weight.unsqueeze(-1))
    found, entry = triton_deformable.triton_entries(m.loc, m.weight, m.sizes, False)
    assert not entry[found == rows].any()
    assert entry[found != rows].all()
    torch.testing.assert_close(matrix(found, entry), expected, rtol=1e-5, atol=1e-5)


def forced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let programs take the kernels here, and tell which transpose they took."""
    taken: list[str] = []
    monkeypatch.setattr(deformable, "has_triton", lambda tensor: tensor.dtype != torch.float64)
    for name in ("triton_splat", "triton_gather"):
        plain = getattr(deformable, name)

        def told(*given: object, name: str = name, plain: object = plain) -> object:
            taken.append(name)
            return plain(*given)  # type: ignore[operator]

        monkeypatch.setattr(deformable, name, told)
    return taken


def test_which_transpose_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = forced(monkeypatch)
    few, many = drawn(MAPS[1], k=3), drawn(MAPS[1], k=4)
    kept: dict[str, object] = {}
    deformable.deform_splat(few.g, few.loc, few.weight, few.levels, kept, "x")
    assert not kept
    deformable.deform_splat(many.g, many.loc, many.weight, many.levels, kept, "x")
    assert list(kept) == ["x.by_row"]
    held = kept["x.by_row"]
    deformable.deform_splat(few.g, few.loc, few.weight, few.levels, kept, "x")
    assert kept["x.by_row"] is held
    monkeypatch.setattr(torch, "are_deterministic_algorithms_enabled", lambda: True)
    deformable.deform_splat(few.g, few.loc, few.weight, few.levels)
    assert taken == ["triton_splat", "triton_gather", "triton_gather", "triton_gather"]
    wide = many.to(torch.float64)
    deformable.deform_splat(wide.g, wide.loc, wide.weight, wide.levels)
    assert len(taken) == 4


@pytest.mark.parametrize("k", [1, 4])
def test_programs_compute_the_same(monkeypatch: pytest.MonkeyPatch, k: int) -> None:
    m = drawn(MAPS[1], k=k, b=2)
    given = {
        "deform_sample": (m.value, m.loc, m.weight),
        "deform_splat": (m.g, m.loc, m.weight),
        "deform_spread": (m.g, m.loc, m.weight),
        "deform_weight_transpose": (m.g, m.value, m.loc),
        "deform_location_transpose": (m.g, m.value, m.loc, m.weight),
    }

    def results() -> list[Tensor]:
        kept: dict[str, object] = {}
        return [getattr(deformable, n)(*t, m.levels, kept, "x") for n, t in given.items()]

    plain = results()
    forced(monkeypatch)
    for found, expected in zip(results(), plain, strict=True):
        close(found, expected.double(), torch.float32)


def test_compiles_without_a_graph_break(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deformable, "has_triton", lambda tensor: True)
    m = drawn(MAPS[1], k=4)

    def sweep(g: Tensor, value: Tensor, loc: Tensor, weight: Tensor) -> list[Tensor]:
        kept: dict[str, object] = {}
        more = (m.levels, kept, "x")
        few = deformable.deform_splat(g[:1], loc, weight, *more)
        return [
            deformable.deform_sample(value, loc, weight, *more),
            few,
            deformable.deform_splat(g, loc, weight, *more),
            deformable.deform_weight_transpose(g, value, loc, *more),
        ]

    tensors = (m.g, m.value, m.loc, m.weight)
    found = torch.compile(sweep, fullgraph=True, backend="aot_eager")(*tensors)
    for a, b in itertools.zip_longest(found, sweep(*tensors)):
        torch.testing.assert_close(a, b)
