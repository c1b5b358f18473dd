"""Calls that torch's own table has no sample of."""

from __future__ import annotations

from typing import Any

OWN: dict[str, tuple[Any, ...]] = {}
