"""Makes the released MaskDINO importable from checkouts, without its compiled parts.

LRPC_MASKDINO_SRC and LRPC_DETECTRON2_SRC are the folders of the checkouts; without them they are
looked for in `ref/MaskDINO` and `ref/detectron2` beside this repository.
"""

from __future__ import annotations

import importlib
import os
import sys
import warnings
from pathlib import Path
from types import ModuleType

import pytest
import torch

_BESIDE = Path(__file__).parents[3] / "ref"
MASKDINO = Path(os.environ.get("LRPC_MASKDINO_SRC", _BESIDE / "MaskDINO"))
DETECTRON2 = Path(os.environ.get("LRPC_DETECTRON2_SRC", _BESIDE / "detectron2"))
HINT = (
    "set LRPC_MASKDINO_SRC and LRPC_DETECTRON2_SRC to checkouts and install fvcore iopath "
    "omegaconf yacs hydra-core cloudpickle pycocotools timm scipy shapely "
    "opencv-python-headless torchvision"
)
# detectron2 and MaskDINO import these at the top; inference never calls into them. Without the
# sampling extension the released code falls back to plain PyTorch.
_COMPILED = ("detectron2._C", "MultiScaleDeformableAttention")
_BOXES = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_LIBRARIES: list[torch.library.Library] = []


def require_released() -> None:
    """Make `detectron2` and `maskdino` importable, or skip the test with what is missing."""
    for name in _COMPILED:
        sys.modules.setdefault(name, ModuleType(name))
    for folder in (MASKDINO, DETECTRON2):
        if str(folder) not in sys.path:
            sys.path.insert(0, str(folder))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import_torchvision()
            importlib.import_module("maskdino")
        except ImportError as error:
            pytest.skip(f"released code not importable ({error}): {HINT}")


def import_torchvision() -> None:
    """Import torchvision, also where its operators do not fit the installed torch.

    It then stumbles over two operators that it declares shapes for, until somebody declares them.
    """
    try:
        importlib.import_module("torchvision")
    except RuntimeError:
        for name in [name for name in sys.modules if name.startswith("torchvision")]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "FRAGMENT")
        for operator in ("nms", "qnms"):
            library.define(f"{operator}{_BOXES}")
        _LIBRARIES.append(library)  # declarations live as long as the library object
        importlib.import_module("torchvision")
