"""Importing models: names, places, scopes, nested outputs, decisions, errors."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import lrpc.frontend as frontend
from lrpc.errors import TraceError
from lrpc.frontend import import_model
from lrpc.ir.interpreter import interpret
from lrpc.ir.printer import print_graph
from lrpc.runtime.results import rebuild
from tests.support.models import TENSOR, Apply, Apply2, Block, Stack

X = torch.linspace(-2, 2, 48, dtype=torch.float64).reshape(2, 4, 6)


def text_of(model: nn.Module, **options: Any) -> str:
    return print_graph(import_model(model, {"x": X}, **options).module.graph)


def values_of(imported: Any, **inputs: Tensor) -> dict[str, Tensor]:
    module = imported.module
    return interpret(module.graph, module.tensors, inputs, keep=True)


GOLDEN = """\
graph @forward(%x: f64[B,4,6]) {
  weight "inner.block.norm.weight": f64[6]
  weight "inner.block.norm.bias": f64[6]
  weight "inner.block.linear.weight": f64[6,6]
  weight "inner.block.linear.bias": f64[6]
  weight "head.0.weight": f64[3,6]
  weight "head.0.bias": f64[3]
  %norm: f64[B,4,6] = layer_norm(%x) {weight="inner.block.norm.weight", bias="inner.block.norm.bias", eps=1e-05} loc(inner.block.norm, tests/support/models.py:LINE)
  %linear: f64[B,4,6] = linear(%norm) {weight="inner.block.linear.weight", bias="inner.block.linear.bias"} loc(inner.block.linear, tests/support/models.py:LINE)
"""  # noqa: E501


def test_text() -> None:
    text = text_of(Stack().double())
    lines = [line for line in text.splitlines() if "tests/support/models.py:" in line]
    number = lines[0].rpartition(":")[2].rstrip(")")
    assert int(number) > 0
    assert text.startswith(GOLDEN.replace("LINE", number))
    assert text == text_of(Stack().double())  # names do not depend on the run


def test_nested_outputs() -> None:
    model = Stack().double()
    imported = import_model(model, {"x": X})
    assert imported.structure == {
        "dict": {
            "logits": "logits",
            "aux": {"list": ["aux.0", {"tuple": ["aux.1.0", {"value": None}, {"value": 3}]}]},
        }
    }
    found = interpret(imported.module.graph, imported.module.tensors, {"x": X})
    outputs, expected = rebuild(imported.structure, found), model(X)
    assert outputs["aux"][1][1:] == (None, 3)
    torch.testing.assert_close(outputs["logits"], expected["logits"])
    torch.testing.assert_close(outputs["aux"][1][0], expected["aux"][1][0])


def test_marks() -> None:
    model = Stack().double()
    kept: dict[str, Any] = {}
    model.again.register_forward_hook(lambda _, args, out: kept.setdefault("calls", []).append(out))
    places = {
        "first": "inner.block@0:out0",
        "twice": "inner.block@0:out.1.twice",
        "second": "again",
        "linear": "inner.block.linear:in0",
        "root": ":in0",
        "logits": "head.0:out",
    }
    imported = import_model(model, {"x": X}, places=places)
    model(X)
    (first, parts), second = kept["calls"][-2:]
    values = values_of(imported, x=X)
    found = {name: values[value.name] for name, value in imported.module.graph.places}
    for name, value in {"first": first, "twice": parts["twice"], "second": second}.items():
        torch.testing.assert_close(found[name], value)
    assert imported.module.graph.value_at["root"].name == "x"
    assert imported.module.graph.value_at["logits"].type.shape[-1] == 3


def test_scope() -> None:
    model = Stack().double()
    imported = import_model(model, {"x": X}, scope="inner.block")
    assert [str(v.type) for v in imported.module.graph.inputs] == ["f64[B,4,6]"]
    assert set(imported.module.tensors) == {
        "norm.weight", "norm.bias", "linear.weight", "linear.bias",
    }  # fmt: skip
    found = interpret(imported.module.graph, imported.module.tensors, {"x": X})
    torch.testing.assert_close(found["0"], model.inner["block"](X)[0])


def test_constants_and_nested_inputs() -> None:
    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block = Block()

        def forward(self, x: Tensor, gain: float) -> Tensor:
            out: Tensor = self.block(x, gain=gain, extra={"shift": x * 2})
            return out

    model = Outer().double()
    imported = import_model(model, {"x": X}, constants={"gain": 3.0}, scope="block")
    assert [v.name for v in imported.module.graph.inputs] == ["x", "extra.shift"]
    found = interpret(
        imported.module.graph, imported.module.tensors, {"x": X, "extra.shift": X * 2}
    )
    torch.testing.assert_close(found["output"], model(X, 3.0))


def test_unbatched_inputs() -> None:
    model = Apply2(lambda m, x, y: x @ y)
    imported = import_model(model, {"x": X, "y": X[0].t()}, unbatched=["y"])
    assert [str(v.type) for v in imported.module.graph.inputs] == ["f64[B,4,6]", "f64[6,4]"]


def test_shared_parameters_have_their_first_name() -> None:
    model = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6))
    model[1].weight = model[0].weight
    imported = import_model(model.double(), {"input": X})
    assert set(imported.module.tensors) == {"0.weight", "0.bias", "1.bias"}


def test_equal_constants_are_one() -> None:
    model = Apply(lambda m, x: (x + torch.arange(6)) * torch.arange(6) + torch.arange(6) * 2)
    imported = import_model(model, {"x": X})
    assert set(imported.module.tensors) == {"constant.0", "constant.1"}


def test_what_no_output_needs_is_dropped() -> None:
    model = Apply(lambda m, x: (torch.fft.rfft(x), x.nonzero(), x + 1)[2])
    assert [n.op for n in import_model(model, {"x": X}).module.graph.nodes] == ["shift"]


def test_decisions_are_listed() -> None:
    def branches(m: Apply, x: Tensor) -> Tensor:
        if x.max() > 1:
            x = x * 2
        return x + int(x[0, 0, 0].item() < 0) + len(x[0])

    decisions = import_model(Apply(branches), {"x": X}).decisions
    assert [d.partition(", at ")[0] for d in decisions] == [
        "bool of [] is True",
        "item of [] is -4.0",
    ]
    assert "tests/frontend/test_frontend.py:" in decisions[0]


def test_the_model_is_left_as_it_was() -> None:
    class Remembers(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(4)
            self.cache: Any = None

        def forward(self, x: Tensor) -> Tensor:
            self.cache = self.norm(x)
            result: Tensor = self.cache * 2
            return result

    model = Remembers().double().train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    import_model(model, {"x": X})
    assert model.training
    assert model.norm.training
    assert model.cache is None
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert isinstance(X, Tensor)
    assert "isinstance" not in globals()


def test_memory_is_a_forward_s() -> None:
    """Intermediates go when the model drops them: few of their values are alive at any time."""
    values: list[weakref.ref[Tensor]] = []
    alive: list[int] = []

    def deep(m: Apply, x: Any) -> Any:
        for _ in range(50):
            x = (x + 1).relu()
            values.append(weakref.ref(x.value))
            alive.append(sum(ref() is not None for ref in values))
        return x

    import_model(Apply(deep), {"x": X})
    assert max(alive) == 1


@pytest.mark.parametrize("name", ["expands", "set slice", "reshapes", "positions", "indexing"])
def test_shapes_are_enough_for_the_second_trace(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text = text_of(Apply(TENSOR[name]).double())
    runs = traced_by_shapes(monkeypatch)
    assert text_of(Apply(TENSOR[name]).double()) == text
    assert runs == ["", "beside values"]


def traced_by_shapes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Have all inputs count as large; what each trace from now on is on."""
    runs: list[str] = []
    trace = frontend._trace

    def counted(*args: Any, shapes: Any = "", **options: Any) -> Any:
        runs.append(shapes)
        return trace(*args, shapes=shapes, **options)

    monkeypatch.setattr(frontend, "_trace", counted)
    monkeypatch.setattr(frontend, "SHAPES_ONLY_ABOVE", 0)
    return runs


HELD: dict[
    str, tuple[Callable[[nn.Module, Tensor], Tensor], bool]
] = {  # name → a model, are shapes enough
    "arithmetic": (lambda m, x: (x * 2).softmax(-1).transpose(1, 2) @ x, True),
    "views": (lambda m, x: x.transpose(1, 2).reshape(x.shape[0], -1)[:, 1:], True),
    "in place": (lambda m, x: (x + 1).relu_() + 1, False),
    "through a view": (lambda m, x: _first_row_zeroed(x * 2), False),
    "into a result": (lambda m, x: torch.add(x, 1, out=torch.zeros_like(x) + x), False),
    "a setting of rows": (lambda m, x: torch.cat([_first_row_set(x), x], 1), False),
    "its layout": (lambda m, x: x + 1 if x.transpose(1, 2).is_contiguous() else x * 2, False),
    "strides": (lambda m, x: x * x.permute(0, 2, 1).stride(1), False),
    "a branch on values": (lambda m, x: x + 1 if bool(x.sum() > 0) else x - 1, False),
    "a size from values": (lambda m, x: x[:, : int(x.abs().max()) % 2 + 1], False),
}


def _first_row_zeroed(x: Tensor) -> Tensor:
    x[:, 0].zero_()
    return x


def _first_row_set(x: Tensor) -> Tensor:
    y = x * 2
    y[:, 0] = 1.0
    return y


@pytest.mark.parametrize("name", HELD)
def test_traces_of_what_is_held_against_values_are_the_same(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    function, enough = HELD[name]
    expected = import_model(Apply(function).double(), {"x": X})
    runs = traced_by_shapes(monkeypatch)
    found = import_model(Apply(function).double(), {"x": X}, held=True)
    assert print_graph(found.module.graph) == print_graph(expected.module.graph)
    assert found.notes == expected.notes
    assert (runs == ["alone", "beside values"]) == enough


def message(model: nn.Module, inputs: dict[str, Any] | None = None, **options: Any) -> str:
    """The error of an import; it is one line."""
    with pytest.raises(TraceError) as error:
        import_model(model, {"x": X} if inputs is None else inputs, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def grow(m: Apply, x: Tensor) -> Tensor:
    for _ in range(len(x)):
        x = x + 1
    return x


def fail(m: Apply, x: Tensor) -> Tensor:
    raise KeyError("stage5")


Function = Callable[[Apply, Tensor], Any]
PLACE = "tests/frontend/test_frontend.py"  # the line is that of the function, plus what is given
ERRORS: dict[str, tuple[Function, int, str]] = {
    "no row": (
        lambda m, x: torch.fft.hfft(x), 0,
        "torch.fft.hfft has no rule yet, at {}; of complex numbers, sums, products and Fourier "
        "transforms compile",
    ),
    "no row, and nothing to say of it": (
        lambda m, x: torch.atan(x), 0, "torch.atan has no rule yet, at {}",
    ),
    "batch size decides": (
        grow, 2,
        "the model branches on its batch size: for 2 and 3 images it differs from add on, at {}",
    ),
    "batch size in numbers": (
        lambda m, x: x / x.shape[0], 0, "div computes with the batch size, at {}",
    ),
    "an image": (lambda m, x: x[0], 0, "getitem picks image 0 out of the batch, at {}; "
        "return all, and pick from the result"),
    "over the batch": (
        lambda m, x: x.sum(), 0,
        "sum reduces over the batch axis, so that images would not be independent, at {}",
    ),
    "images not alike": (
        lambda m, x: x + torch.arange(len(x))[:, None, None] / 2, 0,
        "a constant f32[B,1,1] differs between images or batch sizes, at {}",
    ),
    "numbers of the images": (
        lambda m, x: x + torch.arange(len(x))[:, None, None], 0,
        "add computes with the numbers of the images, at {}; they can only pick entries",
    ),
    "images behind an index": (
        lambda m, x: x[torch.arange(len(x)), torch.tensor([[0], [2]])], 0,
        "getitem indexes images other than along the first axis of the index, at {}; "
        "index one axis after the other, or use torch.gather along one",
    ),
    "active dropout in attention": (
        lambda m, x: F.scaled_dot_product_attention(x, x, x, dropout_p=0.5), 0,
        "scaled_dot_product_attention drops entries at random, at {}; "
        "give dropout_p=0 unless self.training",
    ),
    "an embedding that rescales": (
        lambda m, x: F.embedding((x > 0).long(), m.w, max_norm=1.0), 0,
        "embedding rescales its table (max_norm), at {}; rescale it before, outside of the model",
    ),
    "picks by a mask": (
        lambda m, x: x[x > 0], 0,
        "getitem picks by a mask, so that the result's shape depends on the data, at {}; "
        "multiply by the mask instead",
    ),
    "random": (
        lambda m, x: F.dropout(x, 0.5, training=True), 0,
        "dropout is active: it draws random numbers, at {}; give training=self.training",
    ),
    "leaves torch": (
        lambda m, x: x.numpy(), 0,
        "numpy leaves torch for ndarray, at {}; use torch's functions on the tensor instead",
    ),
    "a roll of all entries": (
        lambda m, x: torch.roll(x, 1), 0,
        "roll rolls the flattened tensor, at {}; give dims, as roll(1, dims=-1)",
    ),
    "an argument of another kind": (
        lambda m, x: torch.lerp(x, x, m.scale.double()), 0,
        "lerp(f64[B,4,6], f64[B,4,6], constant f64[6]) cannot be compiled, at {}",
    ),
    "the model's own error": (fail, 1, "KeyError at {}: 'stage5'"),
}  # fmt: skip


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name: str) -> None:
    function, offset, expected = ERRORS[name]
    line = function.__code__.co_firstlineno + offset
    assert message(Apply(function)) == expected.format(f"{PLACE}:{line}")
    inner = nn.Sequential(Apply(function))
    assert message(inner, {"input": X}) == expected.format(f"0, {PLACE}:{line}")


def test_errors_without_a_place() -> None:
    assert message(Apply(lambda m, x: None)) == "Apply returns no tensor"
    text = "Apply returns no tensor, but output (set)"
    assert message(Apply(lambda m, x: {1})) == text
    model = Stack().double()
    assert message(model, {}) == "Stack.forward(x): missing a required argument: 'x'"
    assert message(model, {"x": X, "y": X}) == (
        "Stack.forward(x): got an unexpected keyword argument 'y'"
    )
    assert message(model, {"x": [X]}) == (
        "input 'x' is a list; inputs are tensors, use constants for it"
    )
    assert message(model, scope="inner.blok") == (
        "no module 'inner.blok' in the model; "
        "nearest: inner.block, inner.block.norm, inner.block.linear"
    )


MARKS = {
    "heed": "no module 'heed' in the model; nearest: head, head.1, head.0",
    "head:in0:x": "place 'm': 'head:in0:x' is not of the form path[@call][:in0|:out.key]",
    "head@3": "place 'm' at 'head@3': the model calls that module 1 times",
    "again:out.1": "place 'm' at 'again:out.1': no part '1'; there are: none",
    "inner.block@0:out.1.x": "place 'm' at 'inner.block@0:out.1.x': no part 'x'; there are: twice",
    "inner.block@0": (
        "place 'm' at 'inner.block@0': that is not one tensor; name a part, as in path:out0"
    ),
}


@pytest.mark.parametrize("text", MARKS)
def test_errors_of_marks(text: str) -> None:
    assert message(Stack().double(), places={"m": text}) == MARKS[text]
