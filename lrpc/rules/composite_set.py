"""Several composites for one program: what a user gives becomes a list of named composites."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from lrpc.errors import RuleError
from lrpc.rules.composite import COMPOSITES, Composite, adapted, composite, listed_rules
from lrpc.rules.entries import as_epsilon

#: A name, a composite, a list of these, or a mapping of own names to these or to
#: `{composite: NAME, epsilon: ..., rules: [...]}` with the composite's options, as conv_gamma.
CompositeSpec = str | Composite | Sequence[str | Composite] | Mapping[str, Any]

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,63}")  # it becomes part of file names
KEYS = ("composite", "epsilon", "rules")


@dataclass(frozen=True)
class SharedOptions:
    """What holds for all composites of a program: ε (None: each one's own), the rules before their
    entries, and options for those that have them."""

    epsilon: float | None = None
    rules: tuple[Mapping[str, object], ...] = ()
    stop_at_detach: bool = False
    split_positions: bool = False
    options: Mapping[str, object] = field(default_factory=dict)


def composites(given: CompositeSpec, common: SharedOptions) -> tuple[Composite, ...]:
    """The composites that `given` means, each with a name of its own; RuleError for bad ones."""
    if isinstance(given, str):
        return (_named(given, common.epsilon, common.rules, common, common.options),)
    if isinstance(given, Composite):
        return (adapted(given, common.epsilon, common.rules),)
    if not isinstance(given, Mapping | Sequence) or isinstance(given, bytes):
        raise RuleError(f"composite takes a name, or several in a list or mapping, got {given!r}")
    items = given.items() if isinstance(given, Mapping) else ((None, what) for what in given)
    made = tuple(_one(name, what, common) for name, what in items)
    if not made:
        raise RuleError("no composite is given; name one, such as attnlrp")
    _check_names([c.name for c in made])
    for option in common.options:
        if not any(option in _options(c) for c in made):
            raise RuleError(f"none of the composites has the option {option!r}")
    return made


def _one(name: object, what: object, common: SharedOptions) -> Composite:
    if isinstance(what, Mapping):
        made = _from_mapping(f"composite {name!r}", what, common)
    elif isinstance(what, Composite):
        made = adapted(what, common.epsilon, common.rules)
    elif isinstance(what, str):
        made = _named(what, common.epsilon, common.rules, common, _shared(what, common))
    else:
        raise RuleError(f"a composite is a name or a mapping with {', '.join(KEYS)}, got {what!r}")
    return made if name is None else replace(made, name=str(name))


def _named(
    name: str,
    epsilon: float | None,
    rules: Sequence[Mapping[str, object]],
    common: SharedOptions,
    options: Mapping[str, Any],
) -> Composite:
    made = composite(
        name,
        rules=rules,
        stop_at_detach=common.stop_at_detach,
        split_positions=common.split_positions,
        **options,
    )
    return made if epsilon is None else made.with_epsilon(epsilon)


def _from_mapping(place: str, spec: Mapping[str, Any], common: SharedOptions) -> Composite:
    base = spec.get("composite")
    if not isinstance(base, str):
        raise RuleError(f"{place} needs `composite: NAME`, the one that it starts from")
    epsilon, rules = spec.get("epsilon", common.epsilon), spec.get("rules", ())
    try:
        epsilon, rules = None if epsilon is None else as_epsilon(epsilon), listed_rules(rules)
    except RuleError as error:
        raise RuleError(f"{place}: {error}") from None
    own = {str(key): value for key, value in spec.items() if key not in KEYS}
    options = {**_shared(base, common), **own}
    return _named(base, epsilon, (*rules, *common.rules), common, options)


def _shared(name: str, common: SharedOptions) -> dict[str, object]:
    """The common options that this composite has."""
    known = _options(COMPOSITES[name]) if name in COMPOSITES else set()
    return {key: value for key, value in common.options.items() if key in known}


def options_in(given: CompositeSpec) -> set[str]:
    """The options of the composites that `given` starts from."""
    if isinstance(given, str | Composite):
        named: list[Any] = [given]
    else:
        named = list(given.values() if isinstance(given, Mapping) else given)
    bases = [one.get("composite") if isinstance(one, Mapping) else one for one in named]
    known = [one if isinstance(one, Composite) else COMPOSITES.get(str(one)) for one in bases]
    return {option for one in known if one is not None for option in _options(one)}


def _options(one: Composite) -> set[str]:
    return {option.name for option in one.options()}


def _check_names(names: Sequence[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if not NAME.fullmatch(name):
            raise RuleError(
                f"composite name {name!r}: letters, digits and _ . + - only, for it names files"
            )
        if name.casefold() in seen:
            raise RuleError(f"two composites are called {name!r}; give one of them another name")
        seen.add(name.casefold())
