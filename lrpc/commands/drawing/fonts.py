"""Text in pictures: Pillow's own font, and what to do about characters that it does not have."""

from __future__ import annotations

import importlib.util
import unicodedata
from functools import lru_cache
from pathlib import Path
from typing import cast

from PIL import ImageDraw, ImageFont

from lrpc.errors import ProgramError

Colour = tuple[int, int, int]
#: How characters that a font lacks, and Unicode does not decompose, are spelled.
_SPELLED = {
    "ß": "ss",
    "ẞ": "SS",
    "æ": "ae",
    "Æ": "AE",
    "œ": "oe",
    "Œ": "OE",
    "ø": "o",
    "Ø": "O",
    "đ": "d",
    "Đ": "D",
    "ð": "d",
    "Ð": "D",
    "þ": "th",
    "Þ": "Th",
    "ł": "l",
    "Ł": "L",
    "ı": "i",
    "×": "x",
    "−": "-",
    "–": "-",
    "—": "-",
    "…": "...",
    "‘": "'",
    "’": "'",
    "“": '"',
    "”": '"',
    "„": '"',
    "«": '"',
    "»": '"',
}


@lru_cache(maxsize=16)
def font(size: int) -> ImageFont.FreeTypeFont:
    """Pillow's built-in font, which has little more than ASCII."""
    return cast(ImageFont.FreeTypeFont, ImageFont.load_default(size))


_own: list[Path] = []  # a font that the user has named


def use(path: Path) -> None:
    """Draw what Pillow's font lacks with the font in a file; ProgramError where it is none."""
    try:
        ImageFont.truetype(str(path), 20)
    except (OSError, ValueError) as error:
        raise ProgramError(f"--font {path}: not a font that FreeType reads") from error
    _own[:] = [path]
    _large.cache_clear()
    _has.cache_clear()


@lru_cache(maxsize=16)
def _large(size: int) -> ImageFont.FreeTypeFont | None:
    """The user's font, or DejaVu Sans (Latin, Greek, Cyrillic and more), which comes with
    matplotlib; None without."""
    if _own:
        return ImageFont.truetype(str(_own[0]), size)
    found = importlib.util.find_spec("matplotlib")
    if found is None or found.origin is None:
        return None
    path = Path(found.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"
    return ImageFont.truetype(str(path), size) if path.is_file() else None


@lru_cache(maxsize=4096)
def _has(large: bool, letter: str) -> bool:
    """Whether one of the two fonts draws a character otherwise than one that there is not."""
    if not letter.isprintable():
        return False
    face = _large(20) if large else font(20)
    missing = "\uffff"
    return face is not None and bytes(face.getmask(letter)) != bytes(face.getmask(missing))


def readable(text: str, large: bool) -> str:
    """The text in characters of a font: others spelled by its letters, or as their number."""
    return "".join(c if _has(large, c) else _spelled(c, large) for c in text)


def _spelled(letter: str, large: bool) -> str:
    if letter.isspace():
        return " "
    plain = unicodedata.normalize("NFKD", _SPELLED.get(letter, letter))
    kept = "".join(c for c in plain if _has(large, c))
    return kept or ("" if unicodedata.combining(letter) else f"<U+{ord(letter):04X}>")


def _faced(text: str, size: int) -> tuple[ImageFont.FreeTypeFont, str]:
    """The font that has all of the text, and the text as that writes it."""
    face = None if all(_has(False, c) for c in text) else _large(size)
    return (font(size), readable(text, False)) if face is None else (face, readable(text, True))


def length(text: str, size: int) -> float:
    """How many pixels wide a text is."""
    face, shown = _faced(text, size)
    return face.getlength(shown)


def write(
    pen: ImageDraw.ImageDraw,
    at: tuple[float, float],
    text: str,
    colour: Colour | str,
    size: int,
    anchor: str = "lt",
    stroke: float = 0,
) -> None:
    """Draw one line of text, in a font that has its characters."""
    face, shown = _faced(text, size)
    pen.text(at, shown, colour, face, anchor, stroke_width=stroke, stroke_fill=colour)
