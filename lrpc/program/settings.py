"""Everything about a program that is not in its graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from lrpc.config.checks import parse_budget
from lrpc.config.schema import CHECKPOINTS
from lrpc.errors import ConfigError
from lrpc.program.targets import Places

#: The fields that a manifest states as they are.
STATED = (
    *("name", "structure", "read", "tf32", "chunk", "notes"),
    *("checkpoint", "budget", "planned", "precision", "bound"),
)
#: Those that it states where there are some.
STATED_IF_ANY = ("conditions",)


@dataclass(frozen=True)
class Settings:
    """Everything about a program that is not in its graph."""

    name: str
    structure: object
    places: Places = field(default_factory=Places)
    read: tuple[str, ...] = ()
    tf32: bool = False
    chunk: int = 8
    notes: tuple[str, ...] = ()
    precision: str = ""  # tf32 and bf16 are held against float64, within `bound`
    bound: float = 0.25
    facts: Mapping[str, Any] = field(default_factory=dict)
    checkpoint: str = "none"
    budget: str | int = ""
    planned: tuple[Mapping[str, int], ...] = ()  # sizes of images that the budget is kept for
    conditions: tuple[str, ...] = ()  # where relevance can be masked
    example: Mapping[str, Tensor] = field(default_factory=dict, repr=False, compare=False)

    def to_json(self) -> dict[str, Any]:
        """What `from_json` needs to build the same program from graph.lrp again."""
        places = {
            "boundaries": list(self.places.boundaries),
            "inputs": dict(self.places.inputs),
        }
        some = (name for name in STATED_IF_ANY if getattr(self, name))
        return {**{name: getattr(self, name) for name in (*STATED, *some)}, "places": places}

    @staticmethod
    def from_json(data: Mapping[str, Any], facts: Mapping[str, Any]) -> Settings:
        """Settings as a manifest holds them."""
        places = Places({}, tuple(data["places"]["boundaries"]), data["places"]["inputs"])
        stated = {name: data[name] for name in STATED}
        lists = {name: tuple(data[name]) for name in ("read", "notes", "planned")}
        lists |= {name: tuple(data[name]) for name in STATED_IF_ANY if name in data}
        return Settings(**stated | lists, places=places, facts=facts)


def budget_of(checkpoint: str, budget: str | int) -> str | int:
    """The budget, where both are what a config may hold."""
    if checkpoint not in CHECKPOINTS:
        raise ConfigError(f"checkpoint={checkpoint!r}: choose among {', '.join(CHECKPOINTS)}")
    try:
        return parse_budget(budget)
    except ValueError as error:
        raise ConfigError(f"budget: {error}") from None
