"""A program as an ONNX file, and as onnxruntime runs it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import onnxruntime
import torch
from onnx import ModelProto
from torch import Tensor

from lrpc.errors import ProgramError
from lrpc.export.graph import Exported
from lrpc.export.onnx.model import onnx_model
from lrpc.support.files import reason

MOST = 2**31 - 1
"""Bytes that a protobuf message, and so an ONNX file, can have."""


def write_model(made: Exported, path: Path, facts: Mapping[str, str]) -> None:
    """Write the graph as ONNX; ProgramError where it cannot be."""
    model: ModelProto = onnx_model(made.module, facts)
    if (size := model.ByteSize()) > MOST:
        raise ProgramError(
            f"the program takes {size / 1e9:.1f} GB, and an ONNX file holds 2.1; use --to pt2"
        )
    path.write_bytes(model.SerializeToString(deterministic=True))


def opened(path: Path) -> Callable[[Sequence[Tensor]], dict[str, Tensor]]:
    """The program in an ONNX file, on the CPU."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # its errors have no common base
        raise ProgramError(f"onnxruntime refuses this program: {_short(error)}") from error
    names = [value.name for value in session.get_inputs()]
    outputs = [value.name for value in session.get_outputs()]

    def run(inputs: Sequence[Tensor]) -> dict[str, Tensor]:
        given = {name: x.numpy() for name, x in zip(names, inputs, strict=True)}
        try:
            found = session.run(None, given)
        except Exception as error:
            raise ProgramError(f"onnxruntime fails on this program: {_short(error)}") from error
        return {name: torch.from_numpy(x) for name, x in zip(outputs, found, strict=True)}

    return run


def _short(error: Exception) -> str:
    """What it lacks, or its own words without the brackets and numbers in front."""
    line = reason(error)
    if lacks := re.search(r"implementation for (\w+)\(", line):
        return (
            f"it has no {lacks[1]} in float64; compile the model in float32 and export that, or"
            " use --to pt2"
        )
    return line.rpartition(" : ")[2]
