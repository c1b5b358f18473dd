"""Whatever a caller gives to `relevance` has a result, or a refusal of one line in their terms."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import lrpc
from lrpc.errors import ProgramError

B, N, TOKENS, CLASSES = 3, 2, 4, 5


class Model(nn.Module):
    """Per image: scores of tokens [B, 4, 5], of classes [B, 5], and one number [B]."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.head, self.last = nn.Linear(6, 8), nn.Linear(8, CLASSES), nn.Linear(5, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        tokens = self.head(self.hidden(x).relu())
        classes = tokens.mean(1)
        return {"tokens": tokens, "classes": classes, "number": self.last(classes).squeeze(1)}


@pytest.fixture(scope="module")
def case() -> tuple[Any, Any]:
    """A program and a state of three images."""
    torch.manual_seed(0)
    x = torch.randn(B, TOKENS, 6)
    program = lrpc.compile(Model().eval(), (x,), composite="epsilon", read={"inside": "hidden"})
    return program, program.forward(x)


def refusal(call: Callable[[], object]) -> str:
    """What a call is refused with, in one line."""
    with pytest.raises(ProgramError) as caught:
        call()
    text = str(caught.value)
    assert "\n" not in text
    return text


# Where relevance starts, by index.

TAKES = (
    "tokens: at takes (index0, index1) per seed, as in at=[(0, 0)], or an integer tensor [K, 2] or"
    " [K, 3, 2]; got "
)


@pytest.mark.parametrize(
    ("at", "told"),
    [
        (5, "int"),
        ("0,1", "str"),
        (b"01", "bytes"),
        ({0: 1}, "dict"),
        ({(0, 1)}, "set"),
        (((0, 1) for _ in range(2)), "generator"),
        ([0, 1], "[0, 1]"),
        ((0, 1), "(0, 1)"),
        ([()], "[()]"),
        ([(0.0, 1.0)], "[(0.0, 1.0)]"),
        ([(True, False)], "[(True, False)]"),
        ([(None, 1)], "[(None, 1)]"),
        ([("0", 1)], "[('0', 1)]"),
        ([(0, 1), (2,)], "[(0, 1), (2,)]"),
        ([(0, 1, 2)], "[(0, 1, 2)]"),
        ([[(0, 1)] * 2], "[[(0, 1), (0, 1)]]"),
        (torch.tensor(3), "shape []"),
        (torch.tensor([0, 1]), "shape [2]"),
        (torch.zeros(1, 2), "torch.float32"),
        (torch.zeros(1, 2, dtype=torch.bool), "torch.bool"),
        (torch.zeros(1, 2, dtype=torch.complex64), "torch.complex64"),
        (torch.zeros(1, 2, 2, dtype=torch.int64), "shape [1, 2, 2]"),
        (np.array([["a", "b"]]), "<U1"),
        (np.array([[0.5, 1]]), "torch.float64"),
    ],
)
def test_what_at_cannot_be_is_named(case: tuple[Any, Any], at: object, told: str) -> None:
    program, state = case
    assert refusal(lambda: program.relevance(state, "tokens", at)) == TAKES + told


@pytest.mark.parametrize(
    ("at", "told"),
    [
        ([(-1, 0)], "index0 must lie in 0..3, got -1"),  # indices count from 0, always
        ([(0, 5)], "index1 must lie in 0..4, got 5"),
        ([(0, 2**70)], f"index1 must lie in 0..4, got {2**70}"),
        ([[(0, 0), (0, 1), (4, 0)]], "index0 must lie in 0..3, got 4"),
        (torch.tensor([[0, 200]], dtype=torch.uint8), "index1 must lie in 0..4, got 200"),
        (torch.zeros(1, 2, dtype=torch.int64, device="meta"), "at is on the meta device, without"),
        (torch.zeros(1, 2, dtype=torch.int64).to_sparse(), "at is a sparse tensor; give a dense"),
        ([], "at is empty; at takes (index0, index1) per seed"),
        (torch.zeros(0, 2, dtype=torch.int64), "at is empty; at takes"),
        (torch.zeros(0, B, 2, dtype=torch.int64), "at is empty; at takes"),
        (None, "give either at=[...] or seeds=S, and not both"),
    ],
    ids=repr,
)
def test_where_at_cannot_start_is_named(case: tuple[Any, Any], at: object, told: str) -> None:
    program, state = case
    assert refusal(lambda: program.relevance(state, "tokens", at)).startswith(f"tokens: {told}")


@pytest.mark.parametrize(
    "at",
    [
        [[1, 4]],
        ((1, 4),),
        [torch.tensor([1, 4])],
        [np.array([1, 4])],
        [(np.int16(1), torch.tensor(4))],
        [[(1, 4)] * B],
        np.array([[1, 4]], dtype=np.uint16),
        *(torch.tensor([[1, 4]], dtype=d) for d in (torch.uint8, torch.int8, torch.int32)),
        torch.tensor([[1, 4]]).expand(B, 2)[None],
        torch.tensor([[1], [4]]).T,
    ],
    ids=repr,
)
def test_what_means_the_same_start_gives_the_same(case: tuple[Any, Any], at: object) -> None:
    program, state = case
    expected = program.relevance(state, "tokens", [(1, 4)]).input
    assert torch.equal(program.relevance(state, "tokens", at).input, expected)


@pytest.mark.parametrize("kind", [lambda t: t, Tensor.numpy, lambda t: [t], lambda t: [t.tolist()]])
def test_one_class_for_each_image_is_one_seed(case: tuple[Any, Any], kind: Any) -> None:
    program, state = case
    classes = state.outputs["classes"].argmax(1)
    found = program.relevance(state, "classes", at=kind(classes)).input
    seeds = [program.relevance(state, "classes", at=[int(c)]).input for c in classes]
    expected = torch.stack([seed[0, b] for b, seed in enumerate(seeds)])[None]
    assert torch.equal(found, expected)


def test_a_tensor_of_another_length_is_not_guessed_at(case: tuple[Any, Any]) -> None:
    """At B = 5 it would be one seed: what a call means must not hang on the batch."""
    program, state = case
    assert refusal(lambda: program.relevance(state, "classes", at=torch.arange(5))) == (
        "classes: a tensor of one index0 for each image has 3, got 5; for seeds that are alike in"
        " all images give a list, or a tensor [K, 1]"
    )
    assert program.relevance(state, "classes", at=list(range(5))).input.shape[0] == 5
    assert program.relevance(state, "classes", at=torch.arange(5)[:, None]).input.shape[0] == 5


def test_outputs_without_an_index_start_with_an_empty_one(case: tuple[Any, Any]) -> None:
    program, state = case
    ones = torch.ones_like(state.outputs["number"])[None] * state.outputs["number"]
    expected = program.relevance(state, "number", seeds=ones).input
    found = program.relevance(state, "number", at=[(), ()]).input
    assert found.shape[0] == 2
    torch.testing.assert_close(found, expected.expand_as(found))
    assert "at=[()]" in refusal(lambda: program.relevance(state, "number", at=()))


# Relevance given outright.


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda s: s.tolist(), "tokens: seeds must be a torch.Tensor, got list"),
        (Tensor.numpy, "tokens: seeds must be a torch.Tensor, got ndarray; torch.from_numpy makes"),
        (lambda s: s.to(torch.complex64), "tokens: seeds must be real numbers, got torch.com"),
        (Tensor.bool, "tokens: seeds must be real numbers, got torch.bool"),
        (lambda s: s.to("meta"), "tokens: seeds is on the meta device, without numbers"),
        (Tensor.to_sparse, "tokens: seeds is a sparse tensor; give a dense one"),
        (lambda s: s[0], "tokens: seeds must be [K, 3, 4, 5], got [3, 4, 5]"),
        (lambda s: s[:0], "tokens: seeds are empty, K = 0; give at least one"),
        (lambda s: (s * float("nan")).to(torch.float8_e5m2), "seeds of tokens holds NaN or infi"),
        (lambda s: s * float("nan"), "seeds of tokens holds NaN or infinity; give finite"),
        (lambda s: s.double() * 1e300, "tokens: seeds hold numbers that are too large or too"),
        (lambda s: s.double() * 1e-300, "tokens: seeds hold numbers that are too large or too"),
        (lambda s: s / s.abs().clamp_min(1e-9) * 3e38, "tokens: seeds over activations holds NaN"),
    ],
)  # fmt: skip
def test_seeds_of_the_wrong_kind(
    case: tuple[Any, Any], change: Callable[[Tensor], object], told: str
) -> None:
    program, state = case
    seeds = change(state.outputs["tokens"][None].clone())
    assert refusal(lambda: program.relevance(state, "tokens", seeds=seeds)).startswith(told)


def test_seeds_of_other_kinds_of_numbers(case: tuple[Any, Any]) -> None:
    program, state = case
    seeds = torch.zeros(1, *state.outputs["tokens"].shape)
    seeds[0, :, 1, 2] = 3
    expected = program.relevance(state, "tokens", seeds=seeds).input
    for same in (seeds.double(), seeds.long(), seeds.bfloat16(), nn.Parameter(seeds)):
        found = program.relevance(state, "tokens", seeds=same).input
        assert torch.equal(found, expected)
        assert not found.requires_grad


# Names and switches.


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"target": "token"}, "this program has no target 'token'; did you mean 'tokens'?"),
        ({"target": None}, "this program has no target None; it starts from: tokens, classes"),
        ({"target": ["tokens"]}, "this program has no target ['tokens']; it starts from: tokens"),
        ({"layer": -1}, "this program has no target 'tokens' at layer -1; it starts from: tokens"),
        ({"layer": 1.5}, "this program has no target 'tokens' at layer 1.5; it starts from"),
        ({"token": 1}, "tokens: token chooses among the tokens of an encoder_feature"),
        ({"norm": "sum"}, "norm must be none, sum1 or sumT, got 'sum'"),
        ({"norm": None}, "norm must be none, sum1 or sumT, got None"),
        ({"composite": "epsilom"}, "this program has no composite 'epsilom'; did you mean"),
        ({"composite": 5}, "this program has no composite 5; it has: epsilon"),
        ({"read": "inside"}, "tokens: read takes a list of places, as in read=['input.x'],"),
        ({"read": 5}, "tokens: read takes a list of places, as in read=['input.x'], got 'int'"),
        ({"read": ["insid"]}, "tokens: no relevance can be read at 'insid'; did you mean"),
        ({"read": [None]}, "tokens: no relevance can be read at None; places: inside, input.x"),
        ({"ledger": "no"}, "ledger takes True or False, got 'no'"),
        ({"total": 1}, "total takes True or False, got 1"),
    ],
)  # fmt: skip
def test_names_that_there_are_not(
    case: tuple[Any, Any], options: dict[str, Any], told: str
) -> None:
    program, state = case
    asked = {"target": "tokens", "at": [(0, 0)], **options}
    assert refusal(lambda: program.relevance(state, **asked)).startswith(told)


def test_the_input_that_was_not_read(case: tuple[Any, Any]) -> None:
    program, state = case
    found = program.relevance(state, "tokens", [(0, 0)], read=["inside"])
    assert refusal(lambda: found.input) == (
        "relevance at the input was not read; add it to read=[...]"
    )


# States.


def test_states_that_are_none(case: tuple[Any, Any]) -> None:
    program, state = case
    for wrong in (None, torch.zeros(B, TOKENS, 6), state.outputs):
        told = refusal(lambda wrong=wrong: program.relevance(wrong, "tokens", [(0, 0)]))
        assert told.startswith("relevance takes what forward returned: state = p.forward(images)")
    nothing = type(state)({}, {}, 1, {})
    other = lrpc.compile(Model().eval(), (torch.randn(2, TOKENS, 6),), composite="epsilon")
    for stranger in (nothing, other.forward(torch.randn(B, TOKENS, 6))):
        told = refusal(lambda stranger=stranger: program.relevance(stranger, "tokens", [(0, 0)]))
        assert told == "this state is of another program; run forward of this one"


def test_what_is_written_to_after_forward_is_refused(case: tuple[Any, Any]) -> None:
    """Relevance reads the input and the outputs where they are: it would explain other numbers."""
    program, _ = case
    x = torch.randn(B, TOKENS, 6)
    written: list[Callable[[Any], object]] = [
        lambda state: x.mul_(2),
        lambda state: x[0].zero_(),
        lambda state: state.outputs["tokens"].sub_(1),
    ]
    for write in written:
        state = program.forward(x)
        again = copy.deepcopy(state)
        expected = program.relevance(state, "tokens", [(0, 0)]).input
        write(state)
        told = refusal(lambda state=state: program.relevance(state, "tokens", [(0, 0)]))
        assert told.startswith("the input or state.outputs were written to since forward")
        assert torch.equal(program.relevance(again, "tokens", [(0, 0)]).input, expected)
