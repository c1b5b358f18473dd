"""Where in the user's source a call comes from, told the same way on every machine."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import PurePath
from types import FrameType

OURS = ("torch", "lrpc.frontend", "lrpc.models.maskdino.mask_boxes", "contextlib", "functools")


def source_place() -> tuple[str, int]:
    """File (from its package's root) and line of the innermost frame of model code."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        name = str(frame.f_globals.get("__name__", ""))
        if frame.f_code.co_name == "run_traced" and name == "lrpc.frontend.tracer":
            return "", 0
        if not _ours(name):
            return _path(name, frame.f_code.co_filename), frame.f_lineno
        frame = frame.f_back
    return "", 0


def in_transform() -> bool:
    """Whether a function transform of torch (`vmap`, `grad`, …) makes the call."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_name != "run_traced":
        if str(frame.f_globals.get("__name__", "")).startswith("torch._functorch"):
            return True
        frame = frame.f_back
    return False


def raised_place(error: Exception) -> tuple[str, int]:
    """The same for where `error` was raised."""
    place = "", 0
    traceback = error.__traceback__
    while traceback is not None:
        name = str(traceback.tb_frame.f_globals.get("__name__", ""))
        if not _ours(name):
            place = _path(name, traceback.tb_frame.f_code.co_filename), traceback.tb_lineno
        traceback = traceback.tb_next
    return place


@cache
def _ours(name: str) -> bool:
    return any(name == root or name.startswith(f"{root}.") for root in OURS)


@cache
def _path(module: str, filename: str) -> str:
    file = PurePath(filename).name
    packages = module.split(".") if file == "__init__.py" else module.split(".")[:-1]
    return "/".join([*packages, file])
