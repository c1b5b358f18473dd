"""`lrpc validate`: holds a table of contributions against itself and against its metadata file."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lrpc.commands.analyze.metadata import sha256
from lrpc.commands.analyze.schema import Schema, read_stated
from lrpc.commands.analyze.table import WHOLE, Columns, read_table
from lrpc.errors import AnalysisError
from lrpc.program.manifest_reader import manifest_of
from lrpc.program.verify_sizes import AMPLIFIED

LIMITS = {"fp64": 1e-9, "fp32": 1e-4, "tf32": 1e-2}  # of the amounts that are added up
SHOWN = 3  # of what is wrong


@dataclass(frozen=True)
class Check:
    """One line of the report."""

    what: str
    passed: bool
    detail: str
    warning: bool = False  # passed, but with a detail to look at


@dataclass(frozen=True)
class Group:
    """One feature's rows, as columns."""

    feature: int
    columns: Columns

    def __getitem__(self, name: str) -> list[float]:
        return self.columns[name]


def checks(path: Path, images: Path | None = None, program: Path | None = None) -> Iterator[Check]:
    """All checks of a table; those on `images` and `program` where these folders are given.

    A table that cannot be read, or has no metadata file, fails a check too. Raises AnalysisError
    where there is no such file at all.
    """
    if not path.is_file():
        raise AnalysisError(f"{path}: no such file; `lrpc analyze --output-csv {path}` makes one")
    try:
        columns = read_table(path)
    except AnalysisError as error:
        yield Check("table", False, str(error).removeprefix(f"{path}"))
        return
    yield _finite(columns)
    groups = _groups(columns)
    yield _not_constant(groups)
    yield _consistent(groups)
    try:
        stated = read_stated(path)
    except AnalysisError as error:
        yield Check("metadata file", False, str(error))
        return
    yield _unchanged(path, stated)
    yield _counts(groups, stated)
    yield _indices(groups, columns, stated)
    yield _images_counted(columns, stated)
    yield _starts(stated)
    yield _adds_up(groups, stated)
    yield _grown(groups, stated)
    yield _closes(stated)
    yield _provenance(stated)
    if program is not None:
        yield _program(program, stated)
    if images is not None:
        yield _same_images(images, stated)


def _groups(columns: Columns) -> list[Group]:
    """The rows of each feature, in the table's order; rows of no whole feature belong to none."""
    members: dict[int, list[int]] = {}
    for row, feature in enumerate(columns["feature"]):
        if _whole(feature):
            members.setdefault(int(feature), []).append(row)
    return [
        Group(feature, {name: [cells[r] for r in rows] for name, cells in columns.items()})
        for feature, rows in members.items()
    ]


def _finite(columns: Columns) -> Check:
    bad = [
        f"{name} in row {row + 2}"
        for name, cells in columns.items()
        for row, cell in enumerate(cells)
        if not (_whole(cell) if name in WHOLE else math.isfinite(cell))
    ]
    total = sum(len(cells) for cells in columns.values())
    return _check("finite", bad, f"{total} numbers", "missing, infinite or not whole")


def _not_constant(groups: Sequence[Group]) -> Check:
    flat = []
    for group in groups:
        values = group["contribution"]
        spread = max(values) - min(values)
        if not spread > 1e-12 * max(abs(v) for v in values):
            flat.append(f"feature {group.feature} (all {values[0]:.3g})")
    return _check("not constant", flat, "contributions differ", "constant")


def _consistent(groups: Sequence[Group]) -> Check:
    """Means of magnitudes are no smaller than magnitudes of means; shares are what they say."""
    wrong = []
    for group in groups:
        slack = 1e-9 * max((abs(v) for v in group["gross"]), default=0.0)
        total = math.fsum(group["mean_abs"])
        rows = zip(
            *(group[n] for n in ("contribution", "mean_abs", "gross", "std", "share")), strict=True
        )
        for row, (value, absolute, gross, deviation, share) in enumerate(rows):
            ordered = abs(value) <= absolute + slack and absolute <= gross + slack
            fair = abs(share * total - absolute) <= slack
            if not (ordered and fair and deviation >= 0):
                wrong.append(f"feature {group.feature}, index {group['index'][row]:g}")
    return _check("consistent", wrong, "shares sum to 1, |mean| ≤ mean_abs ≤ gross", "inconsistent")


def _unchanged(path: Path, stated: Schema) -> Check:
    found = sha256(path.read_bytes())
    same = found == stated.sha256
    detail = found[:16] if same else f"{found[:16]} is not the metadata file's {stated.sha256[:16]}"
    return Check("unchanged since written", same, detail)


def _counts(groups: Sequence[Group], stated: Schema) -> Check:
    found = {group.feature: len(group["index"]) for group in groups}
    wrong = [
        f"feature {f}: {found.get(f, 0)} of {stated.size}"
        for f in (*stated.features, *(f for f in found if f not in stated.features))
        if found.get(f, 0) != stated.size or f not in stated.features
    ]
    asked = f"{len(stated.features)} feature{'s' if len(stated.features) > 1 else ''}"
    plural = {"channel": "channels", "query": "queries"}.get(stated.counted, stated.counted)
    return _check("count", wrong, f"{stated.size} {plural} for {asked}", "wrong number of rows")


def _indices(groups: Sequence[Group], columns: Columns, stated: Schema) -> Check:
    wrong = []
    for group in groups:
        seen = [int(i) for i in group["index"] if _whole(i)]
        missing = sorted(set(range(stated.size)) - set(seen))
        double = (
            sorted({i for i in seen if seen.count(i) > 1}) if len(seen) != len(set(seen)) else []
        )
        strange = sorted(set(seen) - set(range(stated.size)))
        for what, which in (("missing", missing), ("double", double), ("unknown", strange)):
            wrong += [f"{what} {i} of feature {group.feature}" for i in which]
    return _check("indices", wrong, f"0 to {stated.size - 1}, each once", "wrong")


def _images_counted(columns: Columns, stated: Schema) -> Check:
    wrong = sorted({n for n in columns["n_images"] if n != len(stated.images)})
    listed = [f"{n:g}" for n in wrong]
    return _check("images", listed, f"{len(stated.images)} listed", "another number in the table")


def _starts(stated: Schema) -> Check:
    """Relevance started with 1, or T, or whatever the activation was."""
    if stated.starts_with is None:
        return Check("start", True, "target norm none: the activation itself")
    goal = stated.starts_with
    wrong = [
        f"feature {a.feature}: {a.start:.6g}"
        for a in stated.accounts.values()
        if not abs(a.start - goal) <= 1e-9 * goal
    ]
    return _check(f"start ({stated.norm})", wrong, f"relevance starts with {goal:g}", "wrong")


def _adds_up(groups: Sequence[Group], stated: Schema) -> Check:
    """Σ contributions + what went elsewhere + sinks = start, for every feature."""
    limit, worst = _limit(stated), 0.0
    wrong = []
    for group in groups:
        account = stated.accounts.get(group.feature)
        if account is None:
            wrong.append(f"feature {group.feature} has no account")
            continue
        total = math.fsum(group["contribution"])
        scale = max(abs(account.start), account.gross, math.fsum(map(abs, group["contribution"])))
        miss = abs(total + account.beside - account.start) / (scale or 1.0)
        worst = max(worst, miss)
        if not miss <= limit:
            wrong.append(
                f"feature {group.feature}: {total:.6g} + {account.beside:.6g} ≠ {account.start:.6g}"
            )
    return _check(
        "normalised",
        wrong,
        f"contributions and sinks add up to the start ({worst:.0e})",
        "wrong sum",
    )


def _grown(groups: Sequence[Group], stated: Schema) -> Check:
    """How far contributions of both signs exceed what they share out; a warning where by much."""
    factors = []
    for group in groups:
        account = stated.accounts.get(group.feature)
        if account is not None and account.start:
            factors.append((math.fsum(group["mean_abs"]) / abs(account.start), group.feature))
    factor, feature = max(factors, default=(0.0, 0))
    told = f"feature {feature}: contributions of both signs are {factor:.2g} times the start"
    if factor <= AMPLIFIED:
        return Check("amount", True, told)
    return Check("amount", True, f"{told} and mostly cancel: shares mean little", warning=True)


def _closes(stated: Schema) -> Check:
    worst = max((a.closure for a in stated.accounts.values()), default=math.nan)
    return Check("ledger", worst <= _limit(stated), f"closes to {worst:.0e}")


def _provenance(stated: Schema) -> Check:
    bad = [*stated.lacking, *(f"sha256 of {n}" for n, h in stated.images.items() if len(h) != 64)]
    return _check("provenance", bad, "program, config, rules, images, versions", "lacking")


def _program(directory: Path, stated: Schema) -> Check:
    path = directory / "manifest.json"
    if not path.is_file():
        raise AnalysisError(f"{directory}: not a program directory, it lacks manifest.json")
    found = {"manifest.json": sha256(path.read_bytes())}
    found |= manifest_of(directory)["sha256"]
    return _check("program", _differing(found, stated.program), "the same files", "differs")


def _same_images(directory: Path, stated: Schema) -> Check:
    present = {
        name: sha256((directory / name).read_bytes()) if (directory / name).is_file() else ""
        for name in stated.images
    }
    return _check("image files", _differing(present, stated.images), "unchanged", "changed or gone")


def _differing(found: Mapping[str, str], stated: Mapping[str, str]) -> list[str]:
    return sorted(n for n in {**found, **stated} if found.get(n) != stated.get(n))


def _limit(stated: Schema) -> float:
    return LIMITS.get(stated.precision, LIMITS["fp32"])


def _whole(value: float) -> bool:
    return math.isfinite(value) and value == int(value)


def _check(what: str, bad: Sequence[str], good: str, wrong: str) -> Check:
    if not bad:
        return Check(what, True, good)
    more = f" and {len(bad) - SHOWN} more" if len(bad) > SHOWN else ""
    return Check(what, False, f"{wrong}: {'; '.join(bad[:SHOWN])}{more}")


def report(
    path: Path, console: Console, images: Path | None = None, program: Path | None = None
) -> int:
    """Print the table of checks; 0 where all passed, else 1."""
    shown = Table(title=escape(f"validate {path.name}"), title_justify="left")
    for column in ("check", "", "found"):
        shown.add_column(column, overflow="fold")
    results = list(checks(path, images, program))
    for check in results:
        verdict = "[yellow]warning[/]" if check.warning else "[green]ok[/]"
        verdict = verdict if check.passed else "[bold red]FAILED[/]"
        shown.add_row(escape(check.what), verdict, escape(check.detail))
    console.print(shown)
    failed = sum(not check.passed for check in results)
    warned = sum(check.warning for check in results)
    told = f", {warned} with a warning" if warned else ""
    console.print(f"{len(results) - failed} of {len(results)} checks passed{told}")
    return 1 if failed else 0
