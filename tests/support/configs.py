"""Writing small YAML files and reading the error they cause."""

from __future__ import annotations

from pathlib import Path

import pytest

from lrpc.config import load_config
from lrpc.errors import ConfigError


def write(path: str, text: str) -> str:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text, encoding="utf-8")
    return path


def error_of(text: str, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(write("c.yaml", text), overrides)
    return str(caught.value)


def nested(key: str, value: str) -> str:
    """YAML that sets the full `key` to `value`, one line for each part of the key."""
    lines = [f"{'  ' * depth}{part}:" for depth, part in enumerate(key.split("."))]
    return "\n".join(lines) + f" {value}\n"
