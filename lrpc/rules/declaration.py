"""How a rule is declared: its ops, parameters with ranges, formula, source, and what it
conserves."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lrpc.errors import RuleError
from lrpc.ir.graph import Node, Rule

if TYPE_CHECKING:
    from lrpc.rules.context import Context

Emit = Callable[["Context", Node, Rule], None]


@dataclass(frozen=True)
class Param:
    """A parameter: a number in [low, high], or one of some words."""

    name: str
    default: float | str
    low: float = -math.inf
    high: float = math.inf
    words: tuple[str, ...] = ()
    meaning: str = ""

    def check(self, rule: str, value: object) -> float | str:
        """The value in its proper type, or RuleError with the reason."""
        if self.words:
            if value not in self.words:
                raise RuleError(
                    f"rule {rule}: {self.name}={value!r} is not one of {', '.join(self.words)}"
                )
            return str(value)
        if (
            isinstance(value, bool)
            or not isinstance(value, (int, float))
            or not math.isfinite(value)
        ):
            raise RuleError(f"rule {rule}: {self.name}={value!r} must be a finite number")
        if not self.low <= value <= self.high:
            raise RuleError(
                f"rule {rule}: {self.name}={value!r} is outside [{self.low:g}, {self.high:g}]"
            )
        return float(value)


EPS = Param("eps", 1e-6, low=0.0, meaning="stabiliser ε: z + ε·sgn(z), sgn(0) = +1")


@dataclass(frozen=True, eq=False)
class Declaration:
    """One rule for the ops in `ops`; `emit` writes its relevance computation through a Context."""

    name: str
    ops: tuple[str, ...]
    emit: Emit
    formula: str
    source: str
    conserves: str
    params: tuple[Param, ...] = ()

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
        silent = {p.name for p in self.params if p.words and values[p.name] == p.default}
        return Rule(self.name, tuple((k, v) for k, v in values.items() if k not in silent))
