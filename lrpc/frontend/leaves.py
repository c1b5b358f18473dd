"""What tracing keeps whole: modules and functions that one row of the op table stands for."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from types import FunctionType, SimpleNamespace
from typing import Any

import torch
from torch import nn
from torch.fx import _symbolic_trace

from lrpc.frontend.proxy import TracedTensor
from lrpc.ir.ops.boxes import masks_to_boxes


def is_leaf(module: nn.Module) -> bool:
    """Whether a call of `module` becomes one node."""
    return isinstance(module, nn.MultiheadAttention) or type(module).__name__ == "MSDeformAttn"


def is_users_function(target: object) -> bool:
    """Whether a function is neither torch's nor a leaf of ours."""
    if not isinstance(target, FunctionType):
        return False
    return target.__module__.partition(".")[0] not in ("torch", "lrpc")


def shape_of_leaf(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """An empty result of a leaf that reads numbers out of tensors; None for other leaves."""
    if type(module).__name__ == "MSDeformAttn":
        return torch.empty_like(args[0] if args else kwargs["query"])
    return None


# Where what turns masks into boxes lives, and the convention each follows. A place counts only
# where the user's program has imported it.
BOX_FUNCTIONS = (("maskdino.utils.box_ops", "masks_to_boxes", "mask2box"),)
BOX_CLASSES = (("detectron2.structures.masks", "BitMasks", "bitmask"),)


@contextmanager
def leaf_functions() -> Iterator[None]:
    """While active, calls of the listed functions on traced tensors become one node each.

    Masks that torch turns into numbers by writing into a plain tensor are filled out of place.
    """
    tables = ((BOX_FUNCTIONS, _function), (BOX_CLASSES, _class))
    wrapped = []
    for table, wrap in tables:
        for home, name, convention in table:
            if home in sys.modules and hasattr(sys.modules[home], name):
                original = getattr(sys.modules[home], name)
                wrapped.append((name, original, wrap(original, convention)))
    replaced = _replace(wrapped) if wrapped else []
    masks = nn.functional._canonical_mask
    vars(nn.functional)[masks.__name__] = _mask(masks)  # torch looks it up there
    try:
        yield
    finally:
        vars(nn.functional)[masks.__name__] = masks
        for namespace, name, original in replaced:
            namespace[name] = original


@contextmanager
def nothing_kept_whole() -> Iterator[None]:
    """While active, functions that libraries ask fx to keep whole (`fx.wrap`) run as written."""
    table = _symbolic_trace._wrapped_fns_to_patch
    asked = dict(table)
    table.clear()
    try:
        yield
    finally:
        table.update(asked)


def _replace(wrapped: list[tuple[str, Any, Any]]) -> list[tuple[dict[str, Any], str, Any]]:
    """Put the new functions for the originals of these names wherever modules have them."""
    found = []
    for module in list(sys.modules.values()):
        namespace = getattr(module, "__dict__", {})
        for name, original, new in wrapped:
            if namespace.get(name) is original:
                namespace[name] = new
                found.append((namespace, name, original))
    return found


def _record(masks: TracedTensor, convention: str) -> Any:
    return masks.tracer.create_proxy("call_function", masks_to_boxes, (masks, convention), {})


def _function(original: Callable[..., Any], convention: str) -> Callable[..., Any]:
    @wraps(original)
    def call(masks: Any, *args: Any) -> Any:
        if type(masks) is not TracedTensor:
            return original(masks, *args)
        return _record(masks, convention)

    return call


def _mask(original: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(original)
    def call(mask: Any, *args: Any, **kwargs: Any) -> Any:
        if type(mask) is not TracedTensor or mask.value.dtype != torch.bool:
            return original(mask, *args, **kwargs)
        dtype = inspect.signature(original).bind(mask, *args, **kwargs).arguments["target_type"]
        nothing: Any = torch.zeros(mask.shape, dtype=dtype)
        return nothing.masked_fill(mask, float("-inf"))

    return call


def _class(original: Callable[..., Any], convention: str) -> Callable[..., Any]:
    def build(masks: Any) -> Any:
        if type(masks) is not TracedTensor:
            return original(masks)
        boxes = SimpleNamespace(tensor=None)

        def bounding_boxes() -> Any:
            boxes.tensor = _record(masks, convention)
            return boxes

        return SimpleNamespace(tensor=masks, get_bounding_boxes=bounding_boxes)

    return build
