"""Programs under CUDA graphs: what is recorded, what a replay overwrites, what is handed out.

Without a GPU a stand-in records.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

import lrpc
from lrpc.errors import LrpcError
from lrpc.program.loading import load_program
from lrpc.runtime.calls import Calls, Compiled
from lrpc.runtime.capture import Captured
from tests.runtime.test_load_compile import SEEDS, Counting, Layers, X, again
from tests.support.programs import difference

COMPOSITES = ["attnlrp", "cp_lrp"]


def memory(result: Any) -> Iterator[Tensor]:
    """The tensors in nested dicts, lists and tuples, in order; of views, what they are views of."""
    if isinstance(result, Tensor):
        yield result if result._base is None else result._base
    elif isinstance(result, dict | list | tuple):
        for part in result.values() if isinstance(result, dict) else result:
            yield from memory(part)


class Recorder:
    """Records on any device: `replay` computes anew, into the same memory. As with a CUDA graph,
    there is nothing in it before the first replay."""

    def __init__(self, weights: dict[str, Tensor]) -> None:
        self.fixed = {w.untyped_storage().data_ptr() for w in weights.values()}
        self.recorded = self.replayed = 0

    def __call__(self, call: Callable[[], Any], /) -> tuple[Any, Callable[[], None]]:
        self.recorded += 1
        call()  # warm up
        kept = call()
        for tensor in memory(kept):
            if tensor.untyped_storage().data_ptr() not in self.fixed:
                tensor.fill_(7)

        def replay() -> None:
            self.replayed += 1
            fresh = [t.clone() for t in memory(call())]
            for old, new in zip(memory(kept), fresh, strict=True):
                old.copy_(new)

        return kept, replay


def recorded(plain: Any, calls: Calls | None = None) -> tuple[Any, Recorder]:
    """The program loaded anew, run from recordings of `calls`."""
    program = again(plain)
    recorder = Recorder(program.weights)
    program.calls = Captured(calls or Calls(), recorder)
    return program, recorder


@pytest.fixture(scope="module")
def plain() -> Any:
    """Two composites; seeds in chunks of two."""
    return lrpc.compile(Layers().eval(), (X,), composite=COMPOSITES, seeds=2)


def drawn(seed: int, batch: int = 2) -> Tensor:
    """Other tokens than the example."""
    return torch.randn(batch, 8, 8, generator=torch.Generator().manual_seed(seed))


def same(found: Any, expected: Any) -> bool:
    return torch.equal(found.input, expected.input) and all(
        torch.equal(a[3], b[3])
        for a, b in zip(
            found.ledger.rows if found.ledger else (),
            expected.ledger.rows if expected.ledger else (),
            strict=True,
        )
    )


def test_one_recording_for_each_shape(plain: Any) -> None:
    program, recorder = recorded(plain)
    for turn in range(3):
        state = program.forward(drawn(turn))
        assert torch.equal(state.outputs, plain.forward(drawn(turn)).outputs)
    assert (recorder.recorded, recorder.replayed) == (1, 3)
    program.forward(drawn(0, batch=3))
    assert recorder.recorded == 2
    program.forward(drawn(0))
    assert recorder.recorded == 2


def test_relevance_of_every_kind(plain: Any) -> None:
    program, _ = recorded(plain)
    for turn in range(3):
        reference, state = plain.forward(drawn(turn)), program.forward(drawn(turn))
        kinds = [{"composite": c, "ledger": b} for c in COMPOSITES for b in (False, True)]
        for options in kinds[turn:] + kinds[:turn]:  # whichever comes first sorts the entries
            for seeds in (SEEDS, 2 * SEEDS):  # chunks of 2 and of 1
                found = program.relevance(state, seeds=seeds, **options)
                assert same(found, plain.relevance(reference, seeds=seeds, **options))


def test_recordings_are_used_again(plain: Any) -> None:
    program, recorder = recorded(plain)
    counts = []
    for turn in range(3):
        state = program.forward(drawn(turn))
        for _ in range(2):
            program.relevance(state, seeds=SEEDS[:2])
        counts.append((recorder.recorded, recorder.replayed))
    # forward, relevance that sorts the entries, relevance that finds them
    assert counts == [(3, 3), (3, 6), (3, 9)]


def test_entries_are_sorted_once_for_each_state(plain: Any, monkeypatch: Any) -> None:
    program, recorder = recorded(plain)
    names, sorts = program.interface.forward.__globals__, []
    transposed = names["deform_sorted"]
    monkeypatch.setitem(
        names, "deform_sorted", lambda *given: sorts.append(given) or transposed(*given)
    )
    state = program.forward(X)
    program.relevance(state, seeds=SEEDS[:2])
    program.relevance(state, seeds=SEEDS[:2])
    program.relevance(state, seeds=SEEDS[:2], composite="cp_lrp")
    sorts.clear()
    for turn in range(2):
        state = program.forward(drawn(turn))
        for _ in range(3):
            program.relevance(state, seeds=SEEDS[:2])
        program.relevance(state, seeds=SEEDS[:2], composite="cp_lrp")
        assert len(sorts) == 2 * (turn + 1)  # two samplings
    assert recorder.recorded == 4


def test_results_are_copies(plain: Any) -> None:
    program, _ = recorded(plain)
    state = program.forward(X)
    first = program.relevance(state, seeds=SEEDS[:2], ledger=True)
    outputs, relevance = state.outputs.clone(), first.input.clone()
    amounts = [row[3].clone() for row in first.ledger.rows]
    program.relevance(state, seeds=9 * SEEDS[:2], ledger=True)
    program.relevance(program.forward(drawn(5)), seeds=SEEDS[:2], ledger=True)
    assert torch.equal(state.outputs, outputs)
    assert torch.equal(first.input, relevance)
    assert all(torch.equal(a, row[3]) for a, row in zip(amounts, first.ledger.rows, strict=True))


def test_the_input_is_copied_in(plain: Any) -> None:
    program, _ = recorded(plain)
    given = X.clone()
    state = program.forward(given)
    given.fill_(float("nan"))
    found = program.relevance(state, seeds=SEEDS)
    assert torch.equal(found.input, plain.relevance(plain.forward(X), seeds=SEEDS).input)


def test_an_overwritten_state_is_refused(plain: Any) -> None:
    program, _ = recorded(plain)
    first = program.forward(X)
    larger = program.forward(drawn(0, batch=3))
    program.relevance(first, seeds=SEEDS)  # another shape has buffers of its own
    second = program.forward(X)
    with pytest.raises(Exception, match=r"not there any more: .* before the next forward"):
        program.relevance(first, seeds=SEEDS)
    program.relevance(second, seeds=SEEDS)
    program.relevance(larger, "output", at=[(0, 0)])
    with pytest.raises(Exception, match="of another program"):
        program.relevance(plain.forward(X), seeds=SEEDS)


def test_recordings_of_compiled_functions(plain: Any) -> None:
    backend = Counting()
    program, recorder = recorded(plain, Compiled(backend))
    for turn in range(2):
        reference, state = plain.forward(drawn(turn)), program.forward(drawn(turn))
        for _ in range(2):
            found = program.relevance(state, seeds=SEEDS[:2], ledger=True)
            assert same(found, plain.relevance(reference, seeds=SEEDS[:2], ledger=True))
    assert recorder.recorded == len(backend.graphs) == 3


def test_capture_needs_cuda(plain: Any) -> None:
    with pytest.raises(LrpcError, match=r"capture=True records CUDA graphs.*is on cpu") as told:
        lrpc.compile(Layers().eval(), (X,), capture=True)
    assert "\n" not in str(told.value)


@pytest.mark.gpu
@pytest.mark.parametrize("compile", [False, True], ids=["as written", "compiled"])
def test_cuda_graphs(compile: bool) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    made = lrpc.compile(Layers().eval(), (X,), composite=COMPOSITES, seeds=2, device="cuda")
    eager: Any = made
    options = {"compile": compile, "capture": True}
    program: Any = load_program(eager.directory, "cuda", **options)
    for turn in range(3):
        tokens = drawn(turn).cuda()
        reference, state = eager.forward(tokens), program.forward(tokens)
        assert difference(state.outputs, reference.outputs) < 1e-5
        for composite in COMPOSITES[turn % 2 :] + COMPOSITES[: turn % 2]:
            for ledger in (False, True):
                chosen = {"composite": composite, "ledger": ledger}
                found = program.relevance(state, seeds=SEEDS.cuda(), **chosen)
                expected = eager.relevance(reference, seeds=SEEDS.cuda(), **chosen)
                assert difference(found.input, expected.input) < 1e-5
                if ledger:
                    assert float(found.ledger.closure.max()) < 1e-4
    with pytest.raises(Exception, match="not there any more"):
        program.forward(tokens) and program.relevance(state, seeds=SEEDS.cuda())


def test_masks_are_copied_into_a_recording() -> None:
    """Conditions of one shape share a recording, which each call fills with its own masks."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    x, read = torch.randn(2, 6), {"hidden": "1"}
    plain: Any = lrpc.compile(model.eval(), (x,), read=read, conditions=["hidden"])
    program, recorder = recorded(plain)
    state, own = program.forward(x), plain.forward(x)
    for channels in ([0, 1, 2], [5], [0, 1, 2]):
        options: dict[str, Any] = {"at": [(1,)], "condition": {"hidden": channels}}
        found = program.relevance(state, **options)
        assert torch.equal(found.input, plain.relevance(own, **options).input)
    assert recorder.recorded == 2  # forward, relevance
