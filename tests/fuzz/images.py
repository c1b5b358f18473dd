"""Image files with damage: each is an image, or an ImageError in one line, within bounds.

python -m tests.fuzz.images --count 100000 [--seed N]
"""

from __future__ import annotations

import argparse
import io
import random
import resource
import signal
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

import numpy as np
from PIL import Image

from lrpc.commands.session.images import load_image
from lrpc.commands.session.sizing import Sizing
from lrpc.errors import ImageError

FORMATS = {
    "AVIF": ({},),
    "BMP": ({},),
    "DDS": ({},),
    "EPS": ({},),
    "GIF": ({},),
    "ICNS": ({},),
    "ICO": ({"sizes": [(16, 16)]},),
    "JPEG": ({}, {"progressive": True}, {"quality": 100}),
    "JPEG2000": ({},),
    "MPO": ({},),
    "PCX": ({},),
    "PDF": ({},),
    "PNG": ({}, {"compress_level": 0}),
    "PPM": ({},),
    "SGI": ({},),
    "TGA": ({}, {"compression": "tga_rle"}),
    "TIFF": ({}, {"compression": "tiff_lzw"}, {"compression": "tiff_deflate"}),
    "WEBP": ({}, {"lossless": True}),
}
MODES = ("RGB", "RGBA", "L", "LA", "P", "1", "CMYK", "I;16", "F")
WORDS = (b"\0", b"\x01", b"\x7f", b"\x80", b"\xff", b"\0" * 4, b"\xff" * 4, b"\x7f" + b"\xff" * 3)
SECONDS, MEGABYTES = 20, 400
SIZING = Sizing(((32, 32),), 32, 64, (1.0, 2.0, 3.0), pad=True)


class Slow(BaseException):
    """One file took more than `SECONDS` of processor time."""


def whole_files() -> list[tuple[str, bytes]]:
    """Small images in every format and mode that Pillow writes, half of them with EXIF."""
    values = np.random.default_rng(0).integers(0, 256, (20, 24, 3), dtype=np.uint8)
    source = Image.fromarray(values)
    exif = source.getexif()
    exif[0x112], exif[0x10E] = 6, "words"
    exif.get_ifd(0x8825).update({1: "N", 2: (1.0, 2.0, 3.0)})
    found = []
    for name, several in FORMATS.items():
        for options in several:
            for mode in MODES:
                for more in ({}, {"exif": exif}):
                    data = io.BytesIO()
                    with suppress(OSError, ValueError, KeyError, TypeError):  # not in this mode
                        image = source.convert("L").convert(mode) if ";" in mode else source
                        image.convert(mode).save(data, format=name, **options, **more)
                        found.append((name, data.getvalue()))
    return found


def damaged(data: bytes, random_: random.Random) -> bytes:
    """Some bytes replaced, removed, repeated or cut off, mostly near the beginning."""
    changed = bytearray(data)
    for _ in range(random_.choice((1, 1, 2, 3, 8))):
        if not changed:
            break
        at = random_.randrange(min(len(changed), random_.choice((40, 200, 10**6))))
        kind = random_.randrange(6)
        if kind < 2:
            changed[at] = random_.randrange(256)
        elif kind == 2:
            word = random_.choice(WORDS)
            changed[at : at + len(word)] = word
        elif kind == 3:
            del changed[at : at + random_.choice((1, 2, 4, 50))]
        elif kind == 4:
            changed[at:at] = changed[at : at + random_.choice((1, 4, 12))]
        else:
            del changed[random_.randrange(len(changed) + 1) :]
    return bytes(changed)


@contextmanager
def in_time() -> Iterator[None]:
    """Raise Slow where the block takes too long: seconds of the processor's, others may use it."""

    def alarm(number: int, frame: FrameType | None) -> None:
        raise Slow

    before = signal.signal(signal.SIGPROF, alarm)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def outcome(path: Path) -> str:
    """`image`, `refused`, or what should not have happened."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        with in_time():
            image = load_image(path, SIZING)
            assert image.pixels.shape == (3, 32, 32)
            found = "image"
    except ImageError as error:
        line = str(error)
        fine = line.startswith(f"{path}: ") and line.isprintable() and len(line) < 500
        found = "refused" if fine else f"not a line: {line[:80]!r}"
    except Slow:
        found = f"longer than {SECONDS} s"
    except BaseException as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        found = f"TRACEBACK {type(error).__name__} at {Path(where.filename).name}:{where.lineno}"
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10
    return found if grown < MEGABYTES else f"{grown} MB more for one file"


def fuzz(count: int, seed: int, folder: Path) -> Counter[str]:
    """How often each outcome came of `count` damaged files; those that should not are kept."""
    random_, files, path = random.Random(seed), whole_files(), folder / "image"
    found: Counter[str] = Counter()
    for n in range(count):
        name, data = random_.choice(files)
        path.write_bytes(damaged(data, random_))
        told = outcome(path)
        found[told] += 1
        if told not in ("image", "refused") and found[told] == 1:
            path.rename(folder / f"{name}-{seed}-{n}")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="where files that fail stay")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        found = fuzz(options.count, options.seed, folder)
    for told, number in found.most_common():
        print(f"{number:8} {told}")
    return int(bool(found.keys() - {"image", "refused"}))


if __name__ == "__main__":
    sys.exit(main())
