"""The options of `lrpc.compile`, which anything may be given for: checked, one line each."""

from __future__ import annotations

import operator
from collections.abc import Collection, Mapping
from typing import Any

from lrpc.errors import ConfigError

MOST_SEEDS = 1_000_000


def seed_count(seeds: Any) -> int:
    """How many seeds go through a program at once, as an integer of Python."""
    try:
        count = 0 if isinstance(seeds, bool) else operator.index(seeds)
    except (TypeError, ValueError, RuntimeError):
        count = 0
    if not 1 <= count <= MOST_SEEDS:
        raise ConfigError(f"seeds must be a number from 1 to {MOST_SEEDS:,}, got {seeds!r}")
    return count


def check_switches(**given: Any) -> None:
    """ConfigError where one is neither True nor False."""
    for name, value in given.items():
        if not isinstance(value, bool):
            raise ConfigError(f"{name} takes True or False, got {value!r}")


def check_texts(**given: Any) -> None:
    """ConfigError where one is no string."""
    for name, value in given.items():
        if not isinstance(value, str):
            raise ConfigError(f"{name} takes a text, got {value!r}")


def places_read(read: Any) -> dict[str, str]:
    """`read` as a dict: names for places → module paths."""
    if read is None:
        return {}
    if not isinstance(read, Mapping):
        raise ConfigError(
            'read takes names for places and the module of each, as in read={"hidden":'
            f' "layers.0"}}, got {read!r}'
        )
    for name, path in read.items():
        if not isinstance(name, str) or not name or not name.isprintable():
            raise ConfigError(f"read: a place is called by a text on one line, got {name!r}")
        if not isinstance(path, str):
            raise ConfigError(f"read: {name!r} is at the path of a module, a text, got {path!r}")
    return dict(read)


def names_of_places(**listed: Any) -> dict[str, tuple[str, ...]]:
    """What options list, as tuples of names of places."""
    for option, names in listed.items():
        a_list = isinstance(names, Collection) and not isinstance(names, str)
        if not a_list or not all(isinstance(name, str) for name in names):
            raise ConfigError(
                f'{option} takes a list of places, as in {option}=["hidden"], got {names!r}'
            )
    return {option: tuple(names) for option, names in listed.items()}


def names_of_inputs(unbatched: Any) -> tuple[str, ...]:
    """`unbatched` as a tuple of names."""
    if isinstance(unbatched, str) or not isinstance(unbatched, Collection):
        raise ConfigError(
            f'unbatched takes a list of inputs, as in unbatched=["x"], got {unbatched!r}'
        )
    return tuple(unbatched)


def check_places(read: Mapping[str, str], inputs: Collection[str]) -> None:
    """ConfigError for a place that is called as an input is, where relevance is read as well."""
    for name in read:
        if name.startswith("input.") and name.removeprefix("input.") in inputs:
            raise ConfigError(
                f"read: {name!r} is an input, read anyway; give the place another name"
            )
