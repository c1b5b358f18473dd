"""The functions that programs carry, each against the reference semantics of the op of its name.

`tests/ir/test_optable.py` does so once through the emitted text; here are the shapes that break
kernels: storage out of order, maps of one row, entries on borders, outside, and tied.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lrpc.backend.sources import FUNCTIONS, MODULES
from lrpc.ir.ops import TABLE
from lrpc.runtime import ledgers, seeds
from lrpc.runtime.kernels import cells, deformable, linears, softmaxes

KERNELS: dict[str, Callable[..., Any]] = {
    name: getattr(module, name) for module in MODULES for name in FUNCTIONS if hasattr(module, name)
}
NO_ROW = {
    "widened",
    "entrywise",  # tests of what calls it
    "pair",  # names of weights
    "magnitudes",
    "in_runs",  # repeats an operand: tests of broadcasts
    "book",  # a row of the ledger: tests of ledgers
    "hand_out",
    "narrowed",
    "has_onednn",
    "grid_sample_gradients",
    "stab_size",
    "stabilised",
    "inner",
    "product_sums",
    "products",
    "broadcasts",
    "in_segments",
    "segment_sums",
    "row_sums",
    "softmax_along",
    "deform_cells",
    "deform_rows",
    "deform_steps",
    "deform_stepped",
    "deform_shares",
    "deform_slopes",
    "deform_second",
    "deform_sorted",
    "deform_add",
    "deform_map",
    "deform_transposed",
    "few_seeds",
    "level_sizes",
    "once",
    "deform_corners",
    "filled",
    "in_chunks",
    "_chunk_of",
    "_room_for",
}  # parts of other functions; chunks are held against whole programs in test_checkpoint.py
LIMITS = {torch.float64: 1e-11, torch.float32: 2e-5}


def n(*shape: int) -> Tensor:
    """Normal values, one of them exactly zero."""
    values = torch.randn(shape, dtype=torch.float64)
    values.view(-1)[:1] = 0.0
    return values


def places(*shape: int) -> Tensor:
    """Sampling locations [..., 2]: inside, outside, and exactly on borders and pixel centres."""
    values = torch.rand(*shape, 2, dtype=torch.float64) * 1.6 - 0.3
    for i, special in enumerate((0.0, 1.0, 0.5, 0.25, -4.0)):
        values.view(-1)[i :: values.numel() // 3 + 1] = special
    return values


def whole(high: int, *shape: int) -> Tensor:
    return torch.randint(high, shape)


CONV = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "groups": 1}
CASES: list[tuple[str, Callable[[], tuple[Tensor, ...]], dict[str, Any]]] = [
    ("stab_ratio", lambda: (n(3, 4),), {"eps": 1e-6}),
    ("stab_ratio", lambda: (n(3, 4) * 1e-7,), {"eps": 1e-6}),
    *(
        ("stab_mul", lambda size=size: (n(2, *size), n(*size)), {"eps": 1e-6})
        for size in ((3, 4), (1, 1), (5, 1 << 16))  # the last is more than one segment
    ),
    ("stab_mul", lambda: (n(2, 2), torch.tensor([1.0, -1.0]) * float("inf")), {"eps": 1e-6}),
    ("stab_mul", lambda: (torch.zeros(2, 0, 3), torch.zeros(0, 3)), {"eps": 1e-6}),
    ("ratio", lambda: (n(2, 3, 4), n(3, 4)), {"eps": 0.25}),
    ("ratio", lambda: (n(2, 3, 4), n(3, 4)), {"eps": 0.0}),
    ("ratio", lambda: (n(2, 5, 1 << 16), n(5, 1 << 16)), {"eps": 0.25}),  # more than one segment
    ("ratio", lambda: (n(2, 0, 3), n(0, 3)), {"eps": 0.25}),
    ("ratio", lambda: (n(4), n(3, 4)), {"eps": 0.25}),
    ("gelu_ratio", lambda: (6 * n(50),), {"approximate": "none"}),
    ("gelu_ratio", lambda: (6 * n(50),), {"approximate": "tanh"}),
    *(  # more than one segment, and of another order in memory
        (name, lambda turn=turn: (turn(6 * n(5, 1 << 16)),), more)
        for turn in (torch.clone, torch.t)
        for name, more in (
            ("gelu_ratio", {"approximate": "none"}),
            ("gelu_ratio", {"approximate": "tanh"}),
            ("sigmoid_ratio", {}),
            ("relu6_ratio", {}),
            ("elu_ratio", {}),
            ("centred_softplus_ratio", {}),
        )
    ),
    ("sigmoid_ratio", lambda: (torch.cat((6 * n(50), 1e-4 * n(50))),), {}),
    ("tanh_ratio", lambda: (torch.cat((6 * n(50), 1e-4 * n(50))),), {}),
    *(
        (name, lambda: (torch.cat((6 * n(50), 1e-4 * n(50))),), {})
        for name in (
            *("relu6_ratio", "elu_ratio", "centred_softplus_ratio"),
            *("exp_ratio", "sin_ratio", "cos_ratio", "erf_ratio"),
        )
    ),
    *(
        (name, lambda more=more: (*more(), torch.cat((6 * n(50), 1e-4 * n(50), n(3) * 0))), bounds)
        for bounds in ({"min": -1.0, "max": 2.0}, {"min": 0.0}, {"min": 0.5}, {"max": -1.0})
        for name, more in (("clamp_ratio", tuple), ("clamp_gate", lambda: (n(2, 103),)))
    ),
    *(
        (
            "power_gradient",
            lambda: (n(2, 20), torch.cat((n(16).abs() + 0.1, n(4) * 0))),
            {"exponent": p, "by": 1.5},
        )
        for p in (2.0, 1.0, 0.5, 0.0, -1.0)
    ),
    *(
        (
            "conv2d_transpose",
            lambda c=c, o=o, k=k, s=s, p=p, d=d, g=g, size=size: (
                torch.nn.functional.conv2d(n(3, c, *size), n(o, c // g, *k), None, s, p, d, g),
            ),
            {**CONV, "stride": s, "padding": p, "dilation": d, "groups": g, "size": (c, *size)}
            | {"weight": (o, c // g, *k)},
        )
        for c, o, k, s, p, d, g, size in (
            (4, 6, (3, 3), (2, 2), (1, 1), (1, 1), 2, (6, 8)),
            (4, 6, (3, 3), (2, 2), (1, 1), (1, 1), 1, (7, 5)),  # the stride leaves a row over
            (3, 2, (1, 1), (2, 2), (0, 0), (1, 1), 1, (5, 6)),
            (2, 4, (7, 7), (2, 2), (3, 3), (1, 1), 1, (9, 9)),
            (2, 2, (3, 3), (1, 1), (2, 2), (2, 2), 2, (1, 4)),  # one row
            (2, 4, (3, 2), (3, 2), (0, 0), (1, 1), 1, (6, 8)),  # patches
            (2, 4, (3, 2), (3, 2), (0, 0), (1, 1), 1, (7, 9)),  # and a rest
            (2, 4, (2, 2), (2, 2), (1, 1), (2, 2), 1, (6, 8)),  # as many, but they overlap
        )
    ),
    *(
        (
            "conv_transpose2d_transpose",
            lambda op=op, d=d, g=g: (
                torch.nn.functional.conv_transpose2d(
                    n(3, 4, 6, 5), n(4, 6 // g, 2, 3), None, 2, 1, op, g, d
                ),
            ),
            {"stride": (2, 2), "padding": (1, 1), "dilation": (d, d), "groups": g}
            | {"output_padding": (op, op), "size": (4, 6, 5), "weight": (4, 6 // g, 2, 3)},
        )
        for op, d, g in ((0, 1, 1), (1, 2, 2), (2, 3, 1))  # the last: no input reaches the border
    ),
    *(
        (
            "avg_pool2d_transpose",
            lambda size=size, k=k, s=s, p=p: (
                torch.nn.functional.avg_pool2d(n(3, 2, *size), k, s, p),
            ),
            {"size": (2, *size), "kernel": k, "stride": s, "padding": p},
        )
        for size, k, s, p in (
            ((4, 6), (2, 2), (2, 2), (0, 0)),
            ((5, 7), (3, 3), (2, 2), (1, 1)),
            ((1, 4), (1, 2), (1, 2), (0, 0)),
        )
    ),
    *(
        (
            name,
            lambda made=made: (n(2, 3, *made),),
            {"kernel": (3, 3), "stride": (2, 2), "padding": (1, 1), **options},
        )
        for options in (
            {"ceil": True},
            {"ceil": True, "uncounted": True},
            {"divisor": 5},
        )
        for name, made, options in (
            ("avg_pool2d", (6, 8), options),
            (
                "avg_pool2d_transpose",
                (4, 5) if "ceil" in options else (3, 4),
                {**options, "size": (3, 6, 8)},
            ),
        )
    ),
    *(
        (
            name,
            lambda made=made: (n(2, 3, *made),),
            {key: other, "mode": mode, "align_corners": align},
        )
        for mode, align in (
            ("bilinear", False),
            ("bilinear", True),
            ("nearest", False),
            ("bicubic", False),
        )
        for made, other in (((4, 6), (8, 9)), ((8, 9), (4, 6)), ((1, 5), (3, 1)), ((5, 5), (5, 5)))
        for name, key in (("interpolate", "size"), ("interpolate_transpose", "source"))
    ),
    ("max_pool2d_transpose", lambda: (n(3, 2, 4, 3, 4), whole(48, 2, 4, 3, 4)), {"size": (6, 8)}),
    ("max_pool2d_transpose", lambda: (n(3, 2, 4, 1, 2), whole(4, 2, 4, 1, 2)), {"size": (1, 4)}),
    ("gather_transpose", lambda: (n(3, 2, 4, 5), whole(7, 2, 4, 5)), {"dim": -2, "size": 7}),
    ("gather_transpose", lambda: (n(3, 2, 4, 5), whole(2, 2, 4, 1)), {"dim": -1, "size": 2}),
    ("log1p_ratio", lambda: (torch.cat((n(50).abs(), 1e-4 * n(50), n(3) * 0)),), {}),
    ("last_place", lambda: (whole(4, 2, 5),), {"dim": -1, "size": 6}),
    ("last_place", lambda: (whole(4, 2, 5, 3),), {"dim": -2, "size": 4}),
    *(
        (name, made, {**more, "mode": mode, "padding": "zeros", "align_corners": False})
        for mode in ("bilinear", "nearest", "bicubic")
        for name, made, more in (
            ("grid_sample", lambda: (n(2, 3, 5, 6), 0.5 * n(2, 4, 7, 2)), {}),
            (
                "grid_sample_transpose",
                lambda: (n(3, 2, 5, 4, 7), 0.5 * n(2, 4, 7, 2)),
                {"size": (5, 6)},
            ),
            (
                "grid_sample_location_transpose",
                lambda: (n(3, 2, 5, 4, 7), n(2, 5, 5, 6), 0.5 * n(2, 4, 7, 2)),
                {},
            ),
        )
    ),
    ("slice_transpose", lambda: (n(3, 2, 3),), {"dim": -1, "start": 1, "step": 2, "size": 7}),
    ("slice_transpose", lambda: (n(3, 2, 3),), {"dim": 1, "start": 0, "step": 1, "size": 2}),
    *(
        ("linear", lambda size=size, i=i: (n(*size, i),), {"weight": (o, i), "bias": bias})
        for size, i, o in (((), 4, 6), ((3, 2, 5), 4, 6), ((2, 0), 4, 6))
        for bias in ((o,), None)
    ),
    *(
        ("linear_transpose", lambda size=size, o=o: (n(*size, o),), {"weight": (o, i)})
        for size, i, o in (((5,), 4, 6), ((2, 0), 4, 6))
    ),
    ("rstd", lambda: (n(2, 5, 4),), {"eps": 1e-5, "groups": 0}),
    ("rstd", lambda: (n(2, 6, 3, 4),), {"eps": 1e-5, "groups": 3}),
    ("rstd", lambda: (n(2, 5, 4) * 0 + 3,), {"eps": 1e-5, "groups": 0}),  # no variance at all
    ("reciprocal_rms", lambda: (n(2, 5, 4),), {"eps": 1e-5}),
    ("layer_norm_transpose", lambda: (n(3, 2, 5, 4), n(2, 5, 1)), {"weight": (4,)}),
    ("layer_norm_transpose", lambda: (n(3, 2, 5, 4), n(2, 5, 1)), {"weight": None}),
    ("group_norm_transpose", lambda: (n(3, 2, 6, 3, 4), n(2, 3, 1)), {"weight": (6,), "groups": 3}),
    ("group_norm_transpose", lambda: (n(3, 2, 6, 4), n(2, 2, 1)), {"weight": None, "groups": 2}),
    *(
        ("norm_gradient", made, {"weight": weight, "groups": groups, "eps": 1e-5})
        for made, weight, groups in (
            (lambda: (n(3, 2, 5, 4), n(2, 5, 4)), (4,), 0),
            (lambda: (n(3, 2, 5, 4), n(2, 5, 4)), None, 0),
            (lambda: (n(3, 2, 6, 3, 4), n(2, 6, 3, 4)), (6,), 3),
            (lambda: (n(3, 2, 6, 4), n(2, 6, 4)), None, 1),
        )
    ),
    *(
        ("activation_gradient", lambda: (n(3, 2, 50), 4 * n(2, 50)), {"kind": kind})
        for kind in (
            *("gelu_none", "gelu_tanh", "silu", "sigmoid", "tanh"),
            *("relu6", "elu", "hardswish", "mish", "centred_softplus"),
        )
    ),
    *(
        ("softmax_transpose", lambda: (n(3, 2, 5, 4), n(2, 5, 4).softmax(-1)), {"dim": dim})
        for dim in (-1, -2)
    ),
    *(
        ("softmax_jacobian", lambda: (n(2, 5, 4).softmax(-1),), {"dim": dim})
        for dim in (-1, -2, -3)
    ),
    *(
        ("masks_to_boxes", lambda h=h, w=w: (n(2, 5, h, w) > 1,), {"convention": c})
        for c in ("mask2box", "bitmask")
        for h, w in ((4, 6), (1, 5), (5, 1), (1, 1))
    ),
    ("masks_to_boxes", lambda: (n(2, 4, 4) > 9,), {"convention": "mask2box"}),
    ("masks_to_boxes", lambda: (n(2, 4, 4) > 9,), {"convention": "bitmask"}),
]


def scattered(x: Tensor) -> Tensor:
    """The same values, stored back to front."""
    return x.permute(*reversed(range(x.dim()))).contiguous().permute(*reversed(range(x.dim())))


def double(value: Any) -> Any:
    return value.double() if isinstance(value, Tensor) and value.is_floating_point() else value


def check(name: str, tensors: tuple[Tensor, ...], attrs: dict[str, Any]) -> None:
    own = {k: v for k, v in attrs.items() if k in ("weight", "bias")}
    given = {**attrs, **{k: n(*v) if isinstance(v, tuple) else v for k, v in own.items()}}
    taken = inspect.signature(KERNELS[name]).parameters  # a size says all that output_padding does
    for dtype, limit in LIMITS.items():
        for store in (torch.Tensor.contiguous, scattered):
            cast = [store(t.to(dtype) if t.is_floating_point() else t) for t in tensors]
            plain = {k: v.to(dtype) if isinstance(v, Tensor) else v for k, v in given.items()}
            found = KERNELS[name](*cast, **{k: v for k, v in plain.items() if k in taken})
            exact = {k: double(v) for k, v in plain.items()}
            expected = TABLE[name].reference(*map(double, cast), **exact)
            whole_numbers = not expected.is_floating_point()
            fixed = whole_numbers or name == "masks_to_boxes"
            assert found.dtype == (expected.dtype if fixed else dtype)
            scale = float(expected.abs().max()) if expected.numel() else 1.0
            torch.testing.assert_close(
                double(found).to(expected.dtype), expected, rtol=limit, atol=limit * scale
            )


@pytest.mark.parametrize(
    ("name", "make", "attrs"), CASES, ids=[f"{c[0]}-{i}" for i, c in enumerate(CASES)]
)
def test_kernel_computes_its_reference(
    name: str, make: Callable[[], tuple[Tensor, ...]], attrs: dict[str, Any]
) -> None:
    torch.manual_seed(0)
    check(name, make(), attrs)


LEVELS = (((4, 6), (2, 3)), ((1, 5), (3, 1)), ((1, 1),), ((3, 4), (1, 2), (2, 2)))


def sampling(levels: tuple[tuple[int, int], ...]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """g [K, B, Q, H·D], value, loc, weight for a map over `levels`."""
    rows, count = sum(h * w for h, w in levels), len(levels)
    return n(3, 2, 5, 8), n(2, rows, 2, 4), places(2, 5, 2, count, 3), n(2, 5, 2, count, 3)


def deformable_cases(g: Tensor, value: Tensor, loc: Tensor, weight: Tensor) -> Iterator[Any]:
    yield "deform_sample", (value, loc, weight)
    yield "deform_splat", (g, loc, weight)
    yield "deform_spread", (g, loc, weight)
    yield "deform_weight_transpose", (g, value, loc)
    yield "deform_location_transpose", (g, value, loc, weight)


@pytest.mark.parametrize("levels", LEVELS, ids=str)
def test_sampling_map_and_its_transposes(levels: tuple[tuple[int, int], ...]) -> None:
    torch.manual_seed(0)
    for name, tensors in deformable_cases(*sampling(levels)):
        check(name, tensors, {"levels": levels})


def test_sampling_map_with_nothing_inside() -> None:
    torch.manual_seed(0)
    g, value, loc, weight = sampling(LEVELS[0])
    for name, tensors in deformable_cases(g, value, torch.full_like(loc, 7.0), weight):
        check(name, tensors, {"levels": LEVELS[0]})
    assert not deformable.deform_splat(g, torch.full_like(loc, 7.0), weight, LEVELS[0]).any()


#: Along an axis: pixel centres, borders, less and more than a cell outside, far away.
EDGES = (0.0, 1.0, 0.5, 0.1, 0.9, -0.05, 1.05, -0.125, 1.125, -0.3, 1.3, -4.0, 1e6, -1e12)


@pytest.mark.parametrize("levels", [((1, 1),), ((1, 4), (5, 1)), ((2, 2), (3, 5), (1, 2))], ids=str)
def test_places_on_and_beside_borders(levels: tuple[tuple[int, int], ...]) -> None:
    """Every pair of such places on every map, with several images, heads and seeds."""
    torch.manual_seed(0)
    pairs = torch.tensor([(x, y) for x in EDGES for y in EDGES], dtype=torch.float64)
    rows, count = sum(h * w for h, w in levels), len(levels)
    loc = pairs.view(1, -1, 1, 1, 1, 2).expand(2, -1, 3, count, 2, 2)
    weight, value = n(2, len(pairs), 3, count, 2), n(2, rows, 3, 2)
    g = n(2, 2, len(pairs), 6)
    for name, tensors in deformable_cases(g, value, loc, weight):
        if name != "deform_location_transpose":  # its slopes jump where a place is a pixel's
            check(name, tensors, {"levels": levels})
    first, coefficient = cells.deform_corners(loc, levels)
    index = cells.deform_rows(first, levels)
    assert 0 <= int(index.min()) <= int(index.max()) < 2 * rows * 3
    assert coefficient.isfinite().all()


def test_slopes_beside_borders() -> None:
    """The gradient in the locations less than a cell outside a map, and on maps of one row."""
    torch.manual_seed(0)
    levels = ((1, 4), (5, 1), (1, 1), (3, 5))
    pairs = torch.tensor([(x, y) for x in EDGES[3:] for y in EDGES[3:]], dtype=torch.float64)
    loc = (pairs + 0.013).view(1, -1, 1, 1, 1, 2).expand(2, -1, 3, 4, 2, 2)
    weight, value = n(2, len(pairs), 3, 4, 2), n(2, sum(h * w for h, w in levels), 3, 2)
    tensors = (n(2, 2, len(pairs), 6), value, loc, weight)
    check("deform_location_transpose", tensors, {"levels": levels})


def test_places_that_are_no_numbers_read_within_the_maps() -> None:
    levels = ((3, 4), (1, 2))
    loc = torch.tensor([float("nan"), float("inf"), -float("inf")]).view(1, 3, 1, 1, 1, 1)
    first, coefficient = cells.deform_corners(loc.expand(1, 3, 2, 2, 2, 2), levels)
    index = cells.deform_rows(first, levels)
    assert 0 <= int(index.min()) <= int(index.max()) < 14 * 2
    assert coefficient[:, 0].isnan().all()
    assert not coefficient[:, 1:].any()


@pytest.mark.parametrize("queries", [1, 5, 70])
def test_weights_are_taken_in_pieces(queries: int) -> None:
    """More pieces than one, the last of them shorter."""
    torch.manual_seed(0)
    levels = ((4, 6), (2, 3))
    value, loc = n(2, 30, 2, 512), places(2, queries, 2, 2, 4)
    check("deform_weight_transpose", (n(3, 2, queries, 1024), value, loc), {"levels": levels})


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5)), min_size=1, max_size=3), st.data())
def test_transposes_are_transposes(levels: list[tuple[int, int]], data: st.DataObject) -> None:
    """⟨sample(v), g⟩ = ⟨v, splat(g)⟩ = ⟨a, weight_transpose(g)⟩."""
    torch.manual_seed(data.draw(st.integers(0, 1000)))
    maps = tuple(levels)
    g, value, loc, weight = sampling(maps)
    out = deformable.deform_sample(value, loc, weight, maps)
    total = (out * g).sum((1, 2, 3))
    splat = deformable.deform_splat(g, loc, weight, maps)
    back = deformable.deform_weight_transpose(g, value, loc, maps)
    torch.testing.assert_close((splat * value).sum((1, 2, 3, 4)), total, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close((back * weight).flatten(1).sum(1), total, rtol=1e-10, atol=1e-10)


def test_corners_inside_share_one_whole() -> None:
    torch.manual_seed(0)
    levels = ((3, 5), (2, 2))
    loc = torch.rand(2, 4, 2, 2, 3, 2, dtype=torch.float64) * 0.3 + 0.35
    first, coefficient = cells.deform_corners(loc, levels)
    index = cells.deform_rows(first, levels)
    assert index.shape == coefficient.shape == (2, 4, 2, 2, 3, 4)
    assert int(index.min()) >= 0
    assert int(index.max()) < 2 * 19 * 2
    torch.testing.assert_close(coefficient.sum(-1), torch.ones(2, 4, 2, 2, 3, dtype=torch.float64))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("size", [1, 2, 12, 15, 16, 40])
@pytest.mark.parametrize("dim", [-1, 1, 2, 0])
def test_softmax_of_short_axes(dtype: torch.dtype, size: int, dim: int) -> None:
    """As torch has it, masked scores among them, and rows that are masked whole."""
    torch.manual_seed(0)
    x = 30 * torch.randn(5, 7, size)
    x[0, :, 0] = float("-inf")
    x[1, 2] = 1e30
    x[2, 3] = float("-inf")
    for scores in (x.to(dtype), x.to(dtype).transpose(0, 1).contiguous().transpose(0, 1)):
        before = scores.clone()
        found, expected = softmaxes.softmax_along(scores, dim), scores.softmax(dim)
        assert torch.equal(scores, before)
        assert found.dtype == dtype
        assert torch.equal(found.isnan(), expected.isnan())
        exact = scores.double().softmax(dim)
        limit = torch.finfo(dtype).eps
        torch.testing.assert_close(
            found.double(), exact, rtol=80 * limit, atol=0.01 * limit, equal_nan=True
        )


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(
    ("shape", "other", "batch"),
    [((3, 2, 4), (3, 2, 4), 1), ((3, 2), (3, 2), 1), ((3, 4, 2), (3, 4, 2), 2), ((3,), (3,), 0),
     ((3, 2, 4, 5), (2, 4, 5), 1), ((3, 2, 4, 5), (5,), 1), ((3, 2, 4, 5), (4, 1), 1),
     ((3, 2, 4, 1), (2, 4, 5), 1), ((3, 2, 4), (1,), 1), ((3, 2, 4), (), 1)],
)  # fmt: skip
def test_ledger_sums(
    shape: tuple[int, ...], other: tuple[int, ...], batch: int, dtype: torch.dtype
) -> None:
    """Sums in float64 over whatever broadcasts; −∞ where a is 0 counts nothing."""
    a, b = n(*shape).to(dtype), torch.randn(other, dtype=torch.float64).to(dtype)
    given = a.clone(), b.clone()
    product = a.double() * b.double()
    rest = [i for i in range(1, product.dim()) if i != batch]
    expected = product.sum(rest) if rest else product
    found = ledgers.inner(a, b, batch)
    assert torch.equal(a, given[0])
    assert torch.equal(b, given[1])
    assert found.dtype == torch.float64
    assert found.shape == (3, shape[batch] if batch else 1)
    torch.testing.assert_close(found.reshape(expected.shape), expected, rtol=1e-14, atol=1e-14)
    turned = [x.mT.contiguous().mT if x.dim() > 1 else x for x in (a, b)]
    torch.testing.assert_close(ledgers.inner(*turned, batch), found, rtol=1e-14, atol=1e-14)
    a = torch.where(a == a, 0.0, a)
    assert torch.equal(ledgers.inner(a, b - float("inf"), batch), torch.zeros_like(found))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(
    ("shape", "lead"),
    [((3, 2, 90_000), 1), ((300, 1, 1100), 1), ((2, 3, 1300, 8, 5), 1), ((2, 3, 1300, 40), 3),
     ((3, 2, 1100, 8, 5), 2), ((1, 1, 300_000), 2), ((2, 1, 140_000), 3), ((2, 3, 5, 90, 70), 0)],
)  # fmt: skip
def test_ledger_sums_in_segments(shape: tuple[int, ...], lead: int, dtype: torch.dtype) -> None:
    """Equal to sums of the whole product in float64, up to the rounding of products and of sums of
    1,024 of them; masked scores of −∞ where a is 0 or not. With `lead` 0, b has an entry for each
    channel of maps."""
    torch.manual_seed(0)
    other = shape[lead:] if lead else (shape[2], 1, 1)
    a, b = torch.randn(shape).to(dtype), torch.randn(other).to(dtype)
    assert ledgers.in_segments(a, b, 1)

    def check() -> None:
        product = (a.double() * b.double()).masked_fill(a == 0, 0.0).reshape(*shape[:2], -1)
        expected, size = product.sum(-1), product.abs().sum(-1)
        finite = expected.isfinite()
        as_on_a_gpu = ledgers.segment_sums(a, b, masked=True)
        for found in (ledgers.inner(a, b, 1), as_on_a_gpu):
            assert torch.equal(found.isfinite(), finite)
            limit = 1e-14 if dtype == torch.float64 else 6e-8
            assert bool(((found - expected).abs() <= limit * size)[finite].all())

    check()
    b.view(-1)[-1] = float("-inf")
    (a.view(*shape[:lead], -1)[..., -1] if lead else a[:, :, -1]).zero_()
    check()
    a[0, -1] = 1.0
    check()
    assert not bool(ledgers.inner(a, b, 1).isfinite().all())


def test_every_kernel_is_held_against_a_row() -> None:
    held = {case[0] for case in CASES} | {
        name for name, _ in deformable_cases(*sampling(LEVELS[0]))
    }
    assert held == FUNCTIONS - NO_ROW


@pytest.mark.parametrize(("batch", "query"), [(0, 1), (1, 0)])
def test_relevance_sums_to_the_number_of_queries(batch: int, query: int) -> None:
    """The released decoder has its queries in front of the batch."""
    shape = (2, 5, 3) if batch == 0 else (5, 2, 3)
    goal = seeds.Target(
        *(dict, ("", "x"), shape),
        batch_axis=batch, index_axes=(query,), index_names=("query",), token_axis=None, reads=(),
    )  # fmt: skip
    value = torch.rand(shape) + 1
    g = seeds.normalised(torch.rand(4, *shape), value, "sumT", goal)
    total = (g * value).sum((query + 1, 3))
    torch.testing.assert_close(total, torch.full((4, 2), 5.0))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("turned", [False, True])
def test_products_by_onednn(bias: bool, turned: bool) -> None:
    """Large ones in float32, also of tensors that are not contiguous, against float64."""
    x, weight, b = n(2, 3, 512, 128).float(), n(256, 128).float(), n(256).float()
    if turned:
        x, weight = x.transpose(0, 2), weight.t().contiguous().t()
    given = b if bias else None
    assert linears.has_onednn(x, weight)
    expected = F.linear(x.double(), weight.double(), b.double() if bias else None)
    torch.testing.assert_close(
        linears.linear(x, weight, given).double(), expected, rtol=1e-5, atol=1e-4
    )
    g = expected.float()
    back = linears.linear_transpose(g, weight).double()
    torch.testing.assert_close(back, g.double() @ weight.double(), rtol=1e-5, atol=1e-3)
