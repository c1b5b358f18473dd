"""Whole programs as ONNX and by torch.export: relevance is the program's, at every size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import lrpc
from lrpc.cli import main
from lrpc.errors import MismatchError
from lrpc.export.onnx import file
from lrpc.export.portable import Export
from lrpc.export.pt2 import traced_program
from lrpc.ir.interpreter import interpret
from lrpc.program.loading import load_program
from lrpc.program.reference import doubled, graph_in_double
from tests.program.test_any_size import Pyramid
from tests.support import sized_models as sized
from tests.support import transformers_models as released
from tests.support.networks import small
from tests.support.programs import ANY_SIZE, DIGITS, EXAMPLES, Programs, difference

OF_ANY_SIZE = {"x": {2: "H", 3: "W"}}
FAST = ("convolutions", "deformable encoder", "adaptive pooling")  # torch.export takes seconds


@dataclass(frozen=True)
class Model:
    """A model with example inputs, and what varies."""

    make: Callable[[], tuple[nn.Module, Any]]
    dynamic: Any = None

    def compiled(self, folder: Path, dtype: torch.dtype) -> Path:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model, given = self.make()
            inputs = given if isinstance(given, tuple) else (given,)
            inputs = tuple(x.to(dtype) if x.is_floating_point() else x for x in inputs)
        model = model.to(dtype).eval().requires_grad_(False)
        program = lrpc.compile(model, inputs, dynamic=self.dynamic, check=False)
        program.save(folder / "program")
        return folder / "program"


def image() -> Tensor:
    return torch.randn(2, 3, 64, 96)


MODELS = {
    "convolutions": Model(lambda: small("convolutions")),
    "ViT": Model(lambda: small("small ViT")),
    "deformable encoder": Model(lambda: small("deformable encoder")),
    "GPT-2": Model(lambda: (released.gpt2("sdpa"), (released.rows(), released.mask(left=True)))),
    "pyramid": Model(lambda: (Pyramid(), image()), OF_ANY_SIZE),
    "adaptive pooling": Model(lambda: (sized.ConvNeXt(), image()), OF_ANY_SIZE),
    "deformable DETR": Model(lambda: (sized.DeformableDetr(), image()), OF_ANY_SIZE),
}


@pytest.mark.parametrize("name", MODELS)
def test_onnx(name: str, tmp_path: Path) -> None:
    directory = MODELS[name].compiled(tmp_path, torch.float32)
    export = Export(directory, "onnx")
    made = export.made(None, None, ["*"], seeds=name == "ViT")
    found = list(export.write(made, tmp_path / "made.onnx"))
    assert len(found) == (2 if MODELS[name].dynamic else 1)
    assert all(d.outputs < 5e-6 for d in found)
    assert all(d.relevance < 2e-5 or d.relevance < 3 * (d.rounding or 0) for d in found)


@pytest.mark.parametrize("name", ["deformable encoder", "GPT-2"])
def test_onnx_in_float64(name: str, tmp_path: Path) -> None:
    export = Export(MODELS[name].compiled(tmp_path, torch.float64), "onnx")
    found = list(export.write(export.made(None, None, ["*"], False), tmp_path / "made.onnx"))
    assert all(max(d.outputs, d.relevance) < 1e-11 for d in found)


@pytest.mark.parametrize(
    "name", [n if n in FAST else pytest.param(n, marks=pytest.mark.slow) for n in MODELS]
)
def test_torch_export(name: str, tmp_path: Path) -> None:
    """One trace for all images, seeds and sizes, one of each among them."""
    export = Export(MODELS[name].compiled(tmp_path, torch.float64), "pt2")
    made = export.made(None, None, ["*"], seeds=name == "GPT-2")
    check = export.check(made)
    first, *others = check.cases()
    module = traced_program(made, check.example(first)).module(check_guards=False)
    for sizes in (first, *others, first | {"B": 1, "K": 1}, first | {"B": 3, "K": 2}):
        found = check.hold(lambda inputs: module(*inputs), sizes)
        assert max(found.outputs, found.relevance) < 1e-10


def scene(name: str, height: int, width: int) -> Tensor:
    pixels = np.asarray(Image.open(EXAMPLES / "digits" / "scenes" / f"{name}.png").convert("RGB"))
    return torch.tensor(pixels)[:height, :width].permute(2, 0, 1)[None].float().contiguous()


class Near:
    """Whether a file's relevance is the program's: to 1e-5, or as near to float64 as the program,
    which is what rounding leaves of small activations."""

    def __init__(self, directory: Path) -> None:
        made = Export(directory, "pt2").made(None, None, [], False)
        self.graph = graph_in_double(made.module.graph)
        self.weights = {name: doubled(t) for name, t in made.module.tensors.items()}

    def __call__(self, found: Tensor, wanted: Tensor, images: Tensor, at: Tensor) -> bool:
        if difference(found, wanted) < 1e-5:
            return True
        exact = interpret(self.graph, self.weights, {"images": images.double(), "at": at})
        truth = exact["relevance.images"]
        own = difference(wanted.double(), truth)
        return own > 2e-6 and difference(found.double(), truth) < max(2 * own, 1e-5)


def strongest(logits: Tensor) -> Tensor:
    """[K, B, 2]: the query and class of the largest logit of each image, and of the other one."""
    places = [torch.stack(torch.unravel_index(v.argmax(), v.shape)) for v in logits]
    at = torch.stack(places)[None]
    return torch.cat([at, at.flip(1)])


def test_digits_of_any_size(programs: Programs, tmp_path: Path) -> None:
    directory = programs.directory(DIGITS, **ANY_SIZE)
    path = tmp_path / "digits.onnx"
    assert main(["export", str(directory), "--to", "onnx", "-o", str(path)]) == 0
    program, run, near = load_program(directory, "cpu"), file.opened(path), Near(directory)
    for height, width in ((96, 96), (64, 128)):
        images = torch.cat([scene(name, height, width) for name in ("02", "05")])
        state = program.forward(images)
        at = strongest(state.outputs["pred_logits"])
        wanted = program.relevance(state, "class_logit", at=at).input
        found = run([images, at])
        assert near(found["relevance.images"], wanted, images, at)
        for name, value in state.outputs.items():
            assert difference(found[name], value) < 1e-5
    said = {p.key: p.value for p in onnx.load(path).metadata_props}
    assert said["target"] == "class_logit"
    assert said["index_names"] == "query,class"
    assert said["outputs"].endswith("relevance.images: f32[K,B,3,H,W]")


def test_a_file_that_differs_is_refused(tmp_path: Path) -> None:
    export = Export(MODELS["convolutions"].compiled(tmp_path, torch.float32), "onnx")
    made = export.made(None, None, [], False)
    check = export.check(made)
    (sizes,) = check.cases()
    file.write_model(made, tmp_path / "x.onnx", {})
    run = file.opened(tmp_path / "x.onnx")

    def wrong(inputs: Any) -> dict[str, Tensor]:
        found = run(inputs)
        last = list(found)[-1]
        return found | {last: found[last] + 1e-3 * found[last].abs().max()}

    assert check.hold(run, sizes).relevance < 1e-5
    with pytest.raises(
        MismatchError, match=r"relevance.images of the exported file differs .* 1.0e-03"
    ):
        check.hold(wrong, sizes)
