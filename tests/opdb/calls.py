"""Models of one call each: which of its tensors are inputs, and where their batch is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from tests.opdb.names import reader
from tests.opdb.samples import Sample
from tests.opdb.values import near, others

#: Which tensors are inputs, and where the batch goes: in front of the sample's axes, in place of
#: its first one, or nowhere.
WAYS = tuple(
    (which, where)
    for where in ("front", "own", "none")
    for which in ("first", "all", "rest")
)  # fmt: skip


#: Where torch reads past the end of arguments that do not fit each other: called as they are only.
AS_THEY_ARE = frozenset({"lu_unpack", "native_batch_norm"})


@dataclass(frozen=True)
class Slot:
    """Where an input goes among the arguments."""

    name: str


class OneCall(nn.Module):
    """Calls `function` on its inputs and on fixed arguments."""

    def __init__(self, function: Callable[..., Any], args: Any, kwargs: Any, own: bool) -> None:
        super().__init__()
        self.function, self.own = function, own
        self.args, self.kwargs = args, kwargs

    def forward(self, **inputs: Any) -> Any:
        """What the call returns; beside an input where there is no tensor in it."""
        args, kwargs = _filled((self.args, self.kwargs), inputs)
        if self.own:  # the call writes into its first argument: that one is the model's own
            args = (args[0].clone(), *args[1:])
        found = _kept(self.function(*args, **kwargs))
        return found if _tensors(found) else {"x": next(iter(inputs.values())), "found": found}


def _filled(tree: Any, inputs: dict[str, Any]) -> Any:
    if isinstance(tree, Slot):
        return inputs[tree.name]
    if isinstance(tree, (tuple, list)):
        return type(tree)([_filled(x, inputs) for x in tree])
    if isinstance(tree, dict):
        return {key: _filled(x, inputs) for key, x in tree.items()}
    return tree


def _kept(found: Any) -> Any:
    """Tensors and plain numbers as they are; other things by their names."""
    if isinstance(found, (tuple, list)):
        return tuple(_kept(x) for x in found)
    if hasattr(found, "__next__"):
        return _kept(tuple(found))
    plain = isinstance(found, (Tensor, bool, int, float)) or found is None
    return found if plain else str(found)


def _tensors(found: Any) -> bool:
    if isinstance(found, tuple):
        return any(_tensors(x) for x in found)
    return isinstance(found, Tensor)


@dataclass(frozen=True)
class Call:
    """A sample call in one of the ways to wrap it."""

    space: str
    name: str
    way: tuple[str, str]
    model: OneCall
    like: dict[str, Tensor]  # the sample's tensors that are inputs

    @property
    def unbatched(self) -> tuple[str, ...]:
        """The inputs without a batch."""
        if self.way[1] == "none":
            return tuple(self.like)
        return tuple(k for k, x in self.like.items() if self.way[1] == "own" and x.dim() == 0)

    def example(self, batch: int) -> dict[str, Tensor]:
        """The sample's own values, for as many images; `own` keeps to the images that it has."""
        return {k: self._batched(x, batch) for k, x in self.like.items()}

    def other(self, batch: int, seed: int, beside: bool) -> dict[str, Tensor]:
        """Other values for as many images."""
        make = near if beside else others
        found = {}
        for i, (name, x) in enumerate(self.like.items()):
            wide = self._batched(x, batch)
            found[name] = make(wide if beside else x, tuple(wide.shape), seed + i)
        return found

    def _batched(self, x: Tensor, batch: int) -> Tensor:
        if self.way[1] == "none" or (self.way[1] == "own" and x.dim() == 0):
            return x
        if self.way[1] == "front":
            return x.expand(batch, *x.shape).clone()
        return x[torch.arange(batch) % x.shape[0]]

    def __str__(self) -> str:
        given = ", ".join(f"{k}: {list(x.shape)} {x.dtype}" for k, x in self.like.items())
        return f"{self.space}.{self.name} {self.way} {given}; {self.model.args} {self.model.kwargs}"


def calls(space: str, name: str, sample: Sample) -> Iterator[Call]:
    """The models of a sample call, each once."""
    count = len(sample.tensors)
    seen = set()
    for which, where in WAYS:
        picked = {"first": {0}, "all": set(range(count)), "rest": set(range(1, count))}[which]
        if where != "none" and name in AS_THEY_ARE:
            continue
        if not picked or (where, frozenset(picked)) in seen:
            continue
        seen.add((where, frozenset(picked)))
        if where == "own" and not any(sample.tensors[i].dim() for i in picked):
            continue
        yield _call(space, name, (which, where), sample, picked)


def _call(space: str, name: str, way: tuple[str, str], sample: Sample, picked: set[int]) -> Call:
    like: dict[str, Tensor] = {}
    count = iter(range(len(sample.tensors)))

    def change(x: Any) -> Any:
        if not isinstance(x, Tensor):
            return x
        index = next(count)
        if index not in picked:
            return x
        like[f"x{index}"] = x
        return Slot(f"x{index}")

    args, kwargs = tree_map(change, (tuple(sample.args), sample.kwargs))
    operator = (
        name.startswith("__i")
        and name.endswith("__")
        and name not in ("__int__", "__invert__", "__iter__", "__index__")
    )
    writes = operator or (name.endswith("_") and not name.endswith("__")) or name == "__setitem__"
    return Call(space, name, way, OneCall(reader(space, name), args, kwargs, writes), like)
