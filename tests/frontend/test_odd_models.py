"""Models whose parts torch treats in its own way: compiled right, or refused in one line."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import lrpc
from lrpc.errors import LrpcError
from tests.support.models import Apply

RANDOM = torch.Generator().manual_seed(0)
X = torch.randn(3, 4, 6, generator=RANDOM, dtype=torch.float64)
PICKS = torch.tensor([[-1, 2], [0, -4], [3, -2]])


def as_the_model(model: nn.Module, *inputs: Tensor) -> None:
    """Compiled from two images, the program gives for one and for three what the model gives."""
    program = lrpc.compile(model, tuple(x[:2] for x in inputs))
    for images in (1, 3):
        given = [x[:images] for x in inputs]
        torch.testing.assert_close(program.forward(*given).outputs, model(*given))


class Scaled(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * 3


class Twice(Scaled):
    def __call__(self, x: Tensor) -> Any:
        return super().__call__(x) * 2


def hooked() -> nn.Module:
    model = Scaled()
    model.register_forward_pre_hook(lambda module, args: (args[0].relu(),))
    model.register_forward_hook(lambda module, args, out: out + args[0])
    return model


def replaced() -> nn.Module:
    model = Scaled()
    model.forward = lambda x: x * x  # type: ignore[method-assign]
    return model


@pytest.mark.parametrize("make", [Twice, hooked, replaced])
def test_a_model_is_called_as_its_user_calls_it(make: Callable[[], nn.Module]) -> None:
    as_the_model(make().eval(), X)
    as_the_model(nn.Sequential(make(), make()).eval(), X)


def test_a_scope_is_fed_what_comes_before_its_hooks() -> None:
    model = nn.Sequential(hooked(), nn.Tanh()).eval()
    program = lrpc.compile(model, (X[:2],), scope="0")
    torch.testing.assert_close(program.forward(X).outputs, model[0](X))


COUNTING_BACK: dict[str, Callable[[Any, Tensor, Tensor], Tensor]] = {
    "beside the images": lambda m, x, i: x[torch.arange(len(x))[:, None], i],
    "of a table": lambda m, x, i: m.weight[i[:, 0]] * x[:, 0],
    "take_along_dim": lambda m, x, i: torch.take_along_dim(x, i[..., None], 1),
    "of a constant": lambda m, x, i: x[:, torch.tensor([-1, 0, -2])] * i[:, :1, None],
}  # fmt: skip


class Picks(nn.Module):
    def __init__(self, function: Callable[[Any, Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function
        self.weight = nn.Parameter(X[0].clone())

    def forward(self, x: Tensor, i: Tensor) -> Tensor:
        return self.function(self, x, i)


@pytest.mark.parametrize("name", COUNTING_BACK)
def test_indices_may_count_from_the_end(name: str) -> None:
    as_the_model(Picks(COUNTING_BACK[name]).eval(), X, PICKS)


def test_numbers_of_numpy_are_numbers() -> None:
    def forward(m: Any, x: Tensor) -> Any:
        scaled: Any = np.float32(0.5) * x + np.int64(2)  # type: ignore[operator]
        return scaled[:, np.int64(1)].reshape(-1, np.int64(2), 3)

    as_the_model(Apply(forward), X)


class Lazy(nn.Module):
    position: Tensor

    def forward(self, x: Tensor) -> Tensor:
        if not hasattr(self, "position"):
            self.register_buffer("position", torch.arange(6.0, dtype=x.dtype), persistent=False)
        return x * self.position


def test_a_buffer_may_be_made_by_the_first_call() -> None:
    as_the_model(Lazy().eval(), X)


class Holding(nn.Module):
    """A model with something in it that no program can hold."""

    def __init__(self, function: Callable[[Any, Tensor], Any], **held: Any) -> None:
        super().__init__()
        self.function = function
        for name, value in held.items():
            setattr(self, name, nn.Buffer(value) if isinstance(value, Tensor) else value)

    def forward(self, x: Tensor) -> Any:
        return self.function(self, x)


def counts(m: Any, x: Tensor) -> Any:
    m.calls += 1
    return x * m.calls


def packed() -> Any:
    linear = nn.Sequential(nn.Linear(6, 3))
    make: Any = torch.ao.quantization.quantize_dynamic
    return make(linear, {nn.Linear}, dtype=torch.qint8)


def exported() -> nn.Module:
    return torch.export.export(nn.Linear(6, 6).double().eval(), (X,)).module()


def traced_by_torch() -> Any:
    trace: Any = torch.jit.trace
    return trace(LINEAR, X)


LINEAR = nn.Linear(6, 6, dtype=torch.float64)
REFUSED: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "sparse": (
        lambda: Holding(lambda m, x: x * 2, table=torch.eye(6).to_sparse()),
        r"table is no dense tensor \(torch.sparse_coo\); keep it dense instead",
    ),
    "quantised": (
        lambda: Holding(lambda m, x: m.layer(x.float()), layer=packed()),
        r"a layer with packed weights, as quantised ones are, cannot be traced, at layer\.0, .*"
        "; use the layer that it was made of",
    ),
    "scripted": (
        lambda: Holding(lambda m, x: m.layer(x), layer=torch.jit.script(LINEAR)),
        "a module of torch.jit.script cannot be traced, at layer, .*; use the Python module that"
        " it was made of",
    ),
    "traced by torch": (
        lambda: Holding(lambda m, x: m.layer(x), layer=traced_by_torch()),
        "a module of torch.jit.script cannot be traced, at layer, .*; use the Python module that"
        " it was made of",
    ),
    "exported": (
        exported,
        "GraphModule has no evaluation mode; give the module that it was made of",
    ),
    "an array": (
        lambda: Holding(lambda m, x: x[:, np.array([0, 2])]),
        "an argument of type ndarray cannot be followed, at .*; pass tensors and plain numbers",
    ),
    "state": (
        lambda: Holding(counts, calls=0),
        "two calls of the model on the same images differ from mul on, at .*: it keeps something"
        " from one call to the next, or draws random numbers; compute all of it in every call",
    ),
    "random numbers": (
        lambda: Holding(lambda m, x: x * (torch.rand(x.shape) > 0.5)),
        "two calls of the model on the same images differ from a constant on, at .*",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_what_no_program_can_hold_is_refused_in_one_line(name: str) -> None:
    make, told = REFUSED[name]
    model = make()
    with pytest.raises(LrpcError) as caught:
        lrpc.compile(model, (X[:2],))
    assert re.fullmatch(told, str(caught.value)), str(caught.value)


def test_a_float64_model_may_compute_in_float32() -> None:
    softmax = Apply(lambda m, x: x.softmax(-1, dtype=torch.float32).double() * x)
    program = lrpc.compile(softmax, (X[:2],))
    torch.testing.assert_close(program.forward(X).outputs, softmax(X), rtol=1e-6, atol=1e-6)


def test_inputs_of_other_dtypes_are_refused() -> None:
    told = "^input 'x' is of none of the dtypes float64, float32, .*; convert it$"
    with pytest.raises(LrpcError, match=told):
        lrpc.compile(Scaled(), ((X[:2] > 0).to(torch.int8),))


def test_an_input_without_entries_is_refused() -> None:
    with pytest.raises(LrpcError, match=r"^input 'x' has no entries, \[3, 0, 6\]; give an example"):
        lrpc.compile(Scaled(), (X[:, :0],))
