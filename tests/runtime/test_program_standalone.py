"""A program directory needs torch and nothing else, refuses what does not fit, and answers every
form of question in the same way."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.util import module_from_spec, spec_from_file_location
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from tests.support.maskdino_cases import digits_image
from tests.support.programs import DIGITS, Programs, difference, noise
from tests.support.standalone import BLOCKED, global_settings

TARGETS = ["class_logit", "mask_logit", "encoder_feature:*", "decoder_query"]
OPTIONS = {"COMPOSITE": "attnlrp", "EPSILON": 1e-6, "TARGETS": TARGETS, "SEEDS": 4}
NEAR = 2e-5  # float32, sums in another order
FILES = {"program.py", "weights.safetensors", "graph.lrp", "manifest.json"}
_numbers = count()


def imported(directory: Path) -> ModuleType:
    """The program imported from its directory as users do, under a name of its own."""
    name = f"program_{next(_numbers)}"
    spec = spec_from_file_location(name, directory / "program.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def directory(programs: Programs) -> Path:
    return programs.directory(DIGITS, **OPTIONS)


@pytest.fixture(scope="module")
def module(directory: Path) -> ModuleType:
    return imported(directory)


@pytest.fixture(scope="module")
def program(module: ModuleType) -> Any:
    return module.load()


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.cat([digits_image("02"), digits_image("05")])


@pytest.fixture(scope="module")
def state(program: Any, images: Tensor) -> Any:
    return program.forward(images)


@pytest.fixture(scope="module")
def refusal(module: ModuleType) -> Callable[[Callable[[], object]], str]:
    """The one line with which the program refuses a call."""

    def line(call: Callable[[], object]) -> str:
        with pytest.raises(module.ProgramError) as caught:
            call()
        text = str(caught.value)
        assert "\n" not in text
        return text

    return line


# -- on its own ------------------------------------------------------------------------------------


def test_it_runs_where_only_torch_can_be_imported(
    directory: Path, program: Any, images: Tensor, tmp_path: Path
) -> None:
    at = torch.tensor([[[0, 5], [3, 1]], [[7, 2], [0, 0]], [[1, 1], [2, 2]], [[9, 9], [49, 0]]])
    given, out = tmp_path / "given.pt", tmp_path / "out.pt"
    other = noise(1, 160, 160).float()
    torch.save({"images": images, "at": at, "other": other}, given)
    script = Path(__file__).parents[1] / "support" / "standalone.py"
    command = [sys.executable, "-I", "-B", str(script), str(directory), str(given), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    got = torch.load(out, weights_only=True)
    assert got["before"] == got["after"]
    assert not BLOCKED & set(got["imported"])
    state = program.forward(images)
    expected = program.relevance(state, "class_logit", at=at)
    assert got["input"].shape == (4, 2, 3, 160, 160)
    assert difference(got["input"], expected.input) < NEAR
    assert got["layers"].keys() == expected.layers.keys()
    for name, value in state.outputs.items():
        assert difference(got["outputs"][name], value) < NEAR
    assert difference(got["other"], program.forward(other).outputs["pred_logits"]) < NEAR
    assert float(got["closure"].max()) < 1e-4


@pytest.mark.parametrize("name", ["lrpc", "numpy", "safetensors"])
def test_the_standalone_run_refuses_each_import(tmp_path: Path, name: str) -> None:
    (tmp_path / "program.py").write_text(f"import {name}\n")
    script = Path(__file__).parents[1] / "support" / "standalone.py"
    command = [sys.executable, "-I", "-B", str(script), str(tmp_path), "-", "-"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 1
    assert f"a program must not import {name}" in done.stderr


def test_settings_of_torch_stay_as_they_were(program: Any, images: Tensor, state: Any) -> None:
    saved = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    try:
        for flag in (True, False):
            torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = flag
            before = global_settings()
            program.relevance(state, "class_logit", at=[(0, 0)], ledger=True)
            program.forward(images)
            with pytest.raises(Exception, match="NaN"):
                program.forward(images * float("nan"))
            assert global_settings() == before
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = saved


# -- what it refuses -------------------------------------------------------------------------------


def test_inputs_that_do_not_fit_are_refused(
    program: Any, images: Tensor, refusal: Callable[[Callable[[], object]], str]
) -> None:
    assert refusal(lambda: program.forward(images[..., :120])) == (
        "input images: W is 120, no multiple of 32; resize or pad it to 96 or 128"
    )
    assert refusal(lambda: program.forward(images[:, :1])).startswith(
        "input images must have shape [B, 3, H, W], got [2, 1, 160, 160]"
    )
    assert refusal(lambda: program.forward(images.double())) == (
        "input images must be torch.float32, got torch.float64"
    )
    assert refusal(lambda: program.forward(images[:0])) == "input images is an empty batch"
    assert refusal(lambda: program.forward()) == "forward takes images; got nothing"
    assert refusal(lambda: program.forward(images, images)) == "forward takes images; got 2 inputs"
    assert refusal(lambda: program.forward([1.0])) == (
        "input images must be a torch.Tensor, got list"
    )
    for bad in (float("nan"), float("inf")):
        spoilt = images.clone()
        spoilt[1, 2, 80, 80] = bad
        assert refusal(lambda spoilt=spoilt: program.forward(spoilt)) == (  # type: ignore[misc]
            "input images holds NaN or infinity; repair the data"
        )


@pytest.mark.parametrize("name", ["weights.safetensors", "program.py", "graph.lrp"])
def test_files_that_were_changed_are_refused(directory: Path, tmp_path: Path, name: str) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(directory, copy)
    data = bytearray((copy / name).read_bytes())
    data[-2] ^= 1 if name != "program.py" else 0
    if name == "program.py":
        data += b"# \n"
    (copy / name).write_bytes(data)
    changed = imported(copy)
    with pytest.raises(changed.ProgramError) as caught:
        changed.load()
    assert str(caught.value) == (
        f"{copy / name} was changed since it was compiled; compile the program again"
    )
    (copy / name).unlink()
    with pytest.raises(changed.ProgramError, match=f"{name} is missing; compile"):
        changed.load()


def test_requests_that_do_not_fit_are_refused(
    program: Any, state: Any, refusal: Callable[[Callable[[], object]], str]
) -> None:
    def ask(*args: Any, **options: Any) -> str:
        return refusal(lambda: program.relevance(state, *args, **options))

    assert ask("class_logit", at=[(50, 0)]) == "class_logit: query must lie in 0..49, got 50"
    assert ask("class_logit", at=[(0, -1)]) == "class_logit: class must lie in 0..9, got -1"
    assert ask("mask_logit", at=[(0, 3, 40)]) == "mask_logit: x must lie in 0..39, got 40"
    takes = (
        "class_logit: at takes (query, class) per seed, as in at=[(0, 0)], or an integer tensor"
        " [K, 2] or [K, 2, 2]; got "
    )
    assert ask("class_logit", at=[(0,)]) == f"{takes}[(0,)]"
    wrong = torch.zeros(1, 3, 2, dtype=torch.int64)
    assert ask("class_logit", at=wrong) == f"{takes}shape [1, 3, 2]"
    assert ask("class_logit", at=torch.zeros(1, 2, 2)) == f"{takes}torch.float32"
    both = "class_logit: give either at=[...] or seeds=S, and not both"
    assert ask("class_logit") == both
    assert ask("class_logit", at=[(0, 0)], seeds=torch.ones(1, 2, 50, 10)) == both
    assert ask("class_logit", seeds=torch.ones(1, 50, 10)) == (
        "class_logit: seeds must be [K, 2, 50, 10], got [1, 50, 10]"
    )
    assert ask("class_logit", at=[(0, 0)], read=["encoder.layers.7"]).startswith(
        "class_logit: no relevance can be read at 'encoder.layers.7'; did you mean 'encoder.layers."
    )
    assert ask("class_logit", at=[(0, 0)], norm="sum2") == (
        "norm must be none, sum1 or sumT, got 'sum2'"
    )
    assert ask("encoder_feature", at=[(3,)], layer=7) == (
        "this program has no target 'encoder_feature' at layer 7; it starts from: class_logit,"
        " mask_logit, encoder_feature:0, encoder_feature:1, encoder_feature:2, decoder_query:2"
        " (compile with LRPC.TARGETS for others)"
    )
    assert ask("encoder_feature", at=[(3,)], token=525) == (
        "encoder_feature:2: token must lie in 0..524, got 525"
    )
    assert ask("box", at=[(0, 0)]).startswith("this program has no target 'box'; it starts from: ")


# -- forms of the same question --------------------------------------------------------------------


def same(a: Any, b: Any, limit: float = NEAR) -> None:
    """Both results hold the same places and values."""
    assert a.layers.keys() == b.layers.keys()
    assert difference(a.input, b.input) < limit
    for name in a.layers:
        assert difference(a.layers[name], b.layers[name]) < limit, name


def test_indices_may_be_lists_or_tensors(program: Any, state: Any) -> None:
    pairs = [(0, 5), (7, 2)]
    expected = program.relevance(state, "class_logit", at=pairs)
    tensor = torch.tensor(pairs)
    same(program.relevance(state, "class_logit", at=tensor), expected)
    full = tensor[:, None].expand(-1, 2, -1)
    same(program.relevance(state, "class_logit", at=full), expected)
    same(program.relevance(state, "class_logit", at=full.int()), expected)
    swapped = torch.stack([tensor, tensor.flip(0)])  # seed 0 asks (0, 5) of image 0, (7, 2) of 1
    mixed = program.relevance(state, "class_logit", at=swapped)
    assert difference(mixed.input[0, 0], expected.input[0, 0]) < NEAR
    assert difference(mixed.input[0, 1], expected.input[1, 1]) < NEAR
    assert difference(mixed.input[1, 0], expected.input[1, 0]) < NEAR
    single = program.relevance(state, "decoder_query", at=[3, 4])
    same(single, program.relevance(state, "decoder_query", at=[(3,), (4,)]))


def test_seeds_given_outright_are_relevance(program: Any, state: Any) -> None:
    logits = state.outputs["pred_logits"]
    seeds = torch.zeros(2, *logits.shape)
    seeds[0, :, 4, 2], seeds[1, :, 0, 5] = logits[:, 4, 2], logits[:, 0, 5]
    expected = program.relevance(state, "class_logit", at=[(4, 2), (0, 5)])
    same(program.relevance(state, "class_logit", seeds=seeds), expected)


def test_relevance_is_linear_in_the_seed(program: Any, state: Any) -> None:
    logits = state.outputs["pred_logits"]
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, *logits.shape, generator=generator)
    seeds = torch.stack([a, b, 2 * a - 0.5 * b])
    found = program.relevance(state, "class_logit", seeds=seeds)
    for value in (found.input, *found.layers.values()):
        scale = value[:2].abs().max()
        assert float((2 * value[0] - 0.5 * value[1] - value[2]).abs().max() / scale) < 1e-4


def test_relevance_cannot_start_at_an_activation_of_zero(
    program: Any, images: Tensor, refusal: Callable[[Callable[[], object]], str]
) -> None:
    state = program.forward(images)
    block, name = program.interface.targets["class_logit"].value
    state.saved[block][name] = state.saved[block][name].clone()
    state.saved[block][name][0, 3, 3] = 0
    state.versions.clear()  # else the state is refused: its values are not the model's any more
    seeds = torch.zeros(1, 2, 50, 10)
    seeds[0, 0, 3, 4] = 1  # relevance elsewhere is fine
    program.relevance(state, "class_logit", seeds=seeds)
    seeds[0, 0, 3, 3] = 1
    assert refusal(lambda: program.relevance(state, "class_logit", seeds=seeds)) == (
        "class_logit: relevance is given to an activation that is exactly 0; set it to 0 there"
    )


def test_norms_scale_each_seed_of_each_image(program: Any, state: Any) -> None:
    def start(kind: str, at: object, norm: str) -> tuple[Tensor, Tensor]:
        found = program.relevance(state, kind, at=at, norm=norm, ledger=True)
        return found.ledger.start, found.input

    for kind, at in (("encoder_feature", [(7,), (9,)]), ("class_logit", [(0, 5), (3, 1)])):
        plain, pixels = start(kind, at, "none")
        one, scaled = start(kind, at, "sum1")
        torch.testing.assert_close(one, torch.ones(2, 2).double(), rtol=1e-5, atol=0)
        assert difference(scaled * plain[..., None, None, None], pixels) < NEAR
    tokens, _ = start("encoder_feature", [(7,), (9,)], "sumT")
    torch.testing.assert_close(tokens, torch.full((2, 2), 525.0).double(), rtol=1e-5, atol=0)


def test_an_encoder_feature_is_the_mean_over_tokens_or_one(program: Any, state: Any) -> None:
    block, name = program.interface.targets["encoder_feature:1"].value
    value = state.saved[block][name]  # [B, 525, 256]
    mean = program.relevance(state, "encoder_feature", at=[(7,)], layer=1, ledger=True)
    assert difference(mean.ledger.start[0], value[:, :, 7].mean(1)) < NEAR
    one = program.relevance(state, "encoder_feature", at=[(7,)], layer=1, token=33, ledger=True)
    assert difference(one.ledger.start[0], value[:, 33, 7]) < NEAR
    seeds = torch.zeros(1, *value.shape)
    seeds[0, :, 33, 7] = value[:, 33, 7]
    same(one, program.relevance(state, "encoder_feature:1", seeds=seeds))


def test_layers_are_chosen_by_number_or_by_name(program: Any, state: Any) -> None:
    at = [(7,)]
    for layer in (0, 1, 2):
        chosen = program.relevance(state, "encoder_feature", at=at, layer=layer)
        named = program.relevance(state, f"encoder_feature:{layer}", at=at)
        same(chosen, named, 0.5 * NEAR)
        assert f"encoder.layers.{layer}" in chosen.layers
        assert f"encoder.layers.{layer + 1}" not in chosen.layers
    last = program.relevance(state, "encoder_feature", at=at)
    same(last, program.relevance(state, "encoder_feature", at=at, layer=2))


class Counter(TorchDispatchMode):
    """Counts the operations of torch that run, and the matrix products among them."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = self.products = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any | None = None
    ) -> Any:
        self.calls += 1
        self.products += func in (
            torch.ops.aten.mm.default,
            torch.ops.mkldnn._linear_pointwise.default,
        )
        return func(*args, **(kwargs or {}))


def test_reading_less_computes_less(program: Any, state: Any) -> None:
    everything = program.relevance(state, "class_logit", at=[(0, 5)])
    calls = {}
    for place in ("decoder.layers.1", "encoder.layers.2", "encoder.layers.0", "input"):
        with Counter() as counter:
            found = program.relevance(state, "class_logit", at=[(0, 5)], read=[place])
        calls[place] = counter.calls
        got = found.input if place == "input" else found.layers[place]
        expected = everything.input if place == "input" else everything.layers[place]
        assert torch.equal(got, expected)
        assert len(found.layers) + len(found.inputs) == 1
    assert list(calls.values()) == sorted(calls.values())
    assert calls["encoder.layers.2"] < 0.5 * calls["input"]


def test_seeds_in_chunks_are_the_same(directory: Path, state: Any) -> None:
    program = imported(directory).load()
    pairs = [(0, 5), (3, 1), (7, 2), (9, 0), (20, 4)]
    assert program.interface.chunk == OPTIONS["SEEDS"]
    results = {}
    calls = {}
    for chunk in (1, 2, 5):
        program.limits = replace(program.limits, chunk=chunk, per_pass=chunk)
        with Counter() as counter:
            results[chunk] = program.relevance(state, "class_logit", at=pairs, ledger=True)
        calls[chunk] = counter.products
    assert calls[5] > 30
    assert (calls[1], calls[2]) == (5 * calls[5], 3 * calls[5])  # passes
    for chunk in (1, 2):
        same(results[chunk], results[5])
        assert results[chunk].input.shape[0] == 5
        a, b = results[chunk].ledger, results[5].ledger
        assert difference(a.start, b.start) < NEAR
        assert difference(a.end, b.end) < 1e-4
        assert float(a.closure.max()) < 1e-4


def test_one_go_is_forward_and_relevance(program: Any, images: Tensor, state: Any) -> None:
    expected = program.relevance(state, "class_logit", at=[(0, 5)])
    same(program(images, "class_logit", at=[(0, 5)]), expected)
    same(program(images, target="class_logit", at=[(0, 5)]), expected)


def test_it_saves_itself_whole(
    program: Any, images: Tensor, tmp_path: Path, refusal: Callable[[Callable[[], object]], str]
) -> None:
    saved = program.save(tmp_path / "a" / "copy")
    assert {p.name for p in saved.iterdir()} == FILES
    for name in FILES:
        assert (saved / name).read_bytes() == (program.directory / name).read_bytes()
    again = imported(saved).load()
    same(again(images, "class_logit", at=[(0, 5)]), program(images, "class_logit", at=[(0, 5)]))
    assert refusal(lambda: program.save(saved)) == (
        f"{saved}: exists and is not empty; choose another directory"
    )
    moved = tmp_path / "moved"
    saved.rename(moved)
    assert re.search("relevance", (moved / "program.py").read_text())
    imported(moved).load()
