#!/usr/bin/env python3
"""Writes docs/coverage.md: the rules of each operation, their tests, and the models that use
them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from lrpc.config.schema import DEFAULTS  # noqa: E402
from lrpc.ir.graph import Module  # noqa: E402
from lrpc.ir.ops import TABLE, relevance, slopes  # noqa: E402
from lrpc.program.build import annotate  # noqa: E402
from lrpc.rules import CATALOGUE  # noqa: E402
from lrpc.rules.composite import composite  # noqa: E402
from tests.parity.registry import rows  # noqa: E402
from tests.rules.test_catalogue import twin_tested  # noqa: E402
from tests.support.coverage_models import MODELS  # noqa: E402
from tests.support.random_checks import MISSED  # noqa: E402

PAGE = ROOT / "docs" / "coverage.md"
DEFAULT = str(DEFAULTS["LRPC.COMPOSITE"])
MADE = "<!-- Made by tools/make_coverage.py from the tests and the compiled models: run it. -->\n"
HEAD = """# Test coverage

The rules of each operation, and what they are tested against. *Reference* is a slow float64
implementation of the formula. *Parity* names packages that give the same relevance. *Random graphs*
are compiled with random rules and compared with the reference interpreter, their ledger and, for
`gradient_input`, autograd. Formulas and sources are in [Rules](rules.md).

## Rules by operation

| operation | rule | reference | parity | random graphs |
|---|---|---|---|---|
"""
FORWARD = """
## Operations without a rule

They compute what relevance does not flow through: masks, indices, sizes, coordinates, constants. If
one of them lies between an activation and a target, compilation stops and names it.

"""
MODEL_HEAD = f"""
## Operations by model

The operations that relevance flows through in each model, under the default composite `{DEFAULT}`:
their roles, the rules of these, and the number of nodes. Models of torchvision and transformers are
small ones, of the same classes as the large ones.
"""

Uses = Mapping[str, Mapping[tuple[str, str], int]]  # operation → (role, rule) → nodes


def rules_part() -> str:
    """The part of the page that needs no model."""
    twins, random = twin_tested(), set(CATALOGUE) - MISSED
    packages: dict[tuple[str, str], set[str]] = {}
    for row in rows():
        packages.setdefault((row.op, row.rule), set()).add(row.package)
    lines = [
        f"| `{op}` | `{rule}` | {_yes((op, rule) in twins)} |"
        f" {', '.join(sorted(packages.get((op, rule), ())))} | {_yes((op, rule) in random)} |\n"
        for op, rule in sorted(CATALOGUE)
    ]
    backward = {row.name for part in (relevance, slopes) for row in part.ROWS}
    backward |= {row.name for row in relevance.EFFECTS}
    ruled = {op for op, _ in CATALOGUE}
    bare = ", ".join(f"`{op}`" for op in sorted(set(TABLE) - ruled - backward))
    return "".join([MADE, HEAD, *lines, FORWARD, bare, "\n"])


def _yes(held: bool) -> str:
    return "yes" if held else ""


def models_part(models: Iterable[tuple[str, Callable[[], Module]]] = MODELS) -> str:
    """What the models hold, by compiling each up to its annotated graph."""
    parts = [MODEL_HEAD]
    for name, build in models:
        uses = _uses(build())
        parts.append(f"\n### {name}\n\n| operation | role: rule (nodes) |\n|---|---|\n")
        parts += [f"| `{op}` | {_cell(found)} |\n" for op, found in sorted(uses.items())]
    return "".join(parts)


def _uses(module: Module) -> Uses:
    found: dict[str, dict[tuple[str, str], int]] = {}
    for node in annotate(module, [composite(DEFAULT)])[0].module.graph.nodes:
        if node.rule is not None:
            pairs = found.setdefault(node.op, {})
            pairs[node.role, node.rule.name] = pairs.get((node.role, node.rule.name), 0) + 1
    return found


def _cell(found: Mapping[tuple[str, str], int]) -> str:
    return ", ".join(f"{role}: `{rule}` ({n})" for (role, rule), n in sorted(found.items()))


def main() -> int:
    """Write the page; with --check only say whether it is current."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if it is old")
    check = parser.parse_args().check
    text = rules_part() + models_part()
    if PAGE.is_file() and PAGE.read_text() == text:
        return 0
    if not check:
        PAGE.write_text(text)
    print(f"{PAGE.relative_to(ROOT)}: {'is not current' if check else 'written'}")
    return 1 if check else 0


if __name__ == "__main__":
    sys.exit(main())
