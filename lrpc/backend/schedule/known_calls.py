"""What the verifier knows of calls that it has looked into, so that it need not look again."""

from __future__ import annotations

from dataclasses import dataclass, field

from lrpc.backend.schedule.ir import OWN, Part
from lrpc.backend.schedule.memory import Memory
from lrpc.ir.types import TensorType


@dataclass(frozen=True, slots=True)
class Touch:
    """An entry of a part is read, or put there; then `makes` says that the part may be new."""

    name: str
    type: TensorType
    put: bool = False
    makes: bool = False


@dataclass
class Look:
    """One look into a function that is handed the part `own`: the memory that it ended with, and
    what it read and put there, in order. `whole` says that it touched nothing else of the state,
    so that whether it is right hangs on no more than that."""

    own: Part | None
    memory: Memory = field(default_factory=Memory)
    touched: list[Touch] = field(default_factory=list)
    whole: bool = True

    def touch(self, part: Part, own: Part | None, touch: Touch) -> None:
        """An entry of a part is touched; `own` is that of the function that does."""
        if part.kind == OWN and own is self.own:
            self.touched.append(touch)
        else:
            self.whole = False


@dataclass
class Looks:
    """Those that are going on, one in the other, and those that have ended well."""

    going: list[Look] = field(default_factory=list)
    ended: dict[object, Look] = field(default_factory=dict)

    def touch(self, part: Part, own: Part | None, touch: Touch) -> None:
        """As of a `Look`."""
        for look in self.going:
            look.touch(part, own, touch)

    def beyond(self) -> None:
        """Parts are made or dropped."""
        for look in self.going:
            look.whole = False

    def begin(self, own: Part | None) -> Look:
        """A look into a function."""
        self.going.append(Look(own))
        return self.going[-1]

    def end(self, key: object) -> Look:
        """The last look, which has ended well; remembered by `key` where there is one."""
        look = self.going.pop()
        if look.whole and key is not None:
            self.ended[key] = look
        return look
