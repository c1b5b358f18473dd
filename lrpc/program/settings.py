"""Everything about a program that is not in its graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from lrpc.program.targets import Places


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
    example: Mapping[str, Tensor] = field(default_factory=dict, repr=False, compare=False)

    def to_json(self) -> dict[str, Any]:
        """What `from_json` needs to build the same program from graph.lrp again."""
        return {
            "name": self.name,
            "structure": self.structure,
            "read": list(self.read),
            "tf32": self.tf32,
            "chunk": self.chunk,
            "notes": list(self.notes),
            "checkpoint": self.checkpoint,
            "budget": self.budget,
            "precision": self.precision,
            "bound": self.bound,
            "places": {
                "boundaries": list(self.places.boundaries),
                "inputs": dict(self.places.inputs),
            },
        }

    @staticmethod
    def from_json(data: Mapping[str, Any], facts: Mapping[str, Any]) -> Settings:
        """Settings as a manifest holds them."""
        places = Places({}, tuple(data["places"]["boundaries"]), data["places"]["inputs"])
        return Settings(
            data["name"],
            data["structure"],
            places,
            tuple(data["read"]),
            data["tf32"],
            data["chunk"],
            tuple(data["notes"]),
            data["precision"],
            data["bound"],
            facts,
            data["checkpoint"],
            data["budget"],
        )
