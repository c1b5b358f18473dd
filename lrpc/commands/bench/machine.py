"""The machine that figures were measured on."""

from __future__ import annotations

import os
import platform
from typing import Any

import torch

import lrpc


def machine(device: str) -> dict[str, Any]:
    """What a table says of where it was measured; `load` is the system's average of then."""
    gpu = device.startswith("cuda")
    return {
        "device": torch.cuda.get_device_name(device) if gpu else f"CPU, {platform.machine()}",
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "torch": torch.__version__,
        "lrpc": lrpc.__version__,
    }
