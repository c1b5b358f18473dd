"""Stops compilation where relevance could arrive at an operation that has no rule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lrpc.errors import RuleError
from lrpc.ir.graph import Module
from passes.reachable import carries, receiving


@dataclass(frozen=True)
class CheckCoverage:
    """Returns the module as it is, or raises RuleError with up to `shown` nodes without a rule."""

    shown: int = 10
    name: ClassVar[str] = "check_coverage"

    def run(self, module: Module) -> Module:
        reached = receiving(module.graph)
        missing = [n for n in module.graph.nodes if carries(n, reached) and n.rule is None]
        if not missing:
            return module
        lines = [f"  {n.op} of role {n.role or 'none'} ({n.loc})" for n in missing[: self.shown]]
        if len(missing) > self.shown:
            lines.append(f"  … and {len(missing) - self.shown} more")
        count = "1 operation has" if len(missing) == 1 else f"{len(missing)} operations have"
        raise RuleError(
            f"{count} no relevance rule in @{module.graph.name}; add an entry by role, op or module"
            " under LRPC.RULES, or choose another composite",
            *lines,
        )
