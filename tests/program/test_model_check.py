"""A program is held against its model when it is compiled, and the line says what differs."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from math import inf, nan
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import lrpc
import lrpc.program.cases as cases
import lrpc.program.model_check as model_check
from lrpc.cli import main
from lrpc.compiler import compile_graph
from lrpc.errors import LrpcWarning, MismatchError
from lrpc.frontend import import_model
from lrpc.frontend.calls import ModelCall
from lrpc.frontend.capture import model_example
from lrpc.frontend.lowering.table import ROWS
from lrpc.frontend.records import Input, found
from lrpc.frontend.variation import varied
from lrpc.program.tolerance import TOLERANCES, differs, distances, moved

X = torch.randn(1, 4, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def line_of(function: Callable[..., Any]) -> int:
    return function.__code__.co_firstlineno


class Apply(nn.Module):
    """A function as a model."""

    def __init__(self, function: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.function = function
        self.eval()

    def forward(self, x: Tensor) -> Any:
        return self.function(x)


def refused(function: Callable[[Tensor], Any], x: Tensor = X, **options: Any) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LrpcWarning)
        with pytest.raises(MismatchError) as error:
            lrpc.compile(Apply(function), (x,), composite="epsilon", **options)
    text = str(error.value)
    assert "\n" not in text
    assert "--no-check (check=False)" in text
    return text


@pytest.mark.parametrize("batch", [1, 2, 4])
def test_what_was_compared_stands_in_the_manifest(batch: int) -> None:
    program = lrpc.compile(Apply(torch.tanh), (X.repeat(batch, 1, 1),), composite="epsilon")
    cases = {1: ["4 other images"], 2: ["one other image", "4 other images"]}
    expected = cases.get(batch, ["one other image", "5 other images"])
    assert program.manifest["check"] == {
        "against": "the model",
        "on": ["the example", *expected, "65 other images (calls and shapes)"],
        "not_on": [],
    }


@pytest.mark.parametrize("batch", [1, 2, 4])
def test_a_model_that_is_another_for_one_image(batch: int) -> None:
    text = refused(lambda x: x * (2.0 if x.shape[0] == 1 else 1.0), X.repeat(batch, 1, 1))
    assert "differ on the example" in text or "differ on one other image" in text
    assert "mul at tests/program/test_model_check.py:" in text
    assert "with other numbers than when it was traced" in text


@pytest.mark.parametrize("batch", [1, 3])
def test_a_model_that_is_another_for_more_images(batch: int) -> None:
    text = refused(lambda x: x.relu() if x.shape[0] > 3 else x.tanh(), X.repeat(batch, 1, 1))
    assert "differ on 4 other images" in text
    assert "there it calls relu at tests/program/test_model_check.py:" in text
    assert "where it called tanh when it was traced" in text


def test_more_images_of_a_large_model_are_held_by_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_check, "SHAPES_ABOVE", 8)
    monkeypatch.setattr(cases, "MANY_NUMBERS", 100)
    program = lrpc.compile(Apply(torch.tanh), (X,), composite="epsilon")
    assert program.manifest["check"]["on"] == [
        "the example",
        "one other image",
        "4 other images (calls and shapes)",
    ]
    assert "where it called tanh" in refused(lambda x: x.relu() if len(x) > 3 else x.tanh())


@pytest.mark.parametrize("batch", [1, 2])
def test_models_that_are_others_for_many_images(batch: int) -> None:
    """Above what is run by values, the calls of a much larger batch are held."""
    x = X.repeat(batch, 1, 1)
    text = refused(lambda x: x.relu() if x.shape[0] > 40 else x.tanh(), x)
    assert "differ on 65 other images: there it calls relu" in text
    text = refused(lambda x: [x.tanh()] * (2 if x.shape[0] > 8 else 1), x)
    assert "there the model returns '1' otherwise than when it was traced" in text


def test_a_model_that_decides_by_values() -> None:
    text = refused(lambda x: x.relu() if bool(x.mean() > 0) else x.tanh())
    assert "there it calls" in text
    assert "fixed when traced: bool of [] is" in text


def test_a_size_that_comes_from_values() -> None:
    text = refused(lambda x: x * (1 + len(x[0, 0][x[0, 0] > 0])))
    assert "there getitem at tests/program/test_model_check.py:" in text
    assert "when it was traced: its shape comes from values; fixed when traced: shape of" in text


def test_a_number_read_out_of_a_tensor_is_said_and_refused_where_it_matters() -> None:
    matters = Apply(lambda x: x / float(x.abs().max()))
    with (
        pytest.warns(LrpcWarning, match="special to the example: float of"),
        pytest.raises(MismatchError, match="fixed when traced: float of"),
    ):
        lrpc.compile(matters, (X,), composite="epsilon")

    def looks(x: Tensor) -> Tensor:
        if not bool((x.abs() < 1e9).all()):
            raise ValueError("out of range")
        return x.tanh()

    with pytest.warns(LrpcWarning, match="special to the example: bool of"):
        lrpc.compile(Apply(looks), (X,), composite="epsilon")


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_few_entries_that_differ_are_no_rounding(precision: str) -> None:
    """Near ties may move some entries in float32; a wrong one is none of them."""

    def first(x: Tensor) -> Tensor:
        y = x.tanh()
        return torch.cat([y[:, :1] * (3 if x.shape[0] == 1 else 1), y[:, 1:]], 1)

    x = torch.randn(2, 200, generator=torch.Generator().manual_seed(0))
    text = refused(first, x, precision=precision)
    assert "differ on one other image: output 'output' differs by" in text
    assert "mul at tests/program/test_model_check.py:" in text


def test_results_whose_names_hang_on_values() -> None:
    def named(x: Tensor) -> dict[str, Tensor]:
        return {("more" if bool(x.sum() > 0) else "less"): x.tanh()}

    text = refused(named)
    assert "otherwise than when it was traced: their number, names or order hang on values" in text


def test_state_from_one_call_to_the_next_is_no_fault_of_the_program() -> None:
    calls = []

    def counts(x: Tensor) -> Tensor:
        calls.append(1)
        return x.tanh() * (2.0 if len(calls) > 3 else 1.0)

    text = refused(counts)
    assert "mul at tests/program/test_model_check.py:" in text
    assert "the model keeps state from one call to the next" in text


def test_a_model_that_fails_on_its_own_example_once_traced() -> None:
    calls = []

    def thrice(x: Tensor) -> Tensor:
        calls.append(1)
        if len(calls) > 2:
            raise ValueError("no more")
        return x.tanh()

    text = refused(thrice)
    assert "fails on the example once it has been traced" in text
    assert "ValueError: no more; clear what it keeps between calls" in text


def test_a_row_that_computes_something_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """The check does not rely on what tracing knows: a wrong operation is found and named."""
    assert ROWS["tanh"]
    monkeypatch.setitem(ROWS, "tanh", lambda context, x: context.op("relu", x))
    text = refused(lambda x: (x.abs() * 2).tanh() + x)
    assert (
        "the first value that differs is that of tanh at tests/program/test_model_check.py:" in text
    )


def test_a_text_that_departs_from_its_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    original = model_check.running
    monkeypatch.setattr(
        model_check, "running", lambda text, w: original(text.replace(".tanh()", ".relu()"), w)
    )
    assert "the text of the program departs from its graph" in refused(torch.tanh)


def test_unchecked_programs_say_so(tmp_path: Path) -> None:
    model = Apply(lambda x: x * (2.0 if x.shape[0] == 1 else 1.0))
    program = lrpc.compile(model, (X,), composite="epsilon", check=False)
    assert program.manifest["check"] == {"against": None, "on": [], "not_on": []}
    program.save(tmp_path / "p")
    report = compile_graph(tmp_path / "p" / "graph.lrp", tmp_path / "again")
    assert report.warnings == ("the program was not held against a model",)


def test_a_model_that_refuses_made_up_values_is_not_held_on_them() -> None:
    def picky(x: Tensor) -> Tensor:
        if x.shape[0] > 3:
            raise ValueError("three images at most\nsorry")
        return x.tanh()

    with pytest.warns(LrpcWarning) as said:
        program = lrpc.compile(Apply(picky), (X,), composite="epsilon")
    few = "4 other images: ValueError: three images at most"
    many = f"65 other images: ValueError at tests/program/test_model_check.py:{line_of(picky) + 2}:"
    assert program.manifest["check"]["not_on"] == [few, f"{many} three images at most"]
    assert str(said[0].message) == f"not held against the model on {few}"


class Chooses(nn.Module):
    """Keeps the rows of the largest of many sums, which rounding reorders."""

    def __init__(self, ties: float) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear, self.ties = nn.Linear(64, 1), ties
        self.requires_grad_(False).eval()
        self.linear.weight.mul_(ties)

    def forward(self, x: Tensor) -> Tensor:
        scores = self.linear(x).squeeze(-1)
        best = scores.topk(50, dim=1).indices
        return torch.gather(x, 1, best[..., None].expand(-1, -1, 64))


def test_near_ties_are_no_mistake() -> None:
    """With scores that differ in the last bits alone, a model in float32 is no more itself than the
    program is."""
    x = torch.randn(1, 200, 64, generator=torch.Generator().manual_seed(0))
    lrpc.compile(Chooses(1e-7), (x,), composite="epsilon")


def test_compile_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "own.yaml"
    config.write_text(
        "LRPC:\n  SOURCE: tests.program.test_model_check:halves\n  SHAPES: [[32, 32]]\n"
    )
    output = tmp_path / "program"
    assert main(["compile", "--config", str(config), "-o", str(output)]) == 2
    assert "differ on the example" in capsys.readouterr().err
    assert not output.exists()
    assert main(["compile", "--config", str(config), "-o", str(output), "--no-check"]) == 0
    assert "warning: the program was not held against a model" in capsys.readouterr().out
    target = ["LRPC.TARGETS", "[box]"]
    main(["compile", "--config", str(config), "-o", str(output), "--no-check", *target])
    assert (
        "LRPC.TARGETS names targets of a whole MaskDINO, and is not used here: there are output"
        in capsys.readouterr().out
    )
    manifest = json.loads((output / "manifest.json").read_text())
    assert manifest["check"]["against"] is None


def halves(config: Any) -> nn.Module:
    class Halves(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.mean((-2, -1)) * (0.5 if images.shape[0] == 1 else 1.0)

    return Halves()


# -- other values ----------------------------------------------------------------------------------


def test_other_values_are_of_the_same_kind() -> None:
    inputs = {
        "image": torch.randint(0, 256, (2, 3, 8, 8)).double(),
        "ids": torch.randint(5, 9, (2, 7)),
        "mask": torch.arange(6).expand(2, 6) < 4,
        "bias": torch.zeros(2, 4).masked_fill(torch.arange(4) > 2, -torch.inf),
        "table": torch.rand(5, 2),
    }

    class Takes(nn.Module):
        def forward(self, image: Any, ids: Any, mask: Any, bias: Any, table: Any) -> Any:
            return image

    example = model_example(Takes(), inputs, {})
    other = varied(example, 5, {"table"})
    given = {x.name: x.value for x in found((other.args, other.kwargs), Input)}
    for name, value in inputs.items():
        made = given[name]
        assert made.dtype == value.dtype
        assert made.shape == (value.shape if name == "table" else (5, *value.shape[1:]))
        assert made.min() >= value.min()
        assert made.max() <= value.max()
        if name != "table":
            assert not torch.equal(made[0], value[0])
            assert len({tuple(row.flatten().tolist()) for row in made}) > 2
    assert set(given["ids"].flatten().tolist()) <= set(inputs["ids"].flatten().tolist())
    assert set(given["bias"].flatten().tolist()) == {0.0, -torch.inf}
    assert bool((given["mask"].sum(1) == 4).all())
    again = varied(example, 5, {"table"})
    assert all(
        torch.equal(x.value, y.value)
        for x, y in zip(found(other.args, Input), found(again.args, Input), strict=True)
    )


def test_calls_of_a_scope_are_what_the_model_feeds_it() -> None:
    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = Apply(torch.tanh)

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x * 2)

    call = ModelCall(Outer().eval(), model_example(Outer(), {"x": X}, {}), "inner")
    given, structure, outputs = call.run(call.example)
    assert torch.equal(given["x"], X * 2)
    assert structure == "output"
    assert torch.equal(outputs["output"], (X * 2).tanh())
    assert lrpc.compile(Outer().eval(), (X,), scope="inner", composite="epsilon")
    assert import_model(Outer(), {"x": X}).recorded.calls


def test_how_tensors_differ() -> None:
    exact, near = TOLERANCES["fp64"], TOLERANCES["fp32"]
    x = torch.tensor([1.0, torch.nan, torch.inf, 0.0], dtype=torch.float64)
    assert differs(x, x.clone(), exact) == ""
    assert differs(x.float(), x, exact) == "is float32, not float64"
    assert differs(x[:1], x, exact) == "has shape [1], not [4]"
    assert differs(x + torch.tensor([1e-9, 0, 0, 0]), x, exact) == (
        "differs by 1e-09 of its largest entry"
    )
    assert differs(torch.tensor([1, 2]), torch.tensor([1, 3]), exact) == (
        "has other values in 50% of its entries"
    )
    assert differs(-x, x, exact).startswith("differs by ")
    many = torch.ones(100)
    assert differs(many + 0.1 * (torch.arange(100) == 3), many, near) == ""
    assert differs(many + 0.1 * (torch.arange(100) < 3), many, near).startswith("differs by 0.1")


@pytest.mark.parametrize("number", [0.0, 1.0 + 1e-12, 1.0 + 4e-5, 1.0 + 9e-5, 2.0, nan, inf, -inf])
@pytest.mark.parametrize("wanted", [[1.0, 0.5], [1.0, inf], [1.0, nan], [0.0, 0.0], [-1.0, 1e-30]])
def test_the_share_that_moves_is_as_entry_by_entry(number: float, wanted: list[float]) -> None:
    one, other = torch.tensor([number, wanted[1]]), torch.tensor(wanted)
    for kind in (torch.float64, torch.float32):
        a, b = one.to(kind), other.to(kind)
        expected = float((~(distances(a, b) <= 1e-4)).double().mean())
        assert moved(a, b, 1e-4) == expected


class Queries(nn.Module):
    """Hands its layer two tensors that hang on the number of images alone, of which it adds up a
    third: a place there makes constants of the two."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.layer = nn.Parameter(torch.randn(3, 4)), Moved()

    def forward(self, x: Tensor) -> Tensor:
        places = self.table.unsqueeze(0).repeat(x.shape[0], 1, 1)
        made: Tensor = self.layer(torch.zeros_like(places), places, x)
        return made


class Moved(nn.Module):
    def forward(self, start: Tensor, places: Tensor, x: Tensor) -> Tensor:
        return x + (start + places)


def test_shapes_are_held_where_places_are_read() -> None:
    program = lrpc.compile(Queries().eval(), (torch.randn(2, 3, 4),), read={"moved": "layer"})
    assert any("by shapes" in case or "65" in case for case in program.manifest["check"]["on"])
