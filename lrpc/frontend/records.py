"""What tracing hands to lowering: calls in program order, with batch sizes read as symbols."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from lrpc.ir.graph import Loc
from lrpc.ir.types import TensorType

CallType = TensorType | tuple[Any, ...] | None
"""The type of a result; a tuple for results with several parts, None for what is no tensor."""


@dataclass(frozen=True, slots=True)
class Input:
    """A tensor argument of the traced module, under the name of the graph input that it becomes."""

    name: str
    value: Tensor


@dataclass(frozen=True, slots=True)
class Ref:
    """The result of the call with this index."""

    index: int


@dataclass(frozen=True, eq=False)
class Stored:
    """A tensor known at compile time: a parameter or buffer by its state-dict name, or a constant.

    `tensor` has extent 1 where `type` has the batch: all its slices there are equal. Where `type`
    has n·B it may have extent n: one image's entries, which all images repeat.
    """

    name: str  # "" for constants, which are named once their order in the program is known
    tensor: Tensor
    type: TensorType

    @cached_property
    def uniform(self) -> float | int | bool | None:
        """The finite number that all entries of a constant are, if they are; None for weights."""
        return None if self.name else self.everywhere

    @cached_property
    def everywhere(self) -> float | int | bool | None:
        """The finite number that all entries are, if they are, of a weight as well."""
        if self.tensor.numel() == 0 or self.tensor.is_complex():
            return None
        first = self.tensor.reshape(-1)[0]
        if not bool(torch.isfinite(first)) or not bool((self.tensor == first).all()):
            return None
        number: float | int | bool = first.item()
        return number

    @property
    def repeated(self) -> int | None:
        """The axis along which every image repeats more than one entry."""
        pairs = zip(self.tensor.shape, self.type.shape, strict=True)
        axes = [i for i, (own, full) in enumerate(pairs) if own != full and own != 1]
        return axes[0] if axes else None

    @property
    def varies(self) -> bool:
        """Whether the full shape depends on the batch size."""
        return tuple(self.tensor.shape) != self.type.shape


@dataclass(frozen=True, slots=True)
class ImageNumbers:
    """The constant 0, 1, …, n · B − 1 along an axis of as many; model code indexes each image with
    it, or n rows of each."""

    type: TensorType


@dataclass(frozen=True, slots=True)
class Call:
    """One recorded call; `args` and `kwargs` hold `Ref`s, integers may have become `Sym`s."""

    index: int
    kind: str  # placeholder | get_attr | call_function | call_method | call_module
    target: Any  # input name | Stored | ImageNumbers | function | method name | the module
    name: str  # the row that lowers it
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    type: CallType
    loc: Loc
    writes: int | None  # the call whose result this one changes in place
    view_of: int | None  # the call whose result shares memory with this one's
    same: bool  # the result is that memory whole and in the same order


@dataclass(frozen=True, slots=True)
class Boundary:
    """One call of a module: the tensors that went in, and what came out (nested)."""

    path: str
    inputs: tuple[Any, ...]
    output: Any


SHAPE_OF = "shape of "


@dataclass(frozen=True, slots=True)
class Decision:
    """What model code read out of a traced tensor with Python, which stays as on the example."""

    what: str  # the call that read it: bool, int, item, ...; or "shape of" the call
    shape: tuple[int, ...]  # of the tensor
    value: str  # what it read, shortened
    place: Loc

    @property
    def of_shape(self) -> bool:
        """Whether the values told how large a result is, as of `nonzero`."""
        return self.what.startswith(SHAPE_OF)

    def __str__(self) -> str:
        shape = ",".join(map(str, self.shape))
        return f"{self.what} of [{shape}] is {self.value}, at {self.place}"


@dataclass(frozen=True)
class RecordedProgram:
    """A traced module, batch sizes read as symbols."""

    calls: tuple[Call, ...]
    boundaries: tuple[Boundary, ...]
    output: Any
    decisions: tuple[Decision, ...]
    stopped: tuple[Loc, ...]
    """Where the model computed without gradients what it went on with."""


def mapped(tree: Any, kind: type, change: Callable[[Any], Any]) -> Any:
    """`tree` with every `kind` in its tuples, lists, dicts and slices replaced by its `change`."""
    if type(tree) is kind or (kind is Tensor and isinstance(tree, Tensor)):
        return change(tree)
    if isinstance(tree, tuple):
        parts = [mapped(x, kind, change) for x in tree]
        return type(tree)(*parts) if hasattr(tree, "_fields") else tuple(parts)
    if isinstance(tree, list):
        return [mapped(x, kind, change) for x in tree]
    if isinstance(tree, dict):
        return {k: mapped(x, kind, change) for k, x in tree.items()}
    if isinstance(tree, slice):
        ends = (mapped(x, kind, change) for x in (tree.start, tree.stop, tree.step))
        return slice(*ends)
    return tree


def found(tree: Any, kind: type) -> list[Any]:
    """Every `kind` in the tuples, lists, dicts and slices of `tree`, in order."""
    if isinstance(tree, slice):
        tree = (tree.start, tree.stop, tree.step)
    if isinstance(tree, dict):
        tree = tuple(tree.values())
    if isinstance(tree, (tuple, list)):
        return [x for part in tree for x in found(part, kind)]
    return [tree] if kind is object or type(tree) is kind else []


def memory_of(tensor: Tensor) -> object:
    """Equal for tensors that are the same memory, read the same way."""
    return tensor.data_ptr(), tuple(tensor.shape), tensor.stride(), tensor.dtype


def kind_of(tensor: Tensor) -> tuple[torch.dtype, tuple[int, ...]]:
    """The dtype and shape of a tensor."""
    return tensor.dtype, tuple(tensor.shape)
