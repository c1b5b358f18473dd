"""What a model computes under `torch.no_grad()` is treated as autograd treats it: as detached."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import lrpc
from lrpc.errors import ConfigError, LrpcWarning
from lrpc.frontend import import_model
from tests.frontend.test_frontend import message

W = torch.linspace(-1, 2, 18, dtype=torch.float64).reshape(3, 6)


def inputs(images: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(images, 4, 6, generator=generator, dtype=torch.float64)


class Model(nn.Module):
    """A function of a linear map's output, through another linear map."""

    def __init__(self, function: Callable[[Any, Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function
        self.first = nn.Linear(6, 6, bias=False)
        self.last = nn.Linear(6, 3)
        with torch.no_grad():
            self.first.weight.copy_(torch.linspace(-1, 1, 36).reshape(6, 6).sin())
            self.last.weight.copy_(W)
            self.last.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.last(self.function(self, self.first(x)))
        return out


def block(m: Any, x: Tensor) -> Tensor:
    with torch.no_grad():
        gate = x.sigmoid() * 2
    return x * gate


@torch.no_grad()
def gate_of(x: Tensor) -> Tensor:
    return x.sigmoid()


def inference(m: Any, x: Tensor) -> Tensor:
    with torch.inference_mode():
        gate = (x * torch.linspace(0, 1, 6, dtype=x.dtype)).sigmoid().clone()
    with torch.inference_mode(False):
        gate = gate.clone()
    return x * gate


def switched(m: Any, x: Tensor) -> Tensor:
    torch.set_grad_enabled(False)
    gate = x.tanh()
    torch.set_grad_enabled(True)
    return x + x * gate


def on_again(m: Any, x: Tensor) -> Tensor:
    with torch.no_grad():
        gate = x.sigmoid()
        with torch.enable_grad():
            followed = x.tanh()
    return x * gate + followed


def written_later(m: Any, x: Tensor) -> Tensor:
    with torch.no_grad():
        y = x * 3
        y.relu_()
    y += x
    return y * x


def in_a_module(m: Any, x: Tensor) -> Tensor:
    with torch.no_grad():
        hidden = m.first(x)
    return x - hidden


def positions(m: Any, x: Tensor) -> Tensor:
    """Constants alone: nothing of it is detached."""
    with torch.no_grad():
        angles = torch.arange(6, dtype=x.dtype).cos() * m.first.weight[0]
    return x * angles


CASES: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "a block": block,
    "a decorator": lambda m, x: x * gate_of(x),
    "set_grad_enabled": switched,
    "gradients on within": on_again,
    "written to afterwards": written_later,
    "a module in it": in_a_module,
    "constants": positions,
    "detached before": lambda m, x: x * gate_of(x.detach()),
    "twice in a row": lambda m, x: x * gate_of(gate_of(x)) + gate_of(x),
}


def relevances(model: Model, x: Tensor, **options: Any) -> tuple[Tensor, Tensor, Any]:
    """Input × gradient of the program, and of autograd, for the sum of squares of the outputs."""
    program: Any = lrpc.compile(model, (inputs(1, 0),), composite="gradient_input", **options)
    state = program.forward(x)
    seeds = (2 * state.outputs * state.outputs)[None]
    found = program.relevance(state, "output", seeds=seeds).input[0]
    leaf = x.clone().requires_grad_()
    model(leaf).square().sum().backward()
    return found, x * leaf.grad, program


def notes_of(program: Any) -> list[str]:
    notes: list[str] = program.manifest["settings"]["notes"]
    return [note for note in notes if "no_grad" in note]


@pytest.mark.parametrize("name", CASES)
def test_input_times_gradient_is_that_of_autograd(name: str) -> None:
    model = Model(CASES[name]).double().eval()
    found, expected, program = relevances(model, inputs(2, 1))
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
    assert bool(notes_of(program)) is (name not in ("constants", "detached before"))
    assert all(p.requires_grad for p in model.parameters())


def test_notes_name_the_place() -> None:
    model = Model(block).double().eval()
    imported = import_model(model, {"x": inputs(1, 0)})
    line = block.__code__.co_firstlineno + 2
    assert imported.notes == (
        "under torch.no_grad(), so treated as detached: what is computed at "
        f"tests/frontend/test_no_grad.py:{line}",
    )


def test_inference_mode_is_no_grad() -> None:
    """Autograd refuses to go on with such tensors, so there is none to compare with."""
    nodes = import_model(Model(inference).double().eval(), {"x": inputs(1, 0)}).module.graph.nodes
    before_last = [n for n in nodes if n.op == "mul"][-1]
    makers = {value: n.op for n in nodes for value in n.outputs}
    assert "detach" in {makers.get(value) for value in before_last.inputs}


def test_ignore_follows() -> None:
    """As the same model without no_grad, and without a note."""
    x = inputs(2, 1)
    found, _, program = relevances(Model(block).double().eval(), x, no_grad="ignore")
    open_model = Model(lambda m, x: x * (x.sigmoid() * 2)).double().eval()
    _, expected, _ = relevances(open_model, x)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
    assert not notes_of(program)


def test_another_choice_is_refused() -> None:
    with pytest.raises(ConfigError) as error:
        lrpc.compile(Model(block).double().eval(), (inputs(1, 0),), no_grad="stop")
    assert str(error.value) == "no_grad='stop': choose among detach, ignore"


def test_relevance_passes_as_it_does_through_detach() -> None:
    """Composites that follow `.detach()` follow this, too."""
    x = inputs(2, 1)
    spelled = Model(lambda m, x: x * (x.sigmoid() * 2).detach()).double().eval()
    results = []
    for model in (Model(block).double().eval(), spelled):
        program: Any = lrpc.compile(model, (inputs(1, 0),), composite="attnlrp")
        state = program.forward(x)
        results.append(program.relevance(state, "output", at=[(0, 1)]).input)
    assert torch.equal(*results)


def test_the_whole_model_without_gradients() -> None:
    class Wrapped(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

        @torch.no_grad()
        def forward(self, x: Tensor) -> Any:
            return self.inner(x)

    model = Wrapped(Model(lambda m, x: x.relu())).double().eval()
    program: Any = lrpc.compile(model, (inputs(1, 0),), composite="attnlrp")
    alone: Any = lrpc.compile(model.inner, (inputs(1, 0),), composite="attnlrp")
    x = inputs(2, 1)
    results = [p.relevance(p.forward(x), "output", at=[(0, 1)]).input for p in (program, alone)]
    assert torch.equal(*results)
    assert len(notes_of(program)) == 1
    with pytest.raises(ConfigError, match="relevance can start from no output"):
        lrpc.compile(model, (inputs(1, 0),), composite="gradient_input")


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
def test_checkpoints_are_followed(reentrant: bool) -> None:
    def function(m: Any, x: Tensor) -> Any:
        return checkpoint(lambda y: y.sigmoid() * y, x, use_reentrant=reentrant)

    found, expected, program = relevances(Model(function).double().eval(), inputs(2, 1))
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
    assert not notes_of(program)


def test_writing_under_no_grad_is_refused() -> None:
    def write(m: Any, x: Tensor) -> Tensor:
        with torch.no_grad():
            x.mul_(2)
        return x

    line = write.__code__.co_firstlineno + 2
    assert message(Model(write).double(), {"x": inputs(1, 0)}) == (
        "mul_ writes under torch.no_grad() into a tensor that has a gradient, at "
        f"tests/frontend/test_no_grad.py:{line}; compute a new tensor instead"
    )


def test_memory_is_not_kept_for_gradients() -> None:
    """Tracing runs with gradients on, and builds no graph of them."""
    seen: list[bool] = []

    def look(m: Any, x: Tensor) -> Tensor:
        seen.append((m.first.weight * 2).requires_grad)
        assert torch.is_grad_enabled()
        return x @ (m.first.weight * 2)

    model = Model(look).double().eval()
    import_model(model, {"x": inputs(1, 0)})
    assert seen == [False, False]
    assert all(p.requires_grad for p in model.parameters())


def test_backward_hooks_are_told() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU())
    handle = model[0].register_full_backward_hook(lambda module, g, out: (g[0] * 2,))
    with pytest.warns(LrpcWarning, match=r"^backward hooks are not followed; .* those of 0$"):
        lrpc.compile(model, (torch.rand(2, 3),), composite="gradient_input")
    handle.remove()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        lrpc.compile(model, (torch.rand(2, 3),), composite="gradient_input")
