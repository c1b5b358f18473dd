"""What a call of `relevance` names: state, composite, target, layer, start, token and places."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lrpc.runtime.arguments import check_switch, kind_of, meant, whole_number
from lrpc.runtime.indices import indices
from lrpc.runtime.loading import ProgramError
from lrpc.runtime.seeds import Target, given_seeds
from lrpc.runtime.sizes import extent, shape_at

NORMS = ("none", "sum1", "sumT")


def check_options(norm: Any, switches: Mapping[str, Any]) -> None:
    """Refuse a norm that there is not, and switches that are neither True nor False."""
    if not isinstance(norm, str) or norm not in NORMS:
        raise ProgramError(f"norm must be none, sum1 or sumT, got {norm!r}")
    for switch, value in switches.items():
        check_switch(switch, value)


def check_state(state: Any, checksum: str, device: torch.device) -> None:
    """Refuse what no forward pass of this program, here, has returned."""
    own = getattr(state, "program", None)
    if not isinstance(own, str):
        raise ProgramError(
            "relevance takes what forward returned: state = p.forward(images), then"
            f" p.relevance(state, ...); got {kind_of(state)}"
        )
    if own != checksum:
        raise ProgramError("this state is of another program; run forward of this one")
    found = next((t.device for t in state.inputs.values()), device)
    if found.type != device.type or device.index not in (None, found.index):
        raise ProgramError(f"this state is on {found}, the program on {device}")


def starts_of(
    target: Target,
    name: str,
    state: Any,
    at: Any,
    seeds: Any,
    dtype: torch.dtype,
    sizes: Mapping[str, int],
) -> tuple[Tensor | None, Tensor | None]:
    """Where relevance starts: indices [K, B, n], or seeds [K, *shape of the target]."""
    if (at is None) == (seeds is None):
        raise ProgramError(f"{name}: give either at=[...] or seeds=S, and not both")
    if state.pieces:
        shape = shape_at(target.shape, target.batch_axis, state.batch, sizes)
    else:
        value = state.saved[target.value[0]][target.value[1]]
        shape, dtype = list(value.shape), value.dtype
    if at is None:
        return None, given_seeds(name, seeds, shape, dtype)
    extents, batch = [shape[axis] for axis in target.index_axes], shape[target.batch_axis]
    return indices(name, target.index_names, extents, batch, at), None


def find_composite(known: Sequence[str], name: Any) -> str:
    """The composite of that name, by default the first."""
    if name is None:
        return known[0]
    if not isinstance(name, str) or name not in known:
        raise ProgramError(
            f"this program has no composite {name!r}{meant(name, known)}; it has:"
            f" {', '.join(known)} (compile with LRPC.COMPOSITE for others)"
        )
    return name


def token_of(
    target: Target, name: str, token: Any, at: Any, sizes: Mapping[str, int]
) -> int | None:
    """The one token to start at, where one is asked for."""
    if token is None:
        return None
    if at is None:
        raise ProgramError(f"{name}: token says where at=[...] starts; seeds=S says it already")
    if target.token_axis is None:
        raise ProgramError(f"{name}: token chooses among the tokens of an encoder_feature")
    number, count = whole_number(token), extent(target.shape[target.token_axis], sizes)
    if number is None or not 0 <= number < count:
        raise ProgramError(f"{name}: token must lie in 0..{count - 1}, got {token!r}")
    return number


def places_of(target: Target, name: str, read: Any) -> frozenset[str]:
    """The places to read, by default all of the target's."""
    if read is None:
        return frozenset(target.reads)
    if isinstance(read, str) or not isinstance(read, Collection):
        raise ProgramError(
            f"{name}: read takes a list of places, as in read=[{target.reads[-1]!r}], got"
            f" {read if isinstance(read, str) else kind_of(read)!r}"
        )
    unknown = [place for place in read if place not in target.reads]
    if unknown:
        raise ProgramError(
            f"{name}: no relevance can be read at {unknown[0]!r}{meant(unknown[0], target.reads)};"
            f" places: {', '.join(target.reads)}"
        )
    return frozenset(read)


def find_target(targets: Mapping[str, Target], target: Any, layer: Any) -> tuple[str, Target]:
    """The target of that name, or of a layer of it, by default the last."""
    named = isinstance(target, str)
    found = target if named and target in targets and layer is None else None
    if found is None and named:
        layered = [t for t in targets if ":" in t and t.split(":")[0] == target]
        number = layer if isinstance(layer, str) else whole_number(layer)
        wanted = f"{target}:{number}" if layer is not None else (layered[-1] if layered else target)
        found = wanted if wanted in targets else None
    if found is None:
        known = dict.fromkeys([*targets, *(t.split(":")[0] for t in targets)])
        near = "" if isinstance(target, str) and target in known else meant(target, known)
        raise ProgramError(
            f"this program has no target"
            f" {target!r}{'' if layer is None else f' at layer {layer}'}{near};"
            f" it starts from: {', '.join(targets)} (compile with LRPC.TARGETS for others)"
        )
    return found, targets[found]
