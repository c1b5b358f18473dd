"""One row of the op table, and how its output types follow from its reference semantics."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch

from lrpc.errors import IRError
from lrpc.ir.graph import Attr
from lrpc.ir.types import PRIMES, Sym, TensorType, type_of

# What an attribute may hold. `?` at the end of a kind makes the attribute optional.
KINDS: dict[str, Callable[[Any], bool]] = {
    "int": lambda v: isinstance(v, int) and not isinstance(v, bool),
    "number": lambda v: isinstance(v, (int, float)),
    "bool": lambda v: isinstance(v, bool),
    "str": lambda v: isinstance(v, str),
    "dtype": lambda v: isinstance(v, str),
    "weight": lambda v: isinstance(v, str),
    "ints": lambda v: isinstance(v, tuple) and all(isinstance(i, int) for i in v),
    "dim": lambda v: isinstance(v, (int, Sym)),
    "dims": lambda v: isinstance(v, tuple) and all(isinstance(i, (int, Sym)) for i in v),
    "pairs": lambda v: (
        isinstance(v, tuple) and all(isinstance(i, tuple) and len(i) == 2 for i in v)
    ),
}


@dataclass(frozen=True, eq=False)
class Op:
    """An operation: arity (None: one or more), attributes by kind, meaning and emitted text.

    `reference(*inputs, **attrs)` is the meaning; attributes of kind `weight` arrive as tensors,
    extents as integers. `emit` is a format string over `{0}`, `{1}`, … (inputs), `{inputs}` (all of
    them), `{kept}` (the arguments `, PART, NAME` that say where the state keeps a part of the work,
    or nothing) and attribute names. Type inference runs the reference on meta tensors.

    `over` has, operand by operand, the text that writes the same result over that operand. The
    result of such an operation, and of one that is `fresh`, lies in memory of its own.
    """

    name: str
    arity: int | None
    attrs: Mapping[str, str]
    reference: Callable[..., Any]
    emit: str
    outputs: int = 1
    fresh: bool = False
    over: tuple[str, ...] = ()

    @property
    def allocates(self) -> bool:
        """Whether the result never shares memory with an operand or a weight."""
        return self.fresh or bool(self.over)

    def kind(self, attr: str) -> str:
        return self.attrs[attr].rstrip("?")

    def required(self, attr: str) -> bool:
        return not self.attrs[attr].endswith("?")

    def check(self, attrs: tuple[tuple[str, Attr], ...], inputs: int) -> None:
        """Raise IRError where the arity or an attribute does not fit this row."""
        if self.arity is not None and inputs != self.arity:
            raise IRError(f"op {self.name} takes {self.arity} inputs, got {inputs}")
        given = dict(attrs)
        for key, value in given.items():
            if key not in self.attrs:
                known = ", ".join(self.attrs) or "none"
                raise IRError(f"op {self.name} has no attribute {key!r}; it has: {known}")
            if not KINDS[self.kind(key)](value):
                raise IRError(
                    f"op {self.name}: attribute {key}={value!r} is not of kind {self.kind(key)}"
                )
        for key in self.attrs:
            if self.required(key) and key not in given:
                raise IRError(f"op {self.name} misses its attribute {key!r}")


def resolve(value: Attr, sizes: Mapping[str, int]) -> Any:
    """An attribute with the symbols in it replaced by sizes."""
    if isinstance(value, Sym):
        return value.at(sizes)
    return tuple(resolve(v, sizes) for v in value) if isinstance(value, tuple) else value


@lru_cache(maxsize=65536)
def infer(
    op: Op,
    inputs: tuple[TensorType, ...],
    attrs: tuple[tuple[str, Attr], ...],
    weights: tuple[tuple[str, TensorType], ...],
) -> tuple[TensorType, ...]:
    """The output types of `op`; `weights` has the types of its weight attributes by name."""
    op.check(attrs, len(inputs))
    keywords = {k: resolve(v, PRIMES) for k, v in attrs}
    keywords.update({k: t.meta() for k, t in weights})
    try:
        with torch.device("meta"):
            result = op.reference(*(t.meta() for t in inputs), **keywords)
    except (RuntimeError, ValueError, IndexError, TypeError) as error:
        shapes = ", ".join(map(str, inputs))
        reason = str(error).splitlines()[0]
        raise IRError(f"op {op.name} does not fit inputs {shapes}: {reason}") from error
    tensors = result if isinstance(result, tuple) else (result,)
    return tuple(type_of(t) for t in tensors)


def no_grad_transpose(
    function: Callable[[torch.Tensor], torch.Tensor], like: torch.Tensor, g: torch.Tensor
) -> torch.Tensor:
    """The transpose of a linear map by autograd: what hand-written transposes are held to."""
    with torch.enable_grad():
        x = torch.zeros_like(like).requires_grad_(True)
        y = function(x)
    return torch.autograd.grad(y, x, g.expand_as(y))[0]
