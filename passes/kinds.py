"""Groups of operations, named once for all mark passes."""

from __future__ import annotations

# Move, repeat or select entries of their first input.
STRUCTURAL = frozenset(
    {"reshape", "permute", "expand", "cat", "slice", "pad", "flip", "cast", "masked_fill", "where"}
)
# Linear without weights: by a number, by data of the map, or over an axis.
SCALING = frozenset({"scale", "shift", "div", "sum", "mean", "cumsum"})
NORMS = frozenset({"layer_norm", "rms_norm", "group_norm", "batch_norm"})
POOLS = frozenset({"max_pool2d", "avg_pool2d", "amax", "amin"})
SUMS = frozenset({"add", "sub"})
PRODUCTS = frozenset({"matmul", "einsum"})
CONVOLUTIONS = frozenset({"conv2d", "conv_transpose2d"})
# What makes a transform out of a path: maps with weights, and mixing of tokens.
LEARNED = frozenset({"linear", "deform_sample"}) | CONVOLUTIONS | PRODUCTS
ACTIVATIONS = frozenset(
    {
        "relu", "leaky_relu", "gelu", "silu", "sigmoid", "tanh", "exp", "log", "sqrt", "sin", "cos",
        "abs", "pow", "reciprocal", "clamp", "relu6", "elu", "hardswish", "mish",
        "centred_softplus",
    }
)  # fmt: skip
