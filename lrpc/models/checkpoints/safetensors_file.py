"""Safetensors files, whole or in shards with an index."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from lrpc.errors import WeightsError

ALIASES = "aliases"
INDEX = ".index.json"
_INDEX_SIZE = 64 << 20


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, under all their names. Raises WeightsError or OSError."""
    if not path.is_file():
        raise OSError(None, "is a directory" if path.is_dir() else "no such file or directory")
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            text = (file.metadata() or {}).get(ALIASES, "{}")
    except (SafetensorError, RuntimeError, OverflowError, AttributeError, KeyError) as error:
        # All but the first: a header that fits the file and still describes no tensor.
        raise WeightsError("not a whole safetensors file; get an intact copy") from error
    return tensors | _aliases(text, tensors)


def read_index(path: Path) -> dict[str, list[str]]:
    """Shard files beside the index → the names that are taken from each. Raises WeightsError."""
    bad = WeightsError("not an index of shards (weight_map: name → file); get an intact copy")
    if path.stat().st_size > _INDEX_SIZE:
        raise WeightsError(f"an index of shards is smaller than {_INDEX_SIZE >> 20} MiB")
    try:
        content: Any = json.loads(path.read_bytes())
        entries = content["weight_map"].items()
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        raise bad from error
    shards: dict[str, list[str]] = {}
    for name, file in entries:
        if not isinstance(file, str) or Path(file).name != file or file.endswith(INDEX):
            raise bad
        shards.setdefault(file, []).append(name)
    if not shards:
        raise bad
    return shards


def _aliases(text: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    try:
        return {name: tensors[stored] for name, stored in json.loads(text).items()}
    except (ValueError, RecursionError, AttributeError, KeyError, TypeError) as error:
        raise WeightsError(
            f'the metadata entry "{ALIASES}" does not fit the file; write it anew'
        ) from error
