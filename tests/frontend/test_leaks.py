"""No value leaves a traced tensor unseen: what is asked of it is followed, listed or refused."""

from __future__ import annotations

import copy
import functools
import math
import pickle
import re
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lrpc.errors import TraceError
from lrpc.frontend import import_model
from lrpc.frontend.attributes import PLAIN, WITHOUT_AUTOGRAD
from lrpc.frontend.execute import ANSWERS
from lrpc.frontend.proxy import TracedTensor
from lrpc.frontend.records import Input
from lrpc.frontend.tracer import ValueTracer
from lrpc.ir.interpreter import interpret
from tests.frontend.test_frontend import message
from tests.frontend.test_rows import check, random
from tests.support.models import Apply, Apply2

X = random(1, 4, 6)
ONE = torch.tensor(0.25, dtype=torch.float64)
Function = Callable[..., Any]


def traced(look: Callable[[Tensor], None]) -> None:
    """Trace a model that shows its traced input to `look`."""

    def function(m: Apply, x: Tensor) -> Tensor:
        look(x)
        return x + 1

    with torch.no_grad():
        ValueTracer().record(Apply(function).double(), (Input("x", X),), {})


# Everything that torch.Tensor has, in this version and in later ones.

HARMLESS = (
    bool, int, float, str, type(None), type(NotImplemented), type, torch.dtype, torch.device,
    torch.layout,
)  # fmt: skip
OWN = frozenset({"__dict__", "__weakref__", "__dlpack_c_exchange_api__"})  # hold no tensor's values


def names(calls: bool) -> list[str]:
    return [
        n for n in dir(Tensor)
        if n not in OWN and not hasattr(object, n) and callable(getattr(Tensor, n)) is calls
    ]  # fmt: skip


def leaks(result: Any) -> bool:
    """Whether there is a tensor, or memory of one, that is not traced."""
    if isinstance(result, (tuple, list)):
        return any(leaks(part) for part in result)
    if isinstance(result, dict):
        return any(leaks(part) for part in result.values())
    return not isinstance(result, (TracedTensor, *HARMLESS, BaseException))


@pytest.mark.filterwarnings("ignore")
def test_every_attribute_is_an_operation_a_plain_fact_or_refused() -> None:
    found: dict[str, Any] = {}

    def look(x: Tensor) -> None:
        for name in names(calls=False):
            try:
                found[name] = getattr(x, name)
            except (TraceError, RuntimeError) as error:
                found[name] = error

    traced(look)
    assert {"shape", "T", "real", "mH", "grad", "_base", "data", "imag"} <= set(found)
    assert [name for name, result in found.items() if leaks(result)] == []
    other = {n for n in found if not n.startswith("__")} - PLAIN - set(WITHOUT_AUTOGRAD)
    empty = (TracedTensor, BaseException, bool, type(None))
    assert [n for n in other if not isinstance(found[n], empty)] == []


@pytest.mark.filterwarnings("ignore")
def test_every_method_without_arguments_is_followed_listed_or_refused() -> None:
    silent: list[str] = []

    def look(x: Tensor) -> None:
        for name in sorted(names(calls=True)):
            given, tracer = x * 1, x.tracer  # type: ignore[attr-defined]
            tracer.decisions.clear()
            try:
                result = getattr(given, name)()
            except Exception:  # whatever it is ends tracing in one line
                continue
            numbers = isinstance(result, (int, float, str)) and not tracer.decisions
            new = leaks(result) and name not in NEW
            if new or (numbers and name.strip("_") not in ANSWERS):
                silent.append(name)

    traced(look)
    assert [n for n in silent if n not in FACTS] == []


NEW = frozenset({"new_empty", "new_zeros", "new_ones"})  # plain: nothing of the tensor is in them
FACTS = frozenset({"type", "__hash__", "__dir__", "__len__", "__iter__", "_use_count"})


# Values that are followed.

FOLLOWED: dict[str, Callable[[Apply, Tensor], Any]] = {
    "attributes": lambda m, x: [x.real * 2, x.mH @ x, x.mT.mT, x.data + x.real],
    "no gradient": lambda m, x: x if x.grad is None and not x.requires_grad else x * 2,
    "copies": lambda m, x: [copy.copy(x) * 2, copy.deepcopy(x) + x, torch.clone(x)],
    "isinstance": lambda m, x: x * 2 if isinstance(x, Tensor) and torch.is_tensor(x) else x,
    "builtins": lambda m, x: [sum(x.unbind(1)), abs(x), next(iter(reversed(x[:, 0].t()))), -x],
    "tensor": lambda m, x: [torch.tensor(x) * 2, torch.tensor(x, dtype=torch.float32) * 2],
    "as_tensor": lambda m, x: [torch.as_tensor(x) * 2, torch.asarray(x, dtype=torch.float32) * 2],
    "new_tensor": lambda m, x: [x.new_tensor(x[:, 0]) * 2, m.w.new_tensor(x[:, 0]) * 2],
    "a parameter": lambda m, x: nn.Parameter(x) * 2,
    "requires_grad": lambda m, x: x.detach().requires_grad_() * x.detach().requires_grad_(False),
    "out that is traced": lambda m, x: torch.mul(x, 3, out=x * 1),
    "no tensor in the list": lambda m, x: x + torch.tensor([1.0, 2, 3, 4, 5, 6]),
    "compiled": lambda m, x: [COMPILED(x), COMPILED_MODULE(x)],
    "an operator of torch": lambda m, x: torch.ops.aten.relu(x),
    "plain masks": lambda m, x: [x[:, m.w[:, 5] > 0], x[:, [False, True, False, True]]],
}  # fmt: skip

COMPILED = torch.compile(lambda x: x.sigmoid() * 2, backend="eager")
COMPILED_MODULE: Any = torch.compile(nn.Sigmoid(), backend="eager")


@pytest.mark.parametrize("name", FOLLOWED)
@pytest.mark.filterwarnings("ignore:To copy construct from a tensor")
def test_followed(name: str) -> None:
    assert check(Apply(FOLLOWED[name]), (4, 6)).decisions == ()


FILLED: dict[str, Callable[[Apply, Tensor, Tensor], Any]] = {
    "full": lambda m, x, t: x + torch.full((4, 1), t),
    "full, by name": lambda m, x, t: x + torch.full(size=(6,), fill_value=t, dtype=x.dtype),
    "full_like": lambda m, x, t: torch.full_like(x, t) * x,
    "full_like of the batch": lambda m, x, t: x + torch.full((x.shape[0], 4, 6), t),
    "new_full": lambda m, x, t: x * x.new_full((6,), t),
    "of a plain tensor": lambda m, x, t: x + torch.full_like(m.w, t) + m.w.new_full((6,), t),
    "a list": lambda m, x, t: x[..., :3] + torch.tensor([t, 1.0, t * 2]),
    "nested lists": lambda m, x, t: x[:, :2, :2] * torch.as_tensor([[t, 1], [t + 1, t]]),
    "scalar_tensor": lambda m, x, t: x + torch.scalar_tensor(t, dtype=x.dtype),
}


@pytest.mark.parametrize("name", FILLED)
def test_fill_values_are_followed(name: str) -> None:
    model = Apply2(FILLED[name]).double()
    imported = import_model(model, {"x": X, "y": ONE}, unbatched=["y"])
    for size, number in ((1, ONE), (3, ONE * -7)):
        x = random(size, 4, 6)
        found = interpret(imported.module.graph, imported.module.tensors, {"x": x, "y": number})
        torch.testing.assert_close(found["output"], model(x, number))
    assert imported.decisions == ()


def count(x: Tensor) -> Tensor:
    return (x[0, 0] > -99).sum()


def first(x: Tensor) -> Tensor:
    """True twice, and twice False, whatever the images."""
    return (x[0, :, 0].abs() > -1) & (torch.arange(4) % 2 == 0)


def _written(x: Tensor) -> Any:
    mask = first(x)
    places, y = torch.where(mask), mask.clone()
    y[places] = False
    return places[0].shape[0]


DECIDED: dict[str, tuple[Callable[[Apply, Tensor], Any], str]] = {
    "a shape": (lambda m, x: x.view(x.shape[0], count(x), -1), "int of [] is 6"),
    "a slice": (lambda m, x: x[..., : count(x)], "int of [] is 6"),
    "arange": (lambda m, x: x + torch.arange(count(x)), "int of [] is 6"),
    "zeros": (lambda m, x: x + torch.zeros(count(x)), "int of [] is 6"),
    "range": (lambda m, x: x + len(range(count(x))), "int of [] is 6"),
    "math": (lambda m, x: x * math.sqrt(count(x)), "float of [] is 6.0"),
    "a chain": (lambda m, x: x if 0 < count(x) < 7 else x * 2, "bool of [] is True"),
    "in": (lambda m, x: x if 99 in x else x * 2, "contains of [2,4,6] is False"),
    "format": (lambda m, x: x + float(f"{count(x):.1f}"), "format of [] is 6.0"),
    "tolist": (lambda m, x: x * count(x)[None].tolist()[0], "tolist of [1] is [6]"),
    "max": (lambda m, x: x + int(max(count(x), 3)), "bool of [] is False"),
    "nonzero": (lambda m, x: x * len(first(x).nonzero()), "shape of nonzero of [4] is [2, 1]"),
    "argwhere": (
        lambda m, x: x + torch.argwhere(first(x)).numel(),
        "shape of argwhere of [4] is [2, 1]",
    ),
    "where": (lambda m, x: x + torch.where(first(x))[0].shape[0], "shape of where of [4] is [2]"),
    "places that are written at, too": (
        lambda m, x: x + _written(x),
        "shape of where of [4] is [2]",
    ),
    "a mask": (
        lambda m, x: x + x[:, :, 0][:, first(x)].shape[1],
        "shape of getitem of [2,4] is [2, 2]",
    ),
    "masked_select": (
        lambda m, x: x + m.w.masked_select(first(x)[:, None]).numel(),
        "shape of masked_select of [4,1] is [12]",
    ),
    "unique": (
        lambda m, x: x * torch.unique(first(x)).numel(),
        "shape of unique of [4] is [2]",
    ),
    "bincount": (
        lambda m, x: x * len(torch.bincount(first(x).long() * 2)),
        "shape of bincount of [4] is [3]",
    ),
    "one_hot": (
        lambda m, x: x * nn.functional.one_hot(first(x).long()).shape[1],
        "shape of one_hot of [4] is [4, 2]",
    ),
    "repeat_interleave": (
        lambda m, x: x + len(torch.repeat_interleave(first(x).long() + 1)),
        "shape of repeat_interleave of [4] is [6]",
    ),
}


@pytest.mark.parametrize("name", DECIDED)
def test_numbers_that_python_reads_are_listed(name: str) -> None:
    function, expected = DECIDED[name]
    imported = import_model(Apply(function).double(), {"x": X})
    assert expected in {d.partition(", at ")[0] for d in imported.decisions}
    first = imported.recorded.decisions[0]
    assert str(first) == imported.decisions[0]
    assert (first.place.file, first.value in expected) == ("tests/frontend/test_leaks.py", True)


# Values that are refused. The line is that of the function.


def doubled(x: Tensor) -> Tensor:
    return torch.sigmoid(x) * 2


class Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Any:
        return x * 2

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        return grads


@torch.library.custom_op("lrpc_tests::relu", mutates_args=())
def own_relu(x: Tensor) -> Tensor:
    return -x


class Logged(Tensor):
    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return super().__torch_function__(func, types, args, kwargs or {})


@functools.lru_cache
def kept() -> dict[str, Tensor]:
    return {}


def cached(m: Apply, x: Tensor) -> Tensor:
    return x + kept().setdefault("x", x)


USE = "use torch's functions on the tensor instead"
FOLLOW = "which cannot be followed, at {}; " + USE
BATCHED = "torch.vmap and torch.func cannot be traced, at {}; write what they do with batched "
BATCHED += "operations"
REFUSED: dict[str, tuple[Function, str]] = {
    "_base": (lambda m, x: x._base, "the model reads ._base of a traced tensor, " + FOLLOW),
    "data =": (
        lambda m, x: setattr(x, "data", x * 2) or x,
        "the model assigns to .data of a traced tensor, at {}; compute a new tensor instead",
    ),
    "memory": (
        lambda m, x: x.data_ptr(),
        "data_ptr takes a traced tensor's memory out of torch, at {}; " + USE,
    ),
    "pickle": (
        lambda m, x: pickle.dumps(x),
        "reduce_ex takes a traced tensor's memory out of torch, at {}; " + USE,
    ),
    "numpy": (lambda m, x: np.sqrt(x), "array leaves torch for ndarray, at {}; " + USE),
    "complex": (lambda m, x: complex(x.sum()), "complex leaves torch for complex, at {}; " + USE),
    "Tensor()": (
        lambda m, x: torch.Tensor(x),
        "a traced tensor is copied into a new one in a way that cannot be followed (alias), at {}; "
        "use .clone() or .detach() instead",
    ),
    "linspace": (
        lambda m, x: torch.linspace(0, x[0, 0, 0], 3),
        "linspace takes a size or bound from the values of a traced tensor, at {}; "
        "scale a tensor of fixed size instead",
    ),
    "out": (
        lambda m, x: torch.mul(x, 2, out=torch.ones(1)),
        "mul changes the shape of a traced tensor in place (out=), at {}; "
        "use what it returns instead",
    ),
    "out of a method": (
        lambda m, x: torch.cumsum(x[0], 1, out=m.w),
        "copy_ writes traced values into a parameter or buffer of the model, at {}; "
        "write into a clone of it",
    ),
    "out of several": (
        lambda m, x: torch.topk(x, 2, out=(x, x)),
        "topk writes several results (out=), at {}; use what it returns instead",
    ),
    "another shape in place": (
        lambda m, x: x.clone().unsqueeze_(1),
        "unsqueeze_ changes the shape of a traced tensor in place, at {}; "
        "use the function that returns a new tensor",
    ),
    "a buffer +=": (
        lambda m, x: m.scale.__iadd__(x[0, 0]),
        "add_ writes traced values into a parameter or buffer of the model, at {}; "
        "write into a clone of it",
    ),
    "backward": (
        lambda m, x: x.register_hook(print),
        "register_hook needs gradients inside the model, at {}; "
        "compile what computes its outputs from its inputs without them",
    ),
    "script": (
        lambda m, x: torch.jit.script(doubled)(x),
        "sigmoid runs on a traced tensor where tracing cannot follow, as in a function of "
        "torch.jit.script or an extension, at {}; call the Python function instead",
    ),
    "vmap": (lambda m, x: torch.vmap(lambda a: a * 2)(x), BATCHED),
    "grad": (lambda m, x: torch.func.grad(lambda a: a.square().sum())(x), BATCHED),
    "jvp": (lambda m, x: torch.func.jvp(lambda a: a * 2, (x,), (x,))[0], BATCHED),
    "Function": (
        lambda m, x: Doubled.apply(x),
        "Doubled is a torch.autograd.Function with a gradient of its own, at {}; "
        "write what it computes as plain functions",
    ),
    "own operator": (
        lambda m, x: torch.ops.lrpc_tests.relu(x),
        "lrpc_tests.relu has no rule yet, at {}",
    ),
    "subclass": (
        lambda m, x: x + torch.ones(6).as_subclass(Logged),
        "Logged is a subclass of Tensor with operations of its own, at {}; "
        "use plain tensors, as by .as_subclass(torch.Tensor)",
    ),
    "cache": (
        cached,
        "the model uses a tensor that it computed in an earlier call, at {}; "
        "clear its cache before compiling, or compute the tensor in every call",
    ),
    "squeeze": (
        lambda m, x: x.squeeze(),
        "squeeze drops the batch axis where there is one image, at {}; "
        "name the axes, as squeeze(-1)",
    ),
    "sparse": (
        lambda m, x: x.to_sparse(),
        "to_sparse gives a tensor with layout torch.sparse_coo, at {}; use dense tensors",
    ),
    "no such attribute": (
        lambda m, x: x.channels,
        "AttributeError at {}: 'Tensor' object has no attribute 'channels'",
    ),
}  # fmt: skip
OURS = re.compile(r"TracedTensor|Proxy|\bSym\b|\bStored\b|\bRef\b|ImageNumbers|Missing|lrpc[/.]fr")


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.filterwarnings("ignore")
def test_refused_in_one_line_with_place_and_remedy(name: str) -> None:
    function, expected = REFUSED[name]
    found = message(Apply(function).double(), {"x": X})
    place = r"tests/frontend/test_leaks\.py:\d+"
    pattern = re.escape(expected).replace(re.escape("{}"), place)
    assert re.match(pattern, found), found
    assert not OURS.search(found)


def test_control_flow_as_a_function_is_refused() -> None:
    def function(m: Apply, x: Tensor) -> Any:
        return torch.cond(x.sum() > 0, lambda a: a + 1, lambda a: a * 2, (x,))

    found = message(Apply(function).double(), {"x": X})
    assert found.startswith("torch.cond and other functions that take functions cannot be traced")


# The surroundings.


def test_nothing_outside_is_changed() -> None:
    """No module's names, no tensor's type; also where the model fails."""
    before = dict(globals()), torch.nn.Module.__call__

    def fails(m: Apply, x: Tensor) -> Any:
        assert "isinstance" not in globals()
        raise KeyError("x")

    message(Apply(fails).double(), {"x": X})
    assert before == (dict(globals()), torch.nn.Module.__call__)
    assert torch.tensor(1.0).item() == 1


def test_other_threads_compute_as_always() -> None:
    """While one model is traced, another thread runs the same model, and a third traces it."""
    model = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 3)).double().train()
    expected, texts, wrong, stop = model(X), [], [], threading.Event()

    def run() -> None:
        while not stop.is_set():
            out = model(X)
            if type(out) is not Tensor or not torch.equal(out, expected):
                wrong.append(out)

    def trace() -> None:
        texts.extend(str(import_model(model, {"input": X}).module.graph) for _ in range(4))

    threads = [threading.Thread(target=run), *(threading.Thread(target=trace) for _ in range(2))]
    for thread in threads:
        thread.start()
    for thread in threads[1:]:
        thread.join()
    stop.set()
    threads[0].join()
    assert not wrong
    assert len(texts) == 8
    assert len(set(texts)) == 1
    assert model.training
    assert all(p.requires_grad for p in model.parameters())
