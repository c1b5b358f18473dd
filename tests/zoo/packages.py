"""All models of the zoo, by package."""

from __future__ import annotations

from collections.abc import Mapping

from tests.zoo.entry import Model
from tests.zoo.of_timm import TIMM
from tests.zoo.of_torchvision import TORCHVISION
from tests.zoo.of_transformers import TRANSFORMERS

PACKAGES: dict[str, Mapping[str, Model]] = {
    "transformers": TRANSFORMERS,
    "torchvision": TORCHVISION,
    "timm": TIMM,
}
