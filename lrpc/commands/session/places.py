"""Which places' relevance to ask for: names and globs against what each target can show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from lrpc.errors import ProgramError
from lrpc.support.untrusted import near


@dataclass(frozen=True)
class Places:
    """The places of a program: those that stand for its input, and all of each target's.

    `of` is keyed as the program names its targets (`class_logit`, `encoder_feature:3`); a program
    that lists nothing gets the names as they were given.
    """

    inputs: tuple[str, ...] = ()
    of: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def check(self, patterns: Sequence[str]) -> None:
        """Raise ProgramError for a pattern that no target's places match."""
        every = sorted({place for places in self.of.values() for place in places})
        for pattern in patterns:
            if every and not any(fnmatchcase(place, pattern) for place in every):
                close = near(pattern, every)
                hint = f"did you mean '{close}'?" if close else f"places: {', '.join(every)}"
                raise ProgramError(f"--read '{pattern}': this program reads no such place; {hint}")

    def check_input(self, target: str) -> None:
        """Raise ProgramError for a target whose relevance ends before it is at the image."""
        known = self.of.get(target)
        if known is not None and self.inputs and not set(self.inputs) & set(known):
            raise ProgramError(
                f"relevance of '{target}' ends at {', '.join(known)} in this program"
                " (LRPC.BOUNDARIES), not at the image; `lrpc analyze` reads it there"
            )

    def choose(self, target: str, patterns: Sequence[str]) -> list[str]:
        """What to read for a target: the input first, then what matches among its own places.

        Empty where nothing is known or wanted: the program then reads all it can.
        """
        known = self.of.get(target)
        if known is None:
            return [*self.inputs, *patterns]
        rest = [place for place in known if place not in self.inputs]
        wanted = [place for place in rest if any(fnmatchcase(place, p) for p in patterns)]
        return [*(place for place in self.inputs if place in known), *wanted]
