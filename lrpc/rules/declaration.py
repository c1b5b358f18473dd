"""The declaration of a rule: operations, parameters, formula, source, what it conserves."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lrpc.errors import RuleError
from lrpc.ir.graph import Node, Rule, Setting

if TYPE_CHECKING:
    from lrpc.rules.context import Context

Emit = Callable[["Context", Node, Rule], None]


@dataclass(frozen=True)
class Param:
    """A parameter of a rule: a number in [low, high], or one of `words`.

    With `many`, a list with a number for each channel is accepted too. A default of None means
    that the parameter must be given.
    """

    name: str
    default: float | str | None
    low: float = -math.inf
    high: float = math.inf
    words: tuple[str, ...] = ()
    many: bool = False
    meaning: str = ""
    quiet: bool = False  # left out of what is printed where it has its default

    def check(self, rule: str, value: object) -> Setting:
        """The value in its proper type, or RuleError with the reason."""
        if value is None:
            raise RuleError(f"rule {rule} needs {self.name}: {self.meaning}")
        if self.words:
            if value not in self.words:
                raise RuleError(
                    f"rule {rule}: {self.name}={value!r} is not one of {', '.join(self.words)}"
                )
            return str(value)
        if self.many and isinstance(value, Sequence) and not isinstance(value, str) and value:
            return tuple(self._number(rule, each) for each in value)
        return self._number(rule, value)

    def _number(self, rule: str, value: object) -> float:
        if (
            isinstance(value, bool)
            or not isinstance(value, (int, float))
            or not math.isfinite(value)
        ):
            more = " or a list of them" if self.many else ""
            raise RuleError(f"rule {rule}: {self.name}={value!r} must be a finite number{more}")
        if not self.low <= value <= self.high:
            raise RuleError(
                f"rule {rule}: {self.name}={value!r} is outside [{self.low:g}, {self.high:g}]"
            )
        return float(value)

    @property
    def takes(self) -> str:
        """What values it takes, in words."""
        if self.words:
            return " or ".join(self.words)
        what = "a number, or one for each channel" if self.many else "a number"
        if math.isinf(self.low):
            return what
        if math.isinf(self.high):
            return f"{what} from {self.low:g} up"
        return f"{what} from {self.low:g} to {self.high:g}"


EPS = Param("eps", 1e-6, low=0.0, meaning="stabiliser ε: z + ε·sgn(z), sgn(0) = +1")


@dataclass(frozen=True, eq=False)
class Declaration:
    """One rule.

    Attributes:
        name: its name in configs: lower-case letters, digits and `_`.
        ops: the operations that it applies to.
        emit: called with (context, node, rule); emits the relevance computation of one node.
        formula: the formula, as `lrpc rules` prints it.
        source: paper and equation.
        conserves: what part of the relevance is propagated.
        params: its parameters.
        refuse: says why parameters do not go together; "" where they do.
    """

    name: str
    ops: tuple[str, ...]
    emit: Emit
    formula: str
    source: str
    conserves: str
    params: tuple[Param, ...] = ()
    refuse: Callable[[Rule], str] = lambda rule: ""

    def make(self, given: Mapping[str, object] | None = None) -> Rule:
        """The rule with `given` parameters over the defaults; RuleError on unknown or bad ones."""
        given = dict(given or {})
        known = [p.name for p in self.params]
        for key in given:
            if key not in known:
                raise RuleError(
                    f"rule {self.name} has no parameter {key!r}; it has:"
                    f" {', '.join(known) or 'none'}"
                )
        values = {p.name: p.check(self.name, given.get(p.name, p.default)) for p in self.params}
        # A word left at its default says nothing: rules read short.
        silent = {
            p.name for p in self.params if (p.words or p.quiet) and values[p.name] == p.default
        }
        rule = Rule(self.name, tuple((k, v) for k, v in values.items() if k not in silent))
        if reason := self.refuse(rule):
            raise RuleError(f"rule {self.name}: {reason}")
        return rule
