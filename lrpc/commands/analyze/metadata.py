"""What stands beside a table as OUT.json: what was asked, accounts, and where it all comes from."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

import lrpc
from lrpc.commands.analyze.programs import Local, rules_on_the_way
from lrpc.commands.analyze.request import UNITS, LocalRequest
from lrpc.commands.analyze.running import Running
from lrpc.commands.analyze.switches import METHODS, Switches
from lrpc.commands.analyze.table import COLUMNS
from lrpc.commands.session.facts import RANDOM_WARNING
from lrpc.ir.extents import Extent

FORMAT = 1


def metadata_path(table: Path) -> Path:
    """`contributions.csv` → `contributions.csv.json`."""
    return table.with_name(f"{table.name}.json")


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def record(
    local: Local,
    request: LocalRequest,
    switches: Switches,
    running: Running,
    images: Sequence[Mapping[str, object]],
) -> dict[str, Any]:
    """Everything but the table's own name and checksum. No times and no folders: same input, same
    bytes."""
    manifest, facts = local.manifest, local.member.facts
    return {
        "format": FORMAT,
        "columns": COLUMNS,
        "request": {
            **asdict(request),
            "features": list(local.features),
            "token_reduce": "mean" if request.token is None else None,
            "start": local.route.start,
            "read": local.route.read,
            "counted": UNITS[request.module],
            "size": local.axes.size,
            "starts_with": {"sum1": 1, "sumT": _stated(local.tokens)}.get(request.norm),
        },
        "accounts": accounts(local, running, images),
        "rules": {
            "method": "gradinput" if facts.composite == METHODS["gradinput"] else "lrp",
            "switches": {k: v for k, v in asdict(switches).items() if v is not None},
            "composite": facts.composite,
            "epsilon": facts.epsilon,
            "entries": list(facts.settings.get("RULES", ())),
            "on_the_way": rules_on_the_way(local),
        },
        "program": {
            "sha256": {
                "manifest.json": sha256((local.member.directory / "manifest.json").read_bytes()),
                **manifest["sha256"],
            },
            "precision": facts.precision,
            "config_sha256": facts.config_sha256,
            "config": manifest["config"],
            "weights": dict(facts.weights),
            "random_weights": facts.random_weights,
            "check": dict(facts.check),
            **({"warning": RANDOM_WARNING} if facts.random_weights else {}),
            "versions": dict(facts.versions),
        },
        "versions": {
            "lrpc": lrpc.__version__,
            "torch": str(torch.__version__),
            "python": platform.python_version(),
        },
        "images": list(images),
    }


def _stated(number: int) -> int | str:
    """A number, or how it depends on an image's sizes."""
    return str(number) if isinstance(number, Extent) else number


def accounts(
    local: Local, running: Running, images: Sequence[Mapping[str, object]]
) -> list[dict[str, Any]]:
    """For each feature, means over images: start = contributions + elsewhere + sinks.

    `activation` is the relevance at the start before the target norm, `weakest` the image in which
    it is nearest to 0: what is divided by it grows most there.
    """
    elsewhere, sinks = running.means("elsewhere"), running.means("sink")
    total = running.mean("contribution").sum(1)
    weakest, where = running.weakest
    return [
        {
            "feature": feature,
            "start": float(running.mean("start")[k]),
            "contributions": float(total[k]),
            "elsewhere": {place: float(amount[k]) for place, amount in elsewhere.items()},
            "sinks": {kind: float(amount[k]) for kind, amount in sinks.items()},
            "activation": float(running.mean("activation")[k]),
            "weakest": {
                "activation": float(weakest[k]),
                "image": images[int(where[k])]["file"],
            },
            "closure": float(running.closure[k]),
        }
        for k, feature in enumerate(local.features)
    ]


def with_table(found: Mapping[str, Any], name: str, data: bytes) -> bytes:
    """The metadata file's text for a table of this name and content."""
    whole = {"table": {"file": name, "sha256": sha256(data)}, **found}
    return (json.dumps(whole, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()
