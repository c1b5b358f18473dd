"""A checkpoint's state dict and a model's: wrappers' prefixes left out, and what does not fit."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from torch import Tensor, nn

from lrpc.errors import WeightsError
from lrpc.models.extents import differing_keys
from lrpc.models.weights import ENTRY_KEY, shown

_DEPTH = 8  # of a prefix, in modules
_GROUPS = 3  # modules in the one line
_NAMES = 5  # names below it
_AVERAGED = re.compile(r"(^|[._])ema([._]|$)|averag")


def fill(model: nn.Module, weights: Mapping[str, Tensor], what: str = "this model") -> str:
    """Copy `weights` into `model`, and say what was done with their names (empty: nothing).

    A prefix that wrappers put before the model's names is left out. What inference does not use may
    be absent: counters of batch norms and the training criterion. Raises WeightsError, whose first
    line counts what is missing, unknown or misshapen, by module, and names the config keys that
    decide it.
    """
    wanted = model.state_dict()
    given, note = _unwrapped(weights, wanted)
    used = {name: tensor for name, tensor in given.items() if not _idle(name)}
    _compare(wanted, used, what)
    kept = {
        name: tensor
        for name, tensor in given.items()
        if name in wanted and tensor.shape == wanted[name].shape
    }
    model.load_state_dict({**wanted, **kept})
    return note


def _idle(name: str) -> bool:
    return name.endswith(".num_batches_tracked") or name.startswith("criterion.")


def _unwrapped(
    weights: Mapping[str, Tensor], wanted: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], str]:
    """`weights` under the model's names: of the prefixes that make names the model's, the one that
    makes most; running averages come last, no prefix first."""
    counts = _prefixes(weights, wanted)
    if not counts:
        return dict(weights), ""
    order = sorted(counts, key=lambda p: (-counts[p], bool(_AVERAGED.search(p)), len(p)))
    best = order[0]
    if not best:
        return dict(weights), ""
    found = {name[len(best) :]: t for name, t in weights.items() if name.startswith(best)}
    others = [p.rstrip(".") for p in order[1:] if p and 2 * counts[p] > counts[best]]
    note = f"the prefix '{best}' of names is left out"
    if len(weights) > len(found):
        without = len(weights) - len(found)
        note += f", and {without} {'name' if without == 1 else 'names'} without it"
    if others:
        note += f"; '{others[0]}' fits too: {ENTRY_KEY} {others[0]} takes it"
    return found, note


def _prefixes(names: Iterable[str], wanted: Mapping[str, Tensor]) -> Counter[str]:
    """Prefix → how many of `names` it turns into wanted ones."""
    counts: Counter[str] = Counter()
    for name in names:
        start = 0
        for _ in range(_DEPTH):
            if name[start:] in wanted:
                counts[name[:start]] += 1
            start = name.find(".", start) + 1
            if not start:
                break
    return counts


def _compare(wanted: Mapping[str, Tensor], given: Mapping[str, Tensor], what: str) -> None:
    """Raises WeightsError where names or shapes differ."""
    model = {name: tuple(t.shape) for name, t in wanted.items() if not _idle(name)}
    file = {name: tuple(t.shape) for name, t in given.items()}
    problems = {
        "missing": [name for name in model if name not in file],
        "unexpected": [name for name in file if name not in model],
        "of another shape": [n for n, shape in model.items() if file.get(n, shape) != shape],
    }
    found = [f"{_counted(kind, names)}" for kind, names in problems.items() if names]
    if not found:
        return
    shapes = {
        n: f": {list(file[n])} in the file, {list(model[n])} in the model"
        for n in problems["of another shape"]
    }
    keys = differing_keys(model, file)
    remedy = f"; set {_settings(keys)}" if keys else _remedy(model, file)
    for name, both in list(shapes.items())[:1]:
        found[-1] += f", {'' if len(shapes) == 1 else f'first {shown(name)}: '}{both[2:]}"
    lines = [
        f"  {kind}: {shown(name)}{shapes.get(name, '')}"
        for kind, names in problems.items()
        for name in names[:_NAMES]
    ]
    raise WeightsError(f"weights do not fit {what}: {'; '.join(found)}{remedy}", *lines)


def _counted(kind: str, names: Sequence[str]) -> str:
    """How many names are of this kind, and in which modules."""
    if len(names) == 1:
        return f"1 {kind} ({shown(names[0])})"
    groups = Counter(".".join(name.split(".")[:-1][:2]) or name for name in names)
    most = [f"{count} in {shown(group)}" for group, count in groups.most_common(_GROUPS)]
    more = f", {len(groups) - _GROUPS} more modules" if len(groups) > _GROUPS else ""
    return f"{len(names)} {kind} ({', '.join(most)}{more})"


def _settings(keys: Mapping[str, tuple[object, object]]) -> str:
    return ", ".join(
        f"{key} to {file}" + ("" if model is None else f" (now {model})")
        for key, (model, file) in keys.items()
    )


def _remedy(model: Mapping[str, object], file: Mapping[str, object]) -> str:
    if not model.keys() & file.keys():
        return "; the file holds another model's weights: name this model's in MODEL.WEIGHTS"
    return ""
