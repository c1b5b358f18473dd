"""What the program's one size does to images that the model's own inference takes at another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from lrpc.commands.session.images import LoadedImage
from lrpc.program.protocol import Size

_SHOWN = 3  # sizes that one line names


@dataclass(frozen=True)
class Change:
    """How an image that was explained differs from what the model's own inference would see."""

    name: str
    own: Size  # of the network's input there
    padded: bool  # further than there
    scaled: bool  # to another size than there
    words: str


def change_of(image: LoadedImage) -> Change | None:
    """What was changed, in words; None where the image is as the model's own inference has it."""
    if image.own is None:
        return None
    padded, scaled = image.frame != image.own, image.valid != image.wanted
    if not (padded or scaled):
        return None
    how = "kept at" if image.valid == image.original else "resized to"
    done = [f"{how} {_size(image.valid)}"] * scaled + [f"padded to {_size(image.frame)}"] * padded
    words = f"{', '.join(done)}; the model's own inference takes {_size(image.own)}"
    return Change(image.path.name, image.own, padded, scaled, words)


def remedy(own: Sequence[Size]) -> str:
    """The setting that compiles a program for a size."""
    return ", ".join(f"LRPC.SHAPES '[[{height},{width}]]'" for height, width in own)


def notice(changes: Sequence[Change], total: int) -> str:
    """One line about all images that were changed; empty where none was."""
    if not changes:
        return ""
    counts = {
        "padded": sum(change.padded for change in changes),
        "at another scale": sum(change.scaled for change in changes),
    }
    how = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
    sizes = Counter(change.own for change in changes).most_common()
    shapes = ", ".join(f"{remedy([own])} ({count})" for own, count in sizes[:_SHOWN])
    more = f" and {len(sizes) - _SHOWN} sizes more" if len(sizes) > _SHOWN else ""
    one = "image is" if total == 1 else "images are"
    return (
        f"warning: {len(changes)} of {total} {one} explained otherwise than the model's own"
        f" inference sees them: {how} ({changes[0].name}: {changes[0].words});"
        f" compile for {shapes}{more}"
    )


def _size(size: Size) -> str:
    return f"{size[0]}×{size[1]}"
