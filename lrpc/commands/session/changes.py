"""What a program's sizes do to images that the model's own inference takes at another, and what
that inference does to them itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lrpc.commands.session.images import LoadedImage
from lrpc.commands.session.sizing import words
from lrpc.program.protocol import Size


@dataclass(frozen=True)
class Change:
    """How an image that was explained differs from what the model's own inference would see; where
    it does not, how that pads it."""

    name: str
    own: Size  # of the network's input there
    padded: bool  # otherwise than there
    scaled: bool  # to another size than there
    words: str
    masked: bool = False  # where padded, and the model sees so

    @property
    def differs(self) -> bool:
        """Whether the model's own inference sees another image, or more of it than the image."""
        return self.scaled or (self.padded and not self.masked)


def change_of(image: LoadedImage) -> Change | None:
    """What was changed, in words; None where the image is as the model's own inference has it, and
    nothing is padded there."""
    if image.own is None or image.own == image.frame == image.valid == image.wanted:
        return None
    scaled, padded = image.valid != image.wanted, image.valid != image.frame
    to = f"padded to {words(image.frame)}"
    if not scaled and image.frame == image.own:
        said = f"{to}, as in the model's own inference"
        return Change(image.path.name, image.own, False, False, said)
    if not scaled and image.masked:
        said = f"{to}, masked"
        return Change(image.path.name, image.own, True, False, said, masked=True)
    how = "kept at" if image.valid == image.original else "resized to"
    done = [f"{how} {words(image.valid)}"] * scaled + [to] * padded
    said = f"{', '.join(done)}; the model's own inference takes {words(image.own)}"
    return Change(image.path.name, image.own, padded, scaled, said)


def remedy(own: Sequence[Size]) -> str:
    """The setting that compiles a program for these sizes."""
    if len(set(own)) > 1:
        return "images of any size: LRPC.DYNAMIC true"
    return f"LRPC.SHAPES '[[{own[0][0]},{own[0][1]}]]'"


def notices(changes: Sequence[Change], total: int) -> tuple[str, str]:
    """One line about all images that were changed, and one about those that the model's own
    inference pads as well; each empty where there is none."""
    differing = [change for change in changes if change.differs]
    alike = [change for change in changes if not change.differs and not change.masked]
    masked = [change for change in changes if not change.differs and change.masked]
    notes = (_note(alike, total), _masked(masked, total))
    return _warning(differing, total), "; ".join(note for note in notes if note)


def _warning(changes: Sequence[Change], total: int) -> str:
    if not changes:
        return ""
    counts = {
        "padded": sum(change.padded for change in changes),
        "at another scale": sum(change.scaled for change in changes),
    }
    how = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
    return (
        f"warning: {len(changes)} of {_images(total)} explained otherwise than the model's own"
        f" inference sees them: {how} ({changes[0].name}: {changes[0].words});"
        f" compile for {remedy([change.own for change in changes])}"
    )


def _note(changes: Sequence[Change], total: int) -> str:
    if not changes:
        return ""
    return (
        f"note: {len(changes)} of {_images(total)} padded at the right and at the bottom, as the"
        f" model's own inference pads them ({changes[0].name}: to {words(changes[0].own)})"
    )


def _masked(changes: Sequence[Change], total: int) -> str:
    if not changes:
        return ""
    return (
        f"note: {len(changes)} of {_images(total)} padded and masked, as images of a batch are"
        f" ({changes[0].name}: {changes[0].words}; alone it would be {words(changes[0].own)})"
    )


def _images(total: int) -> str:
    return "1 image is" if total == 1 else f"{total} images are"
