"""Which of an image's detections are explained: those of classes, those at a place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lrpc.commands.session.images import LoadedImage
from lrpc.commands.session.original import in_network
from lrpc.commands.session.targets import TargetError
from lrpc.program.protocol import Detection
from lrpc.support.untrusted import near

ALL = 100  # detections of an image, among which is chosen; as many as the released code makes


@dataclass(frozen=True)
class Wanted:
    """What was asked for: names or numbers of `classes`, `points` (x, y) in pixels of the image on
    disk. Where neither is, every detection is wanted. `missed` asks for objects of these classes at
    these points that are not detected."""

    classes: tuple[str, ...] = ()
    points: tuple[tuple[float, float], ...] = ()
    missed: bool = False

    def check(self, queries: bool) -> None:
        """Raise TargetError where something missed has no class, or, in a model with `queries`, no
        place."""
        if self.missed and not (self.classes and (self.points or not queries)):
            raise TargetError(
                "--missed: say what is missed: --class NAME" + (" and --at X,Y" if queries else "")
            )

    def labels(self, names: Sequence[str], count: int) -> set[int]:
        """The numbers of the classes; TargetError for one that the program does not have."""
        return {_label(text, names, count) for text in self.classes}

    def of(
        self, found: Sequence[Detection], image: LoadedImage, labels: set[int], top: int
    ) -> list[Detection]:
        """The wanted detections, best first, at most `top`: of each point the one with the smallest
        box around it, all others by class alone."""
        some = [one for one in found if not labels or one.label in labels]
        if self.points:
            at = [_around(some, image, point) for point in self.points]
            some = [one for one in some if any(one is chosen for chosen in at)]
        return some[:top]

    def __bool__(self) -> bool:
        return bool(self.classes or self.points)

    def words(self) -> str:
        """What was asked for, in words; "" where nothing was."""
        said = [f"of {', '.join(self.classes)}"] if self.classes else []
        said += [f"at {', '.join(f'{x:g},{y:g}' for x, y in self.points)}"] if self.points else []
        return " ".join(said)


def _label(text: str, names: Sequence[str], count: int) -> int:
    if text in names:
        return list(names).index(text)
    if text.isascii() and text.isdigit() and (not count or int(text) < count):
        return int(text)
    close = near(text, names)
    hint = f"did you mean '{close}'?" if close else f"known: {', '.join(names) or 'numbers alone'}"
    raise TargetError(f"--class '{text}': no class of this program; {hint}")


def _around(
    found: Sequence[Detection], image: LoadedImage, point: tuple[float, float]
) -> Detection | None:
    """The detection with the smallest box around a point of the image on disk."""
    x, y = in_network(point, image)
    inside = [o for o in found if o.box[0] <= x <= o.box[2] and o.box[1] <= y <= o.box[3]]
    return min(inside, key=_area, default=None)


def _area(one: Detection) -> float:
    return (one.box[2] - one.box[0]) * (one.box[3] - one.box[1])
