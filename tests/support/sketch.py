"""A graph while it is drawn: its values, and how the next operation gets operands that fit it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from hypothesis import strategies as st
from torch import Tensor

from lrpc.ir.builder import Builder
from lrpc.ir.graph import Graph, Loc, Module, Value
from lrpc.ir.types import DTYPES, B, Dim, Sym, TensorType

T = TypeVar("T")
Draw = Callable[[st.SearchStrategy[T]], T]
Shape = tuple[Dim, ...]
FLOAT = "f64"
INPUT_SHAPES: tuple[Shape, ...] = ((B, 4, 6), (B, 3, 4, 5), (B, 5), (B, 2, 3, 4), (3, B, 4))
LARGEST = 160  # entries of a value for one image


class Sketch:
    """Nodes so far, and the float values that later nodes may read, the newest last.

    Every value holds the batch axis once (as B, or merged with others into c·B) and never mixes
    images; images are rows of its first axis unless a permutation moved them.
    """

    def __init__(self, draw: Draw[Any]) -> None:
        self.draw = draw
        self.builder = Builder({})
        self.inputs: list[Value] = []
        self.pool: list[Value] = []
        self.positive: set[str] = set()
        self.module = ""

    # -- drawing ---------------------------------------------------------------------------------

    def one_of(self, options: Sequence[T]) -> T:
        found: T = self.draw(st.sampled_from(options))
        return found

    def number(self, low: int, high: int) -> int:
        return int(self.draw(st.integers(low, high)))

    def chance(self) -> bool:
        return bool(self.draw(st.booleans()))

    # -- making values ---------------------------------------------------------------------------

    def input(self, shape: Shape, dtype: str = FLOAT) -> Value:
        value = Value(self.builder.name("x"), TensorType(dtype, shape))
        self.inputs.append(value)
        if dtype == FLOAT:
            self.pool.append(value)
        return value

    def weight(self, *shape: int, positive: bool = False, dtype: str = FLOAT) -> str:
        name = f"w{len(self.builder.weights)}"
        self.builder.weights[name] = TensorType(dtype, shape)
        if positive:
            self.positive.add(name)
        return name

    def maybe_weight(self, *shape: int) -> str | None:
        return self.weight(*shape) if self.chance() else None

    def op(self, op: str, *inputs: Value, **attrs: Any) -> Value:
        """An operation; its first output, which the pool does not hold yet."""
        loc = Loc(self.module)
        return self.builder.op(op, *inputs, loc=loc, **attrs)[0]

    def add(self, op: str, *inputs: Value, **attrs: Any) -> Value:
        """An operation whose first output later ones may read."""
        value = self.op(op, *inputs, **attrs)
        self.pool.append(value)
        return value

    def constant(self, *shape: int) -> Value:
        return self.op("constant", weight=self.weight(*shape))

    def mask(self, shape: Shape) -> Value:
        """A bool value that broadcasts to `shape`, from data or constant."""
        kind = self.number(0, 2)
        if kind == 0:
            sizes = [d if isinstance(d, int) else 1 for d in shape]
            return self.op("constant", weight=self.weight(*sizes, dtype="bool"))
        if kind == 1:
            return self.op("compare_scalar", self.shaped(shape), kind="gt", value=0.1)
        other = self.op("compare", self.shaped(shape), self.shaped(shape), kind="le")
        return self.op("logical_not", other)

    # -- operands --------------------------------------------------------------------------------

    def pick(self, fits: Callable[[Shape], bool] = lambda shape: True) -> Value:
        """A value whose shape fits, the newest first; a new one made of another where none does."""
        found = [v for v in reversed(self.pool) if fits(v.type.shape)]
        if found:
            return self.one_of(found)
        shapes = [shape for shape in INPUT_SHAPES if fits(shape)]
        return self.shaped(self.one_of(shapes))

    def shaped(self, shape: Shape) -> Value:
        """A value of `shape`: one that has it, or another brought to it by a linear map."""
        same = [v for v in reversed(self.pool) if v.type.shape == shape]
        return self.one_of(same) if same and self.chance() else self.brought(self.pick(), shape)

    def brought(self, x: Value, shape: Shape) -> Value:
        """`x` as a value of `shape`, image by image."""
        if x.type.shape == shape:
            return x
        x = self.images_first(x)
        batch = batch_axis(shape)
        front = (B, *(d for i, d in enumerate(shape) if i != batch))
        merged = shape[batch]
        count = math.prod(ints(front)) * (merged.coeff if isinstance(merged, Sym) else 1)
        if size(x) != count:
            x = self.op("reshape", x, shape=(B, size(x)))
            x = self.op("linear", x, weight=self.weight(count, *ints(x.type.shape)))
        if batch == 0 or merged != B:
            return self.op("reshape", x, shape=shape)
        x = self.op("reshape", x, shape=front)
        order = (*range(1, batch + 1), 0, *range(batch + 1, len(shape)))
        return self.op("permute", x, dims=order)

    def images_first(self, x: Value) -> Value:
        axis = batch_axis(x.type.shape)
        if axis == 0:
            return x
        rest = [i for i in range(x.type.rank) if i != axis]
        return self.op("permute", x, dims=(axis, *rest))

    def axis(self, x: Value) -> int:
        """An axis of fixed size, counted from either end."""
        fixed = [i for i, d in enumerate(x.type.shape) if isinstance(d, int)]
        axis = self.one_of(fixed)
        return axis - x.type.rank if self.chance() else axis

    def axes(self, x: Value) -> tuple[int, ...]:
        fixed = [i for i, d in enumerate(x.type.shape) if isinstance(d, int)]
        return tuple(sorted(self.draw(st.sets(st.sampled_from(fixed), min_size=1))))

    # -- the finished graph ----------------------------------------------------------------------

    def finished(self, seed: int) -> Module:
        """The module: the newest value and up to two others are outputs, some others are marked."""
        made = [v for v in reversed(self.pool) if v not in self.inputs]
        others = self.draw(st.lists(st.sampled_from(made), max_size=2, unique=True))
        outputs = dict.fromkeys([made[0], *others])
        marked = self.draw(st.lists(st.sampled_from(made), max_size=3, unique=True))
        graph = Graph(
            "drawn",
            tuple(self.inputs),
            tuple(self.builder.nodes),
            tuple((f"y{i}", v) for i, v in enumerate(outputs)),
            tuple(self.builder.weights.items()),
            tuple((f"place.{v.name}", v) for v in marked),
        )
        generator = torch.Generator().manual_seed(seed)
        tensors = {
            name: tensor(kind, generator, name in self.positive) for name, kind in graph.weights
        }
        return Module(graph, tensors)


def tensor(
    kind: TensorType, generator: torch.Generator, positive: bool = False, batch: int = 1
) -> Tensor:
    """Values of a type: normal, of a size that keeps sums over the last axes near 1; or bits."""
    shape = kind.sized({"B": batch, "K": 1})
    if not kind.is_float:
        return torch.randint(0, 2, shape, generator=generator).to(DTYPES[kind.dtype])
    found = torch.randn(shape, generator=generator, dtype=DTYPES[kind.dtype])
    if positive:
        return found.abs() + 0.5
    if any(isinstance(d, Sym) for d in kind.shape) or len(shape) < 2:
        return found
    return found / max(1.0, math.sqrt(math.prod(shape[1:])))


def ints(shape: Sequence[Dim]) -> list[int]:
    return [d for d in shape if isinstance(d, int)]


def size(x: Value) -> int:
    """Entries of `x` for one image."""
    return math.prod(d if isinstance(d, int) else d.coeff for d in x.type.shape)


def batch_axis(shape: Shape) -> int:
    return next(i for i, d in enumerate(shape) if isinstance(d, Sym))
