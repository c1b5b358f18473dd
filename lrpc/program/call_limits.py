"""What a program takes at a time, as its manifest says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lrpc.runtime.limits import Limits


def limits_of(manifest: Mapping[str, Any]) -> Limits:
    """The limits of the program that a manifest describes."""
    inputs = {
        name: ("", text.partition("[")[2].rstrip("]").split(","))
        for name, text in manifest["inputs"].items()
    }
    return Limits.of(manifest, inputs)
