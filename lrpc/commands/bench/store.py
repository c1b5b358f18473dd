"""Measured cases in a JSON file; a run replaces those that it measured."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lrpc.commands.bench.tables import Case
from lrpc.errors import ProgramError
from lrpc.support.files import write_text
from lrpc.support.untrusted import Unreadable, read_json

FORMAT = 1
LARGEST = 2**26  # bytes
KEYS = {"machine", "settings"}  # of every case


def read(path: Path) -> dict[str, Case]:
    """The cases in a file, by name. Raises ProgramError where it is none of ours."""
    try:
        data = read_json(path, LARGEST)
    except Unreadable as error:
        raise ProgramError(f"{path}: cannot be read: {error}") from None
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise ProgramError(f"{path}: not a file of tools/bench --json; choose another name")
    cases: dict[str, Case] = data["cases"]
    for name, case in cases.items():
        if missing := KEYS - case.keys():
            raise ProgramError(f"{path}: case {name} lacks {', '.join(sorted(missing))}")
    return cases


def write(path: Path, cases: Mapping[str, Case]) -> None:
    """Put cases into a file, in place of those of the same names; the file is replaced whole."""
    known = read(path) if path.exists() else {}
    text = json.dumps({"format": FORMAT, "cases": _rounded({**known, **cases})}, indent=1)
    write_text(path, text + "\n")


def _rounded(value: Any) -> Any:
    """Six significant digits: more are noise."""
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        return float(f"{value:.6g}")
    if isinstance(value, Mapping):
        return {key: _rounded(one) for key, one in value.items()}
    return [_rounded(one) for one in value] if isinstance(value, (list, tuple)) else value
