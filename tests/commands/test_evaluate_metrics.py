"""The figures of `lrpc evaluate` against hand-computed cases."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lrpc.commands.evaluate.intervals import Mean, mean
from lrpc.commands.evaluate.likeness import similarity
from lrpc.commands.evaluate.perturb import (
    Curve,
    Fill,
    Inpainted,
    blur_fill,
    counts,
    deletions,
    inpaint,
    insertions,
    make_curve,
    mean_fill,
    patch_order,
)
from lrpc.commands.evaluate.plot import average
from lrpc.commands.evaluate.randomise import replace_part
from lrpc.commands.evaluate.sensitivity import Asked, rank_one
from lrpc.commands.evaluate.trivial import centre, sobel
from lrpc.commands.session.metrics import box_iou, localise, pointing, spearman, ssim, unit


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


# -- deletion and insertion ------------------------------------------------------------------------

MAP = torch.tensor(
    [
        [1.0, 1.0, 0.0, -9.0],
        [1.0, 1.0, 0.0, 2.0],
        [3.0, 0.0, 0.5, 0.5],
        [0.0, 3.0, 0.5, 0.5],
    ]
)  # sums of 2×2 patches: 4, −7; 6, 2


def test_patches_are_ordered_by_their_sums() -> None:
    order = patch_order(MAP, (4, 4), 2, seeded())
    assert order.count == 4
    expected = [[1, 1, 3, 3], [1, 1, 3, 3], [0, 0, 2, 2], [0, 0, 2, 2]]
    assert order.rank.tolist() == expected


@pytest.mark.parametrize("side", [5, 100_000, 1_000_000])
def test_a_patch_larger_than_the_image_is_all_of_it(side: int) -> None:
    order = patch_order(MAP, (3, 4), side, seeded())
    assert order.count == 1
    assert order.rank.tolist() == [[0] * 4] * 3 + [[1] * 4]


def test_patches_may_be_cut_and_padding_is_never_touched() -> None:
    order = patch_order(MAP, (3, 3), 2, seeded())  # sums 4, 0; 3, 0.5
    assert order.count == 4
    expected = [[0, 0, 3, 4], [0, 0, 3, 4], [1, 1, 2, 4], [4, 4, 4, 4]]
    assert order.rank.tolist() == expected
    pixels = torch.full((3, 4, 4), 7.0)
    (gone,) = deletions(pixels, Fill(torch.zeros(3, 4, 4)), order, [4])
    assert torch.equal(gone[:, :3, :3], torch.zeros(3, 3, 3))
    assert bool((gone[:, 3] == 7).all())
    assert bool((gone[:, :, 3] == 7).all())


def test_equal_patches_go_in_an_order_of_their_own_seed() -> None:
    same = [patch_order(torch.zeros(16, 16), (16, 16), 2, seeded()).rank for _ in range(2)]
    other = patch_order(torch.zeros(16, 16), (16, 16), 2, torch.Generator().manual_seed(1)).rank
    assert torch.equal(*same)
    assert not torch.equal(same[0], other)
    rows = torch.arange(64).view(8, 8).repeat_interleave(2, 0).repeat_interleave(2, 1)
    assert not torch.equal(same[0], rows)  # not from left to right: objects may lie first


def test_deletion_and_insertion_are_each_others_rest() -> None:
    pixels, fill = torch.rand(3, 4, 4, generator=seeded()), torch.full((3, 4, 4), -1.0)
    order = patch_order(MAP, (4, 4), 2, seeded())
    gone = list(deletions(pixels, Fill(fill), order, [1, 2]))
    back = list(insertions(pixels, Fill(fill), order, [1, 2]))
    assert bool((gone[0][:, 2:, :2] == -1).all())
    assert torch.equal(gone[0][:, :2], pixels[:, :2])
    assert torch.equal(back[0][:, 2:, :2], pixels[:, 2:, :2])
    assert int((back[0] == -1).sum()) == 3 * 12
    # the least relevant first, taken away: what insertion passes through, from the other end
    opposite = patch_order(-MAP, (4, 4), 2, seeded())
    least = list(deletions(pixels, Fill(fill), opposite, [3, 2]))
    assert torch.equal(torch.stack(back), torch.stack(least))


def test_steps_are_fine_where_little_is_gone() -> None:
    assert counts(400, 10) == [4, 16, 36, 64, 100, 144, 196, 256, 324]
    assert counts(4, 10) == [1, 2, 3]  # as many as there are
    assert counts(1, 10) == []


def test_area_by_hand() -> None:
    curve = make_curve([0.5, 0.25], [1, 2], 4, 1.0, 0.0)
    assert curve.fractions == (0.0, 0.25, 0.5, 1.0)
    assert curve.area() == pytest.approx(0.25 * 0.75 + 0.25 * 0.375 + 0.5 * 0.125)
    assert Curve((0.0, 1.0), (1.0, 1.0)).area() == 1.0


def test_fills() -> None:
    pixels = torch.zeros(3, 40, 40)
    pixels[:, :, 16:] = 100.0
    grey = mean_fill(pixels, (1.0, 2.0, 3.0))
    assert grey[:, 5, 9].tolist() == [1.0, 2.0, 3.0]
    blurred = blur_fill(pixels, (40, 32))
    assert torch.equal(blurred[:, :, 32:], pixels[:, :, 32:])  # padding stays
    edge = blurred[0, 20, :32]
    assert bool((edge.diff() >= 0).all())
    assert float(edge[15] + edge[16]) == pytest.approx(100, abs=0.01)  # symmetric about the edge
    sigma = 2.0  # 32 / 16
    expected = 50 * (1 + math.erf(1.5 / sigma / math.sqrt(2)))
    assert float(edge[17]) == pytest.approx(expected, abs=0.5)


# -- an object's score -----------------------------------------------------------------------------


def test_box_iou_by_hand() -> None:
    boxes = torch.tensor([[0.0, 0, 2, 2], [1, 1, 3, 3], [2, 2, 4, 4], [1, 1, 1, 1]])
    found = box_iou(boxes, (0.0, 0.0, 2.0, 2.0)).tolist()
    assert found == pytest.approx([1, 1 / 7, 0, 0])


def test_an_object_is_followed_from_query_to_query() -> None:
    logits = torch.tensor([[0.0, -9.0], [2.0, 0.0], [9.0, 9.0]])
    boxes = torch.tensor([[0.5, 0.5, 0.5, 0.5], [0.5, 0.5, 0.5, 0.25], [0.1, 0.1, 0.1, 0.1]])
    held = similarity(logits.sigmoid(), boxes, (10.0, 5.0, 30.0, 15.0), 0, (20, 40))
    half, two = 0.5, 1 / (1 + math.exp(-2))
    assert held.tolist() == pytest.approx([half, two / 2, 0.0])


# -- localisation ----------------------------------------------------------------------------------


def test_localisation_by_hand() -> None:
    mask = torch.zeros(4, 4, dtype=torch.bool)
    mask[2:, :2] = True
    found = localise(MAP, mask, (0.0, 2.0, 3.0, 4.0))
    assert found.positive_in_mask == pytest.approx(6 / 14)
    assert found.absolute_in_mask == pytest.approx(6 / 23)
    assert found.positive_in_box == pytest.approx(7 / 14)
    assert found.absolute_in_box == pytest.approx(7 / 23)
    assert found.rank == 0.5  # 3, 3 inside; 2 and a 1 outside
    assert found.pointing == 1.0
    assert (found.mask_area, found.box_area) == (4 / 16, 6 / 16)


def test_a_map_of_nothing_has_no_shares() -> None:
    mask = torch.ones(4, 4, dtype=torch.bool)
    found = localise(torch.zeros(4, 4), mask, (0.0, 0.0, 4.0, 4.0))
    assert found.positive_in_mask is found.absolute_in_box is found.pointing is None
    assert pointing(-MAP, mask & (MAP == -9)) == 1.0


# -- similarity ------------------------------------------------------------------------------------


def test_spearman_by_hand_and_with_scipy() -> None:
    assert spearman(torch.tensor([1.0, 2, 3]), torch.tensor([1.0, 4, 9])) == pytest.approx(1)
    assert spearman(torch.tensor([1.0, 2, 3]), torch.tensor([3.0, 1, 2])) == pytest.approx(-0.5)
    assert spearman(torch.zeros(3), torch.tensor([1.0, 2, 3])) is None
    stats = pytest.importorskip("scipy.stats")
    a, b = torch.randint(0, 9, (2, 50), generator=seeded()).double()  # many ties
    assert spearman(a, b) == pytest.approx(float(stats.spearmanr(a, b).statistic))


def test_ssim_with_scikit_image() -> None:
    metrics = pytest.importorskip("skimage.metrics")
    a, b = torch.rand(2, 24, 30, generator=seeded(), dtype=torch.float64) * 2 - 1
    b = 0.5 * a + 0.5 * b
    expected = metrics.structural_similarity(
        a.numpy(), b.numpy(), data_range=2.0, gaussian_weights=True, use_sample_covariance=False
    )
    assert ssim(a, b, 2.0) == pytest.approx(expected, abs=1e-6)
    assert ssim(a, a, 2.0) == pytest.approx(1)


def test_maps_are_scaled_by_all_but_their_largest_values() -> None:
    values = torch.arange(-50.0, 51.0)
    scaled = unit(values, 0.5)
    assert float(scaled.max()) == 1.0
    assert float(scaled[51]) == pytest.approx(1 / 25)
    assert torch.equal(unit(torch.zeros(4)), torch.zeros(4, dtype=torch.float64))
    spike = torch.zeros(1000)
    spike[3] = -5
    assert unit(spike)[3] == -1  # nearly all are 0: then the largest counts


def test_random_parts() -> None:
    state = {"a.b.w": torch.zeros(1), "a.bc.w": torch.zeros(1), "d": torch.zeros(1)}
    drawn = {name: torch.ones(1) for name in state}
    changed = replace_part(state, drawn, "a.b")
    assert [float(v) for v in changed.values()] == [1, 0, 0]
    assert float(state["a.b.w"]) == 0


# -- means -----------------------------------------------------------------------------------------


def test_means_and_standard_errors() -> None:
    found = mean([1.0, None, 2.0, 6.0])
    assert found is not None
    assert (found.mean, found.n) == (3.0, 3)
    assert found.error == pytest.approx(math.sqrt(7 / 3))
    one = mean([2.0])
    assert one is not None
    assert str(one) == "2.000"
    assert mean([None]) is None


def test_curves_are_averaged_between_their_points() -> None:
    curves = [Curve((0.0, 0.5, 1.0), (1.0, 0.0, 0.0)), Curve((0.0, 1.0), (1.0, 0.0))]
    centre, error = average(curves)
    assert centre[[0, 100, 200]] == pytest.approx([1.0, 0.25, 0.0])
    assert error[100] == pytest.approx(np.std([0, 0.5], ddof=1) / math.sqrt(2))


# -- intervals, sensitivity, fills, baselines that explain nothing ---------------------------------


def test_intervals_are_of_images_and_not_of_objects() -> None:
    """Objects of one image that are all alike count as one: the interval does not shrink."""
    values = [float(v) for v in torch.randn(30, generator=torch.Generator().manual_seed(0))]
    alone = mean(values)
    repeated = mean([v for v in values for _ in range(8)], [n for n in range(30) for _ in range(8)])
    assert alone is not None
    assert repeated is not None
    assert (repeated.low, repeated.high) == pytest.approx((alone.low, alone.high))
    as_if_independent = mean([v for v in values for _ in range(8)])
    assert as_if_independent is not None
    assert width(as_if_independent) < 0.5 * width(repeated)
    # the bootstrap's interval of a mean is about 1.96 standard errors to each side
    assert width(alone) == pytest.approx(2 * 1.96 * (alone.error or 0), rel=0.1)


def width(one: Mean) -> float:
    assert one.low is not None
    assert one.high is not None
    return one.high - one.low


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    """Images of one to five objects that share half of their variance."""
    random = np.random.default_rng(3)
    covered = 0
    for _ in range(200):
        values, images = [], []
        for image in range(40):
            shared = random.normal()
            for _ in range(random.integers(1, 6)):
                values.append(float(shared + random.normal()))
                images.append(image)
        found = mean(values, images)
        assert found is not None
        covered += not found.apart
    assert 0.90 <= covered / 200 <= 0.98


def test_an_interval_of_one_image_is_not_known() -> None:
    found = mean([1.0, 2.0], ["a", "a"])
    assert found is not None
    assert (found.low, found.high, str(found)) == (None, None, "1.500")
    assert not found.apart


def test_maps_that_are_multiples_do_not_depend_on_the_class() -> None:
    one = torch.randn(6, 5, generator=torch.Generator().manual_seed(1))
    same = Asked(torch.stack([one, 2 * one + 1, -one]), one[None][:0]).sensitivity()
    assert same.class_correlation == pytest.approx(1)
    assert same.class_likeness == pytest.approx(0)  # one alike, one opposite
    assert same.query_correlation is None
    rows = torch.eye(4).reshape(4, 2, 2)
    apart = Asked(rows, rows[1:]).sensitivity()
    assert apart.rank_one == pytest.approx(0.25)
    assert apart.class_correlation == pytest.approx(1 / 3)  # Pearson's of two one-hot vectors
    assert rank_one(torch.stack([one, torch.zeros_like(one)])) is None


def test_maps_of_pixels_of_a_mask_are_compared_in_pairs() -> None:
    rows = torch.eye(4).reshape(4, 2, 2)  # the correlation of any two is −1/3
    classes = torch.ones(2, 2, 2).cumsum(2)
    found = Asked(classes, classes[:0], rows).sensitivity()
    assert found.pixel_correlation == pytest.approx(1 / 3)
    mixed = torch.stack([rows[0], 3 * rows[0], rows[1]])
    found = Asked(classes, classes[:0], mixed).sensitivity()
    assert found.pixel_correlation == pytest.approx((1 + 1 / 3 + 1 / 3) / 3)
    assert Asked(classes, classes[:0]).sensitivity().pixel_correlation is None


def test_inpainting_keeps_what_is_known_and_continues_it() -> None:
    ramp = torch.arange(32.0).expand(3, 24, 32).clone()
    known = torch.ones(24, 32, dtype=torch.bool)
    known[8:12, 10:16] = False
    filled = inpaint(ramp, known)
    assert torch.equal(filled[:, known], ramp[:, known])
    assert float((filled - ramp)[:, ~known].abs().max()) < 3  # the mean colour is off by 6
    assert torch.equal(inpaint(ramp, torch.ones_like(known)), ramp)


def test_what_is_inpainted_never_shows_what_is_gone() -> None:
    """Whatever stood there, the fill is the same; padding stays."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.rand(3, 20, 24, generator=generator)
    gone = torch.rand(20, 24, generator=generator) < 0.4
    other = torch.where(gone, torch.rand(3, 20, 24, generator=generator), pixels)
    fill = Inpainted(torch.zeros(3, 20, 24), (18, 20))
    found = fill.without(pixels, gone), fill.without(other, gone)
    inside = (slice(None), slice(0, 18), slice(0, 20))
    assert torch.equal(found[0][inside], found[1][inside])
    assert torch.equal(found[0][:, 18:], pixels[:, 18:])
    everything = fill.without(pixels, torch.ones_like(gone))
    assert not everything[inside].any()


def test_edges_are_slopes_and_the_centre_is_the_centre() -> None:
    step = torch.zeros(3, 8, 10)
    step[:, :, 5:] = 1
    found = sobel(step)
    assert found[4].nonzero().flatten().tolist() == [4, 5]
    assert float(found[4, 4]) == 4  # 1 + 2 + 1
    middle = centre((9, 13), (9, 11))
    assert divmod(int(middle.argmax()), 13) == (4, 5)
