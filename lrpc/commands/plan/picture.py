"""The plan as a picture: live bytes over program time, the lifetimes of what holds the peak, saved
bytes of every layer."""

from __future__ import annotations

from collections.abc import Iterator

from lrpc.backend.memory.plan import by_layer
from lrpc.commands.plan.figures import LOOKS, alive, by_part, columns, layers
from lrpc.commands.plan.shapes import Area, Label, Line, Shape, rectangle, wide
from lrpc.commands.plan.view import View
from lrpc.commands.session.units import shortened, size

WIDTH = 1120
LEFT, RIGHT = 74.0, 24.0
CHART, LIVES = (108.0, 220.0), (384.0, 220.0)  # top and height of each panel
LISTS = 652.0
MOST = 24  # layers that are listed
ROW = 17.0
COLUMNS = 900
INK, FAINT, GRID = "#1f2630", "#6c7683", "#e3e7ec"
SHADES = ("#eef1f5", "#dfe4ea")


def picture(view: View, program: str) -> tuple[list[Shape], int, int]:
    """The shapes of the whole picture, its width and its height."""
    rows = max(min(len(by_layer(view.saved)), MOST + 1), MOST // 2)
    height = round(LISTS + 30 + ROW * rows + 20)
    shapes = [
        *_title(view, program),
        *_axes(view, CHART, view.timeline.peak, "live bytes"),
        *_bands(view),
        *_turn(view, CHART),
        *_layers(view),
        *_axes(view, LIVES, view.timeline.peak, "lifetimes of what is alive at the peak"),
        *_lifetimes(view),
        *_turn(view, LIVES),
        *_saved(view),
        *_largest(view),
    ]
    return shapes, WIDTH, height


def _title(view: View, program: str) -> Iterator[Shape]:
    yield Label(LEFT, 34, f"{program}: {view.name}", 19, INK, bold=True)
    images = f"{view.batch} image{'s' if view.batch > 1 else ''}"
    seeds = f"{view.seeds} seed{'s' if view.seeds > 1 else ''}"
    text = f"{images}, {seeds}: at most {size(view.timeline.peak)}; weights and inputs apart"
    yield Label(LEFT, 54, text, 12, FAINT)
    x = LEFT
    for part, line in by_part(view.timeline).items():
        words, colour = LOOKS[part]
        text = f"{words} {size(line[view.top])}"
        yield rectangle(x, 67, 10, 10, colour)
        yield Label(x + 15, 76.5, text, 11, INK)
        x += 15 + wide(text, 11) + 18


def _x(view: View, step: float) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * step / len(view.timeline.modules)


def _axes(view: View, panel: tuple[float, float], most: int, title: str) -> Iterator[Shape]:
    top, height = panel
    for part in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = top + height * (1 - part)
        yield Line(((LEFT, y), (WIDTH - RIGHT, y)), GRID)
        yield Label(LEFT - 7, y + 4, size(most * part) if part else "0", 10, FAINT, "end")
    yield Label(WIDTH - RIGHT, top - 6, title, 11, FAINT, "end")


def _bands(view: View) -> Iterator[Shape]:
    """Parts one on the other; of each run of steps the worst is drawn."""
    top, height = CHART
    live = view.timeline.live
    most, count = max(live) or 1, min(COLUMNS, len(live))
    steps = columns(live, count)
    width = (WIDTH - LEFT - RIGHT) / count
    below = [0] * count
    for part, line in by_part(view.timeline).items():
        above = [b + line[step] for b, step in zip(below, steps, strict=True)]
        upper, lower = [], []
        for i in range(count):
            for x in (LEFT + i * width, LEFT + (i + 1) * width):
                upper.append((x, top + height * (1 - above[i] / most)))
                lower.append((x, top + height * (1 - below[i] / most)))
        yield Area((*upper, *reversed(lower)), LOOKS[part][1], title=LOOKS[part][0])
        below = above
    x = _x(view, view.top + 0.5)
    yield Line(((x, top), (x, top + height)), INK, 0.7)
    anchor = "start" if x < WIDTH / 2 else "end"
    module = view.timeline.modules[view.top]
    text = f"most: {size(most)}" + (f", {shortened(module, 44)}" if module else "")
    yield Label(x + (4 if anchor == "start" else -4), top - 6, text, 10.5, INK, anchor)


def _turn(view: View, panel: tuple[float, float]) -> Iterator[Shape]:
    x, (top, height) = _x(view, view.timeline.turn), panel
    yield Line(((x, top), (x, top + height)), INK, 0.7)
    yield Label(x - 6, top + 14, "forward", 11, INK, "end")
    yield Label(x + 6, top + 14, "relevance", 11, INK)


def _layers(view: View) -> Iterator[Shape]:
    """Which layer each run of steps belongs to."""
    y = CHART[0] + CHART[1] + 4
    for i, (name, first, last) in enumerate(layers(view.timeline.modules)):
        x, width = _x(view, first), _x(view, last) - _x(view, first)
        yield rectangle(x, y, width, 15, SHADES[i % 2], title=name)
        text = _fitting(name, width - 4)
        if text:
            yield Label(x + width / 2, y + 11, text, 9, FAINT, "middle")


def _fitting(name: str, width: float) -> str:
    """The longest end of a module path that fits."""
    parts = name.split(".")
    for i in range(len(parts)):
        text = ".".join(parts[i:])
        if wide(text, 9) <= width and not text.isdecimal():
            return text
    return ""


def _lifetimes(view: View) -> Iterator[Shape]:
    """Every buffer that is alive at the peak, from when to when, the oldest at the bottom; as high
    as its bytes."""
    top, height = LIVES
    y = top + height
    for s in sorted(alive(view.timeline, view.top), key=lambda s: s.start):
        x, tall = _x(view, s.start), height * s.size / view.timeline.peak
        y -= tall
        edge = "#ffffff" if tall > 1.5 else ""
        title = f"{s.name} {size(s.size)}, {s.module}"
        yield rectangle(x, y, _x(view, s.end) - x, tall, LOOKS[s.part][1], edge, title)


def _saved(view: View) -> Iterator[Shape]:
    """Saved bytes of the layers that save most, in program order."""
    yield Label(LEFT - 50, LISTS, "saved for this target, by layer", 13, INK, bold=True)
    found = by_layer(view.saved)
    shown = sorted(found, key=lambda name: -found[name])[:MOST]
    rest = sum(count for name, count in found.items() if name not in shown)
    rows = [(name, count) for name, count in found.items() if name in shown]
    rows += [(f"{len(found) - len(shown)} others", rest)] if rest else []
    yield from _bars(rows, LEFT - 50, 232.0, "state")


def _largest(view: View) -> Iterator[Shape]:
    """The largest buffers at the worst step."""
    left = WIDTH / 2 + 20
    yield Label(left, LISTS, "largest where most is alive", 13, INK, bold=True)
    for i, s in enumerate(alive(view.timeline, view.top)[: MOST + 1]):
        y = LISTS + 22 + ROW * i
        yield rectangle(left, y - 9, 10, 10, LOOKS[s.part][1])
        yield Label(left + 78, y, size(s.size), 11, INK, "end")
        yield Label(left + 88, y, shortened(s.name, 26), 11, INK)
        yield Label(left + 270, y, shortened(s.module, 40), 11, FAINT)


def _bars(rows: list[tuple[str, int]], left: float, names: float, part: str) -> Iterator[Shape]:
    most = max((count for _, count in rows), default=1) or 1
    for i, (name, count) in enumerate(rows):
        y = LISTS + 22 + ROW * i
        yield Label(left + names, y, shortened(name, 38), 11, INK, "end")
        width = 190.0 * count / most
        yield rectangle(left + names + 8, y - 9.5, width, 11, LOOKS[part][1])
        yield Label(left + names + 14 + width, y, size(count), 10.5, FAINT)
