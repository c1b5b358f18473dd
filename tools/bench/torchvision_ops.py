"""The operators that torchvision's Python code asks for, declared where its library lacks them.

`import torchvision` fails beside a torch that its operators were not built for. LXT and zennit
import it and call none of them.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

import torch

POOLED = "Tensor input, Tensor rois, float scale, SymInt height, SymInt width"
GRAD = (
    "Tensor grad, Tensor rois, {}float scale, SymInt height, SymInt width, SymInt batch,"
    " SymInt channels, SymInt in_height, SymInt in_width{}"
)
MAPPED = GRAD.format("Tensor channel_mapping, ", "")
DEFORM = (
    "Tensor input, Tensor weight, Tensor offset, Tensor mask, Tensor bias, SymInt stride_h,"
    " SymInt stride_w, SymInt pad_h, SymInt pad_w, SymInt dilation_h, SymInt dilation_w,"
    " SymInt groups, SymInt offset_groups, bool use_mask"
)

#: What torchvision's Python code registers itself with.
SCHEMAS = {
    "nms": "(Tensor dets, Tensor scores, float threshold) -> Tensor",
    "qnms": "(Tensor dets, Tensor scores, float threshold) -> Tensor",
    "roi_align": f"({POOLED}, int sampling_ratio, bool aligned) -> Tensor",
    "_roi_align_backward": f"({GRAD.format('', ', int sampling_ratio, bool aligned')}) -> Tensor",
    "roi_pool": f"({POOLED}) -> (Tensor, Tensor)",
    "_roi_pool_backward": f"({GRAD.format('Tensor argmax, ', '')}) -> Tensor",
    "ps_roi_align": f"({POOLED}, int sampling_ratio) -> (Tensor, Tensor)",
    "_ps_roi_align_backward": f"({MAPPED}, int sampling_ratio) -> Tensor",
    "ps_roi_pool": f"({POOLED}) -> (Tensor, Tensor)",
    "_ps_roi_pool_backward": f"({MAPPED}) -> Tensor",
    "deform_conv2d": f"({DEFORM}) -> Tensor",
    "_deform_conv2d_backward": (
        f"(Tensor grad, {DEFORM}) -> (Tensor, Tensor, Tensor, Tensor, Tensor)"
    ),
}
_libraries: list[Any] = []  # declarations go with the object


def declare() -> None:
    """Declare the operators, without any implementation, unless torchvision brings its own."""
    if _libraries or importlib.util.find_spec("torchvision") is None:
        return
    try:
        importlib.import_module("torchvision")
    except (ImportError, RuntimeError):
        make: Any = torch.library.Library
        library = make("torchvision", "FRAGMENT")
        for name, schema in SCHEMAS.items():
            library.define(name + schema)
        _libraries.append(library)
