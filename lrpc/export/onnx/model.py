"""A graph of forward and relevance as an ONNX model."""

from __future__ import annotations

from collections.abc import Mapping

import onnx
from onnx import helper

from lrpc.errors import ProgramError
from lrpc.export.onnx import deformable, elementwise, maps, network, relevance, steps, structural
from lrpc.export.onnx.writer import DTYPES, OPSET, Emit, Writer, value_info
from lrpc.ir.graph import Graph, Module, Value

TABLE: Mapping[str, Emit] = {
    **elementwise.ROWS,
    **structural.ROWS,
    **steps.ROWS,
    **network.ROWS,
    **maps.ROWS,
    **relevance.ROWS,
    **deformable.ROWS,
}
IR_VERSION = 10


def onnx_model(module: Module, facts: Mapping[str, str]) -> onnx.ModelProto:
    """The model, with `facts` as its metadata; ProgramError for what ONNX has no form for."""
    graph = module.graph
    _check_types(graph)
    w = Writer(graph, module.tensors)
    w.names = {value.name: value.name for value in graph.inputs}
    for node in graph.nodes:
        if node.op not in TABLE:
            raise ProgramError(f"{node.op} at {node.loc} has no form in ONNX; use --to pt2")
        made = TABLE[node.op](w, node, [w.names[v.name] for v in node.inputs])
        results = [made] if isinstance(made, str) else made
        w.names.update((v.name, r) for v, r in zip(node.outputs, results, strict=True))
    for name, value in graph.outputs:
        w.nodes.append(helper.make_node("Identity", [w.names[value.name]], [name]))
    made_graph = helper.make_graph(
        w.nodes,
        "program",
        [value_info(value, value.name) for value in graph.inputs],
        [value_info(value, name) for name, value in graph.outputs],
        w.constants,
    )
    model = helper.make_model(
        made_graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="lrpc",
    )
    helper.set_model_props(model, dict(facts))
    return model


def _check_types(graph: Graph) -> None:
    for value in graph.values():
        if value.type.dtype not in DTYPES:
            raise ProgramError(
                f"the program computes in {_word(value)}, which onnxruntime does not on a CPU;"
                " compile it with LRPC.PRECISION fp32 and export that"
            )


def _word(value: Value) -> str:
    return {"bf16": "bfloat16", "f16": "float16"}[value.type.dtype]
