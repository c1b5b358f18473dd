"""One or more well-typed uses of every row of the op table, written as types."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lrpc.ir.builder import Builder
from lrpc.ir.graph import Graph, Value
from lrpc.ir.ops import TABLE, Family, Trait
from lrpc.ir.parser import parse_graph
from lrpc.ir.types import B, K, Sym, TensorType


def tensor_type(text: str) -> TensorType:
    """`f32[B,3]` as a type."""
    return parse_graph(f"graph @t(%x: {text}) {{ return }}").inputs[0].type


@dataclass(frozen=True)
class Sample:
    """An op with the types of its inputs; weight attributes are given as types too."""

    op: str
    inputs: tuple[TensorType, ...]
    attrs: dict[str, Any]
    weights: dict[str, TensorType]

    def graph(self) -> Graph:
        """The graph with this one node, of inputs x0, x1, … and weights w_<attribute>."""
        inputs = tuple(Value(f"x{i}", t) for i, t in enumerate(self.inputs))
        weights = {f"w_{key}": t for key, t in self.weights.items()}
        builder = Builder(weights, taken=[v.name for v in inputs])
        outputs = builder.op(self.op, *inputs, hint="y", **self.attrs, **self.names("w_"))
        named = tuple((f"out{i}", v) for i, v in enumerate(outputs))
        return Graph("sample", inputs, tuple(builder.nodes), named, tuple(weights.items()))

    def names(self, prefix: str) -> dict[str, Any]:
        return {key: prefix + key for key in self.weights}


def s(op: str, *inputs: str, **attrs: Any) -> Sample:
    kinds = TABLE[op].attrs
    weights = {k: tensor_type(v) for k, v in attrs.items() if kinds[k].rstrip("?") == "weight"}
    rest = {k: v for k, v in attrs.items() if k not in weights}
    return Sample(op, tuple(map(tensor_type, inputs)), rest, weights)


X, Y, M, G = "f32[B,5,4]", "f32[B,5,4]", "bool[B,5,4]", "f32[K,B,5,4]"
IMAGE, MAP, KMAP = "f32[B,4,6,8]", "f32[K*B,4,6,8]", "f32[K,B,4,6,8]"
LEVELS = ((2, 3), (1, 2))
VALUE, PLACES, MIX = "f32[B,8,2,3]", "f32[B,4,2,2,2,2]", "f32[B,4,2,2,2]"
ONES = {"stride": (1, 1), "padding": (0, 0)}
CONV: dict[str, Any] = {**ONES, "stride": (2, 2), "padding": (1, 1), "dilation": (1, 1)}
POOL: dict[str, Any] = {"kernel": (2, 2), "stride": (2, 2), "padding": (0, 0)}
PADDED: dict[str, Any] = {"kernel": (3, 3), "stride": (2, 2), "padding": (1, 1)}

GRIDS = (
    {"mode": "bilinear", "padding": "zeros", "align_corners": False},
    {"mode": "bilinear", "padding": "border", "align_corners": True},
    {"mode": "nearest", "padding": "reflection", "align_corners": False},
    {"mode": "bicubic", "padding": "reflection", "align_corners": True},
    {"mode": "bilinear", "padding": "reflection", "align_corners": False, "volume": True},
    {"mode": "nearest", "padding": "zeros", "align_corners": True, "volume": True},
)


def sampled_at(volume: bool = False, **options: Any) -> tuple[Sample, ...]:
    """`grid_sample` and its transposes with these options, of maps or of a volume."""
    x, grid, g, size = (IMAGE, "f32[B,3,5,2]", "f32[K,B,4,3,5]", (6, 8))
    if volume:
        x, grid, g, size = ("f32[B,2,3,4,5]", "f32[B,2,3,4,3]", "f32[K,B,2,2,3,4]", (3, 4, 5))
    return (
        s("grid_sample", x, grid, **options),
        s("grid_sample_transpose", g, grid, size=size, **options),
        s("grid_sample_location_transpose", g, x, grid, **options),
    )


#: Every elementwise function of one number, without attributes.
UNARY = [
    name
    for name, row in TABLE.items()
    if row.arity == 1
    and not row.attrs
    and row.has(Trait.ELEMENTWISE)
    and row.family is not Family.PREDICATE
]
REDUCTIONS = ["sum", "mean", "amax", "amin"]

ELEMENTWISE = (
    *(s(op, X) for op in UNARY),
    *(s(op, X, Y) for op in ("add", "sub", "mul", "div")),
    s("add", X, "f32[4]"),
    s("scale", X, by=2.5),
    s("shift", X, by=-3),
    s("pow", X, exponent=0.5),
    s("leaky_relu", X, slope=0.01),
    s("gelu", X, approximate="none"),
    s("gelu", X, approximate="tanh"),
    s("clamp", X, min=-0.5, max=1.0),
    s("clamp", X, min=0.0),
    s("cast", X, dtype="bf16"),
    s("compare", X, Y, kind="gt"),
    s("compare_scalar", X, kind="le", value=0.25),
    s("logical", M, M, kind="and"),
    s("logical_not", M),
    s("where", M, X, Y),
    s("masked_fill", X, M, value=float("-inf")),
)

STRUCTURAL = (
    s("reshape", X, shape=(B, 20)),
    s("reshape", G, shape=(B * K, 5, 4)),
    s("permute", X, dims=(2, 0, 1)),
    s("expand", "f32[1,5,4]", shape=(K, 5, 4)),
    s("cat", X, "f32[B,2,4]", X, dim=1),
    s("cat", X, dim=-1),
    s("slice", X, dim=1, start=1, stop=5, step=2),
    s("slice", X, dim=-2, start=0, stop=3, step=1),
    s("slice", X, dim=-1, start=1, stop=4, step=1),
    s("pad", X, pad=(0, 1, 2, 0), value=0.5),
    s("flip", X, dims=(1,)),
    s("gather", X, "i64[B,3,4]", dim=1),
    s("topk", X, k=3, dim=1),
    s("constant", weight="f32[7,2]"),
    s("full", shape=(Sym(2, 1, 1), 3), value=1.5, dtype="f32"),
    s("arange", size=5, dtype="i64"),
    s("arange", size=Sym(3, 1, 0), dtype="f32"),
    *(s(op, X, dims=(1,), keepdim=True) for op in REDUCTIONS),
    *(s(op, X, dims=(1, 2), keepdim=False) for op in REDUCTIONS),
    s("any", M, dims=(1,), keepdim=False),
    s("all", M, dims=(2,), keepdim=True),
    s("cumsum", X, dim=1),
    s("scatter_sum", X, "i64[B,5,4]", dim=1, size=7),
    s("scatter_sum", X, "i64[B,5,4]", dim=-1, size=9),
    *(s("rounded", X, kind=kind) for kind in ("floor", "ceil", "round", "trunc", "sign")),
    s("argsort", X, dim=1, descending=False),
    s("argsort", "i64[B,5]", dim=-1, descending=True),
    s("last_place", "i64[B,5,4]", dim=1, size=7),
    s("last_place", "i64[B,5]", dim=-1, size=9),
    s("masks_to_boxes", "bool[B,3,6,8]", convention="bitmask"),
    s("masks_to_boxes", "bool[B,3,6,8]", convention="mask2box"),
)

NETWORK = (
    s("linear", X, weight="f32[3,4]"),
    s("linear", X, weight="f32[3,4]", bias="f32[3]"),
    s("conv2d", IMAGE, weight="f32[6,2,3,3]", bias="f32[6]", groups=2, **CONV),
    s(
        "conv_transpose2d",
        IMAGE,
        weight="f32[4,6,2,2]",
        groups=1,
        output_padding=(0, 0),
        stride=(2, 2),
        padding=(0, 0),
        dilation=(1, 1),
    ),
    s("batch_norm", IMAGE, weight="f32[4]", bias="f32[4]", mean="f32[4]", var="f32[4]", eps=1e-5),
    s("layer_norm", X, weight="f32[4]", bias="f32[4]", eps=1e-5),
    s("layer_norm", X, eps=1e-6),
    s("rms_norm", X, weight="f32[4]", eps=1e-5),
    s("rms_norm", X, eps=1e-6),
    s("embedding", "i64[B,5]", weight="f32[7,4]"),
    s("group_norm", IMAGE, groups=2, weight="f32[4]", bias="f32[4]", eps=1e-5),
    s("softmax", X, dim=-1),
    s("matmul", X, "f32[B,4,2]"),
    s("einsum", X, "f32[B,3,4]", equation="bqc,bkc->bqk"),
    s("max_pool2d", IMAGE, dilation=(1, 1), ceil=False, **POOL),
    s("avg_pool2d", IMAGE, **POOL),
    s("avg_pool2d", IMAGE, ceil=True, uncounted=True, **PADDED),
    s("avg_pool2d", IMAGE, divisor=5, **POOL),
    s("interpolate", IMAGE, size=(3, 5), mode="nearest", align_corners=False),
    s("interpolate", IMAGE, size=(9, 11), mode="bilinear", align_corners=True),
    s(
        "multi_head_attention",
        X,
        "f32[B,3,4]",
        "f32[B,3,4]",
        heads=2,
        in_weight="f32[12,4]",
        in_bias="f32[12]",
        out_weight="f32[4,4]",
        out_bias="f32[4]",
    ),
    s(
        "deformable_attention",
        "f32[B,4,6]",
        "f32[B,4,2,2]",
        "f32[B,8,6]",
        "bool[B,8]",
        heads=2,
        points=2,
        levels=LEVELS,
        value_weight="f32[6,6]",
        value_bias="f32[6]",
        offset_weight="f32[16,6]",
        offset_bias="f32[16]",
        attention_weight="f32[8,6]",
        attention_bias="f32[8]",
        output_weight="f32[6,6]",
        output_bias="f32[6]",
    ),
    s("deform_sample", VALUE, PLACES, MIX, levels=LEVELS),
    s("deform_splat", "f32[K,B,4,6]", PLACES, MIX, levels=LEVELS),
    s("deform_spread", "f32[K,B,4,6]", PLACES, MIX, levels=LEVELS),
    s("deform_weight_transpose", "f32[K,B,4,6]", VALUE, PLACES, levels=LEVELS),
    s("deform_location_transpose", "f32[K,B,4,6]", VALUE, PLACES, MIX, levels=LEVELS),
    *(one for options in GRIDS for one in sampled_at(**options)),
)

RELEVANCE = (
    s("stab_ratio", X, eps=1e-6),
    s("stab_mul", G, X, eps=1e-6),
    s("ratio", G, X, eps=1e-6),
    s("add_product", G, G, X),
    s("choose", M, G, G),
    s("gate", G, M),
    s("leaky_relu_gate", G, X, slope=0.1),
    s("gelu_ratio", X, approximate="none"),
    s("gelu_ratio", X, approximate="tanh"),
    s("clamp_ratio", X, min=-0.5, max=1.0),
    s("clamp_ratio", X, min=0.0),
    s("clamp_ratio", X, min=0.5, max=1.0),
    s("clamp_ratio", X, max=-0.5),
    s("clamp_gate", G, X, min=-0.5, max=1.0),
    s("clamp_gate", G, X, max=0.5),
    s("power_gradient", G, X, exponent=2.0, by=2.0),
    s("power_gradient", G, X, exponent=-1.0, by=-1.0),
    s("power_gradient", G, X, exponent=1.0, by=1.0),
    s("linear_transpose", "f32[K,B,5,3]", weight="f32[3,4]"),
    s(
        "conv2d_transpose",
        "f32[K*B,6,3,4]",
        weight="f32[6,2,3,3]",
        groups=2,
        size=(4, 6, 8),
        **CONV,
    ),
    s(
        "conv_transpose2d_transpose",
        "f32[K*B,6,12,16]",
        weight="f32[4,6,2,2]",
        groups=1,
        output_padding=(0, 0),
        stride=(2, 2),
        padding=(0, 0),
        dilation=(1, 1),
        size=(4, 6, 8),
    ),
    s(
        "conv_transpose2d_transpose",  # the last rows and columns hang on no input
        "f32[K*B,6,16,20]",
        weight="f32[4,6,2,2]",
        groups=1,
        output_padding=(2, 2),
        stride=(2, 2),
        padding=(0, 0),
        dilation=(3, 3),
        size=(4, 6, 8),
    ),
    s("avg_pool2d_transpose", "f32[K*B,4,3,4]", size=(4, 6, 8), **POOL),
    s(
        "avg_pool2d_transpose",
        "f32[K*B,4,4,5]",
        size=(4, 6, 8),
        ceil=True,
        uncounted=True,
        **PADDED,
    ),
    s("avg_pool2d_transpose", "f32[K*B,4,3,4]", size=(4, 6, 8), divisor=5, **POOL),
    s("interpolate_transpose", MAP, source=(3, 4), mode="bilinear", align_corners=False),
    s("interpolate_transpose", MAP, source=(3, 4), mode="nearest", align_corners=False),
    s("max_pool2d_transpose", "f32[K,B,4,3,4]", "i64[B,4,3,4]", size=(6, 8)),
    s("gather_transpose", "f32[K,B,3,4]", "i64[B,3,4]", dim=2, size=5),
    s("slice_transpose", "f32[K,B,2,4]", dim=2, start=1, step=2, size=5),
    s("rstd", X, eps=1e-5, groups=0),
    s("rstd", IMAGE, eps=1e-5, groups=2),
    s("reciprocal_rms", X, eps=1e-5),
    s("layer_norm_transpose", G, "f32[B,5,1]", weight="f32[4]"),
    s("group_norm_transpose", KMAP, "f32[B,2,1]", weight="f32[4]", groups=2),
    s("softmax_transpose", G, X, dim=-1),
    s("softmax_jacobian", X, dim=-1),
    s("softmax_jacobian", X, dim=-2),
    s("norm_gradient", G, X, weight="f32[4]", groups=0, eps=1e-5),
    s("norm_gradient", KMAP, IMAGE, weight="f32[4]", groups=2, eps=1e-5),
    s("activation_gradient", G, X, kind="silu"),
    s("activation_gradient", G, X, kind="relu6"),
    s("activation_gradient", G, X, kind="elu"),
    s("activation_gradient", G, X, kind="hardswish"),
    s("activation_gradient", G, X, kind="mish"),
    s("activation_gradient", G, X, kind="centred_softplus"),
    s("record", G, X, batch=1, negative=False, node="a", kind="rule"),
    s("record", G, X, batch=1, negative=False, node="a", kind="rule", fold=7),
    s("read", G, X, name="encoder.layers.0"),
)

SAMPLES = (*ELEMENTWISE, *STRUCTURAL, *NETWORK, *RELEVANCE)
