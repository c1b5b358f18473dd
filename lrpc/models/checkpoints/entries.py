"""Where in a training run's checkpoint the model's weights are, and what else could be taken."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from lrpc.errors import WeightsError
from lrpc.models.checkpoints.records import Array, Foreign, Pairs, View

ENTRY_KEY = "LRPC.WEIGHTS_ENTRY"
#: Under which names training code stores the model's state dict, the first that is there counts.
OWN = (
    *("state_dict", "model", "model_state", "model_state_dict", "params", "net", "network"),
    *("weights", "module", "shadow"),
)
#: Under which names it stores their running average.
AVERAGED = (
    *("ema_state", "model_ema", "ema", "ema_state_dict", "state_dict_ema", "ema_model"),
    *("model_ema_state_dict", "params_ema", "ema_params", "averaged_model"),
)
_DEPTH = 4  # of containers within each other
_SHOWN = 8  # names in a message


@dataclass(frozen=True)
class Entry:
    """A state dict (names → descriptions or tensors), the keys that led to it, and a note."""

    path: tuple[str, ...]
    weights: dict[str, Any]
    note: str = ""


def find_entry(content: Any, wanted: str = "") -> Entry:
    """The entry `wanted` of a checkpoint's content, or the model's own where it is empty.

    Raises WeightsError, without the file's name.
    """
    if isinstance(content, Foreign):
        raise _no_state(content)
    start = as_mapping(content)
    if not start:
        raise WeightsError(_NOTHING)
    if wanted:
        path, found = _named(start, wanted)
        inner = _descend(found, path, averaged=False)
        return Entry(inner.path, inner.weights, f"entry {'.'.join(inner.path)}")
    return _descend(start, (), averaged=True)


def as_mapping(value: Any) -> dict[Any, Any] | None:
    """A mapping as a dict, None for anything else."""
    if isinstance(value, Pairs):
        items = value.items if isinstance(value.items, list) else []
        pairs = [tuple(p) for p in items if isinstance(p, list | tuple) and len(p) == 2]
        return {key: one for key, one in pairs if isinstance(key, str)}
    return dict(value) if isinstance(value, Mapping) else None


_NOTHING = "holds no tensors by name; save the model's state dict"


def _no_state(value: Foreign, *path: str) -> WeightsError:
    """The error for a whole model, or another value left out, where a state dict should be."""
    where = f"{_listed(['.'.join(path)])} is" if path else "is"
    return WeightsError(f"{where} no state dict but {value.shown}; save model.state_dict()")


def _descend(content: dict[Any, Any], path: tuple[str, ...], averaged: bool) -> Entry:
    """Follow known names down to a mapping that has none of them."""
    others: list[str] = []
    taken_average = False
    for _ in range(_DEPTH):
        own, average = (_inner(content, names) for names in (OWN, AVERAGED))
        if not averaged:
            average = []
        rest: list[str] = []
        if not (own or average or any(map(_is_tensor, content.values()))):
            _check_models(content, path)
            rest = _only(content)
        if not (own or average or rest):
            break
        key = (own or average or rest)[0]
        taken_average |= not own and bool(average)
        others += [".".join((*path, k)) for k in average if k != key]
        path = (*path, key)
        content = as_mapping(content[key]) or {}
    if not content:
        raise WeightsError(_NOTHING)
    return Entry(path, content, _note(path, others, taken_average) if averaged else "")


def _check_models(content: dict[Any, Any], path: tuple[str, ...]) -> None:
    """Raises WeightsError for a whole model where the model's state dict should be."""
    for name in (*OWN, *AVERAGED):
        if isinstance(content.get(name), Foreign):
            raise _no_state(content[name], *path, name)


def _note(path: tuple[str, ...], others: list[str], averaged: bool) -> str:
    taken = f"entry {'.'.join(path)}" if path else "entries of its own"
    if averaged:
        return f"{taken}, which is a running average (EMA): the file has no other state dict"
    if not others:
        return ""
    return f"{taken}; averaged weights (EMA) lie beside it: {ENTRY_KEY} {others[0]} takes them" + (
        f" (also {', '.join(others[1:_SHOWN])})" if others[1:] else ""
    )


def _inner(content: Mapping[Any, Any], names: tuple[str, ...]) -> list[str]:
    return [name for name in names if isinstance(content.get(name), Mapping | Pairs)]


def _only(content: Mapping[Any, Any]) -> list[str]:
    """The one entry that is a state dict, where no known name is there. Raises WeightsError where
    there are several."""
    states: dict[int, bool] = {}  # of a value under several names once
    for value in content.values():
        if id(value) not in states:
            states[id(value)] = _is_state(value)
    found = [n for n, value in content.items() if isinstance(n, str) and states[id(value)]]
    if len(found) > 1:
        raise WeightsError(
            f"holds several sets of weights ({_listed(found)}); name one in {ENTRY_KEY}"
        )
    return found


def _is_tensor(value: Any) -> bool:
    return isinstance(value, View | Array | Tensor) or (isinstance(value, Foreign) and value.tensor)


def _is_state(value: Any) -> bool:
    inner = as_mapping(value) if isinstance(value, Mapping | Pairs) else None
    return bool(inner) and all(map(_is_tensor, (inner or {}).values()))


def _named(content: dict[Any, Any], wanted: str) -> tuple[tuple[str, ...], dict[Any, Any]]:
    """The mapping at the dotted path `wanted`, or the tensors whose names start with it."""
    whole = content
    path: tuple[str, ...] = ()
    rest = wanted
    while rest:
        key = _longest_key(content, rest)
        if key is not None and isinstance(content[key], Foreign):
            raise _no_state(content[key], *path, key)
        inner = None if key is None else as_mapping(content[key])
        if key is None or inner is None:
            break
        path, content, rest = (*path, key), inner, rest[len(key) + 1 :]
    if not rest:
        return path, content
    if not path:
        content = _own(content)
    under = {
        name[len(rest) + 1 :]: value
        for name, value in content.items()
        if isinstance(name, str) and name.startswith(f"{rest}.")
    }
    if not under:
        known = [name for name, value in whole.items() if isinstance(value, Mapping | Pairs)]
        has = f"it has {_listed([str(k) for k in known])}" if known else "it is one set of weights"
        raise WeightsError(f"has no entry '{wanted}'; {has}: correct {ENTRY_KEY}")
    return (*path, rest), under


def _own(content: dict[Any, Any]) -> dict[Any, Any]:
    """The model's own state dict in `content`, if known names lead to one."""
    for _ in range(_DEPTH):
        own = _inner(content, OWN)
        if not own:
            break
        content = as_mapping(content[own[0]]) or {}
    return content


def _longest_key(content: Mapping[Any, Any], text: str) -> str | None:
    """The key that `text` is, or starts with up to a dot."""
    for end in (len(text), *(i for i in range(len(text) - 1, 0, -1) if text[i] == ".")):
        if text[:end] in content:
            return text[:end]
    return None


def _listed(names: list[str]) -> str:
    shown = [name if name.isprintable() else ascii(name) for name in names[:_SHOWN]]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(name[:60] for name in shown) + more
