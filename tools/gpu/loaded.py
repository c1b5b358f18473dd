"""A program directory as its users have it: imported with torch alone, called on seeded inputs."""

from __future__ import annotations

import importlib.util
import itertools
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from lrpc.runtime.limits import most_live
from lrpc.runtime.sizes import extent

_COUNT = itertools.count()


@dataclass
class Loaded:
    """A program on a device, and its inputs."""

    module: ModuleType
    program: Any
    device: str
    _given: dict[tuple[int, int], dict[str, Tensor]] = field(default_factory=dict)

    def inputs(self, batch: int = 1, seed: int = 0) -> dict[str, Tensor]:
        """Seeded inputs on the device: images in 0–255 where a config made the program, else normal
        numbers. They are kept: drawing them is no part of what is timed."""
        if (batch, seed) not in self._given:
            self._given[batch, seed] = self._drawn(batch, seed)
        return self._given[batch, seed]

    @property
    def sizes(self) -> dict[str, int]:
        """Sizes that vary: those of the example where a config states them, else a few steps."""
        steps: dict[str, int] = dict(self.program.interface.sizes)
        (height, width), *_ = self.program.manifest.get("shapes") or [(0, 0)]
        stated = {"H": height, "W": width}
        return {name: stated.get(name) or 4 * step for name, step in steps.items()}

    def _drawn(self, batch: int, seed: int) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(seed)
        found = {}
        for name, (dtype, shape) in self.program.interface.inputs.items():
            sizes = [extent(size, {"B": batch, **self.sizes}) for size in shape]
            kind = getattr(torch, str(dtype).removeprefix("torch."))
            if not kind.is_floating_point:
                made = torch.zeros(sizes)
            elif "config" in self.program.manifest:
                made = torch.rand(sizes, generator=generator) * 255
            else:
                made = torch.randn(sizes, generator=generator)
            found[name] = made.to(kind).to(self.device)
        return found

    def forward(self, batch: int = 1, seed: int = 0) -> Any:
        return self.program.forward(**self.inputs(batch, seed))

    def targets(self) -> list[tuple[str, str]]:
        """Composite and name of every target."""
        made = self.program.interface
        return [
            (composite, name)
            for composite in self.program.composites
            for name in made.others.get(composite, made.targets)
        ]

    def at(self, composite: str, name: str, first: int, seeds: int = 1) -> list[tuple[int, ...]]:
        """Where relevance of a target starts: `first` on its first axis, 0 on the others."""
        made = self.program.interface
        target = made.others.get(composite, made.targets)[name]
        sizes = [extent(target.shape[axis], self.sizes) for axis in target.index_axes]
        index = [min(first, size - 1) if i == 0 else 0 for i, size in enumerate(sizes)]
        return [tuple(index)] * seeds

    def relevance(
        self, state: Any, target: tuple[str, str], first: int = 0, seeds: int = 1, **options: Any
    ) -> Any:
        composite, name = target
        where = self.at(composite, name, first, seeds)
        return self.program.relevance(state, name, at=where, composite=composite, **options)

    def planned(self, target: tuple[str, str], batch: int, seeds: int) -> int:
        """The most bytes of forward and relevance by the program's plan, weights and inputs
        apart."""
        composite, name = target
        manifest = self.program.manifest
        own = {**manifest, **manifest.get("composites", {}).get(composite, {})}
        return most_live(own["plan"]["targets"][name]["live_bytes"], batch, seeds)


def load(
    directory: Path, device: str, compile: bool | str = False, capture: bool = False
) -> Loaded:
    """Import a program under a name of its own. `compile` may name a backend of torch.compile."""
    name = f"_gpu_check_{next(_COUNT)}"
    spec = importlib.util.spec_from_file_location(name, directory / "program.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # torch.compile and triton look there
    spec.loader.exec_module(module)
    program = module.load(directory, device=device, compile=bool(compile), capture=capture)
    if isinstance(compile, str):
        program.calls = module.Compiled(compile)
    return Loaded(module, program, device)


def flat(outputs: Any) -> dict[str, Tensor]:
    """Outputs by name."""
    if isinstance(outputs, Tensor):
        return {"output": outputs}
    if isinstance(outputs, dict):
        return {f"{k}.{n}": t for k, v in outputs.items() for n, t in flat(v).items()}
    return {f"{i}.{n}": t for i, v in enumerate(outputs) for n, t in flat(v).items()}
