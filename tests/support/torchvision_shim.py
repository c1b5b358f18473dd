"""Makes `torchvision.models` importable beside a torch that torchvision's operators were not built
for."""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType

import pytest

from tools.bench.torchvision_ops import declare


def torchvision_models() -> ModuleType:
    """`torchvision.models`; the test is skipped where torchvision is not installed."""
    if importlib.util.find_spec("torchvision") is None:
        pytest.skip("torchvision is not installed")
    declare()
    return importlib.import_module("torchvision.models")
