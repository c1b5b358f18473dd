"""Integers that depend on sizes: exact arithmetic, one text, types at all sizes."""

from __future__ import annotations

import pickle
from collections.abc import Callable

import pytest

from lrpc.errors import IRError
from lrpc.ir.extents import Extent, NotInSteps, at, sizes_in
from lrpc.ir.fitting import fits, fitted
from lrpc.ir.parser import parse_graph
from lrpc.ir.printer import print_graph
from lrpc.ir.sizes import Size, beyond, grid
from lrpc.ir.types import B, Sym, TensorType
from lrpc.ir.verifier import verify

HEIGHT, WIDTH = Size("H", 32, 160), Size("W", 32, 224)
H, W = Extent.size(HEIGHT), Extent.size(WIDTH)
POINTS = [{"H": 32 * h, "W": 32 * w} for h in (1, 2, 5, 9) for w in (1, 3, 7)]

FORMULAS: list[Callable[[int, int], int]] = [
    lambda h, w: h // 8 * (w // 8) + h // 16 * (w // 16) + h // 32 * (w // 32),
    lambda h, w: (h + 2 * 3 - 7) // 2 + 1,
    lambda h, w: 3 - h + w * w,
    lambda h, w: (h * w // 64) % 16 + 5,
    lambda h, w: h * w // w,
    lambda h, w: (h - 1) // 16 * -2,
    lambda h, w: 7 * (h // 4) ** 2,
    lambda h, w: sum([h, w, 1]) - h,
]


@pytest.mark.parametrize("formula", FORMULAS)
def test_arithmetic_is_that_of_numbers_at_every_size(formula: Callable[[int, int], int]) -> None:
    made = formula(H, W)
    assert int(made) == formula(160, 224)
    assert [at(made, p) for p in POINTS] == [formula(p["H"], p["W"]) for p in POINTS]


def test_what_a_size_is_not_in_is_a_plain_integer() -> None:
    for made in (H - H, H // 32 * 32 - H + 5, H % 32):
        assert type(made) is int


def test_equal_numbers_are_no_equal_extents() -> None:
    assert H // 8 != 20
    assert H // 8 == (H // 16) * 2
    assert H // 32 * 7 != W // 32 * 5  # both are 35 for the example
    assert len({H // 8, 20, (H + 32) // 8 - 4}) == 2
    assert pickle.loads(pickle.dumps(H * W // 64)) == H * W // 64


@pytest.mark.parametrize(
    "formula",
    [
        lambda: H // 64,  # not in steps of 64
        lambda: (H * W) // (H + W),
        lambda: 1 / H,
        lambda: H / 2,
        lambda: H**-0.5,
        lambda: 2**H,
    ],
)
def test_what_is_no_integer_at_all_sizes_is_refused(formula: Callable[[], object]) -> None:
    with pytest.raises(NotInSteps):
        formula()


@pytest.mark.parametrize("formula", FORMULAS[:2] + FORMULAS[4:6])
def test_numbers_at_a_few_sizes_tell_the_extent(formula: Callable[[int, int], int]) -> None:
    numbers = [formula(p["H"], p["W"]) for p in grid((HEIGHT, WIDTH))]
    assert fitted(numbers, (HEIGHT, WIDTH)) == formula(H, W)


LONG, BROAD = Size("H", 32, 160, 4), Size("W", 32, 224, 4)
FLOORS: list[Callable[[int, int], int]] = [
    lambda h, w: (h + 32) // 64,
    lambda h, w: h // 64 * (w // 8) + (h + 96) // 128 * ((w + 31) // 64),
    lambda h, w: (3 * h + 5) // 128 - (h - 1) // 2,
    lambda h, w: ((h + 32) // 64 + 1) // 2,
    lambda h, w: h // 32 % 4 * 5 + w // 64 * (w // 32),
    lambda h, w: (h * w // 1024 * 4 + h // 32) // 4,
]


@pytest.mark.parametrize("formula", FLOORS)
def test_floors_over_a_period_are_exact(formula: Callable[[int, int], int]) -> None:
    made = formula(Extent.size(LONG), Extent.size(BROAD))
    points = [{"H": 32 * h, "W": 32 * w} for h in range(1, 12) for w in (1, 2, 3, 8, 13)]
    assert [at(made, p) for p in points] == [formula(p["H"], p["W"]) for p in points]


@pytest.mark.parametrize("formula", FLOORS[:4])
def test_floors_are_told_by_numbers_and_have_one_form(formula: Callable[[int, int], int]) -> None:
    numbers = [formula(p["H"], p["W"]) for p in (*grid((LONG, BROAD)), *beyond((LONG, BROAD)))]
    made = formula(Extent.size(LONG), Extent.size(BROAD))
    assert fits(numbers, (LONG, BROAD)) == made
    assert fits([*numbers[:-1], numbers[-1] + 1], (LONG, BROAD)) is None


WINDOWS: list[tuple[int, Callable[[int, int], int]]] = [
    (12, lambda h, w: -(-h // 48) * -(-w // 48)),  # windows of 12 at a stride of 4
    (12, lambda h, w: 144 * -(-h // 384) * -(-w // 384) * 3),
    (14, lambda h, w: -(-h // 28) * 7),
    (14, lambda h, w: -(-h // 56) * -(-w // 56) * 49),
    (16, lambda h, w: -(h // 8) % 64),
    (16, lambda h, w: h * w // 64 + (h + 32) // 64 * ((w + 32) // 64)),  # of a short period
]


@pytest.mark.parametrize(("period", "formula"), WINDOWS)
def test_windows_are_told_by_each_size_alone(
    period: int, formula: Callable[[int, int], int]
) -> None:
    sizes = Size("H", 32, 160, period), Size("W", 32, 224, period)
    points = [*grid(sizes), *beyond(sizes)]
    numbers = [formula(p["H"], p["W"]) for p in points]
    made = fits(numbers, sizes)
    assert made is not None
    others = [{"H": 32 * h, "W": 32 * w} for h in range(1, 40, 3) for w in range(1, 40, 4)]
    assert [at(made, p) for p in others] == [formula(p["H"], p["W"]) for p in others]
    wrong = 12 if period != 12 else 14
    if formula is not WINDOWS[-1][1]:
        sizes = Size("H", 32, 160, wrong), Size("W", 32, 224, wrong)
        points = [*grid(sizes), *beyond(sizes)]
        assert fits([formula(p["H"], p["W"]) for p in points], sizes) is None


def test_sums_over_long_periods_are_refused() -> None:
    sizes = Size("H", 32, 160, 12), Size("W", 32, 224, 12)
    numbers = [-(-p["H"] // 48) * -(-p["W"] // 48) + p["H"] for p in [*grid(sizes), *beyond(sizes)]]
    assert fits(numbers, sizes) is None


def test_floors_of_too_long_a_period_are_refused() -> None:
    h, w = Extent.size(LONG), Extent.size(BROAD)
    for formula in (lambda: h // 256, lambda: (h + w) // 64, lambda: (h // 64) * h // 128):
        with pytest.raises(NotInSteps):
            formula()


def test_the_text_of_floors_is_read_back() -> None:
    graph = parse_graph(FLOOR_TEXT)
    assert print_graph(graph) == FLOOR_TEXT
    assert verify(graph) is graph
    ((_, value),) = graph.outputs
    sizes = [value.type.sized({"B": 1, "H": h, "W": 96})[2:] for h in (32, 64, 96)]
    assert sizes == [(1, 2), (1, 2), (2, 2)]
    with pytest.raises(IRError, match="declared"):
        verify(parse_graph(FLOOR_TEXT.replace("((H+32)//64)", "((H+64)//64)")))
    with pytest.raises(IRError, match="a period of 17 steps; at most 16"):
        parse_graph(FLOOR_TEXT.replace("160/32/2", "160/32/17"))


def test_sizes_are_found_anywhere() -> None:
    assert sizes_in([1, (2, (W,)), [H * 3], "x", B]) == [HEIGHT, WIDTH]


FLOOR_TEXT = """graph @a [H=160/32/2, W=224/32/2](%x: f32[B,3,H,W]) {
  weight "c": f32[8,3,3,3]
  %y: f32[B,8,((H+32)//64),((W+32)//64)] = conv2d(%x) {weight="c", stride=[64,64], \
padding=[1,1], dilation=[1,1], groups=1}
  return %y
}
"""
TEXT = """graph @a [H=160/32, W=224/32](%x: f32[B,3,H,W]) {
  weight "c": f32[8,3,3,3]
  %y: f32[B,8,H/2,W/2] = conv2d(%x) {weight="c", stride=[2,2], padding=[1,1], dilation=[1,1], \
groups=1}
  %p: f32[B,8,H*W/4] = reshape(%y) {shape=[B,8,H*W/4]}
  %s: f32[B,8,H*W/4+-10] = slice(%p) {dim=2, start=10, stop=H*W/4, step=1}
  %m: f32[(H*W/4+-10)*B,8] = reshape(%s) {shape=[(H*W/4+-10)*B,8]}
  return %m
}
"""


def test_the_text_is_read_back() -> None:
    graph = parse_graph(TEXT)
    assert print_graph(graph) == TEXT
    assert graph.sizes == [HEIGHT, WIDTH]
    assert verify(graph) is graph
    (rows,) = (v.type.shape[0] for _, v in graph.outputs)
    assert rows == Sym(H * W // 4 - 10, batch=1)
    assert TensorType("f32", (rows, 8)).sized({"B": 2, "H": 64, "W": 32}) == (2 * 502, 8)


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("H=160/32", "H=150/32", "150 is no multiple of the step 32"),
        ("H=160/32", "B=160/32", "B cannot name a size"),
        ("H=160/32", "H=160/0", "expected a positive integer"),
        ("f32[B,8,H/2,W/2]", "f32[B,8,H/64,W/2]", "not divided evenly by 64"),
        ("f32[B,8,H/2,W/2]", "f32[B,8,H/2+B,W/2]", "a sum with B or K in it"),
        ("f32[B,8,H/2,W/2]", "f32[B,8,80,W/2]", "80"),
        (
            "start=10, stop=H*W/4",
            "start=10, stop=8960",
            "yields f32[B,8,8950], but is declared f32[B,8,H*W/4+-10]",
        ),
        ("[B,3,H,W]", "[B,3,H,T]", "unknown symbol T; expected an integer, B, K, H or W"),
    ],
)
def test_a_text_that_holds_for_the_example_alone_is_refused(old: str, new: str, what: str) -> None:
    assert old in TEXT
    with pytest.raises(IRError) as caught:
        parse_graph(TEXT.replace(old, new, 1))
    assert what in str(caught.value)


@pytest.mark.parametrize("period", [12, 14, 16])
def test_a_number_has_one_form_however_it_is_made(period: int) -> None:
    """Floors by arithmetic, by numbers, and sums of floors over several divisors."""
    sizes = Size("H", 32, 160, period), Size("W", 32, 224, period)
    h = Extent.size(sizes[0])
    divisors = [d for d in range(2, period + 1) if period % d == 0]
    made = [(h + 32 * plus) // (32 * d) for d in divisors for plus in range(d)]
    total = sum(made[1:], made[0])
    points = [*grid(sizes), *beyond(sizes)]
    for one in (*made, total):
        assert fits([at(one, p) for p in points], sizes) == one
    short = Size("H", 32, 160, 2)
    assert str((h + 32) // 64) == str((Extent.size(short) + 32) // 64)
