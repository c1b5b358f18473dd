"""The terminal that lrpc writes to: names are shown on it, never obeyed.

Names of files, modules, classes and values may hold escape sequences, which move cursors, recolour,
retitle or hide text. Every character that is not there to be seen is written as an escape instead.
"""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from lrpc.support.escaping import visible_lines
from lrpc.support.log import said


class Terminal(Console):
    """A console on which only rich itself gives commands."""

    logs = False  # whether `print` keeps what it prints in the log; `say` always does

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            text = segment.text
            if segment.control or text.isprintable():
                yield segment
            else:
                yield Segment(visible_lines(text), segment.style)


def say(console: Console, text: str, style: str = "") -> None:
    """One line as it is, however long; rich reads nothing into it."""
    if not getattr(console, "logs", False):
        said(text, style)
    console.print(text, style=style or None, markup=False, highlight=False, soft_wrap=True)
