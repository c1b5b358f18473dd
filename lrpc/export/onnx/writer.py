"""Writes ONNX nodes: names results, keeps each constant, weight and extent once."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

from lrpc.backend.quoting import literal
from lrpc.errors import ProgramError
from lrpc.ir.graph import Graph, Node, Value
from lrpc.ir.types import Dim

OPSET = 20
DTYPES: Mapping[str, int] = {
    "f64": TensorProto.DOUBLE,
    "f32": TensorProto.FLOAT,
    "i64": TensorProto.INT64,
    "i32": TensorProto.INT32,
    "u8": TensorProto.UINT8,
    "bool": TensorProto.BOOL,
}
NUMPY: Mapping[str, Any] = {
    "f64": np.float64,
    "f32": np.float32,
    "i64": np.int64,
    "i32": np.int32,
    "u8": np.uint8,
    "bool": np.bool_,
}
_ARITHMETIC = {ast.Add: "Add", ast.Sub: "Sub", ast.Mult: "Mul", ast.FloorDiv: "Div", ast.Mod: "Mod"}
Number = float | int | bool


class Writer:
    """Collects the nodes and constants of one ONNX graph. Results are names."""

    def __init__(self, graph: Graph, tensors: Mapping[str, Tensor]) -> None:
        self.graph, self.tensors = graph, tensors
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.names: dict[str, str] = {}
        self._known: dict[object, str] = {}
        self._count = 0

    # -- nodes -----------------------------------------------------------------------------------

    def several(self, op: str, *inputs: str, outputs: int, **attrs: Any) -> list[str]:
        """Append a node; the names of its results. The same node is not appended twice."""
        key = (op, inputs, outputs, repr(sorted(attrs.items())))
        if key not in self._known:
            made = [self.fresh() for _ in range(outputs)]
            self.nodes.append(helper.make_node(op, inputs, made, **attrs))
            self._known[key] = " ".join(made)
        return self._known[key].split(" ")

    def op(self, op: str, *inputs: str, **attrs: Any) -> str:
        """Append a node with one result."""
        return self.several(op, *inputs, outputs=1, **attrs)[0]

    def fresh(self) -> str:
        """A name that is free; those of inputs and outputs hold no colon in front."""
        self._count += 1
        return f":{self._count}"

    # -- constants -------------------------------------------------------------------------------

    def array(self, value: np.ndarray[Any, Any]) -> str:
        """A constant."""
        key = (value.dtype.str, value.shape, value.tobytes())
        if key not in self._known:
            name = self.fresh()
            self.constants.append(numpy_helper.from_array(value, name))
            self._known[key] = name
        return self._known[key]

    def number(self, value: Number, dtype: str) -> str:
        """A constant without axes."""
        return self.array(np.array(value, NUMPY[dtype]))

    def integers(self, values: Sequence[int]) -> str:
        """A constant list of integers."""
        return self.array(np.array([settled(v) for v in values], np.int64))

    def weight(self, name: str) -> str:
        """A weight of the program."""
        key = ("weight", name)
        if key not in self._known:
            own = f"weight:{name}"
            array = self.tensors[name].detach().contiguous().numpy()
            self.constants.append(numpy_helper.from_array(array, own))
            self._known[key] = own
        return self._known[key]

    # -- extents ---------------------------------------------------------------------------------

    def extent(self, dim: Dim) -> str:
        """An extent, as a list of one integer."""
        text = literal(dim)
        return self._computed(ast.parse(text, mode="eval").body)

    def _computed(self, tree: ast.expr) -> str:
        if isinstance(tree, ast.Constant) and isinstance(tree.value, int):
            return self.integers([tree.value])
        if isinstance(tree, ast.Name):
            return self._symbol(tree.id)
        if isinstance(tree, ast.UnaryOp) and isinstance(tree.op, ast.USub):
            return self.op("Neg", self._computed(tree.operand))
        if isinstance(tree, ast.BinOp):
            both = self._computed(tree.left), self._computed(tree.right)
            return self.op(_ARITHMETIC[type(tree.op)], *both)
        raise ProgramError(f"ONNX has no form of the extent {ast.unparse(tree)}")

    def _symbol(self, name: str) -> str:
        for value in self.graph.inputs:
            for axis, dim in enumerate(value.type.shape):
                if str(dim) == name:
                    return self.op("Shape", self.names[value.name], start=axis, end=axis + 1)
        raise ProgramError(f"no input has an axis of {name} alone, which an ONNX file needs")

    def extents(self, dims: Sequence[Dim]) -> str:
        """Extents as a list of integers."""
        if all(fixed(d) for d in dims):
            return self.integers([int(str(d)) for d in dims])
        return self.op("Concat", *map(self.extent, dims), axis=0)

    def shape(self, dims: Sequence[Dim]) -> str:
        """The shape of a reshape: an only extent that varies follows from the others."""
        if sum(not fixed(d) for d in dims) == 1:
            return self.integers([int(str(d)) if fixed(d) else -1 for d in dims])
        return self.extents(dims)

    # -- what many operations need ---------------------------------------------------------------

    def reshape(self, x: str, dims: Sequence[Dim]) -> str:
        return self.op("Reshape", x, self.shape(dims))

    def cast(self, x: str, have: str, want: str) -> str:
        """`x` in another type, where it is not in it."""
        return x if have == want else self.op("Cast", x, to=DTYPES[want])

    def padded(
        self, x: str, rank: int, axis: int, before: Sequence[int], after: Sequence[int], value: str
    ) -> str:
        """x with so many entries more along the axes from `axis` on. The pads of all axes
        are given: where they are of some, onnxruntime 1.32 mistakes them when it moves a transpose
        past them."""
        rest = rank - axis - len(before)
        ends = [[0] * axis + list(some) + [0] * rest for some in (before, after)]
        return self.op("Pad", x, self.integers([*ends[0], *ends[1]]), value)

    def reduce(self, op: str, x: str, axes: Sequence[int], keepdim: bool = True) -> str:
        """ReduceSum and its like, over all axes where none is named."""
        given = [self.integers(axes)] if axes else []
        return self.op(op, x, *given, keepdims=int(keepdim))

    def zeros(self, dims: Sequence[Dim], dtype: str) -> str:
        return self.op("Expand", self.number(0, dtype), self.extents(dims))

    def slice(self, x: str, axis: int, start: Dim, stop: Dim, step: int = 1) -> str:
        bounds = self.extent(start), self.extent(stop)
        return self.op("Slice", x, *bounds, self.integers([axis]), self.integers([step]))


#: Writes a node whose operands have these names; the names of its results.
Emit = Callable[[Writer, Node, Sequence[str]], str | Sequence[str]]


def fixed(dim: Dim) -> bool:
    """Whether an extent is the same for all inputs."""
    return literal(dim).lstrip("-").isdigit()


def settled(dim: Dim) -> int:
    """An extent that is the same for all inputs; ProgramError where it is not."""
    if not fixed(dim):
        raise ProgramError(
            f"ONNX wants a number where this program has {dim}, which depends on the image's size;"
            " compile the model for one size and export that"
        )
    return int(str(dim))


def counts(node: Node, key: str) -> list[int]:
    """An attribute that lists integers which are the same for all inputs."""
    return [settled(value) for value in node.integers(key)]


def axis_of(node: Node) -> int:
    """An axis of the first operand, counted from the front."""
    return node.integer("dim") % node.inputs[0].type.rank


def alike(w: Writer, node: Node, x: Sequence[str]) -> list[str]:
    """The operands in the type of the result."""
    return [
        w.cast(name, value.type.dtype, node.out.type.dtype)
        for name, value in zip(x, node.inputs, strict=True)
    ]


def value_info(value: Value, name: str) -> onnx.ValueInfoProto:
    """The declaration of an input or output; extents that vary are named."""
    shape = [int(str(d)) if fixed(d) else str(d) for d in value.type.shape]
    return helper.make_tensor_value_info(name, DTYPES[value.type.dtype], shape)
