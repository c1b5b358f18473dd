"""Writing operations of the relevance half on behalf of one node."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from torch import Tensor

from lrpc.ir.builder import Builder
from lrpc.ir.graph import Attr, Loc, Rule, Value
from lrpc.ir.types import NAMES, Dim, K, Sym, TensorType
from lrpc.rules.derived import Derived

HALF = ("bf16", "f16")
F16_MAX = 65504.0


class Emission:
    """A builder, the node that is worked for, and the weights: the model's and derived ones."""

    def __init__(self, builder: Builder, tensors: Mapping[str, Tensor]) -> None:
        self.builder = builder
        self.tensors = dict(tensors)
        self.weights = Derived()
        self._loc = Loc()
        self._node = ""
        self._rule: Rule | None = None

    def op(self, name: str, *inputs: Value, hint: str = "", **attrs: Attr | None) -> Value:
        """Emit one operation of the relevance half."""
        return self.builder.one(
            name,
            *inputs,
            hint=hint or f"r_{name}",
            role="relevance",
            rule=self._rule,
            loc=self._loc,
            **attrs,
        )

    def total(self, parts: list[Value]) -> Value:
        """The sum of one or more values."""
        sum_, *rest = parts
        for part in rest:
            sum_ = self.op("add", sum_, part)
        return sum_

    def scaled(self, g: Value, by: float) -> Value:
        """`g` times a number."""
        return g if by == 1 else self.op("scale", g, by=by)

    def wide(self, x: Value) -> Value:
        """`x` in float32 where it is in half precision: for sums and squares over many entries."""
        return self.op("cast", x, dtype="f32") if x.type.dtype in HALF else x

    def narrow(self, x: Value, dtype: str) -> Value:
        """`x` in `dtype` again; beyond its range it takes its largest number, not infinity."""
        if x.type.dtype == dtype:
            return x
        if dtype == "f16":
            x = self.op("clamp", x, min=-F16_MAX, max=F16_MAX)
        return self.op("cast", x, dtype=dtype)

    def derived(self, weight: str, suffix: str, make: Callable[[Tensor], Tensor]) -> str:
        """The name of a weight computed now, at compile time, from `weight`."""
        return self.made(f"{weight}@{suffix}", partial(make, self.tensors[weight]))

    def made(self, name: str, make: Callable[[], Tensor]) -> str:
        """The name of a weight computed now; `name` says all that it is computed from."""
        if name not in self.builder.weights:
            tensor = self.weights.tensor(name, make)
            self.tensors[name] = tensor
            self.builder.weights[name] = TensorType(NAMES[tensor.dtype], tuple(tensor.shape))
        return name

    def constant(self, weight: str) -> Value:
        """A weight as a value."""
        return self.op("constant", weight=weight, hint=weight.rsplit(".", 1)[-1])

    def reshape(self, x: Value, shape: tuple[Dim, ...]) -> Value:
        return x if x.type.shape == shape else self.op("reshape", x, shape=shape)

    def fold(self, g: Value) -> Value:
        """[K, B, …] → [K·B, …], for ops that allow one batch axis."""
        k, b, *rest = g.type.shape
        return self.reshape(g, (_product(k, b), *rest))

    def unfold(self, g: Value, like: Value) -> Value:
        """[K·B, …] → [K, B, …]."""
        return self.reshape(g, (K, like.type.shape[0], *g.type.shape[1:]))

    def sum_to(self, g: Value, shape: tuple[Dim, ...]) -> Value:
        """Sum `g` [K, …] over the axes along which a value of `shape` was broadcast."""
        rank = len(shape)
        extra = g.type.rank - 1 - rank
        if extra > 0:
            dims = tuple(range(-g.type.rank + 1, -rank))
            g = self.op("sum", g, dims=dims, keepdim=False)
        dims = tuple(i - rank for i, d in enumerate(shape) if d == 1 and g.type.shape[i + 1] != 1)
        return self.op("sum", g, dims=dims, keepdim=True) if dims else g


def _product(a: Dim, b: Dim) -> Dim:
    return a * b if isinstance(a, Sym) or isinstance(b, Sym) else int(a) * int(b)
