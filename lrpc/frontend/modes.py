"""Models are read as if none of torch's modes were on: the program is of the model alone."""

from __future__ import annotations

import contextlib
import random
import sys
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def without_modes() -> Iterator[None]:
    """No autocast, no inference mode, and what the model makes itself is made on the CPU."""
    with contextlib.ExitStack() as modes:
        if torch.is_inference_mode_enabled():
            modes.enter_context(torch.inference_mode(False))
        if torch.is_autocast_enabled("cpu"):
            modes.enter_context(torch.autocast("cpu", enabled=False))
        if torch.get_default_device().type != "cpu":
            modes.enter_context(torch.device("cpu"))
        yield


@contextlib.contextmanager
def random_state_kept() -> Iterator[None]:
    """What the model draws while it is read changes no random numbers that are drawn afterwards."""
    numpy = sys.modules.get("numpy")
    drawn, python = torch.get_rng_state(), random.getstate()
    array = numpy.random.get_state() if numpy is not None else None
    try:
        yield
    finally:
        torch.set_rng_state(drawn)
        random.setstate(python)
        if numpy is not None:
            numpy.random.set_state(array)
