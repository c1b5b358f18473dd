"""Figures of relevance maps: ranks, correlations and shares, against slow counts."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from lrpc.commands.evaluate.outlines import BoxOutline
from lrpc.commands.session.metrics import (
    box_mask,
    cosine,
    localise,
    mask_iou,
    pairwise,
    positive_share,
    ranks,
    share,
    spearman,
)

# -- two maps --------------------------------------------------------------------------------------

sequences = arrays.arrays(np.float64, st.integers(2, 12), elements=st.integers(-3, 3).map(float))


@settings(max_examples=60, deadline=None)
@given(sequences)
def test_ranks_are_counted(x: Any) -> None:
    """The rank of an entry: how many lie below it, and half of its equals."""
    for i, rank in enumerate(ranks(torch.from_numpy(x)).tolist()):
        below, equal = int((x < x[i]).sum()), int((x == x[i]).sum())
        assert rank == below + (equal + 1) / 2


@settings(max_examples=60, deadline=None)
@given(sequences, st.randoms(use_true_random=False))
def test_rank_correlation_is_the_correlation_of_ranks(x: Any, random: Any) -> None:
    y = np.array(random.sample(list(x), len(x)))
    a, b = torch.from_numpy(x), torch.from_numpy(y)
    found = spearman(a, b)
    if len(set(x)) == 1:
        assert found is None
    else:
        assert found == pytest.approx(np.corrcoef(ranks(a), ranks(b))[0, 1])
        assert spearman(a, 3 * a**3 + a) == pytest.approx(1)
        assert spearman(a, -a) == pytest.approx(-1)


def test_cosine() -> None:
    a, b = torch.tensor([1.0, 0.0]).double(), torch.tensor([1.0, 1.0]).double()
    assert cosine(a, b) == pytest.approx(2**-0.5)
    assert cosine(1e-200 * a, 1e200 * b) == pytest.approx(2**-0.5)
    assert cosine(a, 0 * b) is None


def test_tables_are_square_and_symmetric() -> None:
    maps = [torch.from_numpy(np.random.default_rng(i).normal(size=(4, 5))) for i in range(3)]
    for table in pairwise(maps).values():
        square = np.array(table, dtype=float)
        np.testing.assert_allclose(square, square.T)
        np.testing.assert_allclose(np.diag(square), 1)


# -- on an object ----------------------------------------------------------------------------------

edges = st.integers(-4, 24).map(lambda n: n / 4)  # a quarter of them on the centre of a pixel
boxes = st.tuples(edges, edges, edges, edges)
maps = arrays.arrays(np.float64, (4, 5), elements=st.integers(-3, 3).map(float))


def counted(values: Any, box: tuple[float, ...]) -> tuple[float, float]:
    """Σ in a box and Σ everywhere, pixel by pixel: one counts where its centre is in the box, its
    left and upper edges included."""
    x0, y0, x1, y1 = box
    inside = [
        float(values[row, column])
        for row in range(values.shape[0])
        for column in range(values.shape[1])
        if x0 <= column + 0.5 < x1 and y0 <= row + 0.5 < y1
    ]
    return math.fsum(inside), math.fsum(values.ravel().tolist())


@settings(max_examples=200, deadline=None)
@given(maps, boxes)
def test_the_share_in_a_box_is_counted_everywhere_alike(heat: Any, box: Any) -> None:
    """Of the positive, in each place that states it, and of the magnitude."""
    values = torch.from_numpy(heat)
    some, whole = counted(np.maximum(heat, 0), box)
    expected = None if whole == 0 else pytest.approx(some / whole)
    found = localise(values, torch.ones(4, 5, dtype=torch.bool), box)
    assert positive_share(values, box) == found.positive_in_box == expected
    some, whole = counted(np.abs(heat), box)
    assert found.absolute_in_box == (None if whole == 0 else pytest.approx(some / whole))
    assert found.box_area == counted(np.ones_like(heat), box)[0] / 20


@settings(max_examples=200, deadline=None)
@given(edges, edges, edges, edges)
def test_a_box_holds_the_pixels_of_its_outline(x0: float, y0: float, w: float, h: float) -> None:
    """As a mask, as COCO's annotations give it (`BoxOutline`), and cut in two at any place."""
    box = (x0, y0, x0 + abs(w), y0 + abs(h))
    found = box_mask(box, (4, 5))
    assert torch.equal(found, torch.from_numpy(BoxOutline(box).mask((4, 5))))
    middle = x0 + abs(w) / 2
    left = box_mask((box[0], box[1], middle, box[3]), (4, 5))
    right = box_mask((middle, box[1], box[2], box[3]), (4, 5))
    assert torch.equal(found, left ^ right)


def test_shares_at_the_border_by_hand() -> None:
    """A box whose edges run through the centres of pixels: 3 × 3 of 4 × 4 count."""
    even, box = torch.ones(4, 4), (0.5, 0.5, 3.5, 3.5)
    assert positive_share(even, box) == 9 / 16 == 0.5625
    assert localise(even, even > 0, box).positive_in_box == 0.5625
    heat = torch.tensor([[1.0, 2.0, -5.0], [3.0, 4.0, 0.0]])
    assert positive_share(heat, (0, 0, 1, 2)) == 0.4
    assert positive_share(heat, (0.4, 0.6, 3, 9)) == 0.7
    assert positive_share(-heat.abs(), (0, 0, 9, 9)) is None
    assert share(heat.abs(), heat < 0) == 5 / 15


def test_overlap_of_masks() -> None:
    one, other = torch.zeros(2, 4, dtype=torch.bool), torch.zeros(2, 4, dtype=torch.bool)
    assert mask_iou(one, other) == 0
    one[0], other[:, 1] = True, True
    assert mask_iou(one, other) == 1 / 5
