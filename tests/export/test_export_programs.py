"""Whole programs as ONNX and by torch.export: relevance is the program's, at every size."""

from __future__ import annotations

import json
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
from lrpc.errors import MismatchError, ProgramError
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
BOOKED = ("convolutions", "GPT-2", "pyramid", "adaptive pooling")  # exported with ledger
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
    made = export.made(None, None, ["*"], seeds=name == "ViT", ledger=name in BOOKED)
    found = list(export.write(made, tmp_path / "made.onnx"))
    assert all((d.ledger is not None) == (name in BOOKED) for d in found)
    assert all((d.ledger or 0) < 5e-6 for d in found)
    assert len(found) == (2 if MODELS[name].dynamic else 1)
    assert all(d.outputs < 5e-6 for d in found)
    assert all(d.relevance < 2e-5 or d.relevance < 3 * (d.rounding or 0) for d in found)


@pytest.mark.parametrize("name", ["deformable encoder", "GPT-2"])
def test_onnx_in_float64(name: str, tmp_path: Path) -> None:
    export = Export(MODELS[name].compiled(tmp_path, torch.float64), "onnx")
    made = export.made(None, None, ["*"], seeds=False, ledger=True)
    found = list(export.write(made, tmp_path / "made.onnx"))
    assert all(max(d.outputs, d.relevance, d.ledger or 1) < 1e-11 for d in found)


@pytest.mark.parametrize(
    "name", [n if n in FAST else pytest.param(n, marks=pytest.mark.slow) for n in MODELS]
)
def test_torch_export(name: str, tmp_path: Path) -> None:
    """One trace for all images, seeds and sizes, one of each among them."""
    export = Export(MODELS[name].compiled(tmp_path, torch.float64), "pt2")
    made = export.made(None, None, ["*"], seeds=name == "GPT-2", ledger=True)
    check = export.check(made)
    first, *others = check.cases()
    module = traced_program(made, check.example(first)).module(check_guards=False)
    for sizes in (first, *others, first | {"B": 1, "K": 1}, first | {"B": 3, "K": 2}):
        found = check.hold(lambda inputs: module(*inputs), sizes)
        assert max(found.outputs, found.relevance, found.ledger or 1) < 1e-10


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


class Rows(nn.Module):
    """Tokens of all images as rows, counted image by image and the other way."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        rows = torch.relu(self.first(x.reshape(-1, 6))).reshape(-1, 5, 8)
        return self.last(rows.transpose(0, 1).reshape(-1, 8)).reshape(5, -1, 3).transpose(0, 1)


def test_the_ledger_of_a_file(tmp_path: Path) -> None:
    """Its rows are the program's by name and order, each image's own, and close."""
    directory = Model(lambda: (Rows(), torch.randn(2, 5, 6))).compiled(tmp_path, torch.float64)
    export, path = Export(directory, "onnx"), tmp_path / "x.onnx"
    made = export.made(None, None, [], seeds=False, ledger=True)
    (found,) = export.write(made, path)
    assert (found.ledger or 1) < 1e-14
    x, at = torch.randn(4, 5, 6).double(), torch.randint(0, 3, (3, 4, 2))
    wanted = load_program(directory, "cpu")(x, "output", at=at, ledger=True).ledger
    booked = file.opened(path)([x, at])["ledger"]
    names = json.loads({p.key: p.value for p in onnx.load(path).metadata_props}["ledger"])
    assert names[:2] == [["", "", "start"], ["", "", "end"]]
    assert names[2:] == [list(row[:3]) for row in wanted.rows]
    own = [wanted.start, wanted.end, *(row[3] for row in wanted.rows)]
    for amount, row in zip(booked, own, strict=True):
        assert torch.allclose(amount, row, rtol=1e-12, atol=1e-15)
    sunk = [name[2] not in ("start", "end", "out", "in") for name in names]
    sinks = booked[torch.tensor(sunk)].sum(0)
    assert (booked[0] - booked[1] - sinks).abs().max() < 1e-10 * booked[0].abs().max()


def test_a_ledger_of_other_rows_is_refused(tmp_path: Path) -> None:
    export = Export(MODELS["convolutions"].compiled(tmp_path, torch.float32), "onnx")
    export.manifest["ledger"]["output"].pop()
    with pytest.raises(ProgramError, match=r"other rows than the program's; compile the program"):
        export.made(None, None, [], seeds=False, ledger=True)


class Named(nn.Module):
    """A model with an output of its own called ledger."""

    def __init__(self) -> None:
        super().__init__()
        self.map = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"ledger": self.map(x)}


def test_an_output_called_ledger(tmp_path: Path) -> None:
    directory = Model(lambda: (Named(), torch.randn(2, 6))).compiled(tmp_path, torch.float32)
    export = Export(directory, "onnx")
    assert export.made(None, None, [], seeds=False).rows == ()
    with pytest.raises(ProgramError, match="two outputs are called 'ledger'; rename that of"):
        export.made(None, None, [], seeds=False, ledger=True)
