"""A user's own rules that choose nothing: of a role or a module that the model does not have, or
of operations that it does not have, or that other entries take first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from lrpc.errors import RuleError
from lrpc.ir.graph import Graph, Module, Node, Rule
from lrpc.rules.composite import COMPOSITES
from lrpc.rules.entries import Composite, Entry, fits
from lrpc.support.untrusted import near
from passes.assign_rules import AssignRules
from passes.base import run_pipeline
from passes.rewrite import map_nodes

NOTHING = "no operation that carries relevance matches it"
LACKING = "no operation that matches it has this rule"
TAKEN = "entries before it take all that it matches"


def check_rules(composites: Iterable[Composite], graph: Graph) -> None:
    """RuleError for an entry whose role is none, or whose module is not in the annotated graph.

    A role that this model happens not to have is fine: rules serve several models.
    """
    for composite in composites:
        for entry in composite.entries:
            if wrong := _misnamed(entry, graph):
                raise RuleError(f"rule {entry.rule}: {wrong}")


def unused_rules(composites: Sequence[Composite], module: Module) -> list[str]:
    """What is to be said of entries of the user's that no operation of the annotated `module`
    follows."""
    chosen = [one for one in composites if any(entry.own for entry in one.entries)]
    bare = map_nodes(module, lambda node: replace(node, rule=None))
    found: dict[str, None] = {}
    for composite in chosen:
        noting = _Noting(composite)
        run_pipeline(bare, (AssignRules(noting),))
        where = f" of composite {composite.name}" if len(composites) > 1 else ""
        for entry in composite.entries:
            if entry.own and id(entry) not in noting.used:
                anywhere = LACKING if id(entry) in noting.named else NOTHING
                reason = TAKEN if id(entry) in noting.matching else anywhere
                reason = _misnamed(entry, module.graph) or reason
                found[f"rule {entry}{where} is not used: {reason}"] = None
    return list(found)


@dataclass
class _Noting:
    """A composite that notes which of its entries are asked for."""

    composite: Composite
    used: set[int] = field(default_factory=set)
    matching: set[int] = field(default_factory=set)
    named: set[int] = field(default_factory=set)  # whether or not the operation has the rule

    def rule_for(self, node: Node, where: frozenset[str]) -> Rule | None:
        found = [e for e in self.composite.entries if e.matches(node, where)]
        self.matching.update(map(id, found))
        own = (e for e in self.composite.entries if e.own)
        self.named.update(id(e) for e in own if replace(e, own=False).matches(node, where))
        self.used.update(map(id, found[:1]))
        return self.composite.rule_for(node, where)


def _misnamed(entry: Entry, graph: Graph) -> str:
    """What an entry that no composite brings along names that is not there; "" where nothing."""
    built_in = [e for c in COMPOSITES.values() for e in c.entries]
    if any(entry is one for one in built_in):
        return ""
    roles = {n.role for n in graph.nodes} | {e.role for e in built_in}
    modules = dict.fromkeys(n.loc.module for n in graph.nodes)
    return _unknown("role", entry.role, roles) or _unknown("module", entry.module, modules)


def _unknown(what: str, pattern: str, known: Iterable[str]) -> str:
    names = [name for name in known if name]
    if any(fits(name, pattern) for name in (*names, "")):
        return ""
    inside = any(fits(n, f"{pattern}.*") for n in names)
    close = f"{pattern}.*" if inside else near(pattern, names)
    hint = f"; did you mean {close!r}?" if close else ""
    return f"no operation of the model has the {what} {pattern!r}{hint}"
