"""From the graphs of all targets and composites to one program: what its memory sees."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from lrpc.backend.memory.run import Model
from lrpc.ir.graph import Module
from lrpc.program.manifest import Lowered
from passes import JOINING, Joints, run_joint_pipeline


def memory_model(
    made: Sequence[Lowered], chunk: int, watch: Callable[[str, Module], None] | None = None
) -> Model:
    """The program as its memory sees it: all composites share one forward pass, which keeps what
    they need as cheaply as may be. `chunk` seeds go through it at once; `watch` sees the graphs
    without ledger after each pass."""
    codes = [code for one in made for code in one.codes]
    pairs = tuple((code.plain, code.with_ledger) for code in codes)
    joints = Joints(made[0].graph, pairs, tuple(code.value.name for code in codes))

    def say(name: str, found: Joints) -> None:
        if watch is not None:
            watch(name, Module(found.forward, {}))
            for code, (plain, _) in zip(codes, found.pairs, strict=True):
                parts = (name, code.name.replace(":", "_"), code.composite)
                watch(".".join(filter(None, parts)), Module(plain, {}))

    found = run_joint_pipeline(joints, JOINING, lambda step, graphs: say(step.name, graphs))
    codes = [
        replace(code, plain=plain, with_ledger=with_ledger)
        for code, (plain, with_ledger) in zip(codes, found.pairs, strict=True)
    ]
    return Model(found.forward, codes, chunk)
