"""A user's own rules that choose nothing: a role or a module that the model does not have."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

from lrpc.errors import RuleError
from lrpc.ir.graph import Graph
from lrpc.rules.composite import COMPOSITES
from lrpc.rules.entries import Composite, Entry
from lrpc.support.untrusted import near


def check_chosen(composites: Iterable[Composite], graph: Graph) -> None:
    """RuleError for an entry of the user's whose role is none, or whose module is not in `graph`.

    A role that this model happens not to have is fine: rules serve several models.
    """
    roles = {n.role for n in graph.nodes} | {e.role for c in COMPOSITES.values() for e in c.entries}
    modules = dict.fromkeys(n.loc.module for n in graph.nodes)
    built_in = {id(e) for c in COMPOSITES.values() for e in c.entries}
    own = [e for c in composites for e in c.entries if id(e) not in built_in]
    for entry in own:
        _check(entry, "role", entry.role, roles)
        _check(entry, "module", entry.module, modules)


def _check(entry: Entry, what: str, pattern: str, known: Iterable[str]) -> None:
    names = [name for name in known if name]
    if any(fnmatchcase(name, pattern) for name in (*names, "")):
        return
    inside = any(fnmatchcase(n, f"{pattern}.*") for n in names)
    close = f"{pattern}.*" if inside else near(pattern, names)
    hint = f"; did you mean {close!r}?" if close else ""
    raise RuleError(
        f"rule {entry.rule}: no operation of the model has the {what} {pattern!r}{hint}"
    )
