"""What composites are made of: entries that match nodes, and the options that a user may set."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from numbers import Real

from lrpc.errors import RuleError
from lrpc.ir.blocks import layer_of
from lrpc.ir.graph import Node, Rule
from lrpc.rules import CATALOGUE, find

#: The keys of a config that set options of composites.
KEYS = {
    "conv_gamma": "LRPC.GAMMA.CONVOLUTION",
    "linear_gamma": "LRPC.GAMMA.LINEAR",
    "low": "LRPC.BOX.LOW",
    "high": "LRPC.BOX.HIGH",
}


@dataclass(frozen=True)
class Option:
    """A parameter of a rule that the user of a composite sets. No default: it must be set."""

    name: str
    default: float | None
    meaning: str


def fits(name: str, pattern: str) -> bool:
    """Whether a glob matches `name`, or one of several that `|` separates."""
    return any(fnmatchcase(name, glob) for glob in pattern.split("|"))


#: What an entry may ask of the linear maps and convolutions of a graph, where they stand in it.
SWITCHES = ("first", "classes", "backbone")
_NONE: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Entry:
    """Nodes by globs of role, op and module, layer range (first index in the module path), and
    where they stand → a rule. One of the user's without role and op is for those operations alone
    that have the rule.

    `first` are the linear maps and convolutions that a graph input reaches through no other,
    `classes` those that give logits of classes, `backbone` those that extract features before the
    first attention, up to the last activation there. Nodes of role `coordinate` (sampling
    locations, boxes) match only where `role` names that role: relevance leaves them out unless
    asked to follow them.
    """

    rule: str
    role: str = "*"
    op: str = "*"
    module: str = "*"
    layers: tuple[int, int] | None = None
    params: Mapping[str, object] = field(default_factory=dict)
    first: bool = False
    classes: bool = False
    backbone: bool = False
    own: bool = field(default=False, compare=False)  # written by the user

    def matches(self, node: Node, where: frozenset[str] = _NONE) -> bool:
        """Whether it is for a node of which all of `SWITCHES` hold that are in `where`."""
        path = node.loc.module
        named = node.role != "coordinate" or self.role == "coordinate"
        return (
            named
            and where.issuperset(self.switches)
            and fits(node.role, self.role)
            and fits(node.op, self.op)
            and fits(path, self.module)
            and (self.layers is None or self._in_layers(path))
            and (not self.own or self.role != "*" or self.op != "*" or self._serves(node.op))
        )

    def __str__(self) -> str:
        """As in a config: the rule, and what the entry says of nodes."""
        return f"{self.rule} ({self.nodes})" if self.nodes else self.rule

    @property
    def nodes(self) -> str:
        """What it says of nodes, as in `role linear, module *encoder*`; "" where nothing."""
        given = {name: getattr(self, name) for name in ("role", "op", "module")}
        said = [f"{name} {glob}" for name, glob in given.items() if glob != "*"]
        said += [f"layers {list(self.layers)}"] if self.layers else []
        said += self.switches
        return ", ".join(said)

    @property
    def switches(self) -> tuple[str, ...]:
        """Those of `SWITCHES` that it asks for."""
        return tuple(name for name in SWITCHES if getattr(self, name))

    def _serves(self, op: str) -> bool:
        found = CATALOGUE.get((op, self.rule))
        return found is not None and self.params.keys() <= {p.name for p in found.params}

    def _in_layers(self, path: str) -> bool:
        assert self.layers is not None
        found = layer_of(path)
        return found is not None and self.layers[0] <= found <= self.layers[1]


def in_place_of(own: tuple[Entry, ...], rest: tuple[Entry, ...]) -> tuple[Entry, ...]:
    """`own`, then those of `rest` that choose other nodes than any of `own`."""

    def chosen(entry: Entry) -> tuple[object, ...]:
        return (entry.role, entry.op, entry.module, entry.layers, entry.switches)

    taken = {chosen(entry) for entry in own}
    return (*own, *(entry for entry in rest if chosen(entry) not in taken))


@dataclass(frozen=True)
class Composite:
    """A named list of entries. `epsilon` fills every ε that an entry leaves open, `settings` the
    options that entries name."""

    name: str
    entries: tuple[Entry, ...]
    epsilon: float = 1e-6
    doc: str = ""
    settings: Mapping[str, object] = field(default_factory=dict)

    def rule_for(self, node: Node, where: frozenset[str] = _NONE) -> Rule | None:
        """The rule for a node of which the `SWITCHES` in `where` hold; None where no entry matches
        it."""
        for entry in self.entries:
            if entry.matches(node, where):
                declaration = find(node.op, entry.rule)
                params = {key: self._set(value) for key, value in entry.params.items()}
                if any(p.name == "eps" for p in declaration.params):
                    params.setdefault("eps", self.epsilon)
                return declaration.make(params)
        return None

    def _set(self, value: object) -> object:
        if not isinstance(value, Option):
            return value
        found = self.settings.get(value.name, value.default)
        if found is None:
            raise RuleError(f"composite {self.name} needs {_called(value.name)}: {value.meaning}")
        return found

    def options(self) -> Iterator[Option]:
        """The options that its entries name, each once."""
        named = {
            v.name: v for e in self.entries for v in e.params.values() if isinstance(v, Option)
        }
        yield from named.values()

    def before(self, entries: Sequence[Entry]) -> Composite:
        """This composite with `entries` taking precedence."""
        return replace(self, entries=(*entries, *self.entries))

    def with_epsilon(self, epsilon: float) -> Composite:
        """This composite with another ε; RuleError where that is no number from 0 up."""
        return replace(self, epsilon=as_epsilon(epsilon))

    def with_options(self, settings: Mapping[str, object]) -> Composite:
        """This composite with options set; RuleError for one that it does not have, or misses."""
        known = {option.name: option for option in self.options()}
        for name in settings:
            if name not in known:
                raise RuleError(
                    f"composite {self.name} has no option {_called(name)}; it has:"
                    f" {', '.join(map(_called, known)) or 'none'}"
                )
        for entry in self.entries:
            for key, value in entry.params.items():
                if isinstance(value, Option) and value.name in settings:
                    _check_option(entry.rule, key, value.name, settings[value.name])
        made = replace(self, settings={**self.settings, **settings})
        for option in known.values():
            made._set(option)
        return made


def _check_option(rule: str, param: str, option: str, value: object) -> None:
    declared = (d for (_, name), d in CATALOGUE.items() if name == rule)
    param_of = next((p for d in declared for p in d.params if p.name == param), None)
    try:
        if param_of is not None and value is not None:
            param_of.check(rule, value)
    except RuleError as error:
        raise RuleError(f"{_called(option)}: {error}") from None


def as_epsilon(value: object) -> float:
    """ε as a number of Python, of whichever kind it is given; RuleError for what cannot be one."""
    number = float(value) if isinstance(value, Real) and not isinstance(value, bool) else math.nan
    if not (math.isfinite(number) and number >= 0):
        raise RuleError(f"epsilon must be a finite number from 0 up, got {value!r}")
    return number


def _called(option: str) -> str:
    return f"{option} ({KEYS[option]})" if option in KEYS else option
