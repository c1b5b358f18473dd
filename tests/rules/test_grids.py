"""Rules of sampling at a grid of places, against a matrix of its coefficients written by hand."""

from __future__ import annotations

import math
from itertools import product

import pytest
import torch
from torch import Tensor

from lrpc.runtime.kernels.grids import grid_sample_location_transpose, grid_sample_transpose
from tests.support.one_node import Case
from tests.support.twins import back, check, jacobian, n, stab

MODES = [
    (mode, padding, corners, axes)
    for mode, padding, corners, axes in product(
        ("bilinear", "nearest", "bicubic"), ("zeros", "border", "reflection"), (True, False), (2, 3)
    )
    if mode != "bicubic" or axes == 2
]


def reflected(place: float, low: float, high: float) -> float:
    """A place mirrored at both ends until it lies between them."""
    if high == low:
        return low
    turns, rest = divmod(abs(place - low), high - low)
    return low + (rest if turns % 2 == 0 else high - low - rest)


def inside(place: float, size: int, padding: str, corners: bool) -> float:
    if padding == "reflection":
        ends = (0.0, size - 1.0) if corners else (-0.5, size - 0.5)
        place = reflected(place, *ends)
    return place if padding == "zeros" else min(max(place, 0.0), size - 1.0)


def cubic(distance: float) -> float:
    """Keys' kernel with a = -0.75."""
    d, a = abs(distance), -0.75
    if d <= 1:
        return (a + 2) * d**3 - (a + 3) * d**2 + 1
    return a * (d**3 - 5 * d**2 + 8 * d - 4) if d < 2 else 0.0


def shares(u: float, size: int, mode: str, padding: str, corners: bool) -> dict[int, float]:
    """Coefficient of every pixel along an axis, for a place u in [-1, 1]."""
    place = (u + 1) / 2 * (size - 1) if corners else ((u + 1) * size - 1) / 2
    if mode != "bicubic":
        place = inside(place, size, padding, corners)
    first = math.floor(place)
    if mode == "nearest":
        near = {round(place): 1.0}
    elif mode == "bilinear":
        near = {first: 1 - (place - first), first + 1: place - first}
    else:
        near = {i: cubic(place - i) for i in range(first - 1, first + 3)}
    found: dict[int, float] = {}
    for i, share in near.items():
        i = int(inside(i, size, padding, corners)) if mode == "bicubic" else i
        if 0 <= i < size:
            found[i] = found.get(i, 0.0) + share
    return found


def matrix(grid: Tensor, sizes: tuple[int, ...], *options: object) -> Tensor:
    """M with z = M x of one image and channel: a row for each place, a column for each pixel."""
    places = grid.reshape(-1, len(sizes))
    found = torch.zeros(len(places), math.prod(sizes), dtype=torch.float64)
    for row, place in enumerate(places.tolist()):
        axes = [shares(u, n, *options) for u, n in zip(reversed(place), sizes, strict=True)]  # type: ignore[arg-type]
        for pixel in product(*axes):
            column = 0
            for i, size in zip(pixel, sizes, strict=True):
                column = column * size + i
            found[row, column] += math.prod(a[i] for a, i in zip(axes, pixel, strict=True))
    return found


def sampling(mode: str, padding: str, corners: bool, axes: int) -> tuple[Case, Tensor]:
    """A case, and its map written by hand, a matrix of all entries."""
    torch.manual_seed(axes)
    sizes, places = ((4, 5), (3, 2)) if axes == 2 else ((2, 3, 4), (2, 1, 2))
    x = n(2, 2, *sizes)
    grid = torch.rand(2, *places, axes, dtype=torch.float64) * 3 - 1.5
    own = [matrix(g, sizes, mode, padding, corners) for g in grid for _ in range(2)]
    attrs = {"mode": mode, "padding": padding, "align_corners": corners}
    return Case("grid_sample", (x, grid), attrs), torch.block_diag(*own)  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("options", MODES, ids=str)
def test_value_is_the_epsilon_rule_of_the_map(options: tuple[str, str, bool, int]) -> None:
    case, m = sampling(*options)
    x, grid = case.inputs
    z = (m @ x.flatten()).reshape(2, 2, *grid.shape[1:-1])
    found = check(
        case, "value", z,
        lambda r: [back(m, r / stab(z, 0.3), x), torch.zeros_like(grid)], eps=0.3,
    )  # fmt: skip
    assert found.sinks.keys() == {"epsilon"}


def slopes(case: Case) -> Tensor:
    """∂z/∂grid by central differences of the map."""
    x, grid = case.inputs
    mode, padding, corners = case.attrs.values()

    def sampled(places: Tensor) -> Tensor:
        own = [
            matrix(g, tuple(x.shape[2:]), mode, padding, corners) @ channel.flatten()
            for g, image in zip(places, x, strict=True)
            for channel in image
        ]
        return torch.stack(own).flatten()

    step, columns = 1e-6, []
    for i in range(grid.numel()):
        move = torch.zeros(grid.numel(), dtype=torch.float64)
        move[i] = step
        ends = (sampled(grid + sign * move.reshape(grid.shape)) for sign in (1, -1))
        after, before = ends
        columns.append((after - before) / (2 * step))
    return torch.stack(columns, 1)


SMOOTH = [o for o in MODES if o[0] != "nearest"][::3]


@pytest.mark.parametrize("options", SMOOTH, ids=str)
def test_kernels_have_the_slopes_of_the_map(options: tuple[str, str, bool, int]) -> None:
    case, m = sampling(*options)
    x, grid = case.inputs
    g = n(3, 2, 2, *grid.shape[1:-1])
    to_grid = grid_sample_location_transpose(g, x, grid, *case.attrs.values())
    torch.testing.assert_close(
        to_grid.flatten(1), g.flatten(1) @ slopes(case), rtol=1e-6, atol=1e-6
    )
    to_x = grid_sample_transpose(g, grid, tuple(x.shape[2:]), *case.attrs.values())
    torch.testing.assert_close(to_x.flatten(1), g.flatten(1) @ m, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("share", "eps"), [(0.25, 0.3), (1.0, 0.0), (0.0, 0.1)])
def test_locations(share: float, eps: float) -> None:
    case, m = sampling("bicubic", "border", False, 2)
    x, grid = case.inputs
    z = (m @ x.flatten()).reshape(2, 2, 3, 2)

    def by_place(places: Tensor) -> Tensor:
        return torch.nn.functional.grid_sample(x, places, "bicubic", "border", False)

    to_grid = jacobian(by_place, grid)

    def twin(r: Tensor) -> list[Tensor]:
        s = r / stab(z, eps)
        return [(1 - share) * back(m, s, x), share * back(to_grid, s, grid)]

    found = check(case, "locations", z, twin, share=share, eps=eps)
    assert ("rescale" in found.sinks) == (share > 0)
    gradient = check(
        case, "gradient_input", z, lambda r: [back(m, r / z, x), back(to_grid, r / z, grid)]
    )
    assert list(gradient.sinks) == ["rescale"]
