"""Where a command runs its programs."""

from __future__ import annotations

from typing import Any

import torch

from lrpc.errors import ProgramError
from lrpc.runtime import capture, loading


def device_of(given: str | None) -> str:
    """The device asked for, or the best there is; ProgramError where torch does not see it."""
    device = given or ("cuda" if torch.cuda.is_available() else "cpu")
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ProgramError(f"--device {device}: torch sees no CUDA device here; use --device cpu")
    return device


def check_load(device: Any, captured: bool) -> None:
    """ProgramError where no program can be loaded so, before one is made."""
    try:
        capture.chosen_calls(loading.usable_device(device), False, captured)
    except loading.ProgramError as error:
        raise ProgramError(str(error)) from None
