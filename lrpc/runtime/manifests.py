"""How a generated program reads its manifest, and refuses one that is not what it should be."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lrpc.runtime.loading import ProgramError


@dataclass(frozen=True)
class Kind:
    """What a value must be: in words, and as a test."""

    said: str
    test: Callable[[Any], bool]


@dataclass(frozen=True)
class Each:
    """A mapping whose values are all of one kind, and so are its keys."""

    of: Any
    key: Kind = Kind("a text", lambda v: isinstance(v, str))


def whole(value: Any, least: int, most: int = 2**62) -> bool:
    """Whether `value` is an integer in that range, and no truth value."""
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def plain_file(name: Any) -> bool:
    """Whether `name` is a file of the directory itself, not a path out of it."""
    odd = ("", ".", "..")
    return isinstance(name, str) and name not in odd and not {"/", "\\", "\0"} & set(name)


TEXT = Kind("a text", lambda v: isinstance(v, str))
COUNT = Kind("an integer from 1", lambda v: whole(v, 1))
SIZE = Kind("an integer from 0", lambda v: whole(v, 0))
BYTES = Kind("an integer from 0, or null", lambda v: v is None or whole(v, 0))
NUMBER = Kind(
    "a finite number",
    lambda v: math.isfinite(v) if isinstance(v, float) else whole(v, -(2**62)),
)
FILE = Kind("the name of a file in this directory", plain_file)
ROWS = [
    Kind(
        "four integers",
        lambda v: isinstance(v, list) and len(v) == 4 and all(whole(i, -(2**62)) for i in v),
    )
]
PLAN = {"targets": Each({"live_bytes": ROWS})}
LEDGER = Each(
    [
        Kind(
            "a node, a module and a kind",
            lambda v: isinstance(v, list) and len(v) == 3 and all(isinstance(i, str) for i in v),
        )
    ]
)
#: What a program reads of its manifest; `?` marks what may be left out. Other keys may be there.
READ: Mapping[str, Any] = {
    "sha256": Each(TEXT, FILE),
    "outputs": Each(TEXT),
    "plan": PLAN,
    "ledger": LEDGER,
    "memory": {"chunk": COUNT, "per_pass": SIZE, "budget": BYTES},
    "composite?": TEXT,
    "composites?": Each({"plan?": PLAN, "ledger?": LEDGER}),
    "reference_weights?": [TEXT],
}


def check(data: Any, wanted: Any, place: str) -> None:
    """ProgramError for the first value that is not of its kind: `place`, key, what was expected.

    A mapping lists keys, a list of one kind stands for lists of any length.
    """
    if isinstance(wanted, Kind):
        if not wanted.test(data):
            raise ProgramError(f"{place}: expected {wanted.said}, got {data!r:.60}")
    elif isinstance(wanted, list):
        check(data, Kind("a list", lambda v: isinstance(v, list)), place)
        for number, item in enumerate(data):
            check(item, wanted[0], f"{place}[{number}]")
    else:
        check(data, Kind("an object", lambda v: isinstance(v, dict)), place)
        if isinstance(wanted, Each):
            for key, item in data.items():
                check(key, wanted.key, place)
                check(item, wanted.of, f"{place}: {key!r:.60}")
            return
        for key, part in wanted.items():
            name = key.removesuffix("?")
            if name in data:
                check(data[name], part, f"{place}: {name}")
            elif name == key:
                raise ProgramError(f"{place}: {name} is missing; compile the program again")


def read_manifest(directory: Path, wanted: Mapping[str, Any] = READ) -> dict[str, Any]:
    """The manifest of a program directory; ProgramError in one line where it cannot be used."""
    path = directory / "manifest.json"
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ProgramError(
            f"{path}: {(error.strerror or 'cannot be read').lower()}; compile the program again"
        ) from None
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise ProgramError(f"{path}: is no manifest: {reason}; compile the program again") from None
    check(data, wanted, str(path))
    return {**data}


def rows_of(manifest: Mapping[str, Any], target: str, composite: str) -> list[list[str]]:
    """What the rows of a target's ledger are, in the order that its code appends them."""
    own = manifest.get("composites", {}).get(composite, {})
    rows: list[list[str]] = own.get("ledger", manifest["ledger"])[target]
    return rows
