"""How a value from a configuration is quoted in an error."""

from __future__ import annotations

import json
from typing import Any

_LIMIT = 60


def show(value: Any) -> str:
    """Return `value` on one line, as YAML would take it, cut after 60 characters."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _LIMIT else f"{text[:_LIMIT]}…"
