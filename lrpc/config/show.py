"""How a value from a configuration is quoted in an error."""

from __future__ import annotations

import json
from typing import Any

from lrpc.support.untrusted import SHOWN, short

_ENCODER = json.JSONEncoder(ensure_ascii=False, default=str)


def show(value: Any) -> str:
    """Return `value` on one line, as YAML would take it, cut after 60 characters."""
    text = ""
    for part in _ENCODER.iterencode(value):
        text += part
        if len(text) > SHOWN:
            break
    return short(text)
