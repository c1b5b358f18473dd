"""What the texts of functions have in common, and short names for what lies in the state."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
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
from lrpc.ir.magnitudes import source

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


@dataclass(frozen=True)
class Short:
    """Short texts for long paths, and the lines that define the names in them."""

    texts: Mapping[str, str] = field(default_factory=dict)
    lines: Sequence[str] = ()
    names: Set[str] = frozenset()


def saved_parts(function: Function, words: Mapping[str, Sequence[str]], taken: Set[str]) -> Short:
    """Short texts for the parts of the state that a main function reads or fills: `s` for the part
    of no block, `layers[3]` where several differ in a number."""
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
    series = _series(scope for scope in used if scope)
    names, short = Names(taken={*taken, "s"}), short_names(series)
    texts, lines, given = dict[str, str](), list[str](), set[str]()
    if "" in used:
        texts[""], lines = "s", ['s = saved[""]']
    for path, numbers in series.items():
        name = names.fresh(short[path])
        given.add(name)
        if not numbers:
            texts[path] = name
            lines.append(f"{name} = saved[{quoted(path)}]")
            continue
        texts |= {f"{path}.{i}": f"{name}[{i}]" for i in numbers}
        key = f'f{quoted(path.replace("{", "{{").replace("}", "}}"))[:-1]}.{{i}}"'
        lines.append(f"{name} = {{i: saved[{key}] for i in {_counted(numbers)}}}")
    return Short(texts, lines, given | {"s"} if "" in used else given)


def prefixes(function: Function, texts: Texts, taken: Set[str]) -> Short:
    """Short texts for the long prefixes of blocks that differ in a number."""
    if function.half in ("rule", "recompute"):
        return Short()
    calls = (s for s in unconditional(function.body) if isinstance(s, Call))
    long = dict.fromkeys(
        s.prefix[:-1]
        for s in calls
        if s.function in texts.families
        and texts.families[s.function].functions[0].half != "rule"
        and isinstance(s.prefix, str)
        and len(s.prefix) > LONG
    )
    series = {path: found for path, found in _series(long).items() if found}
    names, short = Names(taken={*taken}), short_names(series)
    alone = len(series) == 1
    given = {path: names.fresh("path" if alone else f"{short[path]}_path") for path in series}
    return Short(
        {f"{path}.{i}.": f'{given[path]} + "{i}."' for path in series for i in series[path]},
        [f"{name} = {quoted(f'{path}.')}" for path, name in given.items()],
        {*given.values()},
    )


def _series(paths: Iterable[str]) -> dict[str, list[int]]:
    """The numbers at the end of paths that differ in nothing else; none for others."""
    order = list(paths)
    found: dict[str, dict[str, int]] = {}
    for path in order:
        head, _, last = path.rpartition(".")
        if head and last.isascii() and last.isdigit() and str(int(last)) == last:
            found.setdefault(head, {})[path] = int(last)
    series: dict[str, list[int]] = {}
    for path in order:
        head = path.rpartition(".")[0]
        numbers = found.get(head, {})
        if path in numbers and len(numbers) > 1 and head not in order:
            series[head] = sorted(numbers.values())
        else:
            series[path] = []
    return series


def _counted(numbers: Sequence[int]) -> str:
    """What a loop over numbers goes through."""
    first, last = numbers[0], numbers[-1]
    if numbers == [*range(first, last + 1)]:
        return f"range({f'{first}, ' if first else ''}{last + 1})"
    return f"({', '.join(map(str, numbers))})"


def stands_alone(pattern: str, place: int) -> bool:
    """Whether an operand is an argument of its own in the text of an operation."""
    before, field, after = pattern.partition(f"{{{place}}}")
    return not field or (before.endswith(("(", ", ")) and after.startswith((")", ",")))


def weight(name: str | WeightName) -> str:
    """The expression of a weight."""
    own = _source(name)
    return f"w[{_key(own)}].abs()" if own else f"w[{_key(name)}]"


def pair(name: str | WeightName) -> str:
    """The expression of a weight and its bias."""
    own = _source(name)
    return f"*magnitudes(w, {_key(own)})" if own else f"*pair(w, {_key(name)})"


def _source(name: str | WeightName) -> str | WeightName:
    """The weight whose magnitude is meant; "" for none."""
    if isinstance(name, str):
        return source(name)
    own = source(name.name)
    return replace(name, name=own) if own else ""


def _key(name: str | WeightName) -> str:
    return follows(name.name) if isinstance(name, WeightName) else quoted(name)


def follows(name: str) -> str:
    """What follows the prefix of a block."""
    return f"p + {quoted(name)}" if name else "p"
