"""The catalogue of rules: each is declared once and looked up by operation and name."""

from __future__ import annotations

import re
from collections.abc import Mapping

from lrpc.errors import RuleError
from lrpc.ir.graph import Rule
from lrpc.ir.ops import TABLE
from lrpc.rules import (
    activation,
    addition,
    bilinear,
    boxed,
    deformable,
    division,
    elementwise,
    embedding,
    extremes,
    grids,
    linear,
    normalisation,
    rms_norm,
    signed,
    softmax,
    structure,
)
from lrpc.rules.declaration import Declaration
from lrpc.support.untrusted import meant

FAMILIES: dict[str, tuple[Declaration, ...]] = {
    "linear maps": (*linear.RULES, *signed.RULES, *boxed.RULES),
    "bilinear maps": bilinear.RULES,
    "softmax": softmax.RULES,
    "normalisation": (*normalisation.RULES, *rms_norm.RULES),
    "sums": addition.RULES,
    "activations": activation.RULES,
    "elementwise functions": elementwise.RULES,
    "deformable attention": deformable.RULES,
    "sampling": grids.RULES,
    "structure": (*structure.RULES, *extremes.RULES, *division.RULES),
    "embeddings": embedding.RULES,
}

CATALOGUE: dict[tuple[str, str], Declaration] = {
    (op, rule.name): rule for family in FAMILIES.values() for rule in family for op in rule.ops
}


OWN = "registered rules"  # the family of those that `register` adds
_NAME = re.compile(r"[a-z][a-z0-9_]*")


def find(op: str, name: str) -> Declaration:
    """The declaration of rule `name` for `op`; RuleError names the rules that op has."""
    found = CATALOGUE.get((op, name))
    if found is None:
        names = sorted({rule for _, rule in CATALOGUE})
        mine = sorted(rule for o, rule in CATALOGUE if o == op)
        if name not in names:
            raise RuleError(f"unknown rule {name!r}{meant(name, names)} (see `lrpc rules`)")
        if op not in TABLE:
            raise RuleError(f"rule {name}: unknown operation {op!r}{meant(op, list(TABLE))}")
        if not mine:
            raise RuleError(f"no relevance rule exists for {op} yet")
        raise RuleError(f"rule {name} is not defined for {op}; it has: {', '.join(mine)}")
    return found


def make(op: str, name: str, params: Mapping[str, object] | None = None) -> Rule:
    """A checked rule for `op`."""
    return find(op, name).make(params)


def register(rule: Declaration) -> Declaration:
    """Add a rule of your own, under its name, to composites, `LRPC.RULES` and `lrpc rules`.

    Raises RuleError if an operation does not exist or already has a rule of that name, or if the
    name has characters other than lower-case letters, digits and `_`.
    """
    if not _NAME.fullmatch(rule.name):
        raise RuleError(f"rule name {rule.name!r}: lower case, digits and _ only, a letter first")
    for op in rule.ops:
        if op not in TABLE:
            hint = meant(op, TABLE)
            raise RuleError(f"rule {rule.name}: there is no operation {op!r}{hint}")
        if (op, rule.name) in CATALOGUE:
            raise RuleError(f"rule {rule.name} exists for {op} already; choose another name")
    CATALOGUE.update({(op, rule.name): rule for op in rule.ops})
    FAMILIES[OWN] = (*FAMILIES.get(OWN, ()), rule)
    return rule


def unregister(name: str) -> None:
    """Remove the registered rules of that name; raises RuleError for names not registered."""
    mine = [rule for rule in FAMILIES.get(OWN, ()) if rule.name == name]
    if not mine:
        raise RuleError(f"no rule of your own is called {name!r}")
    for key in [key for key, rule in CATALOGUE.items() if rule in mine]:
        del CATALOGUE[key]
    rest = tuple(rule for rule in FAMILIES[OWN] if rule not in mine)
    FAMILIES.pop(OWN)
    FAMILIES.update({OWN: rest} if rest else {})
