"""The op table: what a row emits computes what its reference means, and types are what they say."""

from __future__ import annotations

import runpy
import tempfile
import zlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lrpc.backend.emission import EMISSION
from lrpc.backend.expression import render
from lrpc.backend.sources import FUNCTIONS, imports_text, names_in, needed
from lrpc.ir.graph import Graph, Node
from lrpc.ir.interpreter import run_node
from lrpc.ir.ops import TABLE, infer
from lrpc.ir.types import DTYPES, NAMES, TensorType
from tests.support.op_samples import SAMPLES, Sample

SIZES = {"B": 2, "K": 3}
POSITIVE = {"log", "log1p", "sqrt", "pow", "rstd", "batch_norm"}
EMITTED = [sample for sample in SAMPLES if sample.op in EMISSION]


def double(kind: TensorType) -> TensorType:
    return replace(kind, dtype="f64") if kind.dtype == "f32" else kind


def in_double(sample: Sample) -> Graph:
    weights = {key: double(kind) for key, kind in sample.weights.items()}
    inputs = tuple(map(double, sample.inputs))
    attrs = sample.attrs | ({"dtype": "f64"} if sample.op == "full" else {})
    return Sample(sample.op, inputs, attrs, weights).graph()


def filled(kind: TensorType, limit: int, positive: bool, generator: torch.Generator) -> Tensor:
    """Random values, the first of them zero; integers below `limit`."""
    shape, dtype = kind.sized(SIZES), DTYPES[kind.dtype]
    if kind.is_float:
        values = torch.randn(shape, generator=generator, dtype=dtype)
        values.view(-1)[0] = 0.0
        return values.abs() if positive else values
    high = 2 if dtype == torch.bool else limit
    return torch.randint(high, shape, generator=generator).to(dtype)


def limit_of(node: Node) -> int:
    """How many places an index among the inputs can point to."""
    size = node.attr("size")
    if isinstance(size, tuple):
        return int(size[-1]) * int(size[-2])  # type: ignore[arg-type]
    if isinstance(size, int):
        return size
    dim = node.attr("dim", 1)
    return node.inputs[0].type.sized(SIZES)[int(dim)]  # type: ignore[arg-type]


def emitted(node: Node, values: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> Any:
    """What the emitted expression computes, with the kernels that a program would carry."""
    text = render(node, list(values), lambda name: f"w[{name!r}]")
    given = {"w": weights}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "kernels.py")
        file.write_text(f"{imports_text(triton=True)}\n\n\n{needed(names_in(text))}")
        scope = runpy.run_path(str(file), given)
    return eval(text, scope, {**values, **SIZES, "device": torch.device("cpu")})


def label(sample: Sample) -> str:
    same = [s for s in EMITTED if s.op == sample.op]
    return sample.op if len(same) == 1 else f"{sample.op}-{same.index(sample)}"


@pytest.mark.parametrize("sample", EMITTED, ids=label)
def test_emitted_text_computes_the_reference(sample: Sample) -> None:
    graph = in_double(sample)
    (node,) = graph.nodes
    generator = torch.Generator().manual_seed(zlib.crc32(sample.op.encode()))
    positive, limit = sample.op in POSITIVE, limit_of(node) if node.inputs else 0
    values = {v.name: filled(v.type, limit, positive, generator) for v in graph.inputs}
    weights = {name: filled(t, 0, positive, generator) for name, t in graph.weights}
    expected = run_node(node, weights, tuple(values.values()), SIZES)
    got = emitted(node, values, weights)
    results = tuple(got) if isinstance(got, (tuple, list)) else (got,)
    assert len(results) == len(expected) == len(node.outputs) == TABLE[node.op].outputs
    for result, reference, value in zip(results, expected, node.outputs, strict=True):
        assert (NAMES[result.dtype], tuple(result.shape)) == (
            value.type.dtype,
            value.type.sized(SIZES),
        )
        torch.testing.assert_close(result, reference, rtol=1e-10, atol=1e-12, equal_nan=True)


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda s: s.op)
def test_rows_are_consistent(sample: Sample) -> None:
    row = TABLE[sample.op]
    (node,) = sample.graph().nodes
    assert len(node.outputs) == row.outputs
    assert row.arity in (None, len(node.inputs))
    assert list(dict(node.attrs)) == [key for key in row.attrs if key in dict(node.attrs)]


def test_inference_is_kept_for_equal_questions() -> None:
    row, kind = TABLE["relu"], (TensorType("f32", (2, 3)),)
    assert infer(row, kind, (), ()) is infer(row, kind, (), ())


def test_every_function_that_a_row_calls_is_carried_along() -> None:
    called = {op for op, emission in EMISSION.items() if emission.text.startswith(f"{op}(")}
    assert called <= FUNCTIONS
