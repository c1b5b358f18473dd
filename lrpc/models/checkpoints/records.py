"""What a checkpoint's stream builds: descriptions of tensors and arrays, without their values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

_SHOWN = 120  # characters in a message


class Broken(Exception):
    """A file that is damaged, or that claims more than it holds; the text says how."""


@dataclass(eq=False, slots=True)
class Storage:
    """A run of bytes in the file: `read` gives them as uint8 [size]; asked once."""

    dtype: torch.dtype
    size: int
    read: Callable[[], Tensor]
    _values: Tensor | None = None

    def values(self) -> Tensor:
        """The bytes, one tensor for all who share the storage."""
        if self._values is None:
            self._values = self.read()
        return self._values


@dataclass(frozen=True, eq=False, slots=True)
class View:
    """A tensor: elements of `dtype` in a storage, from `offset` on, counted in elements."""

    storage: Storage
    dtype: torch.dtype
    offset: Any
    shape: Any
    stride: Any


@dataclass(eq=False, slots=True)
class DType:
    """A NumPy type as its text, such as f4; `order` is < or > once the stream has said so."""

    text: str
    order: str = "="


@dataclass(frozen=True, eq=False, slots=True)
class Latin1:
    """Bytes written as text, one character each, as protocols below 3 write them."""

    text: str


@dataclass(eq=False, slots=True)
class Array:
    """A NumPy array or scalar, filled by the stream: its parts are checked when it is wanted."""

    dtype: Any = None
    shape: Any = None
    data: Any = None
    fortran: bool = False


@dataclass(frozen=True, eq=False, slots=True)
class Pairs:
    """A mapping given as a list of lists of a key and a value."""

    items: Any


@dataclass(frozen=True, eq=False, slots=True)
class Foreign:
    """Something that no weight can be; `what` names it in a message. `tensor`: it is a tensor.

    A class or function that is not known is one, named `what`, and so is all that is made of it.
    """

    what: str
    tensor: bool = False

    @property
    def shown(self) -> str:
        """`what` for a message: bounded, on one line."""
        return (self.what if self.what.isprintable() else ascii(self.what))[:_SHOWN]


@dataclass(frozen=True, eq=False, slots=True)
class Known:
    """A name that stands for something here. `make` is what calling it yields, None where it is
    only mentioned; `value` is what the name stands for."""

    make: Callable[[tuple[Any, ...]], Any] | None = None
    value: Any = None


@dataclass(eq=False, slots=True)
class Budget:
    """Bytes that values may take in all; a file that wants more is Broken."""

    left: int

    def spend(self, count: int) -> None:
        """Take `count` bytes. Raises Broken."""
        self.left -= count
        if self.left < 0:
            raise Broken("its tensors claim more values than the file holds")
