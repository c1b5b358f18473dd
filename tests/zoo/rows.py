"""The rows of the table of supported models: what came of each, as it is stored."""

from __future__ import annotations

import gc
import json
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.zoo.packages import PACKAGES
from tests.zoo.roles import EXPECTED, roles_of
from tests.zoo.scan import FORWARD, GRADIENT, IN_FLOAT32, LEDGER, scanned

STORED = Path(__file__).parent / "scanned.json"


@dataclass(frozen=True)
class Row:
    """A model: the line that refuses it, or how far its program is from it, in float64 throughout;
    `as_is`, how far with its casts to float32."""

    package: str
    model: str
    refused: str = ""
    forward: float = 0.0
    gradient: float = 0.0
    opened: float = 0.0
    as_is: float = 0.0
    roles: str = ""  # yes, no, or not counted
    time: float = 0.0

    @property
    def holds(self) -> bool:
        """Whether it compiles, and stays within the bounds."""
        near = self.forward <= FORWARD and self.gradient <= GRADIENT and self.opened <= LEDGER
        return not self.refused and near and self.as_is <= IN_FLOAT32 and self.roles != "no"


def scanned_row(package: str, model: str) -> Row:
    """What comes of a model now."""
    entry = PACKAGES[package][model]
    found, graph = scanned(entry)
    if graph is None:
        return Row(package, model, found.refused)
    as_is = 0.0
    if found.in_float32:
        as_is = max(found.forward, found.gradient, found.opened)
        found, graph = scanned(entry, widened=True)
        if graph is None:
            return Row(package, model, found.refused)
    expected, roles = EXPECTED.get((package, model)), ""
    if expected is not None:
        roles = "yes" if roles_of(graph) == expected else "no"
    figures = (_short(x) for x in (found.forward, found.gradient, found.opened, as_is))
    return Row(package, model, "", *figures, roles, round(found.time, 2))


def _short(value: float) -> float:
    return float(f"{value:.1e}")


def scan_rows(packages: Collection[str] = (), models: Collection[str] = ()) -> Iterator[Row]:
    """What comes of the models of these packages, or of all, one after another; of others, what
    is stored."""
    known = {(row.package, row.model): row for row in read_rows()} if STORED.is_file() else {}
    for package, zoo in PACKAGES.items():
        for model in zoo:
            asked = (not packages or package in packages) and (not models or model in models)
            if asked or (package, model) not in known:
                known[package, model] = scanned_row(package, model)
                print(known[package, model], flush=True)
                gc.collect()
            yield known[package, model]


def read_rows() -> list[Row]:
    """The rows that are stored."""
    return [Row(**row) for row in json.loads(STORED.read_text())]


def write_rows(rows: Iterator[Row]) -> None:
    """Store them, a line each."""
    lines = (json.dumps(asdict(row), ensure_ascii=False) for row in rows)
    STORED.write_text("[\n" + ",\n".join(lines) + "\n]\n")
