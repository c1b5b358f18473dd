"""What the texts of functions have in common, and short names for what lies in the state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import cached_property

from lrpc.backend.body import Names
from lrpc.backend.quoting import quoted
from lrpc.backend.render.families import Family
from lrpc.backend.schedule.ir import (
    SAVED,
    Call,
    Compute,
    Function,
    Load,
    Part,
    Recompute,
    Save,
    WeightName,
)
from lrpc.backend.schedule.names import short_names
from lrpc.backend.schedule.walk import operands, unconditional

LONG = 30  # characters of a prefix that has a name of its own in main functions


@dataclass(frozen=True)
class Texts:
    """What the texts of functions have in common: the family of each, and which words (`w`, `p`,
    `s`, `K`, `B`, `device`, `ledger`) it takes beside tensors; the local names of parts of the
    state that are computed again; whether calls take some seeds at a time."""

    families: Mapping[str, Family]
    words: Mapping[str, Sequence[str]]
    parts: Mapping[str, str] = field(default_factory=dict)
    chunked: bool = False
    handed: Mapping[str, Sequence[int]] = field(default_factory=dict)  # to parts of main functions

    @cached_property
    def taken(self) -> frozenset[str]:
        """The names that no local has."""
        return frozenset([family.name for family in self.families.values()])


def saved_parts(
    function: Function, words: Mapping[str, Sequence[str]], taken: Set[str]
) -> dict[str, str]:
    """Local names for the parts of the state that a main function reads or fills."""
    used = dict[str, None]()
    for s in unconditional(function.body):
        parts = [x.entry.part for x in operands(s) if isinstance(x, Load)]
        if isinstance(s, Call):
            parts += [s.part] if "s" in words.get(s.function, ()) else []
        elif isinstance(s, Save):
            parts.append(s.entry.part)
        elif isinstance(s, Compute) and s.keeps is not None:
            parts.append(s.keeps.part)
        elif isinstance(s, Recompute):
            parts += [] if s.whole else [Part(SAVED, s.scope)]
        used |= dict.fromkeys(part.scope for part in parts if part.kind == SAVED)
    names = Names(taken={*taken, "s"})
    short = short_names(used)
    return {scope: names.fresh(short[scope]) if scope else "s" for scope in used}


def prefixes(function: Function, texts: Texts, taken: Set[str]) -> dict[str, str]:
    """Local names for the long prefixes of blocks."""
    if function.half not in ("forward", "relevance", "tail"):
        return {}
    calls = (s for s in unconditional(function.body) if isinstance(s, Call))
    long = dict.fromkeys(
        s.prefix[:-1]
        for s in calls
        if s.function in texts.families
        and texts.families[s.function].functions[0].half != "rule"
        and isinstance(s.prefix, str)
        and len(s.prefix) > LONG
    )
    names, short = Names(taken={*taken}), short_names(long)
    return {f"{path}.": names.fresh(f"p_{short[path]}") for path in long}


def stands_alone(pattern: str, place: int) -> bool:
    """Whether an operand is an argument of its own in the text of an operation."""
    before, field, after = pattern.partition(f"{{{place}}}")
    return not field or (before.endswith(("(", ", ")) and after.startswith((")", ",")))


def weight(name: str | WeightName) -> str:
    """The expression of a weight."""
    return f"w[{_key(name)}]"


def pair(name: str | WeightName) -> str:
    """The expression of a weight and its bias."""
    return f"*pair(w, {_key(name)})"


def _key(name: str | WeightName) -> str:
    return follows(name.name) if isinstance(name, WeightName) else quoted(name)


def follows(name: str) -> str:
    """What follows the prefix of a block."""
    return f"p + {quoted(name)}" if name else "p"
