"""Finds and reads the graphs of a program directory, or one .lrp file."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from lrpc.errors import LrpcError
from lrpc.ir.graph import Graph
from lrpc.ir.parser import read_graph
from lrpc.program.manifest_reader import manifest_of
from lrpc.support.untrusted import near

PASS_FILE = re.compile(r"(\d+)-(.+)\.lrp")


class ShowError(LrpcError):
    """What was asked for cannot be shown."""


@dataclass(frozen=True, slots=True)
class Dump:
    """The graph after one pass, as `lrpc compile --dump-passes` leaves it."""

    number: int
    name: str
    path: Path

    def __str__(self) -> str:
        return f"{self.number:02d} {self.name}"


def read(path: Path) -> Graph:
    """The graph in a file; it need not verify, so that broken ones can be looked at too."""
    return read_graph(path, verify=False)


def dumps(directory: Path) -> tuple[Dump, ...]:
    """The per-pass graphs of a program directory, in order; empty where there are none."""
    found = []
    for path in sorted((directory / "passes").glob("*.lrp")):
        if match := PASS_FILE.fullmatch(path.name):
            found.append(Dump(int(match[1]), match[2], path))
    return tuple(sorted(found, key=lambda dump: (dump.number, dump.name)))


def choose(directory: Path, wanted: str) -> Dump:
    """The dump that `wanted` names: a pass name, its number, or both as `NN-name`."""
    known = dumps(directory)
    if not known:
        raise ShowError(
            f"{directory}: holds no per-pass graphs; compile it with `lrpc compile --dump-passes`"
        )
    found = [d for d in known if wanted in (d.name, str(d.number), f"{d.number:02d}", d.path.stem)]
    if len(found) == 1:
        return found[0]
    listed = ", ".join(map(str, found or known))
    if found:
        raise ShowError(f"pass {wanted!r} ran more than once; choose by number: {listed}")
    close = near(wanted, (d.name for d in known))
    hint = f" (perhaps {close})" if close else ""
    raise ShowError(f"no pass {wanted!r}{hint}; there are: {listed}")


def load(target: Path, after: str | None = None, composite: str | None = None) -> Graph:
    """The graph of a program directory or file, `after` a pass where one is named; under the first
    composite where none is named."""
    if target.is_dir():
        if after is not None and composite is not None:
            raise ShowError("--pass NAME.COMPOSITE names both; --composite is for finished graphs")
        if after is not None:
            return read(choose(target, after).path)
        if not (target / "graph.lrp").is_file():
            raise ShowError(f"{target}: is no program directory: it holds no graph.lrp")
        return read(target / (graph_file(target, composite) if composite else "graph.lrp"))
    if not target.exists():
        raise ShowError(f"{target}: no such file or directory")
    if after is not None or composite is not None:
        option = "--pass" if composite is None else "--composite"
        raise ShowError(f"{target}: {option} needs a program directory, and this is a file")
    return read(target)


def graph_file(directory: Path, composite: str) -> str:
    """The file that holds the graph under a composite, as the manifest says."""
    manifest = manifest_of(directory)
    first = manifest.get("composite", "")
    files = {first: "graph.lrp"}
    files |= {name: part["graph"] for name, part in manifest.get("composites", {}).items()}
    if composite not in files:
        raise ShowError(f"{directory}: no composite {composite!r}; it has: {', '.join(files)}")
    return str(files[composite])


def saved_for(target: Path, composite: str | None = None) -> dict[str, list[str]]:
    """Value → the rules that read it after the forward pass has saved it, as the manifest says."""
    if not (target / "manifest.json").is_file():
        raise ShowError(f"{target}: --saved needs a program directory with its manifest")
    manifest = manifest_of(target)
    named = manifest.get("composites", {}).get(composite, {})
    found: dict[str, list[str]] = {**manifest, **named}.get("plan", {}).get("saved_for", {})
    return found
