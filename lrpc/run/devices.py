"""Where a command runs its programs."""

from __future__ import annotations

import torch

from lrpc.errors import ProgramError


def device_of(given: str | None) -> str:
    """The device asked for, or the best there is; ProgramError where torch does not see it."""
    device = given or ("cuda" if torch.cuda.is_available() else "cpu")
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ProgramError(f"--device {device}: torch sees no CUDA device here; use --device cpu")
    return device
