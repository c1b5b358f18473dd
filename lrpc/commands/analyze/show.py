"""What `lrpc analyze` prints: the strongest contributions, and the account of each feature."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from lrpc.commands.analyze.request import UNITS, LocalRequest
from lrpc.commands.analyze.table import Row
from lrpc.program.verify_sizes import AMPLIFIED
from lrpc.support.terminal import say

STRONGEST = 5
WEAK = 0.1  # of the mean activation
VISIBLE = 1e-4  # of the largest amount: sinks below are in the metadata file alone
ACCOUNTS = 10


def show(
    console: Console,
    outputs: Sequence[Path],
    request: LocalRequest,
    table: Sequence[Row],
    about: Mapping[str, Any],
) -> None:
    """The strongest rows, the accounts, and where the tables lie."""
    unit, images = UNITS[request.module], table[0].n_images
    read, start = about["request"]["read"], about["request"]["start"]
    features = {row.feature: None for row in table}
    counted = f"{start} (layer {request.layer + 1}, counted from 1)"
    say(console, f"{counted} from {read}, {images} image{'' if images == 1 else 's'}")
    shown = Table()
    for column in (f"to {unit}", f"from {unit}", "contribution", "std", "share"):
        shown.add_column(column, justify="right")
    best = sorted(table, key=lambda row: -row.mean_abs)[:STRONGEST]
    for row in best:
        numbers = (f"{row.contribution:+.4f}", f"{row.std:.4f}", f"{row.share:.1%}")
        shown.add_row(str(row.feature), str(row.index), *numbers)
    console.print(shown)
    for account in about["accounts"][:ACCOUNTS]:
        say(console, f"{unit} {account['feature']}: {_sum(account)}")
    if len(features) > ACCOUNTS:
        say(console, f"… and {len(features) - ACCOUNTS} more, in the metadata file")
    _warn_grown(console, table, about, unit)
    if request.norm != "none":
        _warn_weak(console, about, unit)
    for path in outputs:
        say(console, f"{path}: {len(table)} rows; {path.name}.json says where they come from")


def _warn_weak(console: Console, about: Mapping[str, Any], unit: str) -> None:
    """Says where a normalised feature was nearly 0 in one image, which then outweighs the rest."""
    weak = [
        (abs(one["weakest"]["activation"] / one["activation"]), one)
        for one in about["accounts"]
        if one["activation"] and abs(one["weakest"]["activation"]) < WEAK * abs(one["activation"])
    ]
    if weak:
        ratio, one = min(weak, key=lambda pair: pair[0])
        where = f"{unit} {one['feature']} is {ratio:.1%} of its mean in {one['weakest']['image']}"
        what = "divided by that, this image outweighs others; --target-norm none does not divide"
        say(console, f"note: {where}: {what}", "yellow")


def _warn_grown(
    console: Console, table: Sequence[Row], about: Mapping[str, Any], unit: str
) -> None:
    """Says where contributions of both signs add up to far more than what they share out."""
    grown: list[tuple[float, int]] = []
    for account in about["accounts"]:
        total = sum(row.mean_abs for row in table if row.feature == account["feature"])
        if total > AMPLIFIED * abs(account["start"]):
            grown.append((total / (abs(account["start"]) or 1.0), account["feature"]))
    if grown:
        factor, feature = max(grown)
        where = f"{unit} {feature}: contributions of both signs are {factor:.1g} times the start"
        say(console, f"note: {where} and mostly cancel{_cause(about)}", "yellow")


def _cause(about: Mapping[str, Any]) -> str:
    if not any(rule.startswith("z_sign") for rule in about["rules"]["on_the_way"].values()):
        return ""
    other = "--ln-rule detach_sigma --residual-split epsilon do not"
    return f": z_sign rules divide by a token's sum, which may be nearly 0; {other}"


def _sum(account: Mapping[str, Any]) -> str:
    """`start 1 = 0.7 contributions + 0.2 to encoder.layers.2 + 0.1 bias`."""
    parts = [f"{account['contributions']:.4g} contributions"]
    parts += [f"{amount:.4g} to {place}" for place, amount in account["elsewhere"].items()]
    largest = max(map(abs, account["sinks"].values()), default=0.0)
    seen = max(abs(account["start"]), largest) * VISIBLE
    parts += [f"{a:.4g} {kind}" for kind, a in account["sinks"].items() if abs(a) > seen]
    return f"start {account['start']:.4g} = {' + '.join(parts)}"
