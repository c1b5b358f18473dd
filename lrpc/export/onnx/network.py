"""Layers: linear maps, norms, softmax."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lrpc.export.onnx.elementwise import constant, simple
from lrpc.export.onnx.writer import Emit, Writer, alike, axis_of, counts, settled
from lrpc.ir.graph import Node
from lrpc.ir.types import Dim, whole


def optional(w: Writer, node: Node, key: str) -> str:
    """A weight, or nothing where the node has none."""
    name = node.attr(key)
    return "" if name is None else w.weight(str(name))


def _linear(w: Writer, node: Node, x: Sequence[str]) -> str:
    turned = w.op("Transpose", w.weight(str(node.attr("weight"))), perm=[1, 0])
    found = w.op("MatMul", x[0], turned)
    bias = optional(w, node, "bias")
    return w.op("Add", found, bias) if bias else found


def window(node: Node) -> dict[str, Any]:
    """Strides, padding, dilation and groups of a convolution."""
    return {
        "strides": counts(node, "stride"),
        "pads": counts(node, "padding") * 2,
        "dilations": counts(node, "dilation"),
        "group": node.integer("groups"),
    }


def _conv2d(w: Writer, node: Node, x: Sequence[str]) -> str:
    bias = optional(w, node, "bias")
    given = [x[0], w.weight(str(node.attr("weight"))), *([bias] if bias else [])]
    return w.op("Conv", *given, **window(node))


def _conv_transpose2d(w: Writer, node: Node, x: Sequence[str]) -> str:
    bias = optional(w, node, "bias")
    given = [x[0], w.weight(str(node.attr("weight"))), *([bias] if bias else [])]
    more = counts(node, "output_padding")
    return w.op("ConvTranspose", *given, output_padding=more, **window(node))


def _conv2d_transpose(w: Writer, node: Node, x: Sequence[str]) -> str:
    """The input gradient: rows and columns that no window reached are zeros at the end."""
    name = str(node.attr("weight"))
    options, kernel = window(node), w.graph.weight_types[name].shape[2:]
    size, given = node.out.type.shape[2:], node.inputs[0].type.shape[2:]
    more = [
        _missing(n, m, whole(k), options["strides"][i], options["pads"][i], options["dilations"][i])
        for i, (n, m, k) in enumerate(zip(size, given, kernel, strict=True))
    ]
    return w.op("ConvTranspose", x[0], w.weight(name), output_padding=more, **options)


def _missing(size: Dim, given: Dim, kernel: int, stride: int, pad: int, dilation: int) -> int:
    """How much longer the input of a convolution is than its windows reach."""
    return settled(
        whole(size) - ((whole(given) - 1) * stride - 2 * pad + dilation * (kernel - 1) + 1)
    )


def _conv_transpose2d_transpose(w: Writer, node: Node, x: Sequence[str]) -> str:
    found = w.op("Conv", x[0], w.weight(str(node.attr("weight"))), **window(node))
    for axis, extent in enumerate(node.out.type.shape[2:], 2):
        found = w.slice(found, axis, 0, extent)
    return found


def channelwise(w: Writer, node: Node, name: str, rank: int) -> str:
    """A weight with an entry for each channel, beside maps of `rank` axes from the channels on."""
    return w.op("Reshape", w.weight(name), w.integers([-1, *[1] * (rank - 1)]))


def _batch_norm(w: Writer, node: Node, x: Sequence[str]) -> str:
    rank = node.inputs[0].type.rank - 1
    weight, bias, mean, var = (
        channelwise(w, node, str(node.attr(key)), rank) for key in ("weight", "bias", "mean", "var")
    )
    spread = w.op("Sqrt", w.op("Add", var, constant(w, node, node.number("eps"))))
    scale = w.op("Div", weight, spread)
    return w.op("Add", w.op("Mul", x[0], scale), w.op("Sub", bias, w.op("Mul", mean, scale)))


def centred(w: Writer, x: str) -> str:
    """Less the mean over the last axis."""
    return w.op("Sub", x, w.reduce("ReduceMean", x, [-1]))


def inverse(w: Writer, square: str, eps: str) -> str:
    """1 / sqrt(mean over the last axis + eps)."""
    mean = w.reduce("ReduceMean", square, [-1])
    return w.op("Reciprocal", w.op("Sqrt", w.op("Add", mean, eps)))


def normalised(w: Writer, x: str, eps: str) -> str:
    """Centred and divided by the deviation, over the last axis."""
    around = centred(w, x)
    return w.op("Mul", around, inverse(w, w.op("Mul", around, around), eps))


def _affine(w: Writer, x: str, weight: str, bias: str) -> str:
    x = w.op("Mul", x, weight) if weight else x
    return w.op("Add", x, bias) if bias else x


def _layer_norm(w: Writer, node: Node, x: Sequence[str]) -> str:
    found = normalised(w, x[0], constant(w, node, node.number("eps")))
    return _affine(w, found, optional(w, node, "weight"), optional(w, node, "bias"))


def _rms_norm(w: Writer, node: Node, x: Sequence[str]) -> str:
    found = inverse(w, w.op("Mul", x[0], x[0]), constant(w, node, node.number("eps")))
    return _affine(w, w.op("Mul", x[0], found), optional(w, node, "weight"), "")


def grouped(w: Writer, x: str, shape: Sequence[Dim], axis: int, groups: int) -> str:
    """Groups of the channels at `axis` as rows: […, groups, entries]."""
    return w.op("Reshape", x, w.op("Concat", w.extents([*shape[:axis], groups]),
                                   w.integers([-1]), axis=0))  # fmt: skip


def _group_norm(w: Writer, node: Node, x: Sequence[str]) -> str:
    shape = node.out.type.shape
    rows = grouped(w, x[0], shape, 1, node.integer("groups"))
    rows = normalised(w, rows, constant(w, node, node.number("eps")))
    found = w.op("Reshape", rows, w.extents(shape))
    weight, bias = (
        channelwise(w, node, str(node.attr(k)), len(shape) - 1) if node.attr(k) else ""
        for k in ("weight", "bias")
    )
    return _affine(w, found, weight, bias)


def _embedding(w: Writer, node: Node, x: Sequence[str]) -> str:
    return w.op("Gather", w.weight(str(node.attr("weight"))), x[0], axis=0)


def _einsum(w: Writer, node: Node, x: Sequence[str]) -> str:
    return w.op("Einsum", *alike(w, node, x), equation=str(node.attr("equation")))


ROWS: dict[str, Emit] = {
    "linear": _linear,
    "linear_transpose": lambda w, node, x: w.op("MatMul", x[0], w.weight(str(node.attr("weight")))),
    "conv2d": _conv2d,
    "conv_transpose2d": _conv_transpose2d,
    "conv2d_transpose": _conv2d_transpose,
    "conv_transpose2d_transpose": _conv_transpose2d_transpose,
    "batch_norm": _batch_norm,
    "layer_norm": _layer_norm,
    "rms_norm": _rms_norm,
    "group_norm": _group_norm,
    "softmax": lambda w, node, x: w.op("Softmax", *alike(w, node, x), axis=axis_of(node)),
    "embedding": _embedding,
    "matmul": simple("MatMul"),
    "einsum": _einsum,
}
