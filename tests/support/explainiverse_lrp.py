"""explainiverse's LRP without the rest of it: the package itself imports shap, lime and xgboost."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

PACKAGES = ("", ".adapters", ".core", ".explainers", ".explainers.gradient")


@cache  # once the packages stand in, their own specs cannot be found again
def explainiverse_lrp() -> tuple[Any, Any]:
    """`LRPExplainer` and `PyTorchAdapter`; the test is skipped where explainiverse is missing."""
    spec = importlib.util.find_spec("explainiverse")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("explainiverse is not installed")
    root = Path(spec.submodule_search_locations[0])
    for name in PACKAGES:
        package = ModuleType(f"explainiverse{name}")  # its folder, without what its __init__ does
        package.__path__ = [str(root.joinpath(*name.split(".")))]
        sys.modules.setdefault(package.__name__, package)
    lrp = importlib.import_module("explainiverse.explainers.gradient.lrp")
    adapter = importlib.import_module("explainiverse.adapters.pytorch_adapter")
    return lrp.LRPExplainer, adapter.PyTorchAdapter
