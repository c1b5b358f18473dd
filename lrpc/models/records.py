"""What is known of a model's weights."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class WeightsInfo:
    """Which weights a model has: the file and its checksum, or the fact that they are random.

    `note` is one line for people and manifests; it holds no folder, so it is the same everywhere.
    """

    path: str | None
    sha256: str | None
    seeded: bool
    note: str
