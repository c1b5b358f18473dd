"""What a metadata file states that a table can be held against."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lrpc.commands.analyze.metadata import FORMAT, metadata_path
from lrpc.commands.analyze.table import LARGEST
from lrpc.errors import AnalysisError
from lrpc.support.untrusted import Unreadable, read_json

#: What tells where the numbers come from; all of it has to be there.
PROVENANCE = (
    "program.sha256.manifest.json",
    "program.sha256.program.py",
    "program.sha256.weights.safetensors",
    "program.config",
    "program.config_sha256",
    "rules.composite",
    "rules.on_the_way",
    "versions.lrpc",
    "versions.torch",
    "images",
)


@dataclass(frozen=True)
class Account:
    """One feature's account: `start` = contributions + `beside`, up to rounding."""

    feature: int
    start: float
    beside: float  # elsewhere and sinks, summed
    gross: float  # their magnitudes, summed
    closure: float


@dataclass(frozen=True)
class Schema:
    """A metadata file as the checks need it; `lacking` lists what its provenance misses."""

    sha256: str
    size: int
    counted: str
    norm: str
    starts_with: float | None
    features: tuple[int, ...]
    accounts: Mapping[int, Account]
    precision: str
    program: Mapping[str, str]
    images: Mapping[str, str]
    lacking: tuple[str, ...]


def read_stated(table: Path) -> Schema:
    """The metadata file of `table`; AnalysisError where there is none, or it is damaged."""
    path = metadata_path(table)
    try:
        data = read_json(path, LARGEST)
    except Unreadable as error:
        if not path.exists():
            raise AnalysisError(f"{path.name} is missing; it is written beside the table") from None
        raise AnalysisError(f"{path.name} cannot be read ({error})") from None
    try:
        if data["format"] != FORMAT:
            raise AnalysisError(f"{path.name} is of format {data['format']}, not {FORMAT}")
        return _stated(data)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise AnalysisError(f"{path.name} lacks what it should state ({error!r})") from None


def _stated(data: Mapping[str, Any]) -> Schema:
    asked = data["request"]
    accounts = [_account(one) for one in data["accounts"]]
    given = asked["starts_with"]
    return Schema(
        str(data["table"]["sha256"]),
        int(asked["size"]),
        str(asked["counted"]),
        str(asked["norm"]),
        None if given is None else float(given),
        tuple(int(f) for f in asked["features"]),
        {one.feature: one for one in accounts},
        str(data["program"]["precision"]),
        dict(data["program"]["sha256"]),
        {str(image["file"]): str(image["sha256"]) for image in data["images"]},
        tuple(name for name in PROVENANCE if not _found(data, name)),
    )


def _account(one: Mapping[str, Any]) -> Account:
    amounts = [float(v) for v in (*one["elsewhere"].values(), *one["sinks"].values())]
    gross = sum(abs(a) for a in amounts)
    return Account(
        int(one["feature"]), float(one["start"]), sum(amounts), gross, float(one["closure"])
    )


def _found(data: Mapping[str, Any], name: str) -> bool:
    """Whether something stands at a dotted name whose last part may hold dots (a file name)."""
    first, _, rest = name.partition(".")
    if name in data:
        return bool(data[name])
    below = data.get(first)
    return isinstance(below, Mapping) and bool(rest) and _found(below, rest)
