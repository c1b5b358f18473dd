"""The text detector and the recogniser of rapidocr (PP-OCRv4), as sources for `lrpc compile`.

A segmenter of text (DBNet) and a recogniser that is half convolutions, half attention (SVTR). The
weights are files of ONNX inside a package, Apache-2.0; onnx2torch turns them into modules:

    pip install --no-deps rapidocr-onnxruntime==1.4.4 onnx2torch==1.5.15 && pip install onnxruntime
    PYTHONPATH=examples lrpc compile --config examples/rapidocr_detector.yaml -o build/text
    PYTHONPATH=examples lrpc compile --config examples/rapidocr_recogniser.yaml -o build/letters
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

DETECTOR, RECOGNISER = "ch_PP-OCRv4_det_infer.onnx", "ch_PP-OCRv4_rec_infer.onnx"
LINE = (48, 320)  # height and width of the line of text that the recogniser reads


def file(name: str) -> Path:
    """Where the package keeps a model; the package itself is not imported."""
    found = find_spec("rapidocr_onnxruntime")
    if found is None or not found.submodule_search_locations:
        raise ModuleNotFoundError("pip install --no-deps rapidocr-onnxruntime==1.4.4")
    return Path(found.submodule_search_locations[0], "models", name)


def characters() -> list[str]:
    """What the recogniser's classes mean: nothing (CTC's blank), 6,623 characters, a space."""
    import onnx

    properties = onnx.load(file(RECOGNISER)).metadata_props
    listed = next(entry.value for entry in properties if entry.key == "character")
    return ["", *listed.splitlines(), " "]


def network(name: str, shape: tuple[int, int] | None = None) -> nn.Module:
    """The model up to its logits, from [B, 3, H, W], as a module of torch.

    Constants become parameters. Its last node, a sigmoid or softmax, is left out. With `shape`
    images have that height and width, and shapes that the model computes become constants.
    """
    import onnx
    from onnx2torch import convert

    model = onnx.load(file(name))
    graph = model.graph
    for node in [node for node in graph.node if node.op_type == "Constant"]:
        value = next(entry.t for entry in node.attribute if entry.name == "value")
        graph.initializer.add().CopyFrom(value)
        graph.initializer[-1].name = node.output[0]
        graph.node.remove(node)
    if shape:
        fix_shapes(model, shape)
        graph = model.graph  # another one
    last = graph.node[-1]
    if last.op_type not in ("Sigmoid", "Softmax"):
        raise ValueError(f"{name}: the last node should be a sigmoid or softmax: {last.op_type}")
    graph.output[0].name = last.input[0]
    graph.node.remove(last)
    made = convert(model).eval()
    for path, module in list(made.named_modules()):
        if type(module).__name__ == "OnnxSlice":
            made.set_submodule(path, Slice())
    return made


def fix_shapes(model: Any, shape: tuple[int, int]) -> None:
    """Reshapes by constants, which are taken from runs on two and on three images.

    Only the number of images may differ between them; it becomes 0, which is ONNX for "as it was".
    """
    import onnx
    import onnxruntime

    graph, dims = model.graph, model.graph.input[0].type.tensor_type.shape.dim
    reshapes = [node for node in graph.node if node.op_type == "Reshape"]
    probe = onnx.ModelProto.FromString(model.SerializeToString())
    computed = [node.input[1] for node in reshapes]
    for name in computed:
        probe.graph.output.append(
            onnx.helper.make_tensor_value_info(name, onnx.TensorProto.INT64, None)
        )
    session = onnxruntime.InferenceSession(
        probe.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    two, three = (
        session.run(computed, {graph.input[0].name: np.zeros((n, 3, *shape), np.float32)})
        for n in (2, 3)
    )
    for node, a, b in zip(reshapes, two, three, strict=True):
        fixed = onnx.numpy_helper.from_array(np.where(a == b, a, 0), node.input[1] + "_fixed")
        graph.initializer.append(fixed)
        node.input[1] = fixed.name
    remove_unused(graph)
    dims[0].dim_param = "images"
    for dim, size in zip(dims[1:], (3, *shape), strict=True):
        dim.dim_value = size
    model.CopyFrom(onnx.shape_inference.infer_shapes(model, strict_mode=True))


def remove_unused(graph: Any) -> None:
    """Nodes that no output needs."""
    needed = {value.name for value in graph.output}
    for node in reversed(list(graph.node)):  # ONNX lists nodes after what they read
        if needed.isdisjoint(node.output):
            graph.node.remove(node)
        else:
            needed.update(node.input)


class Slice(nn.Module):
    """ONNX's Slice, forwards. That of onnx2torch indexes with a list, which torch gives up."""

    def forward(self, x: Tensor, *given: Tensor) -> Tensor:
        for start, end, axis, step in zip(*(numbers.tolist() for numbers in given), strict=True):
            x = x[(slice(None),) * (axis % x.dim()) + (slice(start, end, step),)]
        return x


class Normalize(nn.Module):
    """(image − mean) / std: where relevance of pixels is read."""

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        return (images - self.mean) / self.std


class Detector(nn.Module):
    """RGB images from 0 to 255 → the logit of text at every pixel.

    `pixel_logits` [B, 2, H, W]: 0 for "no text", and the logit of text; their softmax is the
    sigmoid of the original. `region_logits` [B, 2] are their means over the pixels of each class.
    """

    def __init__(self, normalize: nn.Module, network: nn.Module) -> None:
        super().__init__()
        self.normalize, self.network = normalize, network

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        text = self.network(self.normalize(images).flip(1))  # the network takes blue first
        inside = (text.detach() > 0).to(text.dtype)
        mean = (text * inside).sum((1, 2, 3)) / inside.sum((1, 2, 3)).clamp(min=1)
        nothing = torch.zeros_like(text)
        return {
            "pixel_logits": torch.cat((nothing, text), 1),
            "region_logits": torch.stack((torch.zeros_like(mean), mean), 1),
        }


class Recogniser(nn.Module):
    """RGB images of one line of text, [B, 3, 48, 320] from 0 to 255 → `letters` [B, 40, 6625].

    The logits of every character at each of forty places along the line. A line is as high as the
    image and begins at its left; what remains is grey (127.5), which the network sees as 0.
    """

    def __init__(self, normalize: nn.Module, network: nn.Module) -> None:
        super().__init__()
        self.normalize, self.network = normalize, network

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return {"letters": self.network(self.normalize(images).flip(1))}


def detector(config: Any) -> nn.Module:
    """The detector with the weights that its package holds, for sides that 32 divides."""
    return Detector(Normalize(config.MODEL.PIXEL_MEAN, config.MODEL.PIXEL_STD), network(DETECTOR))


def recogniser(config: Any) -> nn.Module:
    """The recogniser with the weights that its package holds."""
    normalize = Normalize(config.MODEL.PIXEL_MEAN, config.MODEL.PIXEL_STD)
    return Recogniser(normalize, network(RECOGNISER, LINE))


def read(letters: Tensor, names: list[str]) -> list[tuple[int, int, str]]:
    """Place, class and character of what is read from logits [40, 6625]: repeats and blanks left
    out (CTC, Graves et al. 2006)."""
    best = letters.argmax(-1).tolist()
    before = [0, *best[:-1]]
    return [
        (place, label, names[label])
        for place, (label, last) in enumerate(zip(best, before, strict=True))
        if label and label != last
    ]
