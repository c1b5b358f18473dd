"""Every operation as ONNX, run by onnxruntime, and in the form that torch.export traces."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lrpc.errors import ProgramError
from lrpc.export.kernels import KERNELS
from lrpc.export.onnx.file import opened
from lrpc.export.onnx.model import TABLE as ONNX
from lrpc.export.onnx.model import onnx_model
from lrpc.export.traced import Traced
from lrpc.ir.graph import Graph, Module, Value
from lrpc.ir.interpreter import interpret
from lrpc.ir.ops import TABLE, Family, of_family
from lrpc.ir.types import B, K, TensorType
from tests.ir.test_optable import SIZES, filled, limit_of
from tests.support.op_samples import (
    CONV,
    IMAGE,
    KMAP,
    PADDED,
    POOL,
    SAMPLES,
    G,
    M,
    Sample,
    X,
    Y,
    s,
)

POSITIVE = {"log", "sqrt", "pow", "rstd", "batch_norm", "power_gradient"}
WIDE = {"kernel": (3, 3), "stride": (3, 3), "padding": (1, 1)}

#: What the samples of the table leave out.
MORE = (
    *(s("compare", X, Y, kind=kind) for kind in ("eq", "ne", "lt", "ge")),
    s("compare", M, M, kind="gt"),
    s("compare", "i64[B,5]", "i32[B,5]", kind="eq"),
    s("compare_scalar", "i64[B,5]", kind="gt", value=0.5),
    s("compare_scalar", M, kind="ne", value=1),
    s("logical", M, "i64[B,5,4]", kind="or"),
    *(s(op, M, M) for op in ("add", "mul")),
    s("mul", M, "i64[B,5,4]"),
    s("where", M, M, M),
    s("masked_fill", M, M, value=True),
    s("cast", X, dtype="i64"),
    s("cast", M, dtype="f32"),
    s("scale", "i64[B,5]", by=3),
    s("clamp", X, max=0.3),
    s("sum", M, dims=(1,), keepdim=True),
    s("pad", X, pad=(-1, 2, 0, -1), value=0.0),
    s("flip", X, dims=(1, -1)),
    s("slice_transpose", "f32[K,B,3,4]", dim=-2, start=1, step=1, size=7),
    s("slice_transpose", "f32[K,B,3,4]", dim=-2, start=2, step=3, size=12),
    s("ratio", G, X, eps=0.0),
    s("max_pool2d", IMAGE, dilation=(1, 1), ceil=True, **PADDED),
    s("max_pool2d", "f32[B,4,7,10]", dilation=(2, 2), ceil=False, **PADDED),
    s("max_pool2d", "f32[B,4,7,10]", dilation=(1, 1), ceil=True, **POOL),
    s("avg_pool2d", "f32[B,4,7,10]", ceil=True, **PADDED),
    s("avg_pool2d", "f32[B,4,7,9]", uncounted=True, **WIDE),
    s("avg_pool2d", "f32[B,4,7,10]", ceil=True, **POOL),
    s("avg_pool2d_transpose", "f32[K*B,4,4,6]", size=(4, 7, 10), ceil=True, **PADDED),
    s("avg_pool2d_transpose", "f32[K*B,4,3,3]", size=(4, 7, 9), uncounted=True, **WIDE),
    s("avg_pool2d_transpose", "f32[K*B,4,3,5]", size=(4, 7, 10), **POOL),
    s("conv2d_transpose", "f32[B,6,4,4]", weight="f32[6,4,3,3]", groups=1, size=(4, 8, 7), **CONV),
    *(
        s(op, "f32[B,4,6,8]", mode=mode, align_corners=align, **{key: size})
        for op, key in (("interpolate", "size"), ("interpolate_transpose", "source"))
        for mode, align in (
            ("nearest", False),
            ("bilinear", False),
            ("bilinear", True),
            ("bicubic", False),
            ("bicubic", True),
        )
        for size in ((3, 11), (6, 13), (1, 1))
    ),
    s("group_norm_transpose", KMAP, "f32[B,4,1]", groups=4),
    s("norm_gradient", G, X, groups=0, eps=1e-5),
    *(s("activation_gradient", G, X, kind=kind)
      for kind in ("gelu_none", "gelu_tanh", "sigmoid", "tanh")),
)  # fmt: skip
EVERY = [sample for sample in (*SAMPLES, *MORE) if sample.op in ONNX]


def graph_of(sample: Sample) -> Graph:
    """The graph of a sample, with inputs that say what B and K are."""
    graph = sample.graph()
    more = (Value("b", TensorType("f32", (B,))), Value("k", TensorType("f32", (K,))))
    return replace(graph, inputs=(*graph.inputs, *more))


def values_of(graph: Graph, op: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    (node,) = graph.nodes
    generator = torch.Generator().manual_seed(zlib.crc32(op.encode()))
    positive, limit = op in POSITIVE, limit_of(node) if node.inputs else 0
    inputs = {v.name: filled(v.type, limit, positive, generator) for v in graph.inputs}
    return inputs, {name: filled(t, 0, positive, generator) for name, t in graph.weights}


def label(sample: Sample) -> str:
    same = [other for other in EVERY if other.op == sample.op]
    return f"{sample.op}-{same.index(sample)}"


def near(got: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    assert got.keys() == wanted.keys()
    for name, value in wanted.items():
        scale = value.abs().nan_to_num(posinf=0).max().item() if value.is_floating_point() else 0
        torch.testing.assert_close(
            got[name], value, rtol=2e-5, atol=2e-6 * max(scale, 1), equal_nan=True
        )


#: Refused: ONNX has no scattering of maps, and deformable attention does not need it.
UNWRITTEN = {"grid_sample_transpose", "grid_sample_location_transpose"}


def test_every_operation_has_a_row() -> None:
    rest = of_family(Family.EFFECT, Family.ATTENTION) | UNWRITTEN
    assert ONNX.keys() == TABLE.keys() - rest
    assert {op for op in KERNELS if op != "softmax_along"} <= ONNX.keys()
    assert {sample.op for sample in EVERY} == ONNX.keys()


@pytest.mark.parametrize("sample", EVERY, ids=label)
def test_operations(sample: Sample, tmp_path: Path) -> None:
    graph = graph_of(sample)
    inputs, weights = values_of(graph, sample.op)
    wanted = interpret(graph, weights, inputs)
    module, path = Module(graph, weights), tmp_path / "one.onnx"
    near(Traced(module)(*inputs.values()), wanted)
    if any(value.type.dtype == "bf16" for value in graph.values()):
        with pytest.raises(ProgramError, match=r"computes in bfloat16, .* LRPC.PRECISION fp32"):
            onnx_model(module, {})
        return
    model = onnx_model(module, {})
    # With some axes named, onnxruntime mistakes them when it moves a transpose past the padding.
    assert all(len(node.input) < 4 for node in model.graph.node if node.op_type == "Pad")
    path.write_bytes(model.SerializeToString())
    near(opened(path)(list(inputs.values())), wanted)
    assert SIZES == {"B": 2, "K": 3}
