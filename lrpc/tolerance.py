"""How close a program must come to its reference, by the precision that it computes in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Tolerance:
    """Largest differences: `near` from the interpreter, over the largest entry; `closed`, what a
    ledger may leave open. `nodes` says whether the ledger of a single node is held to it, too.
    `share` of the outputs' entries must be near: where the model chooses (a top-k, a threshold),
    two implementations may take a near tie differently, and whole queries fall otherwise."""

    near: float
    closed: float
    nodes: bool = True
    share: float = 0.98


# In bfloat16 a node that passes on much more than the target started with, of both signs, rounds by
# as much as the start: only the ledger as a whole says something.
TOLERANCES = {
    "fp64": Tolerance(1e-10, 1e-10, share=1.0),
    "fp32": Tolerance(1e-4, 1e-4),
    "tf32": Tolerance(1e-2, 1e-2, nodes=False, share=0.8),
    "bf16": Tolerance(2e-2, 2e-2, nodes=False, share=0.5),
}


def tolerance(manifest: Mapping[str, Any], dtype: str, device: str) -> Tolerance:
    """That of a program on `device` whose graph computes in `dtype`; CPUs have no TF32."""
    precision = str(manifest["settings"]["precision"])
    if dtype == "f64":
        return TOLERANCES["fp64"]
    if precision == "bf16" or (precision == "tf32" and device.startswith("cuda")):
        return TOLERANCES[precision]
    return TOLERANCES["fp32"]
