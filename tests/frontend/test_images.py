"""The images that a model is traced on: those given, and others that differ from them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lrpc.frontend.capture import Example, of_size
from lrpc.frontend.records import Input, found
from tests.frontend.test_frontend import message
from tests.frontend.test_rows import random
from tests.support.models import Apply


def images(value: Tensor, size: int, name: str = "x") -> Tensor:
    example = of_size(Example((Input(name, value),), {}), size, ("fixed",))
    made: Tensor = found(example.args, Input)[0].value
    return made


MASK = torch.zeros(1, 8, 6, dtype=torch.bool)
MASK[:, 6:] = True
VALUES = {
    "image": random(1, 3, 8, 8),
    "grey image": random(1, 1, 8, 8).expand(1, 3, 8, 8),
    "vector": random(1, 5),
    "short": random(1, 2),
    "tokens": torch.tensor([[7, 7, 7, 9, 2, 0, 0]]),
    "mask": MASK,
    "mask of pixels": torch.tensor([[True, True, False, False]]),
}


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("size", [2, 3])
def test_images_differ_and_hold_the_same_numbers(name: str, size: int) -> None:
    value = VALUES[name]
    made = images(value, size)
    assert made.shape == (size, *value.shape[1:])
    assert made.dtype == value.dtype
    assert torch.equal(made[0], value[0])
    distinct = min(size, 2 if name == "short" else size)
    assert len({tuple(image.flatten().tolist()) for image in made}) == distinct
    for image in made:
        assert torch.equal(image.flatten().sort().values, value[0].flatten().sort().values)
    assert torch.equal(made, images(value, size))


def test_boxes_stay_boxes() -> None:
    boxes = torch.tensor([[[0.1, 0.1, 0.4, 0.5], [0.2, 0.3, 0.9, 0.8], [0.0, 0.0, 1.0, 1.0]]])
    made = images(boxes, 3)
    assert bool((made[..., 2:] > made[..., :2]).all())


def test_images_given_come_first_and_fixed_inputs_stay() -> None:
    two = random(2, 3, 4)
    assert torch.equal(images(two, 2), two)
    third = images(two, 3)
    assert torch.equal(third[:2], two)
    assert not any(torch.equal(third[2], image) for image in two)
    assert torch.equal(images(random(4, 6), 3), random(4, 6)[:3])
    assert images(two, 3, "fixed") is two


def test_equal_entries_stay_equal() -> None:
    assert torch.equal(images(torch.ones(1, 3, 2), 3), torch.ones(3, 3, 2))


def test_what_is_taken_from_the_images_as_a_constant_shows() -> None:
    """With one image given, a constant of each image's numbers is seen to differ."""

    def function(m: Apply, x: Tensor) -> Tensor:
        return x + torch.tensor(x.flatten(1).tolist(), dtype=x.dtype).reshape(x.shape)

    found = message(Apply(function).double(), {"x": random(1, 4, 6)})
    assert found.startswith("a constant f64[B,4,6] differs between images or batch sizes, at ")


def test_numbers_of_the_images_that_differ_are_refused() -> None:
    """Here their deviation, which is another for three images than for two."""

    def function(m: Apply, x: Tensor) -> Tensor:
        return x / x[:, 0].std().item()

    line = function.__code__.co_firstlineno + 1
    place = f"tests/frontend/test_images.py:{line}"
    found = message(Apply(function).double(), {"x": random(1, 4, 6)})
    number = found.partition("item of [] is ")[2].partition(",")[0]
    assert found == (
        f"the model reads numbers out of its images (item of [] is {number}, at {place}) and, for "
        f"others, differs from div on, at {place}; compute with tensors instead"
    )
