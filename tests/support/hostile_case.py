"""A small program with every kind of place for a name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import torch
from torch import Tensor, nn

from lrpc.frontend.arguments import import_call
from lrpc.ir.graph import Graph
from lrpc.program.build import Variant, annotate, build
from lrpc.program.places import startable
from lrpc.program.settings import Settings
from lrpc.program.targets import Places, Target
from lrpc.rules.composite import composite


class Block(nn.Module):
    """Enough statements for a function of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down, self.norm = nn.Linear(4, 6), nn.Linear(6, 4), nn.LayerNorm(4)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x + self.down(nn.functional.gelu(self.up(x))) * 0.5 + x.tanh())


class Small(nn.Module):
    """Two inputs, glue, a block, two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Linear(3, 4)
        self.layers = nn.ModuleList([Block()])
        self.leave = nn.Linear(4, 2)

    def forward(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        h = self.layers[0](self.enter(x) + y)
        return {"output": self.leave(torch.relu(h)), "other": h}


@dataclass(frozen=True)
class Case:
    """What a program is built from."""

    variants: tuple[Variant, ...]
    targets: tuple[Target, ...]
    settings: Settings

    def text(self) -> str:
        return build(self.variants, self.targets, self.settings)["program.py"].decode()

    def of_graph(self, change: Callable[[Graph], Graph]) -> Case:
        made = tuple(
            replace(v, module=v.module.with_graph(change(v.module.graph))) for v in self.variants
        )
        return replace(self, variants=made)


@cache
def case(several: bool = False, checkpoint: str = "none") -> Case:
    torch.manual_seed(0)
    model, example = Small().eval(), (torch.randn(2, 3), torch.randn(2, 4))
    imported, _, _ = import_call(
        model, example, None, scope="", places={"place": "layers.0"}, unbatched=()
    )
    names = ("epsilon", "gradient_input") if several else ("epsilon",)
    variants = annotate(imported.module, [composite(name) for name in names])
    settings = Settings(
        "Small", imported.structure, Places({"place": "layers.0"}), notes=("a note",),
        precision="fp32", checkpoint=checkpoint, chunk=4,
    )  # fmt: skip
    return Case(variants, tuple(startable(variants[0].module.graph)), settings)
