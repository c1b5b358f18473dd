"""Names inside HTML and SVG."""

from __future__ import annotations

from html import escape

from lrpc.support.escaping import visible_lines


def escaped(text: str) -> str:
    """`text` as text of a page or a drawing, whatever is in it: no markup, and no characters that
    XML does not have."""
    return escape(visible_lines(text))
