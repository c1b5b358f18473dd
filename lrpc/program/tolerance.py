"""How close a program must come to its reference, by the precision that it computes in."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


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


def differs(got: Tensor, wanted: Tensor, allowed: Tolerance) -> str:
    """In words, how `got` is not `wanted`, or "": another dtype or shape, other whole numbers, or
    more entries than may move that are further off than `allowed.near` of the largest."""
    share, words = apart(got, wanted, allowed.near)
    return words if share > 1 - allowed.share else ""


def apart(got: Tensor, wanted: Tensor, near: float) -> tuple[float, str]:
    """The share of entries that differ by more than `near` of the largest one, and in words how;
    all of them where dtype or shape is another, and whole numbers if they are not equal."""
    if got.dtype != wanted.dtype:
        return math.inf, f"is {_word(got.dtype)}, not {_word(wanted.dtype)}"
    if got.shape != wanted.shape:
        return math.inf, f"has shape {list(got.shape)}, not {list(wanted.shape)}"
    if _all_near(got, wanted, near):
        return 0.0, ""
    found = distances(got, wanted)
    share = _share(found, near)
    if not share:
        return share, ""
    if not wanted.is_floating_point():
        return share, f"has other values in {share:.0%} of its entries"
    return share, f"differs by {float(found.max()):.2g} of its largest entry"


def moved(got: Tensor, wanted: Tensor, near: float) -> float:
    """The share of entries that differ by more than `near` of the largest one; entries that are the
    same infinity, or NaN in both, are equal."""
    return 0.0 if _all_near(got, wanted, near) else _share(distances(got, wanted), near)


def _share(apart: Tensor, near: float) -> float:
    """The share of distances above `near`, NaN among them."""
    return float((~(apart <= near)).double().mean()) if apart.numel() else 0.0


def _all_near(got: Tensor, wanted: Tensor, near: float) -> bool:
    """Whether plainly no entry differs by as much, all being finite: found without copies in
    float64."""
    if not wanted.is_floating_point() or not wanted.numel():
        return False
    low, high = wanted.aminmax()
    largest = torch.maximum(-low, high)
    return bool(largest.isfinite() and (got - wanted).abs_().max() <= largest * (near / 2))


def distances(got: Tensor, wanted: Tensor) -> Tensor:
    """How far each entry is off, over the largest finite entry."""
    kind = torch.complex128 if wanted.is_complex() else torch.float64
    a, b = got.to(kind), wanted.to(kind)
    sizes = b.abs()
    largest = sizes.max() if sizes.numel() else sizes.sum()
    off = (a - b).abs()
    if bool(largest.isfinite()) and bool(off.isfinite().all()):
        return off.div_(largest.clamp_min(1e-300))
    same = (a == b) | (a.isnan() & b.isnan())
    finite = sizes[sizes.isfinite()]
    largest = finite.max() if finite.numel() else finite.sum()
    return (off / largest.clamp_min(1e-300)).masked_fill(same, 0.0)


def _word(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
