"""The IR: immutable SSA nodes in a tuple, in program order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch

from lrpc.ir.extents import sizes_in
from lrpc.ir.sizes import Size
from lrpc.ir.types import Sym, TensorType

Attr = int | float | bool | str | Sym | tuple["Attr", ...]


@dataclass(frozen=True, slots=True)
class Value:
    """One SSA value: a name unique in its graph, and a type."""

    name: str
    type: TensorType


@dataclass(frozen=True, slots=True)
class Loc:
    """Where a node comes from: the module path, and the source line that called it."""

    module: str = ""
    file: str = ""
    line: int = 0

    @property
    def source(self) -> str:
        """`file:line`, "" where it is not known."""
        return f"{self.file}:{self.line}" if self.file else ""

    def __str__(self) -> str:
        return ", ".join(part for part in (self.module, self.source) if part) or "unknown place"


Setting = float | str | bool | tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Rule:
    """A relevance rule by name, with its parameters in declared order."""

    name: str
    params: tuple[tuple[str, Setting], ...] = ()

    def word(self, key: str, default: str) -> str:
        """A parameter that is a word; it is left out where it has its default."""
        return str(dict(self.params).get(key, default))

    def number(self, key: str, default: float | None = None) -> float:
        """A numeric parameter; one that is left out where it has its default has `default`."""
        given = dict(self.params)
        value = given[key] if default is None else given.get(key, default)
        if isinstance(value, tuple):
            raise TypeError(f"{self.name}.{key} is a list, not a number")
        return float(value)

    def numbers(self, key: str) -> float | tuple[float, ...]:
        """A parameter that is a number, or one for each channel."""
        value = dict(self.params)[key]
        return value if isinstance(value, tuple) else float(value)

    def __str__(self) -> str:
        args = ", ".join(f"{k}={_word(v)}" for k, v in self.params)
        return f"{self.name}({args})" if args else self.name


def _word(value: Setting) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{','.join(map(repr, value))}]"
    return value if isinstance(value, str) else repr(value)


@dataclass(frozen=True, slots=True)
class Node:
    """One operation. `role` and `rule` are filled in by passes; `attrs` are in table order."""

    op: str
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    attrs: tuple[tuple[str, Attr], ...] = ()
    role: str = ""
    rule: Rule | None = None
    loc: Loc = Loc()
    #: The types of its weights with which its own were found right: a node never changes.
    verified: tuple[tuple[str, TensorType], ...] | None = field(
        default=None, init=False, repr=False, compare=False
    )

    def reading(self, inputs: tuple[Value, ...]) -> Node:
        """The same operation on other values. What the verifier found right stays so for operands
        of the same types."""
        if inputs == self.inputs:
            return self
        node = replace(self, inputs=inputs)
        if [v.type for v in inputs] == [v.type for v in self.inputs]:
            object.__setattr__(node, "verified", self.verified)
        return node

    def found_right(self, weights: tuple[tuple[str, TensorType], ...]) -> None:
        """Note that its types are those that follow from its operands and weights of these
        types."""
        object.__setattr__(self, "verified", weights)

    def attr(self, key: str, default: Attr | None = None) -> Attr | None:
        for name, value in self.attrs:
            if name == key:
                return value
        return default

    def integer(self, key: str) -> int:
        """An attribute that is an integer."""
        value = self.attr(key)
        if not isinstance(value, int):
            raise TypeError(f"{self.op}.{key} is {value!r}, not an integer")
        return value

    def number(self, key: str) -> float:
        """An attribute that is a number."""
        value = self.attr(key)
        if not isinstance(value, int | float):
            raise TypeError(f"{self.op}.{key} is {value!r}, not a number")
        return float(value)

    def integers(self, key: str) -> tuple[int, ...]:
        """An attribute that is a tuple of integers."""
        value = self.attr(key)
        if not isinstance(value, tuple):
            raise TypeError(f"{self.op}.{key} is {value!r}, not a tuple")
        return tuple(v for v in value if isinstance(v, int))

    @property
    def out(self) -> Value:
        return self.outputs[0]


@dataclass(frozen=True)
class Graph:
    """A straight-line program: inputs, nodes, named outputs, declared weights and named values.

    `weights` lists the tensors that nodes refer to by name; `places` names values that relevance
    can start from or be read at.
    """

    name: str
    inputs: tuple[Value, ...]
    nodes: tuple[Node, ...]
    outputs: tuple[tuple[str, Value], ...]
    weights: tuple[tuple[str, TensorType], ...] = ()
    places: tuple[tuple[str, Value], ...] = ()

    @cached_property
    def producers(self) -> dict[str, Node]:
        """Value name → the node that defines it (graph inputs have none)."""
        return {v.name: n for n in self.nodes for v in n.outputs}

    @cached_property
    def users(self) -> dict[str, tuple[Node, ...]]:
        """Value name → the nodes that read it, in program order, each once."""
        found: dict[str, list[Node]] = {}
        for node in self.nodes:
            for name in dict.fromkeys(v.name for v in node.inputs):
                found.setdefault(name, []).append(node)
        return {name: tuple(nodes) for name, nodes in found.items()}

    @cached_property
    def sizes(self) -> list[Size]:
        """The sizes of inputs that extents depend on."""
        return sizes_in(dim for value in self.inputs for dim in value.type.shape)

    @cached_property
    def weight_types(self) -> dict[str, TensorType]:
        return dict(self.weights)

    @cached_property
    def value_at(self) -> dict[str, Value]:
        """The value at each place."""
        return dict(self.places)

    @property
    def dtype(self) -> str:
        """The dtype of its arithmetic: that of its first float input, or else output."""
        ends = (*self.inputs, *(value for _, value in self.outputs))
        return next(value.type.dtype for value in ends if value.type.is_float)

    def values(self) -> Iterator[Value]:
        """Every value, inputs first, in program order."""
        yield from self.inputs
        for node in self.nodes:
            yield from node.outputs

    def with_nodes(self, nodes: Iterable[Node]) -> Graph:
        """The same graph around other nodes."""
        return replace(self, nodes=tuple(nodes))


@dataclass(frozen=True)
class Module:
    """A graph together with the tensors of its weights; what passes take and return."""

    graph: Graph
    tensors: Mapping[str, torch.Tensor] = field(repr=False)

    def with_graph(self, graph: Graph) -> Module:
        return Module(graph, self.tensors)
