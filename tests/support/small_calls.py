"""A small program for tests of calls, which other processes can make as well."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

import lrpc


class Lookup(nn.Module):
    """Images [B, 3, 6, 6] and words [B, 4] → scores [B, 5]."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.words = nn.Conv2d(3, 4, 3), nn.Embedding(7, 4)
        self.head = nn.Linear(4, 5)

    def forward(self, images: Tensor, words: Tensor) -> Tensor:
        pooled = self.stem(images).relu().mean((2, 3)) + self.words(words).mean(1)
        scores: Tensor = self.head(pooled)
        return scores


def model() -> Lookup:
    """The model with seeded weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Lookup().eval()


def inputs(batch: int = 2) -> tuple[Tensor, Tensor]:
    """Inputs of so many images; those of fewer are the first of them."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(8, 3, 6, 6, generator=generator)
    words = torch.randint(0, 7, (8, 4), generator=generator)
    return images[:batch], words[:batch]


def program(**options: Any) -> Any:
    """The compiled program."""
    return lrpc.compile(model(), inputs(), **{"composite": "epsilon", **options})


class Explained(Dataset[Any]):
    """Relevance for image after image, by a program that each worker has or loads."""

    def __init__(self, program: Any, wrong: bool = False) -> None:
        self.program, self.wrong = program, wrong

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> Any:
        images, words = (x[index : index + 1] for x in inputs(4))
        state = self.program.forward(images, words)
        return self.program.relevance(state, at=[9 if self.wrong else 1], ledger=True)


def first(items: list[Any]) -> Any:
    """Batches of one, as they are."""
    return items[0]
