"""What a job does with each image: all that a worker, in this process or another, needs to know."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lrpc.commands.session.facts import Facts
from lrpc.commands.session.members import Member, member, names_of
from lrpc.commands.session.options import Options
from lrpc.commands.session.record import program_record
from lrpc.program.loading import load_program
from lrpc.program.protocol import Program

#: Options that change no result, but for rounding.
_FREE = ("device", "display", "attention", "batch_size")
_SHOWN = 40  # characters of a value in a message


@dataclass(frozen=True)
class Spec:
    """A program directory, the composites that explain, what is asked, and how maps are stored."""

    directory: Path
    options: Options
    composites: tuple[str, ...] = ()  # none: the program's first
    precision: str = "float32"
    threads: int = 0  # of torch in each worker; 0: as it comes

    def members(self, program: Program) -> list[Member]:
        """The composites of the loaded program, by their own names."""
        names = names_of("", program.manifest, self.composites or None)
        chosen = names if self.composites else dict(list(names.items())[:1])
        device = self.options.device
        return [member(name, program, device, own, self.directory) for name, own in chosen.items()]

    def load(self) -> Program:
        """The program, loaded on the device that is asked for."""
        return load_program(self.directory, self.options.device)

    def identity(self, facts: Sequence[Facts], source: Mapping[str, Any]) -> dict[str, Any]:
        """What makes a job another job: the program, what is asked of it, and the source."""
        asked = {name: v for name, v in self.options.record().items() if name not in _FREE}
        asked["request"] = {
            k: v for k, v in asked["request"].items() if k not in ("composite", "chunk")
        }
        program = program_record(self.directory, facts[0])
        del program["directory"], program["composite"]
        manifest = (self.directory / "manifest.json").read_bytes()
        return {
            "program": program | {"manifest_sha256": hashlib.sha256(manifest).hexdigest()},
            "composites": [one.composite for one in facts],
            "asked": asked | {"maps": self.precision},
            "source": dict(source),
        }


def name_of(identity: Mapping[str, Any]) -> str:
    """A job's id: twelve hexadecimal digits of a hash of all that it is."""
    text = json.dumps(identity, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:12]


def differences(old: Mapping[str, Any], new: Mapping[str, Any], path: str = "") -> list[str]:
    """In words, in what two jobs differ: `score is 0.3, was 0.5`."""
    found: list[str] = []
    for key in sorted({*old, *new}):
        one, other = old.get(key), new.get(key)
        if one == other:
            continue
        name = f"{path}{key}"
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            found += differences(one, other, "" if key == "asked" else f"{name}.")
        else:
            found.append(f"{name} is {_short(other, one)}, was {_short(one, other)}")
    return found


def _short(value: Any, other: Any) -> str:
    """A value as text; of a long one the part where it begins to differ from `other`."""
    text, second = (json.dumps(one, ensure_ascii=False) for one in (value, other))
    if len(text) <= _SHOWN:
        return text
    pairs = enumerate(zip(text, second, strict=False))
    first = next((n for n, (a, b) in pairs if a != b), len(second))
    start = max(0, min(first - _SHOWN // 2, len(text) - _SHOWN))
    part = text[start : start + _SHOWN]
    return f"{'…' if start else ''}{part}{'…' if start + _SHOWN < len(text) else ''}"
