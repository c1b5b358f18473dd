"""What a function takes beside tensors: weights, a prefix, the state, K, B, device, a ledger."""

from __future__ import annotations

import string
from collections.abc import Iterator, Mapping, Sequence, Set
from functools import cache

from lrpc.backend.expression import paired, repeats, sizes
from lrpc.backend.schedule.ir import (
    Book,
    Call,
    Compute,
    Function,
    Load,
    Only,
    Read,
    Recompute,
    Save,
    Schedule,
    Setting,
    WeightName,
)
from lrpc.backend.schedule.table import is_weight, template
from lrpc.backend.schedule.walk import operands, unconditional
from lrpc.backend.sources import FUNCTIONS, names_in
from lrpc.ir.extents import Extent
from lrpc.ir.magnitudes import source
from lrpc.ir.types import B, K, Sym

WORDS = ("w", "p", "s", "K", "B", "device", "ledger")
SIZES = WORDS.index("device")


def words_of(function: Function, called: Mapping[str, Sequence[str]]) -> list[str]:
    """The words that a function takes, in the order of its arguments; `called` has those of the
    functions that it calls."""
    used = words_in(function, called)
    if called_by_shape(function):
        used -= {"K", "B"}
    return in_order(used)


def in_order(words: Set[str]) -> list[str]:
    """Words in the order of arguments: sizes follow B."""
    order = (*WORDS[:SIZES], *sorted(words - {*WORDS}), *WORDS[SIZES:])
    return [word for word in order if word in words]


def called_by_shape(function: Function) -> bool:
    """Whether K and B are the first extents of its first argument."""
    first = function.parameters[0].type.shape if function.parameters else ()
    return function.half in ("relevance", "rule") and first[:2] == (K, B)


def words_in(function: Function, called: Mapping[str, Sequence[str]]) -> set[str]:
    """The words that a function's text uses."""
    used = set[str]()
    for s in unconditional(function.body):
        if isinstance(s, Compute):
            used |= spoken(s) | _weighed(s)
        if isinstance(s, Book) or (isinstance(s, Only) and s.body):
            used.add("ledger")
        if isinstance(s, Book):
            used |= {word for _, value in s.attrs for word in _symbols(value)}
        if isinstance(s, Save) or any(isinstance(x, Load) for x in operands(s)):
            used.add("s")
        call = s.run if isinstance(s, Recompute) else s
        if isinstance(call, Call) and call.function not in called:
            continue  # the end that it shares with others
        if isinstance(call, Call):
            used |= {*called.get(call.function, ()), *["K"] * bool(call.over)}
            if isinstance(call.prefix, str):
                used.discard("p")
    return used


def _weighed(s: Compute) -> set[str]:
    """Which of w, p and s it has."""
    weights = [value for key, value in s.attrs if is_weight(s.op, key)]
    found = {"w"} if weights else set()
    found |= {"p"} if any(isinstance(value, WeightName) for value in weights) else set()
    return found | ({"s"} if s.keeps is not None else set())


def spoken(s: Compute) -> set[str]:
    """Which of K, B and device the text of one operation has."""
    fields, found = _fields(template(s.op, s.over))
    used = set(found)
    for key, value in sizes(s).items():
        if key in fields or s.op in ("reshape", "slice"):
            used |= set(_symbols(value))
    return used


def _pair(both: str | WeightName | None) -> set[str]:
    """The function that looks up a weight and its bias."""
    if both is None:
        return set()
    return {"magnitudes" if source(both if isinstance(both, str) else both.name) else "pair"}


def kernels_of(schedule: Schedule) -> set[str]:
    """The functions that the text of a schedule calls beside its own, those of torch apart."""
    found = set[str]()
    for function in (*schedule.functions, *schedule.mains()):
        for s in unconditional(function.body):
            if isinstance(s, Compute):
                found |= _named(template(s.op, s.over))
                found |= _pair(paired(s))
                found |= {"in_runs"} if any(repeats(s)) else set()
            elif isinstance(s, Book):
                found.add("book")
            elif isinstance(s, Read):
                found.add("hand_out")
            elif isinstance(s, Call) and s.over:
                found.add("in_chunks")
    return found


def own_kernels(text: str) -> frozenset[str]:
    """The functions that a template calls which programs carry with them."""
    return _named(text) & FUNCTIONS


@cache
def _named(text: str) -> frozenset[str]:
    """The names in a template, where its fields stand for anything."""
    parts = string.Formatter().parse(text)
    return names_in("".join(plain + "x" * (name is not None) for plain, name, *_ in parts))


@cache
def _fields(text: str) -> tuple[frozenset[str], frozenset[str]]:
    """The attributes in a template, and `device` where that is in it."""
    parts = list(string.Formatter().parse(text))
    device = any("device=device" in plain for plain, *_ in parts)
    fields = frozenset(name for _, name, *_ in parts if name)
    return fields, frozenset(["device"] * device)


def _symbols(value: Setting) -> Iterator[str]:
    if isinstance(value, Sym):
        yield from ["K"] * bool(value.seeds) + ["B"] * bool(value.batch)
        yield from _symbols(value.coeff)
    elif isinstance(value, Extent):
        yield from (size.name for size in value.sizes())
    elif isinstance(value, tuple):
        for item in value:
            yield from _symbols(item)
