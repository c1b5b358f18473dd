"""Places: names for tensors at module boundaries."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from lrpc.errors import TraceError
from lrpc.frontend.capture import submodule
from lrpc.frontend.records import Boundary, Ref

SYNTAX = re.compile(r"(?P<path>[^:@]*)(@(?P<call>\d+))?(:(?P<side>in|out)(?P<part>[\w.]*))?")


@dataclass(frozen=True)
class Place:
    """A tensor at a module's boundary: which call (-1: the last), which side, which part."""

    text: str
    path: str
    call: int
    side: str
    part: tuple[str, ...]

    def find(self, name: str, boundaries: Sequence[Boundary]) -> Ref:
        """The tensor itself; TraceError where the trace has none there."""
        calls = [b for b in boundaries if b.path == self.path]
        if not -1 <= self.call < len(calls) or not calls:
            raise self._error(name, f"the model calls that module {len(calls)} times")
        boundary = calls[self.call]
        found: Any = boundary.inputs if self.side == "in" else boundary.output
        for key in self.part:
            nest = found if isinstance(found, (dict, list, tuple)) else ()
            parts = nest.items() if isinstance(nest, dict) else enumerate(nest)
            known = {str(k): v for k, v in parts}
            if key not in known:
                raise self._error(name, f"no part {key!r}; there are: {', '.join(known) or 'none'}")
            found = known[key]
        if not isinstance(found, Ref):
            raise self._error(name, "that is not one tensor; name a part, as in path:out0")
        return found

    def _error(self, name: str, reason: str) -> TraceError:
        return TraceError(f"place {name!r} at {self.text!r}: {reason}")


def parse_place(model: nn.Module, name: str, text: str) -> Place:
    """Read "path[@call][:in0 | :out1 | :out.key]"; a shared module goes by its first path."""
    match = SYNTAX.fullmatch(text)
    if match is None:
        raise TraceError(f"place {name!r}: {text!r} is not of the form path[@call][:in0|:out.key]")
    module = submodule(model, match["path"])
    path = next(name for name, found in model.named_modules() if found is module)
    part = tuple(p for p in (match["part"] or "").split(".") if p)
    return Place(text, path, int(match["call"] or -1), match["side"] or "out", part)


def watched(places: Mapping[str, Place]) -> frozenset[str]:
    """The modules whose calls have to be noted down."""
    return frozenset(place.path for place in places.values())
