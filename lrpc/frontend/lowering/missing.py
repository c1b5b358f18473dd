"""Results of calls that programs do not have, refused where they are used."""

from __future__ import annotations

from dataclasses import dataclass

from lrpc.ir.graph import Value


@dataclass(frozen=True, slots=True)
class Missing:
    """A result that cannot be had; using it is the error that `reason` and `remedy` tell."""

    reason: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class OfEachImage(Missing):
    """An extreme of the value `of` over all images of a batch, which cannot be had; `each` is that
    of each image alone, which does as well where it is only subtracted from `of`, to keep an
    exponential from overflowing."""

    of: Value | None = None
    each: Value | None = None
