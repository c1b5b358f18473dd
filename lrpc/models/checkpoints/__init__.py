"""Checkpoint files read without running anything in them: what torch.save and pickle write."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

from lrpc.errors import WeightsError
from lrpc.models.checkpoints.records import Broken, Pairs
from lrpc.models.checkpoints.torch_file import ZIP_START, read_pickles, read_zip
from lrpc.models.checkpoints.values import Values, check_dtype, check_values

__all__ = ["Broken", "Pairs", "Values", "check_dtype", "check_values", "read_checkpoint"]

_POINTER = b"version https://git-lfs"
_PAGE = (b"<!doctype html", b"<html")


def read_checkpoint(path: Path) -> Any:
    """What the file at `path` holds: plain values, and descriptions that `Values` makes tensors of.

    Whether it is torch's archive, torch's older form or a plain pickle is read from the file.
    Raises Broken for a damaged one, WeightsError (without the path) for one of another kind,
    OSError.
    """
    with path.open("rb") as file:
        start = file.read(64)
        data = start + (b"" if start.startswith(ZIP_START) else file.read())
    if start.startswith(_POINTER):
        raise WeightsError("is a pointer of Git LFS; fetch the file itself (git lfs pull)")
    if start.lower().startswith(_PAGE):
        raise WeightsError("is a web page; download the file itself")
    try:
        if start.startswith(ZIP_START):
            return read_zip(path)
        return read_pickles(path, data)
    except (ValueError, OverflowError, struct.error) as error:
        raise Broken("a number or text in it is none") from error
