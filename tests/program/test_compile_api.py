"""`lrpc.compile`: how a model is called, what it may return and do, and what is refused."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import lrpc
from lrpc import LrpcError, LrpcWarning, ProgramError

X = torch.randn(2, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
Y = torch.randn(3, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


class Model(nn.Module):
    """Two layers, a buffer, a table, and a function as the forward pass."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.function = function
        self.one, self.two = nn.Linear(4, 4), nn.Linear(4, 4)
        self.register_buffer("buffer", torch.randn(4))
        self.double().eval().requires_grad_(False)

    def forward(self, x: Tensor) -> Any:
        return self.function(self, x)


def compiled(model: nn.Module, args: Any, kwargs: Any = None, **options: Any) -> Any:
    return lrpc.compile(model, args, kwargs, **{"composite": "gradient_input", **options})


def leaves(tree: Any) -> list[Tensor]:
    """The tensors in what a model returns, whatever its containers."""
    if isinstance(tree, Tensor):
        return [tree]
    if isinstance(tree, dict):
        return [x for part in tree.values() for x in leaves(part)]
    if isinstance(tree, (tuple, list)):
        return [x for part in tree for x in leaves(part)]
    return leaves(vars(tree)) if hasattr(tree, "__dict__") else []


def check(model: nn.Module, program: Any, **inputs: Tensor) -> Any:
    """Outputs are the model's, each target's relevance is x times its gradient, ledgers close."""
    given = {name: x.clone() for name, x in inputs.items()}
    state = program.forward(**inputs)
    expected = leaves(model(**given))
    for mine, theirs in zip(leaves(state.outputs), expected, strict=True):
        assert mine.dtype == theirs.dtype
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-12)
    floats = [i for i, x in enumerate(expected) if x.is_floating_point()]
    for target, number in zip(program.interface.targets, floats, strict=True):
        start = torch.ones_like(expected[number]) * torch.arange(1, 1 + expected[number].shape[-1])
        found = program.relevance(
            state, target, seeds=(start * expected[number])[None], ledger=True
        )
        assert float(found.ledger.closure.max()) < 1e-10
        roots = {n: x.clone().requires_grad_(x.is_floating_point()) for n, x in inputs.items()}
        y = leaves(model(**{n: x * 1 for n, x in roots.items()}))[number]
        for name, relevance in found.inputs.items():
            (g,) = torch.autograd.grad(y, roots[name], start, retain_graph=True)
            torch.testing.assert_close(relevance[0], inputs[name] * g, rtol=1e-10, atol=1e-12)
    return state


# -- how a model is called -------------------------------------------------------------------------


class Called(nn.Module):
    """Every kind of argument."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.one, self.table = nn.Linear(4, 4), nn.Embedding(5, 4)
        self.double().eval().requires_grad_(False)

    def forward(
        self,
        x: Tensor,
        other: Tensor | None = None,
        gain: float = 1.0,
        *,
        mask: Tensor | None = None,
        extra: dict[str, Tensor] | None = None,
        label: Tensor | None = None,
    ) -> Tensor:
        y = gain * self.one(x).relu()
        y = y if other is None else y * other
        y = y if mask is None else y.masked_fill(mask, 0.5)
        y = y if extra is None else y + extra["shift"]
        return y if label is None else y + self.table(label)


def _positional(args: Any) -> dict[str, Any]:
    return dict(zip(("x", "other", "gain"), args, strict=False))


MASK = Y > 0
LABEL = torch.tensor([0, 3, 2])
CALLS: dict[str, tuple[Any, Any, list[str]]] = {
    "a tuple": ((Y,), None, ["x"]),
    "a list": ([Y, X[:1].expand(3, 4)], None, ["x", "other"]),
    "None in the middle": ((Y, None, 2.0), None, ["x"]),
    "keyword arguments": ((Y,), {"mask": MASK, "gain": 0.5}, ["x", "mask"]),
    "a mapping": ({"x": Y, "label": LABEL}, None, ["x", "label"]),
    "both": ({"x": Y}, {"mask": MASK}, ["x", "mask"]),
    "in another order": ({"mask": MASK, "other": 2 * Y, "x": Y}, None, ["x", "other", "mask"]),
    "tensors in a dict": ((Y,), {"extra": {"shift": 3 * Y}}, ["x", "extra.shift"]),
}


@pytest.mark.parametrize("name", CALLS)
def test_calls(name: str) -> None:
    args, kwargs, names = CALLS[name]
    model = Called()
    program = compiled(model, args, kwargs)
    assert list(program.interface.inputs) == names
    positional = {} if isinstance(args, dict) else _positional(args)
    call = {**(args if isinstance(args, dict) else positional), **(kwargs or {})}
    flat = {k: v for k, v in call.items() if isinstance(v, Tensor)}
    if "extra" in call:
        flat["extra.shift"] = call["extra"]["shift"]
    state = program.forward(**flat)
    torch.testing.assert_close(state.outputs, model(**call), rtol=1e-12, atol=1e-12)
    by_position = program.forward(*(flat[n] for n in names))
    assert torch.equal(by_position.outputs, state.outputs)
    found = program.relevance(state, "output", at=[(1,)], ledger=True)
    assert set(found.inputs) == {n for n in names if flat[n].dtype != torch.bool}
    assert float(found.ledger.closure.max()) < 1e-10


def test_what_is_no_tensor_stays_as_it_was_and_is_noted() -> None:
    program = compiled(Called(), (X, None, 3.0))
    torch.testing.assert_close(program.forward(Y).outputs, 3 * Called()(Y))
    assert program.manifest["settings"]["notes"] == ["fixed: gain = 3.0"]


def test_several_tensors_in_one_argument() -> None:
    class Summed(nn.Module):
        def forward(self, *parts: Tensor, **named: Any) -> Tensor:
            return parts[0] * parts[1] + named["more"] * named["gain"]

    program = compiled(Summed(), (X, 2 * X), {"more": X - 1, "gain": 2})
    assert list(program.interface.inputs) == ["parts.0", "parts.1", "more"]
    torch.testing.assert_close(program.forward(Y, Y, Y).outputs, Y * Y + 2 * Y)
    assert program.manifest["settings"]["notes"] == ["fixed: gain = 2"]


def test_inputs_without_a_batch() -> None:
    class Positioned(nn.Module):
        def forward(self, places: Tensor, x: Tensor) -> Tensor:
            return x * x[:, :1] + places

    model, places = Positioned(), torch.arange(4).double()
    program = compiled(model, (places, X), unbatched=["places"])
    assert [shape for _, shape in program.interface.inputs.values()] == [(4,), ("B", 4)]
    torch.testing.assert_close(program.forward(places, Y).outputs, model(places, Y))


def test_inputs_of_different_batches_are_refused_at_run_time() -> None:
    program = compiled(Called(), (X, X))
    with pytest.raises(Exception, match="inputs hold different numbers of images: x 3, other 2"):
        program.forward(Y, X)


def test_a_part_of_a_model_by_keyword() -> None:
    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = Called()

        def forward(self, x: Tensor, hide: Tensor) -> Tensor:
            found: Tensor = self.inner(x * 2, mask=hide)
            return found

    program = compiled(Outer().eval(), {"x": Y, "hide": MASK}, scope="inner")
    assert list(program.interface.inputs) == ["x", "mask"]
    torch.testing.assert_close(program.forward(Y, mask=MASK).outputs, Called()(Y, mask=MASK))


# -- what it may return ----------------------------------------------------------------------------


@dataclass
class Answer:
    logits: Tensor
    more: tuple[Tensor, ...] | None = None


class ModelOutput(OrderedDict[str, Any]):
    """As libraries have them: keys that are attributes as well, None left out."""


Pair = namedtuple("Pair", "first second")

RESULTS: dict[str, tuple[Callable[[Model, Tensor], Any], Any]] = {
    "a tuple": (lambda m, x: (m.one(x), m.two(x)), ("0", "1")),
    "nested": (
        lambda m, x: [m.one(x), {"a": (m.two(x), None, 3)}], ["0", {"a": ("1.a.0", None, 3)}],
    ),
    "a dict": (lambda m, x: {"p": m.one(x), "q": x > 0}, {"p": "p", "q": "q"}),
    "keys that are numbers": (lambda m, x: {0: m.one(x), 1: 2 * x}, {0: "0", 1: "1"}),
    "a dataclass": (
        lambda m, x: Answer(m.one(x), (x,)), {"logits": "logits", "more": ("more.0",)},
    ),
    "a mapping": (
        lambda m, x: ModelOutput(logits=m.one(x), hidden=(m.two(x),)),
        {"logits": "logits", "hidden": ("hidden.0",)},
    ),
    "a named tuple": (lambda m, x: Pair(m.one(x), 2), {"first": "first", "second": 2}),
    "an input": (lambda m, x: (x, m.one(x)), ("0", "1")),
    "one tensor twice": (lambda m, x: (lambda y: (y, y))(m.one(x)), ("0", "1")),
}  # fmt: skip


def names_in(tree: Any, names: dict[int, str]) -> Any:
    if isinstance(tree, Tensor):
        return names[id(tree)]
    if isinstance(tree, dict):
        return {k: names_in(v, names) for k, v in tree.items()}
    if isinstance(tree, (tuple, list)):
        return type(tree)(names_in(v, names) for v in tree)
    return tree


@pytest.mark.parametrize("name", RESULTS)
def test_results(name: str) -> None:
    function, structure = RESULTS[name]
    model = Model(function)
    program = compiled(model, (X,))
    state = check(model, program, x=Y)
    if name != "one tensor twice":
        outputs = [*program.manifest["outputs"]]
        named = {id(x): n for x, n in zip(leaves(state.outputs), outputs, strict=True)}
        assert names_in(state.outputs, named) == structure
    assert set(program.interface.targets) <= set(program.manifest["outputs"])


def test_only_what_relevance_can_leave_is_a_target() -> None:
    model = Model(lambda m, x: (m.one(x), m.buffer, m.buffer.expand(len(x), 4), x.argmax(-1)))
    program = compiled(model, (X,))
    assert list(program.interface.targets) == ["0"]
    for mine, theirs in zip(program.forward(Y).outputs, model(Y), strict=True):
        assert torch.equal(mine, theirs)


# -- what it may do --------------------------------------------------------------------------------


def write_slices(m: Model, x: Tensor) -> Tensor:
    y = m.one(x).clone()
    y[:, 1:3] = x[:, :2] * 3
    y[:, 3] *= 2
    y[:, 0] = 0.25
    return m.two(y)


def add_into(m: Model, x: Tensor) -> Tensor:
    y = m.one(x)
    y += x
    y -= 0.5
    y.mul_(m.buffer)
    return m.two(y.clone().relu_())


def write_view(m: Model, x: Tensor) -> Tensor:
    y = m.one(x)
    y.view(-1, 2, 2)[:, 0].mul_(3)
    return m.two(y)


def write_input(m: Model, x: Tensor) -> Tensor:
    x += 1
    found: Tensor = m.one(x)
    return found


def tied(m: Model, x: Tensor) -> Tensor:
    return F.linear(m.one(m.one(x)).tanh(), m.one.weight.t())


def functional(m: Model, x: Tensor) -> Tensor:
    weights = {"weight": m.two.weight, "bias": m.one.bias}
    found: Tensor = torch.func.functional_call(m.one, weights, (x,))
    return found


DOINGS: dict[str, Callable[[Model, Tensor], Any]] = {
    "writes slices": write_slices,
    "adds into": add_into,
    "writes through a view": write_view,
    "writes into its input": write_input,
    "fills by a mask": lambda m, x: m.two(m.one(x).masked_fill_(x > 0, 0.5)),
    "calls a module twice": lambda m, x: m.one(F.relu(m.one(x))),
    "has a weight in two places": tied,
    "calls a module with other weights": functional,
    "adds and multiplies a buffer": lambda m, x: (m.one(x) + m.buffer) * m.buffer,
    "multiplies by a vector": lambda m, x: m.buffer @ m.one(x).t(),
    "subtracts": lambda m, x: 1 - m.one(x) - m.two(x),
    "multiplies": lambda m, x: m.one(x)[:, :, None] * m.two(x)[:, None],
    "chooses": lambda m, x: torch.where(x > 0, m.one(x), m.two(x)),
    "takes the larger": lambda m, x: torch.maximum(m.one(x), m.two(x)),
    "checkpoints": lambda m, x: torch.utils.checkpoint.checkpoint(m.one, x, use_reentrant=False),
}


@pytest.mark.parametrize("name", DOINGS)
def test_doings(name: str) -> None:
    model = Model(DOINGS[name])
    check(model, compiled(model, (X,)), x=Y)


def test_deciding_by_a_value_is_said() -> None:
    model = Model(lambda m, x: m.one(x) if x.sum() > -1e9 else m.two(x))
    with pytest.warns(
        LrpcWarning, match=r"special to the example: bool of \[\] is True, at tests/"
    ):
        program = compiled(model, (X,))
    check(model, program, x=Y)


# -- what is refused -------------------------------------------------------------------------------


def message(model: Any, args: Any, kwargs: Any = None, **options: Any) -> str:
    with pytest.raises(LrpcError) as error:
        compiled(model, args, kwargs, **options)
    text = str(error.value)
    assert "\n" not in text
    return text


def line_of(function: Callable[..., Any], offset: int = 0) -> str:
    return f"tests/program/test_compile_api.py:{function.__code__.co_firstlineno + offset}"


def chunked(m: Model, x: Tensor) -> Tensor:
    y = m.one(x)
    y.chunk(2, 1)[0].relu_()
    return m.two(y)


def counted(m: Model, x: Tensor) -> Tensor:
    m.buffer.add_(1)
    return m.one(x) * m.buffer


def test_writing_into_a_part_of_a_tensor() -> None:
    model = Model(chunked)
    x = torch.randn_like(X)
    torch.testing.assert_close(lrpc.compile(model, (X,)).forward(x).outputs, model(x))


def test_writing_into_a_buffer_and_what_is_left_of_it() -> None:
    model = Model(counted)
    before = model.buffer.clone()
    assert message(model, (X,)) == (
        "the model writes into its buffer 'buffer' while it runs, so that calls differ; keep what "
        "it computes in new tensors"
    )
    assert torch.equal(model.buffer, before)


RETURNS: dict[str, tuple[Callable[[Model, Tensor], Any], str]] = {
    "no float": (
        lambda m, x: m.one(x).argmax(-1),
        "relevance can start from no output (output i64[B]): it wants one that is floating, has a"
        " batch axis and hangs on an input that relevance can end at",
    ),
    "nothing": (lambda m, x: None, "Model returns no tensor"),
    "two of a name": (
        lambda m, x: {"a.0": x, "a": [m.one(x)]},
        "two outputs would be called 'a.0'; rename a key of either",
    ),
    "the batch size": (
        lambda m, x: (m.one(x), len(x)),
        "the model returns 2 for 2 images and 3 for 3; return tensors instead",
    ),
    "a set": (
        lambda m, x: {1, 2},
        "Model returns no tensor, but output (set)",
    ),
}


@pytest.mark.parametrize("name", RETURNS)
def test_returning(name: str) -> None:
    function, text = RETURNS[name]
    assert message(Model(function), (X,)) == text


@dataclass
class Batch:
    pixels: Tensor


ARGUMENTS: dict[str, tuple[Any, Any, str]] = {
    "a tensor": (
        X, None,
        "args is a Tensor; give the example inputs as a tuple, (x,), or by name, {\"x\": x}",
    ),
    "nothing": (
        (), None,
        "Called.forward(x, other, gain, mask, extra, label): missing a required argument: 'x'; "
        "correct the example",
    ),
    "too many": (
        (X, X, 1.0, X), None,
        "Called.forward(x, other, gain, mask, extra, label): too many positional arguments; "
        "correct the example",
    ),
    "an unknown name": (
        (X,), {"musk": MASK},
        "Called.forward(x, other, gain, mask, extra, label): got an unexpected keyword argument "
        "'musk'; correct the example",
    ),
    "a name twice": ({"x": X}, {"x": X}, "argument 'x' is given twice, in args and in kwargs"),
    "a dataclass": (
        (X,), {"extra": Batch(X)},
        "argument 'extra' is a dataclass; tensors in tuples, lists and dicts become inputs",
    ),
    "numbers": ((1.0,), None, "no tensor among the example arguments of Called; give its inputs"),
    "no images": (
        (X[:0],), None, "input 'x' is an empty batch; give at least one image",
    ),
    "another batch": (
        (X, Y), None,
        "input 'other' has 3 entries along its first axis, 'x' has 2: the batch comes first in "
        "every input; name those that have none in unbatched=['other']",
    ),
    "another dtype": (
        (X.float(),), None,
        "input 'x' is float32, the weights are float64: convert one of them",
    ),
    "another device": (
        (X.to("meta"),), None,
        "input 'x' is on meta: models are compiled on the CPU; move it there, and name the "
        "program's device with device=...",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ARGUMENTS)
def test_arguments(name: str) -> None:
    args, kwargs, text = ARGUMENTS[name]
    found = message(Called(), args, kwargs)
    assert found == text if name != "another dtype" else found.endswith(f"; {text}")


def test_inputs_that_relevance_cannot_end_at() -> None:
    assert message(Model(lambda m, x: m.one(x.double())), (X > 0,)) == (
        "relevance can end at no input (x bool[B,4]): it wants one that is floating, or tokens that"
        " an embedding looks up; compile the part behind with scope=..."
    )


def test_unbatched_names_an_input() -> None:
    text = message(Called(), (X,), unbatched=["mask"])
    assert text == "unbatched: no input is called 'mask'; there are x"
    assert message(Called(), (X,), unbatched=["x"]) == (
        "no input has a batch axis; put the images along the first axis"
    )


class OptimizedModule(nn.Module):
    """Where torch.compile keeps the module that it was given."""

    def __init__(self) -> None:
        super().__init__()
        self._orig_mod = nn.Linear(4, 4)


class Dropping(nn.Module):
    """Stochastic depth, as libraries have it."""

    def __init__(self) -> None:
        super().__init__()
        self.drop_prob = 0.1


TRAINING: dict[str, tuple[nn.Module, str]] = {
    "dropout": (nn.Dropout(0.1), "1 (Dropout) draws random numbers"),
    "batch norm": (nn.BatchNorm1d(4), "1 (BatchNorm1d) uses the statistics of the batch"),
    "attention": (
        nn.MultiheadAttention(4, 2, dropout=0.2), "1 (MultiheadAttention) draws random numbers",
    ),
    "depth": (Dropping(), "1 (Dropping) draws random numbers"),
}  # fmt: skip


@pytest.mark.parametrize("name", TRAINING)
def test_models_in_training_mode(name: str) -> None:
    layer, reason = TRAINING[name]
    model = nn.Sequential(nn.Linear(4, 4), layer).double()
    assert message(model.train(), (X,)) == (
        f"Sequential is in training mode: {reason}; call model.eval() first"
    )


def test_a_model_whose_mode_makes_no_difference_may_be_in_training() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.0), nn.LayerNorm(4)).double().train()
    program = compiled(model, (X,))
    torch.testing.assert_close(program.forward(Y).outputs, model(Y))
    assert model.training


MODELS: dict[str, tuple[Any, str]] = {
    "a function": (torch.relu, "a model is a torch.nn.Module, got builtin_function_or_method; "
                               "wrap it in one"),
    "lazy": (
        nn.Sequential(nn.LazyLinear(3)).eval(),
        "0.weight has no shape yet; run the model once before",
    ),
    "compiled": (
        OptimizedModule(),
        "OptimizedModule comes from torch.compile; give the module in it, _orig_mod",
    ),
    "elsewhere": (
        nn.Linear(4, 4, device="meta"),
        "weight is on meta: models are compiled on the CPU; move it there, and name the program's "
        "device with device=...",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_models(name: str) -> None:
    model, text = MODELS[name]
    assert message(model, (X,)) == text


def test_a_program_names_what_it_takes() -> None:
    program = compiled(Called(), (X,), {"mask": X > 0})
    with pytest.raises(Exception, match="forward takes x, mask; got x") as error:
        program.forward(Y)
    assert type(error.value).__name__ == ProgramError.__name__
