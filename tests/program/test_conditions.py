"""Conditional relevance (CRP): masks at places in any model, in chunks and under a budget."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import lrpc
from lrpc.compiler import compile_graph
from lrpc.errors import ConfigError, ProgramError
from lrpc.program.loading import load_program
from lrpc.program.verify import checks
from tests.support.programs import difference
from tests.support.storage import Tracker

LIMIT = 1e-10


class Tokens(nn.Module):
    """Patches of an image through two encoder layers, the tokens or the images first."""

    def __init__(self, batch_first: bool = True) -> None:
        super().__init__()
        self.batch_first = batch_first
        self.patch = nn.Conv2d(3, 16, 4, 4)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(16, 2, 32, 0.0, batch_first=batch_first) for _ in range(2)
        )
        self.head = nn.Linear(16, 5)

    def forward(self, images: Tensor) -> Tensor:
        x = self.patch(images).flatten(2).transpose(1, 2)  # [B, N, 16]
        x = x if self.batch_first else x.transpose(0, 1)
        for layer in self.layers:
            x = layer(x)
        return self.head(x.mean(1 if self.batch_first else 0))


class Aside(nn.Module):
    """A map whose result nothing reads."""

    def __init__(self) -> None:
        super().__init__()
        self.side, self.head = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1)

    def forward(self, images: Tensor) -> Tensor:
        self.side(images)
        return self.head(images)


def convolutional() -> nn.Module:
    """A small CNN with batch norms, a residual sum and pooling."""

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8)
            self.conv2, self.bn2 = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8)

        def forward(self, x: Tensor) -> Tensor:
            y = torch.relu(self.bn1(self.conv1(x)))
            return torch.relu(x + self.bn2(self.conv2(y)))

    first = (nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), Block(), nn.MaxPool2d(2), Block())
    return nn.Sequential(*first, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))


#: A model, the places in it, and the axis of each in its value that the condition of that name
#: masks: name → (module path, axis).
CASES: dict[str, tuple[Callable[[], nn.Module], dict[str, tuple[str, int]]]] = {
    "cnn": (convolutional, {"block": ("2", 1), "last": ("4.conv1", 1)}),
    "vit": (
        Tokens,
        {"first": ("layers.0", 2), "inside": ("layers.1.linear1", 2), "rows": ("layers.0", 1)},
    ),
    "tokens first": (lambda: Tokens(False), {"first": ("layers.0", 2), "rows": ("layers.0", 0)}),
}


def compiled(
    name: str, composite: str = "gradient_input", **options: Any
) -> tuple[nn.Module, Any, Tensor]:
    """The model of a case, its program with all conditions, and two images."""
    torch.manual_seed(0)
    build, places = CASES[name]
    model, images = build().double().eval(), torch.randn(2, 3, 16, 16, dtype=torch.float64)
    for norm in model.modules():
        if isinstance(norm, nn.LayerNorm):
            nn.init.uniform_(norm.weight, 0.5, 1.5)
    read = {place: path for place, (path, _) in places.items()}
    conditions = [f"{n}:positions" if n == "rows" else n for n in read]
    more: dict[str, Any] = {"composite": composite, "read": read, "conditions": conditions}
    return model, lrpc.compile(model, (images,), **more | options), images


def _masked(axis: int, entries: list[int], _m: nn.Module, _x: object, y: Tensor) -> None:
    """A forward hook: the gradient of the output passes at some entries of an axis alone."""
    mask = torch.zeros(y.shape[axis], dtype=y.dtype)
    mask[entries] = 1
    shape = [-1 if a == axis else 1 for a in range(y.dim())]
    y.register_hook(lambda g: g * mask.reshape(shape))


def by_autograd(
    model: nn.Module, images: Tensor, kept: Mapping[str, tuple[str, int, list[int]]], at: int
) -> Tensor:
    """Input times the gradient of output `at`, where that of each kept module's output is masked
    along an axis."""
    hooks = []
    for path, axis, entries in kept.values():
        hook = partial(_masked, axis, entries)
        hooks.append(model.get_submodule(path).register_forward_hook(hook))
    x = images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(model(x)[:, at].sum(), x)
    for hook in hooks:
        hook.remove()
    return (x * gradient).detach()


@pytest.mark.parametrize("name", CASES)
def test_gradients_masked_at_places(name: str) -> None:
    model, program, images = compiled(name)
    places = CASES[name][1]
    kept = {n: (*where, [1, 3, 6]) for n, where in places.items()}
    own = {n: f"{n}:positions" if n == "rows" else n for n in places}
    chosen: list[list[str]] = [[n] for n in places] + [[*places], []]
    conditions: list[Any] = [{own[n]: [1, 3, 6] for n in one} for one in chosen]
    state = program.forward(images)
    found = program.relevance(state, at=[(2,)], condition=conditions, ledger=True)
    for seed, one in enumerate(chosen):
        wanted = by_autograd(model, images, {n: kept[n] for n in one}, 2)
        assert difference(found.input[seed], wanted) < LIMIT, one
    assert float(found.ledger.closure.max()) < 1e-12
    assert bool((found.ledger.sinks["condition"][-1] == 0).all())
    assert bool((found.ledger.sinks["condition"][:-1] != 0).all())


@pytest.mark.parametrize(("name", "composite"), [("cnn", "epsilon_plus"), ("vit", "attnlrp")])
def test_channels_sum_to_the_whole(name: str, composite: str) -> None:
    """Relevance is linear in the mask; one seed goes with every condition."""
    _, program, images = compiled(name, composite)
    place = next(iter(CASES[name][1]))
    state = program.forward(images)
    whole = program.relevance(state, at=[(2,)])
    channels = 8 if name == "cnn" else 16
    each = program.relevance(state, at=[(2,)], condition=[{place: [c]} for c in range(channels)])
    assert each.input.shape[0] == channels
    assert difference(each.input.sum(0), whole.input[0]) < LIMIT
    halves = torch.full((2, channels), 0.5, dtype=torch.float64)
    halves[1] = 2.0  # another mask for each image
    masked = program.relevance(state, at=[(2,)], condition={place: halves})
    scale = torch.tensor([0.5, 2.0]).reshape(1, 2, 1, 1, 1)
    assert difference(masked.input, whole.input * scale) < LIMIT
    assert difference(masked.layers[place], whole.layers[place]) == 0  # read before the mask
    total = program.relevance(state, at=[(2,), (1,)], condition={place: [1]}, total=True)
    apart = program.relevance(state, at=[(2,), (1,)], condition={place: [1]})
    assert difference(total.input[0], apart.input.sum(0)) < LIMIT


@pytest.mark.parametrize("checkpoint", ["none", "block"])
def test_parts_are_as_the_whole(checkpoint: str) -> None:
    """Chunks of seeds, blocks that are computed again and images apart give the same."""
    _, program, images = compiled("vit", "attnlrp")
    options: dict[str, Any] = {"seeds": 2, "checkpoint": checkpoint}
    _, apart, _ = compiled("vit", "attnlrp", **options)
    conditions = [{"first": [c], "rows:positions": [c, 3]} for c in range(5)]
    own = torch.rand(5, 2, 16, dtype=torch.float64)
    conditions = [{**one, "inside": torch.rand(32).double()} for one in conditions]
    conditions[3]["first"] = own[3]  # of each image
    at = torch.tensor([[[0], [1]], [[2], [3]], [[4], [0]], [[1], [1]], [[3], [2]]])
    found = [
        p.relevance(p.forward(images), at=at, condition=conditions, ledger=True)
        for p in (program, apart)
    ]
    assert difference(found[1].input, found[0].input) < LIMIT
    pairs = zip(found[0].ledger.rows, found[1].ledger.rows, strict=True)
    assert all(torch.allclose(a[3], b[3], atol=1e-12) for a, b in pairs)


def wide(**options: Any) -> tuple[Any, Tensor]:
    """The program of a CNN whose inner maps are larger than its input, and three images."""
    torch.manual_seed(0)
    maps = [nn.Conv2d(3, 24, 3, 1, 1), nn.ReLU()]
    for _ in range(3):
        maps += [nn.Conv2d(24, 24, 3, 1, 1), nn.ReLU()]
    model = nn.Sequential(*maps, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 5)).eval()
    images, names = torch.randn(3, 3, 16, 16), {"a": "2", "b": "4"}
    conditions = ["a", "b:positions"]
    return lrpc.compile(model, (images[:1],), read=names, conditions=conditions, **options), images


@pytest.mark.parametrize("ledger", [False, True])
def test_a_budget_holds_with_masks(ledger: bool) -> None:
    """Fewer seeds go at once, and then fewer images; the bytes that calls hold, masks among them,
    stay below the budget."""
    program, images = wide(budget=500_000, checkpoint="auto", seeds=4)
    free, _ = wide()
    everything = torch.rand(9, 3, 16, 16)  # for each seed and image, which positions pass
    conditions = [{"a": [c, 23], "b:positions": everything[c]} for c in range(9)]
    options: dict[str, Any] = {"condition": conditions, "ledger": ledger, "read": ["input.input"]}
    with Tracker() as tracker:
        state = program.forward(images)
        found = program.relevance(state, at=[(1,)], **options)
    assert tracker.peak <= program.limits.budget
    wanted = free.relevance(free.forward(images), at=[(1,)], **options)
    assert difference(found.input, wanted.input) < 1e-5


def test_the_directory_holds_it(tmp_path: Path) -> None:
    """`lrpc verify` tries the conditions, and a graph compiles again with them."""
    _, program, images = compiled("vit", "attnlrp")
    program.save(tmp_path / "vit")
    found = list(checks(tmp_path / "vit"))
    assert all(check.passed for check in found)
    assert any(check.what.startswith("conditioned") for check in found)
    compile_graph(tmp_path / "vit" / "graph.lrp", tmp_path / "again")
    text = [(tmp_path / d / "program.py").read_text() for d in ("vit", "again")]
    assert text[0] == text[1]
    again: Any = load_program(tmp_path / "again", "cpu")
    condition = {"first": [4], "rows:positions": [2]}
    a, b = (
        p.relevance(p.forward(images), at=[(0,)], condition=condition) for p in (program, again)
    )
    assert torch.equal(a.input, b.input)


def test_without_conditions_nothing_changes() -> None:
    """A program without conditions has the functions that it has always had."""
    torch.manual_seed(0)
    model, images = Tokens().double().eval(), torch.randn(1, 3, 16, 16, dtype=torch.float64)
    program: Any = lrpc.compile(model, (images,), read={"first": "layers.0"})
    text = (program.directory / "program.py").read_text().partition("# ---- Kernels")[0]
    assert "mask" not in text
    assert "conditions" not in program.manifest["settings"]
    with pytest.raises(ProgramError, match="no condition can be set at 'first'"):
        program.relevance(program.forward(images), at=[(0,)], condition={"first": [0]})


@pytest.mark.parametrize("name", CASES)
def test_starts_inside(name: str) -> None:
    """Channels at all positions, positions with all channels, and units."""
    place, (path, _) = next(iter(CASES[name][1].items()))
    model, program, images = compiled(name, starts=[place])
    values: list[Tensor] = []
    hook = model.get_submodule(path).register_forward_hook(lambda _m, _x, y: values.append(y))
    x = images.clone().requires_grad_()
    model(x)
    hook.remove()
    value = values[0].transpose(0, 1) if name == "tokens first" else values[0]
    value = value if name == "cnn" else value.transpose(1, 2)  # [B, C, ...]
    position = (1, 2) if name == "cnn" else (5,)
    every = (slice(None), slice(None), *position)
    starts = {"channel": (value[:, 3], (3,)), "position": (value[every], position)}
    starts["unit"] = (value[(slice(None), 3, *position)], (3, *position))
    state = program.forward(images)
    for kind, (start, at) in starts.items():
        (gradient,) = torch.autograd.grad(start.sum(), x, retain_graph=True)
        found = program.relevance(state, kind, layer=place, at=[at])
        assert difference(found.input[0], (x * gradient).detach()) < LIMIT, kind


BAD: list[tuple[Any, str]] = [
    ({"frist": [1]}, "did you mean 'first'"),
    ([1], "condition takes places"),
    ([], "condition takes places"),
    ("first", "condition takes places"),
    ({"first": [16]}, r"entries lie in 0..15, got 16"),
    ({"first": [(1, 2)]}, r"entries lie in 0..15, got \(1, 2\)"),
    ({"first": [True]}, r"entries lie in 0..15, got True"),
    ({"first": "all"}, "takes whole numbers or a mask"),
    ({"first": torch.ones(3)}, r"a mask is \[16\] or \[2, 16\], got \[3\]"),
    ({"first": torch.full((16,), math.nan)}, "finite mask"),
    ([{"first": [1]}] * 3, "3 conditions are given for 2 seeds"),
]


def test_errors() -> None:
    model, program, images = compiled("vit", "attnlrp")
    state = program.forward(images)
    for given, message in BAD:
        with pytest.raises(ProgramError, match=message):
            program.relevance(state, at=[(0,), (1,)], condition=given)
    with pytest.raises(ProgramError, match="total=True sums seeds"):
        program.relevance(state, at=[(0,)], condition=[{"first": [1]}, {}], total=True)
    with pytest.raises(ConfigError, match="no place matches 'frist'; did you mean first"):
        lrpc.compile(model, (images,), read={"first": "layers.0"}, conditions=["frist"])
    with pytest.raises(ConfigError, match="conditions takes a list of places"):
        lrpc.compile(model, (images,), conditions="first")
    with pytest.raises(ConfigError, match=r"LRPC\.STARTS: no place matches 'frist'"):
        lrpc.compile(model, (images,), read={"first": "layers.0"}, starts=["frist"])
    with pytest.raises(ConfigError, match="which relevance of no target passes"):
        lrpc.compile(Aside().eval(), (images.float(),), read={"s": "side"}, conditions=["s"])


def test_composites_precision_and_copies() -> None:
    """Each composite has its masks, in bfloat16 as well; a copy of the program gives the same."""
    torch.manual_seed(0)
    model, images = Tokens().eval(), torch.randn(1, 3, 16, 16)
    given: dict[str, Any] = {"read": {"first": "layers.0"}, "conditions": ["first"]}
    condition = {"first": [0, 1, 2]}
    both: Any = lrpc.compile(model, (images,), composite={"a": "attnlrp", "b": "cp_lrp"}, **given)
    state = both.forward(images)
    options: dict[str, Any] = {"at": [(0,)], "condition": condition, "ledger": True}
    found = [both.relevance(state, composite=name, **options) for name in "ab"]
    assert all(float(one.ledger.closure.max()) < 1e-5 for one in found)
    assert difference(found[0].input, found[1].input) > 1e-3
    narrow: Any = lrpc.compile(model, (images,), precision="bf16", **given)
    rounded = narrow.relevance(narrow.forward(images), at=[(0,)], condition=condition)
    assert difference(rounded.input, found[0].input) < 0.05
    with torch.device("meta"):  # a default device of the caller's
        placed = both.relevance(state, at=[(0,)], condition=condition)
    assert torch.equal(placed.input, found[0].input)
    again = pickle.loads(pickle.dumps(both))
    same = again.relevance(again.forward(images), at=[(0,)], condition=condition)
    assert torch.equal(same.input, found[0].input)


@pytest.mark.slow  # torch.compile takes half a minute
def test_compiled_by_torch() -> None:
    _, program, images = compiled("vit", "attnlrp")
    _, by_torch, _ = compiled("vit", "attnlrp", compile=True)
    conditions = [{"first": [1, 2], "rows:positions": [3]}, {"inside": torch.rand(32).double()}]
    found = [
        p.relevance(p.forward(images), at=[(0,)], condition=conditions) for p in (program, by_torch)
    ]
    assert difference(found[1].input, found[0].input) < LIMIT
