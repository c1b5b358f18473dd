"""Compiles programs from mutated graph texts that parse: passes, rules, plan and text.

python -m tests.fuzz.programs --count 1000 --seed 0
"""

from __future__ import annotations

import random
import sys
import tempfile
from functools import cache
from pathlib import Path

import torch
from torch import nn

import lrpc
from lrpc.compiler import compile_graph
from lrpc.errors import IRError, LrpcError
from lrpc.ir.parser import parse_graph
from tests.fuzz.mutate import mutant, pieces
from tests.fuzz.report import command

TRIES = 200  # mutants until one parses


class Net(nn.Module):
    """A convolution, attention over its pixels, a norm, a head."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 4, 2, 2)
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.norm = nn.LayerNorm(4)
        self.head = nn.Linear(4, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = nn.functional.gelu(self.patches(images)).flatten(2).transpose(1, 2)
        x = self.norm(x + self.attention(x, x, x, need_weights=False)[0])
        found: torch.Tensor = self.head(x.amax(1))
        return found


@cache
def folder() -> Path:
    """A program's directory; its graph is what is mutated."""
    torch.manual_seed(0)
    path = Path(tempfile.mkdtemp(prefix="lrpc-fuzz-")) / "program"
    lrpc.compile(Net().eval(), (torch.randn(2, 3, 4, 4),), seeds=2).save(path)
    return path


@cache
def original() -> str:
    return (folder() / "graph.lrp").read_text()


def case(number: int, seed: int) -> str:
    """Compile a mutant that parses; `compiled`, or `refused` in a line."""
    rng = random.Random(f"{seed}:{number}")
    base = (pieces(original()),)
    for _ in range(TRIES):
        text = mutant(rng, base)
        try:
            parse_graph(text)
        except IRError:
            continue
        return _outcome(text)
    return "no mutant that parses"


def _outcome(text: str) -> str:
    path = folder() / "mutant.lrp"
    path.write_text(text)
    try:
        compile_graph(path, folder().parent / "out")
    except LrpcError as error:
        return "refused" if str(error).partition("\n")[0] else "refused without a word"
    return "compiled"


if __name__ == "__main__":
    sys.exit(command("graphs to compile", case, 1000))
