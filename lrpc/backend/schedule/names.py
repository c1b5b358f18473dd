"""Names of functions and locals in a program, which hide no name of its module."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from lrpc.backend.body import Names, safe, stem
from lrpc.backend.quoting import ascii_word, identifier
from lrpc.backend.schedule.ir import (
    Block,
    Call,
    Function,
    Recompute,
    Schedule,
    Target,
)
from lrpc.backend.schedule.walk import results, unconditional
from lrpc.backend.sources import GLOBALS
from lrpc.ir.graph import Value


@dataclass
class FunctionNames:
    """Gives names to functions: none in `taken`, or one that numbers make of a name there."""

    taken: Collection[str]
    given: set[str] = field(default_factory=set)

    def of(self, block: Block, half: str, composite: str) -> str:
        """The name of a function for a block: `encoder_layers_relevance_2`, or `gamma_linear` for
        the application of a rule."""
        words = [ascii_word(block.rule)] if block.rule else [function_stem(block.block), half]
        words += [ascii_word(composite)] if composite else []
        wish = identifier("_".join(words))
        while _counted(wish) in self.taken:
            wish += "_"
        name, count = wish, 1
        while name in self.given:
            count += 1
            name = f"{wish}_{count}"
        self.given.add(name)
        return name


def function_stem(block: str) -> str:
    """`sem_seg_head.pixel_decoder.transformer.encoder.layers.3` → `encoder_layers`."""
    parts = [ascii_word(part) for part in block.split(".") if not part.isdigit()]
    return "_".join(parts[-2:]) or "between"


def short_names(paths: Iterable[str]) -> dict[str, str]:
    """Module paths by as few of their last words as tell them apart:
    `sem_seg_head.pixel_decoder.transformer.encoder.layers.3` → `layers_3`, or `encoder_layers_3`
    where there is another."""
    found: dict[str, str] = {}
    waiting, words = list(paths), 1
    while waiting:
        short = {path: _last_words(path, words) for path in waiting}
        counts = Counter([*short.values(), *found.values()])
        done = {p: s for p, s in short.items() if counts[s] == 1 or words > p.count(".") + 1}
        found |= done
        waiting = [path for path in waiting if path not in done]
        words += 1
    return found


def _last_words(path: str, words: int) -> str:
    """The last parts of a path, so many of which are no numbers."""
    parts = path.split(".")
    places = [i for i, part in enumerate(parts) if not part.isdigit()]
    first = places[max(len(places) - words, 0)] if places else 0
    return "_".join(map(ascii_word, parts[first:])) or "rest"


def taken_names(schedule: Schedule) -> frozenset[str]:
    """The names that no block function may have: those of the module, and those that locals are
    made of, which would hide it."""
    values = {v.name for f in schedule.mains() for v in _values(f)}
    scopes = {"", *(s.key for s in schedule.forward.body if isinstance(s, Block))}
    names = {*values, *map(stem, values), *scopes}
    return GLOBALS | {_counted(safe(name)) for name in names}


def _counted(name: str) -> str:
    """A name without the numbers at its end."""
    return re.sub(r"(_\d+)+$", "", name)


def _values(function: Function) -> Iterator[Value]:
    yield from function.parameters
    for s in unconditional(function.body):
        yield from results(s)
        yield from (v for x in s.body for v in results(x)) if isinstance(s, Block) else ()


def main_names(targets: Sequence[Target], others: Iterable[str]) -> tuple[Target, ...]:
    """The functions of targets by name: `encoder_feature:2` → `relevance_encoder_feature_2`, then
    the composite's name where there are several. Those that do the same for one target share a
    name; none is a name of the module or among `others`."""
    keys = [(t.name, t.plain.code) for t in targets]
    users = Counter(keys)
    names: dict[tuple[object, ...], str] = {}
    taken = {*GLOBALS, *others}
    for target, key in zip(targets, keys, strict=True):
        if key in names:
            continue
        own = [target.composite] if users[key] == 1 and target.composite else []
        name = "_".join(["relevance", *map(ascii_word, [target.name, *own])])
        while name in taken:
            name += "_"
        taken.add(name)
        names[key] = name
    return tuple(
        replace(target, functions=(replace(target.plain, name=names[key]),))
        for target, key in zip(targets, keys, strict=True)
    )


# -- locals of main functions ----------------------------------------------------------------------


def parts_of(schedule: Schedule) -> dict[str, str]:
    """The local name of each part of the state that relevance computes again."""
    again = {
        s.scope
        for f in (*schedule.functions, *schedule.mains())  # also in what targets share
        for s in unconditional(f.body)
        if isinstance(s, Recompute)
    }
    order = [s.part.scope for s in schedule.forward.body if isinstance(s, Call)]
    names = Names()
    short = short_names(order)
    return {s: names.fresh(f"{short[s]}_recomputed") for s in order if s in again}
