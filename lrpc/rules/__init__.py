"""The rule catalogue: every rule declared once, looked up by op and name."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from lrpc.errors import RuleError
from lrpc.ir.graph import Rule
from lrpc.rules import (
    activation,
    addition,
    bilinear,
    deformable,
    linear,
    normalisation,
    softmax,
    structure,
)
from lrpc.rules.declaration import Declaration

FAMILIES: dict[str, tuple[Declaration, ...]] = {
    "linear maps": linear.RULES,
    "bilinear maps": bilinear.RULES,
    "softmax": softmax.RULES,
    "normalisation": normalisation.RULES,
    "sums": addition.RULES,
    "activations": activation.RULES,
    "deformable attention": deformable.RULES,
    "structure": structure.RULES,
}

CATALOGUE: dict[tuple[str, str], Declaration] = {
    (op, rule.name): rule for family in FAMILIES.values() for rule in family for op in rule.ops
}


def find(op: str, name: str) -> Declaration:
    """The declaration of rule `name` for `op`; RuleError names the rules that op has."""
    found = CATALOGUE.get((op, name))
    if found is None:
        names = sorted({rule for _, rule in CATALOGUE})
        mine = sorted(rule for o, rule in CATALOGUE if o == op)
        if name not in names:
            near = difflib.get_close_matches(name, names, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise RuleError(f"unknown rule {name!r}{hint} (see `lrpc rules`)")
        if not mine:
            raise RuleError(f"no relevance rule exists for {op} yet")
        raise RuleError(f"rule {name} is not defined for {op}; it has: {', '.join(mine)}")
    return found


def make(op: str, name: str, params: Mapping[str, object] | None = None) -> Rule:
    """A checked rule for `op`."""
    return find(op, name).make(params)
