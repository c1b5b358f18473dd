"""One program for every size: it equals the programs that are compiled for each."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import lrpc
from lrpc.cli import main
from lrpc.commands.session.units import size as bytes_said
from lrpc.errors import TraceError
from lrpc.program.memory_of import open_model
from tests.support.storage import Tracker

SIZES = ((64, 96), (96, 64), (32, 32), (160, 128))


class Pyramid(nn.Module):
    """Strides, an upsampling, tokens of two levels, sine positions, a mean over what varies."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.pool = nn.Conv2d(3, 4, 7, 2, 3), nn.MaxPool2d(3, 2, 1)
        self.down, self.norm = nn.Conv2d(4, 8, 3, 2, 1), nn.BatchNorm2d(8)
        self.side, self.head = nn.Conv2d(8, 4, 1), nn.Linear(8, 5)
        self.mix, self.layer_norm = nn.Linear(8, 8), nn.LayerNorm(8)
        self.level = nn.Parameter(torch.randn(2, 8))

    def positions(self, height: int, width: int, like: Tensor) -> Tensor:
        rows = torch.arange(height, dtype=like.dtype, device=like.device)
        columns = torch.linspace(0, 1, width, dtype=like.dtype)
        y, x = torch.meshgrid(rows / torch.tensor(height), columns, indexing="ij")
        wave = torch.arange(1, 3, dtype=like.dtype)
        code = torch.cat([y[..., None] * wave, (x[..., None] * wave).sin()], -1)
        return torch.cat([code, torch.ones_like(code)], -1).flatten(0, 1)[None]

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        fine = self.pool(torch.relu(self.stem(x)))
        coarse = torch.relu(self.norm(self.down(fine)))
        up = F.interpolate(self.side(coarse), size=fine.shape[-2:], mode="bilinear") + fine
        maps = (torch.cat([up, fine], 1), coarse)
        tokens = []
        for level, found in enumerate(maps):
            position = self.positions(found.shape[-2], found.shape[-1], found) + self.level[level]
            tokens.append(found.flatten(2).transpose(1, 2) + position)
        joined = self.layer_norm(torch.cat(tokens, 1))
        joined = joined + torch.relu(self.mix(joined))
        first = joined[:, : fine.shape[-2] * fine.shape[-1]]
        plane = first.transpose(1, 2).unflatten(2, fine.shape[-2:])
        return {"classes": self.head(joined.mean(1)), "map": plane}


class UNet(nn.Module):
    """Down twice and up again, with what was left behind."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 8, 3, stride=2, padding=1)
        self.up, self.out = nn.ConvTranspose2d(8, 4, 2, 2), nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        a = torch.relu(self.a(x))
        b = torch.relu(self.b(a))
        return {"map": self.out(torch.cat([self.up(b), a], 1)), "classes": b.mean((2, 3))}


MODELS = {"pyramid": Pyramid, "U-Net": UNet}
AT = {"classes": [(0,), (3,)], "map": [(1, 2, 3), (0, 7, 5)]}


@cache
def model_of(name: str) -> nn.Module:
    torch.manual_seed(0)
    return MODELS[name]().double().eval()


def image(height: int, width: int, count: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(height * width)
    return torch.randn(count, 3, height, width, generator=generator, dtype=torch.float64)


@cache
def program(name: str, composite: str = "epsilon_plus", **options: Any) -> Any:
    dynamic = {"x": {2: "H", 3: "W"}}
    given = (image(64, 96),)
    return lrpc.compile(model_of(name), given, dynamic=dynamic, composite=composite, **options)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", MODELS)
def test_it_equals_the_program_of_that_size(name: str, size: tuple[int, int]) -> None:
    model, p, x = model_of(name), program(name), image(*size, count=2)
    fixed = lrpc.compile(model, (x[:1],), composite="epsilon_plus", check=False)
    state, other = p.forward(x), fixed.forward(x)
    with torch.no_grad():
        for key, wanted in model(x).items():
            assert torch.allclose(state.outputs[key], wanted, rtol=0, atol=1e-12)
    for target, at in AT.items():
        got = p.relevance(state, target, at=at, ledger=True)
        wanted = fixed.relevance(other, target, at=at, ledger=True)
        assert torch.allclose(got.input, wanted.input, rtol=1e-12, atol=1e-14)
        assert float(got.ledger.closure.max()) < 1e-12
        assert torch.allclose(got.ledger.end, wanted.ledger.end, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("composite", ["attnlrp", "maskdino", "epsilon_plus_flat"])
def test_so_it_does_under_other_rules(composite: str) -> None:
    p, x = program("pyramid", composite), image(96, 64)
    fixed = lrpc.compile(model_of("pyramid"), (x,), composite=composite, check=False)
    got = p(x, "map", at=AT["map"]).input
    assert torch.allclose(got, fixed(x, "map", at=AT["map"]).input, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("ledger", [False, True])
def test_peaks_are_predicted_at_each_size(size: tuple[int, int], ledger: bool) -> None:
    p, x = program("pyramid"), image(*size)
    model = open_model(p.directory)
    model.sizes = dict(zip("HW", size, strict=True))
    after = model.forward(1)
    timeline = model.timeline(list(AT).index("map"), 2, after, ledger)
    with Tracker() as tracker:
        state = p.forward(x)
    assert tracker.peak == timeline.forward_peak
    with Tracker() as tracker:
        p.relevance(state, "map", at=AT["map"], ledger=ledger)
    assert tracker.peak == pytest.approx(timeline.relevance_peak, rel=0.005)


def test_a_state_knows_its_size() -> None:
    p = program("pyramid")
    states = [p.forward(image(*size)) for size in SIZES]
    for state, size in zip(states, SIZES, strict=True):
        assert p.interface.sizes_of(state.inputs) == dict(zip("HW", size, strict=True))
        again = pickle.loads(pickle.dumps(state))
        got = p.relevance(again, "map", at=AT["map"]).input
        assert torch.equal(got, p.relevance(state, "map", at=AT["map"]).input)


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ((1, 3, 70, 96), "H is 70, no multiple of 32; resize or pad it to 64 or 96"),
        ((1, 3, 64, 16), "W is 16, no multiple of 32; resize or pad it to 32"),
        ((1, 4, 64, 64), "must have shape [B, 3, H, W], got [1, 4, 64, 64]: B, H, W are free"),
    ],
)
def test_sizes_that_it_cannot_take_are_refused(shape: tuple[int, ...], said: str) -> None:
    with pytest.raises(lrpc.errors.ProgramError) as caught:
        program("pyramid").forward(torch.zeros(shape, dtype=torch.float64))
    assert said in str(caught.value)


def test_indices_are_held_against_the_size_of_the_image() -> None:
    p = program("pyramid")
    state = p.forward(image(32, 32))
    with pytest.raises(lrpc.errors.ProgramError, match=r"must lie in 0\.\.7, got 15"):
        p.relevance(state, "map", at=[(0, 15, 0)])


@pytest.mark.parametrize(
    ("dynamic", "said"),
    [
        ({"y": {2: "H"}}, "names an input 'y'; the model's are x"),
        ({"x": {0: "N"}}, "0 is no axis of x [1, 3, 64, 96] that can vary"),
        ({"x": {2: "B"}}, "'B' cannot name a size"),
        ({"x": {2: ("H", 48)}}, "H goes in steps of 48"),
        ({"x": {2: "H", 3: "H"}}, "H is 64 in steps of 32 in one place and 96"),
    ],
)
def test_what_is_wrong_about_sizes_is_said(dynamic: Any, said: str) -> None:
    with pytest.raises(TraceError) as caught:
        lrpc.compile(model_of("U-Net"), (image(64, 96),), dynamic=dynamic)
    assert said in str(caught.value)


class Learned(nn.Module):
    """A position for every place of a map of one size."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(3, 4, 8, 8)
        self.place = nn.Parameter(torch.randn(1, 4, 8, 12))

    def forward(self, x: Tensor) -> Tensor:
        return (self.down(x) + self.place).mean((2, 3))


class Branching(nn.Module):
    """Another computation for large images."""

    def forward(self, x: Tensor) -> Tensor:
        y = x.mean((2, 3))
        return y * 2 if x.shape[2] > 80 else y + 1


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (Branching(), "is not the same for all sizes (H in steps of 32, W in steps of 32)"),
        (Learned(), "the model fails for H = 64, W = 128: "),
    ],
)
def test_models_of_one_size_are_refused(model: nn.Module, said: str) -> None:
    with pytest.raises(TraceError) as caught:
        lrpc.compile(model.double(), (image(64, 96),), dynamic={"x": {2: "H", 3: "W"}})
    assert said in str(caught.value)


class Coarse(nn.Module):
    """A stride of 24 steps of 8."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(3, 4, 3, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(x).mean((2, 3))


def test_a_step_that_strides_do_not_divide_is_refused() -> None:
    model = Coarse().double()
    with pytest.raises(TraceError, match=r"H in steps of 8, W in steps of 8.* larger steps may do"):
        lrpc.compile(model, (image(184, 40),), dynamic={"x": {2: ("H", 8), 3: ("W", 8)}})
    p = lrpc.compile(model, (image(176, 32),), dynamic={"x": {2: ("H", 16), 3: ("W", 16)}})
    x = image(400, 16)
    with torch.no_grad():
        assert torch.allclose(p.forward(x).outputs, model(x), rtol=0, atol=1e-12)


def test_the_plan_is_of_the_size_that_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    directory = program("pyramid").directory
    model = open_model(directory)
    for given, sizes in (([], (64, 96)), (["--size", "H=160", "W=128"], (160, 128))):
        model.sizes = dict(zip("HW", sizes, strict=True))
        peak = max(model.timeline(i, 1, model.forward(1)).peak for i in range(len(AT)))
        assert main(["plan", str(directory), *given]) == 0
        said = capsys.readouterr().out
        assert f"H = {sizes[0]}, W = {sizes[1]}" in said
        assert bytes_said(peak) in said


@pytest.mark.parametrize(
    ("given", "said"),
    [("H=70", "--size H=70: give H=N, N a multiple of 32"), ("T=3", "sizes that vary are H, W")],
)
def test_a_plan_of_other_sizes_is_refused(
    given: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", str(program("pyramid").directory), "--size", given]) == 2
    assert said in capsys.readouterr().err


class Scaled(nn.Module):
    """Divides by a size that stands in a tensor."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3)) / torch.tensor(x.shape[2]).to(x).sqrt()


@pytest.mark.parametrize("size", [(64, 96), (224, 256)], ids=["small", "traced by shapes"])
def test_numbers_of_sizes_are_tensors_with_methods(size: tuple[int, int]) -> None:
    model = Scaled().double()
    p = lrpc.compile(model, (image(*size),), dynamic={"x": {2: "H", 3: "W"}})
    x = image(96, 32)
    assert torch.allclose(p.forward(x).outputs, model(x), rtol=0, atol=1e-12)


class Grid(nn.Module):
    """A plane that a grid of the size is added to, and the grid itself."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 2, 8, 8)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        plane = self.stem(x)
        rows, columns = plane.shape[2:]
        grid = torch.arange(rows * columns, dtype=x.dtype).reshape(rows, columns).sqrt()
        return {"map": plane + grid, "grid": grid.exp().log()}


def test_what_depends_on_the_size_alone_is_computed_once_for_it() -> None:
    model, times = Grid().double().eval(), list[tuple[int, ...]]()
    p: Any = lrpc.compile(model, (image(64, 96),), dynamic={"x": {2: "H", 3: "W"}})
    own = p.interface.of_sizes

    def counted(weights: Any, height: int, width: int, device: Any) -> Any:
        times.append((height, width))
        return own(weights, height, width, device)

    p.interface = replace(p.interface, of_sizes=counted)
    for size in ((64, 96), (64, 96), (96, 64), (96, 64), (64, 96)):
        state = p.forward(image(*size, count=2))
        with torch.no_grad():
            wanted = model(image(*size, count=2))
        for name, value in wanted.items():
            assert torch.allclose(state.outputs[name], value, rtol=0, atol=1e-12)
        state.outputs["grid"].zero_()  # the caller's own
    assert times == [(64, 96), (96, 64), (64, 96)]
    again = copy.deepcopy(p)
    again.forward(image(64, 96))
    assert len(times) == 4
    text = (p.directory / "program.py").read_text()
    assert "def of_sizes(w, H, W, device):" in text
    assert "arange" not in text.split("def forward")[1].split("\ndef ")[0]
