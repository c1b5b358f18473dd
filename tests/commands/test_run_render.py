"""Pictures, by the pixel: colours mean what they should and marks stand where they should."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from lrpc.commands.drawing import draw, fonts, render
from lrpc.errors import ProgramError
from lrpc.results import colour

WHITE = (255, 255, 255)


def blob() -> colour.Map:
    """40 × 60: positive at rows 5–14, columns 10–19; negative at rows 25–34, columns 40–49."""
    values = np.zeros((40, 60))
    values[5:15, 10:20] = 2.0
    values[25:35, 40:50] = -2.0
    return values


def photo() -> colour.Pixels:
    return np.full((40, 60, 3), (30, 160, 90), dtype=np.uint8)


def red(pixel: tuple[int, ...]) -> bool:
    return pixel[0] > pixel[1] + 80 and pixel[0] > pixel[2] + 80


def blue(pixel: tuple[int, ...]) -> bool:
    return pixel[2] > pixel[1] + 50 and pixel[2] > pixel[0] + 80


def at(image: Image.Image, x: int, y: int) -> tuple[int, ...]:
    pixel = image.getpixel((x, y))
    assert isinstance(pixel, tuple)
    return pixel


def test_signed_map_sums_channels_and_refuses_nan() -> None:
    relevance = np.stack([np.full((2, 3), v) for v in (1.0, -3.0, 0.5)])
    assert np.array_equal(colour.signed_map(relevance), np.full((2, 3), -1.5))
    relevance[0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        colour.signed_map(relevance)


def test_scale_ignores_a_few_outliers_and_survives_zeros() -> None:
    values = np.ones((100, 100))
    values[0, 0] = 1e6
    assert colour.robust_scale(values) == 1.0
    assert colour.robust_scale(values, 100) == 1e6
    sparse = np.zeros((100, 100))
    sparse[3, 3] = -4.0
    assert colour.robust_scale(sparse) == 4.0
    assert colour.robust_scale(np.zeros((4, 4))) == 0.0


@settings(max_examples=50, deadline=None)
@given(value=st.floats(1e-6, 1e6), scale=st.floats(1e-6, 1e6))
def test_colours_are_white_at_zero_and_red_only_for_positive(value: float, scale: float) -> None:
    plus, zero, minus = colour.colourise(np.array([[value, 0.0, -value]]), scale)[0].tolist()
    assert tuple(zero) == WHITE
    assert plus[0] >= plus[2]
    assert minus[2] >= minus[0]


def test_colours_darken_steadily_to_both_sides() -> None:
    ramp = colour.colourise(np.linspace(-1, 1, 201)[None], 1.0)[0].astype(int)
    light = ramp @ np.array([0.299, 0.587, 0.114])
    assert (np.diff(light[:101]) >= -0.6).all()
    assert (np.diff(light[100:]) <= 0.6).all()
    assert abs(light[0] - light[-1]) < 12  # equal strength looks equal


@settings(max_examples=25, deadline=None)
@given(sigma=st.floats(0.3, 3), seed=st.integers(0, 99))
def test_smoothing_keeps_the_sum_and_matches_a_slow_gaussian(sigma: float, seed: int) -> None:
    values = np.random.default_rng(seed).standard_normal((9, 30))
    smoothed = colour.smooth(values, sigma)
    assert smoothed.sum() == pytest.approx(values.sum(), abs=1e-9)
    reach = int(4 * sigma + 0.5) or 1
    weights = [np.exp(-0.5 * (d / sigma) ** 2) for d in range(-reach, reach + 1)]
    row = np.pad(values, ((reach, reach), (0, 0)), mode="symmetric")
    column = sum(w * row[i : i + 9] for i, w in enumerate(weights)) / sum(weights)
    both = np.pad(column, ((0, 0), (reach, reach)), mode="symmetric")
    expected = sum(w * both[4, 15 + i] for i, w in enumerate(weights)) / sum(weights)
    assert smoothed[4, 15] == pytest.approx(expected)
    assert colour.smooth(values, 0) is values


def test_heatmap_is_enlarged_framed_and_has_its_legend() -> None:
    picture = render.heatmap(blob(), 2.0)
    factor = render.enlargement(40, 60)
    assert factor == 12
    assert picture.width == 60 * factor + 2
    assert picture.height > 40 * factor + 20  # the strip
    assert red(at(picture, 1 + 15 * factor, 1 + 10 * factor))
    assert blue(at(picture, 1 + 45 * factor, 1 + 30 * factor))
    assert at(picture, 1 + 30 * factor, 1 + 20 * factor) == WHITE
    assert at(picture, 1 + 10 * factor - 1, 1 + 10 * factor) == WHITE  # to the pixel
    assert red(at(picture, 1 + 10 * factor, 1 + 10 * factor))


def test_legend_runs_from_blue_to_red_and_prints_the_scale() -> None:
    strip = draw.legend(300, 0.25, 15)
    assert blue(at(strip, 20, 7))
    assert at(strip, 150, 7) >= (250, 250, 250)
    assert red(at(strip, 280, 7))
    other = draw.legend(300, 0.75, 15)
    below = np.asarray(strip)[16:]
    assert (below < 128).any()
    assert not np.array_equal(below, np.asarray(other)[16:])  # the number differs


def test_overlay_shows_grey_photo_and_relevance() -> None:
    picture = render.overlay(photo(), blob(), 2.0, render.Marks())
    grey = at(picture, 30 * 12, 20 * 12)
    assert grey[0] == grey[1] == grey[2]
    assert red(at(picture, 15 * 12, 10 * 12))
    assert blue(at(picture, 45 * 12, 30 * 12))


def test_box_lies_just_outside_its_pixels() -> None:
    picture = render.overlay(photo(), np.zeros((40, 60)), 0.0, render.Marks(box=(20, 10, 40, 30)))
    factor, middle_y, middle_x = 12, 20 * 12, 30 * 12
    assert at(picture, 20 * factor - 1, middle_y) == draw.MARK
    assert at(picture, 20 * factor, middle_y) != draw.MARK
    assert at(picture, 40 * factor, middle_y) == draw.MARK
    assert at(picture, 40 * factor - 1, middle_y) != draw.MARK
    assert at(picture, middle_x, 10 * factor - 1) == draw.MARK
    assert at(picture, middle_x, 30 * factor) == draw.MARK
    assert at(picture, middle_x, middle_y) != draw.MARK


@pytest.mark.parametrize("box", [(0, 0, 60, 40), (55, 35, 60, 40), (3, 3, 3, 3), (0, 0, 0, 0)])
def test_any_box_and_label_stay_in_the_picture(box: tuple[float, float, float, float]) -> None:
    marks = render.Marks("a label far too long for a picture of this width " * 3, box)
    picture = render.overlay(photo(), np.zeros((40, 60)), 0.0, marks)
    assert picture.size == (720, 480)
    assert (np.asarray(picture) == np.array(draw.MARK)).all(axis=-1).sum() > 100


def test_outline_hides_nothing_of_the_mask() -> None:
    mask = np.zeros((40, 60), dtype=bool)
    mask[10:20, 20:30] = True
    image = Image.new("RGB", (720, 480), WHITE)
    draw.draw_outline(image, mask, 12)
    marked = (np.asarray(image) == np.array(draw.MARK)).all(axis=-1)
    assert not marked[120:240, 240:360].any()
    assert marked[119, 240:360].all()
    assert marked[120:240, 360].all()
    assert marked.sum() == 4 * 120


def test_point_is_ringed_and_its_pixel_stays_visible() -> None:
    image = Image.new("RGB", (480, 480), WHITE)
    draw.draw_point(image, 20.5, 10.5, 10)
    assert at(image, 205, 105) == WHITE
    ring = (np.asarray(image) == np.array(draw.MARK)).all(axis=-1)
    rows, columns = np.nonzero(ring)
    assert (rows.mean().round(), columns.mean().round()) == (105, 205)


@pytest.mark.parametrize("size", [(160, 160), (32, 48), (800, 1333), (1500, 700), (20, 300)])
def test_panel_holds_three_tiles_of_a_readable_size(size: tuple[int, int]) -> None:
    height, width = size
    values = np.zeros(size)
    values[height // 2, width // 2] = 1.0
    photo = np.full((*size, 3), 128, dtype=np.uint8)
    plain = render.panel(photo, values, 1.0, render.Marks(), render.Caption("title", "facts"))
    assert plain.width <= 3 * 840 + 200
    assert plain.height <= 1200
    if width <= 840:
        assert plain.height >= 480 or width > 200
    warned = render.Caption("title", "facts", warning="RANDOM WEIGHTS")
    loud = np.asarray(render.panel(photo, values, 1.0, render.Marks(), warned))
    assert loud.shape[0] > plain.height
    assert (loud == np.array(draw.ALARM)).all(axis=-1).any()


def test_panel_order_is_photo_heatmap_overlay() -> None:
    marks = render.Marks("dog 0.90", (20, 10, 40, 30))
    sheet = np.asarray(render.panel(photo(), blob(), 2.0, marks, render.Caption("t", "f")))
    thirds = np.array_split(sheet, 3, axis=1)
    green = [(third == (30, 160, 90)).all(axis=-1).mean() for third in thirds]
    assert green[0] > 0.5
    assert max(green[1:]) == 0
    boxed = [(third == np.array(draw.MARK)).all(axis=-1).any() for third in thirds]
    assert boxed == [True, False, True]


def test_padding_is_hatched_in_every_tile_and_nothing_else_is() -> None:
    marks = render.Marks("dog 0.90", (20, 10, 40, 20), np.ones((30, 50), dtype=bool))
    plain, hatched = (
        np.asarray(render.panel(photo(), blob(), 2.0, marks, render.Caption("t", "f"), visible))
        for visible in (None, (30, 50))
    )
    tile = 60 * 12  # pixels a side, of 60 × 40 network pixels
    changed = (plain != hatched).any(axis=-1)
    gap = (plain.shape[1] - 3 * tile) // 4
    top = next(y for y in range(len(plain)) if (plain[y] == (30, 160, 90)).all(axis=-1).any())
    for n in range(3):
        left = gap + n * (tile + gap)
        inside = changed[top : top + 40 * 12, left : left + tile]
        assert not inside[: 30 * 12, : 50 * 12].any()
        assert 0.05 < inside[30 * 12 :].mean() < 0.5
        assert 0.05 < inside[:, 50 * 12 :].mean() < 0.5
        changed[top : top + 40 * 12, left : left + tile] = False
    words = changed[top + 40 * 12 :, : gap + tile]  # "image" becomes its legend
    assert words.any()
    words[:] = False
    assert not changed.any()


def test_the_words_use_only_what_the_font_has() -> None:
    missing = bytes(draw.font(20).getmask("\uffff"))
    for letter in "·,.:+-=_()0123456789abcxyzABC":
        assert bytes(draw.font(20).getmask(letter)) != missing
    assert draw.shorten("abc", 20, 1000) == "abc"
    assert draw.shorten("a" * 100, 20, 100).endswith("...")


def test_words_in_other_letters_are_drawn_or_spelled(monkeypatch: pytest.MonkeyPatch) -> None:
    def drawn(text: str) -> bytes:
        image = Image.new("L", (300, 40))
        fonts.write(ImageDraw.Draw(image), (2, 2), text, "white", 20)
        return image.tobytes()

    assert fonts.readable("Straße, Łódź, café, 9×9", False) == "Strasse, Lodz, cafe, 9x9"
    assert fonts.readable("Straße кот αβγ", True) == "Straße кот αβγ"  # matplotlib's font
    assert fonts.readable("a\nb\t\x1b[1m\udcff中", True) == "a b <U+001B>[1m<U+DCFF><U+4E2D>"
    assert drawn("Straße") != drawn("Strasse")
    assert draw.shorten("Straße " * 9, 20, 100).endswith("...")
    with monkeypatch.context() as without:
        without.setattr(fonts, "_large", lambda size: None)
        assert drawn("Straße") == drawn("Strasse")
        assert drawn("中") == drawn("<U+4E2D>")


def test_a_font_of_the_user_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names that Pillow's own font cannot write are in it; a file that is none is refused."""

    face = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans-Bold.ttf"
    before = fonts.length("Ελληνικά", 40)
    monkeypatch.setattr(fonts, "_own", [])
    fonts.use(face)
    assert fonts.length("Ελληνικά", 40) > 1.05 * before  # bold is wider
    with pytest.raises(ProgramError, match="not a font that FreeType reads"):
        fonts.use(Path(__file__))
    monkeypatch.undo()
    fonts._large.cache_clear()
    fonts._has.cache_clear()
