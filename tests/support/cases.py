"""Which cases of a parametrised test run each time."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import pytest


def slow_but(quick: Collection[Any], cases: Iterable[Any]) -> list[Any]:
    """The cases; all but the `quick` ones, which show each kind, are left to `-m slow`."""
    found = []
    for case in cases:
        marks = () if case in quick else (pytest.mark.slow,)
        found.append(pytest.param(*case if isinstance(case, tuple) else (case,), marks=marks))
    return found
