"""CUDA graphs: each function is recorded once for a shape and replayed from then on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial, wraps
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from lrpc.runtime.calls import Calls, Compiled, Function, Saved
from lrpc.runtime.loading import ProgramError
from lrpc.runtime.settings import Wrapped

WARM = 3  # runs before a recording: libraries set themselves up, compiled functions compile
Result = TypeVar("Result")


def in_turn(call: Wrapped) -> Wrapped:
    """A method that one thread runs after the other: the buffers of a recording are one caller's
    from filling to copying."""

    @wraps(call)
    def run(self: Any, *given: Any, **named: Any) -> Any:
        with self.turn:
            return call(self, *given, **named)

    return run  # type: ignore[return-value]


class Recording(Protocol):
    """Records a call whose tensors stay where they are: its result, and what runs it again."""

    def __call__(self, call: Callable[[], Result], /) -> tuple[Result, Callable[[], None]]: ...


class Recorder:
    """Records calls as CUDA graphs on `device`, all in one memory pool."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.pool: Any = None

    def __call__(self, call: Callable[[], Result], /) -> tuple[Result, Callable[[], None]]:
        """Warm up beside the current stream, then record."""
        with torch.cuda.device(self.device):
            if self.pool is None:
                self.pool = torch.cuda.graph_pool_handle()
            aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            aside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(aside):
                for _ in range(WARM):
                    call()
            torch.cuda.current_stream().wait_stream(aside)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=self.pool):
                result = call()
        return result, graph.replay


class Kept(dict[str, dict[str, Any]]):
    """What a recorded forward pass saves: the same tensors after every replay.

    `turn` counts replays. `added` names the relevance recordings that have put their part here
    since the last one.
    """

    def __init__(self, saved: Saved, source: RecordedForward, turn: int) -> None:
        super().__init__({block: dict(part) for block, part in saved.items()})
        self.source, self.turn = source, turn
        self.added: frozenset[int] = frozenset()

    def __reduce__(self) -> Any:
        """Refused: what is saved is in the program's own buffers."""
        raise ProgramError(
            "a state of a program loaded with capture=True lasts until the next forward and cannot"
            " be copied or pickled; its outputs can, and so can relevance"
        )


@dataclass(eq=False)
class RecordedForward:
    """A recorded forward pass: where its inputs go, and what it fills."""

    inputs: Sequence[Tensor]
    outputs: dict[str, Tensor]
    saved: Saved
    replay: Callable[[], None]
    turn: int = 0


@dataclass(eq=False)
class RecordedRelevance:
    """A recorded relevance call: where its seeds and masks go, and what it fills. `added` is what
    it leaves in the state for later calls: (block, name, value)."""

    given: Sequence[Tensor]
    found: dict[str, Tensor]
    amounts: list[Tensor]
    added: list[tuple[str, str, Any]] = field(repr=False)
    replay: Callable[[], None] = field(repr=False)


class Captured(Calls):
    """Runs what `calls` runs from recordings: one for each shape of the inputs, and for each target
    and composite, shape of its seeds, places, ledger or none.

    Results are copies. What a forward pass saves is not: the next pass of the same shape overwrites
    it, and `check` refuses it from then on.
    """

    def __init__(self, calls: Calls, record: Recording) -> None:
        self.calls, self.record = calls, record
        self.turn = threading.RLock()
        self.forwards: dict[tuple[Any, ...], RecordedForward] = {}
        self.relevances: dict[tuple[Any, ...], RecordedRelevance] = {}

    @in_turn
    def forward(
        self,
        function: Function,
        weights: Mapping[str, Tensor],
        blocks: Sequence[str],
        inputs: Sequence[Tensor],
    ) -> tuple[dict[str, Tensor], Saved]:
        """The outputs, copied, and the buffers that hold what the pass saves."""
        key = (settings(), *((tuple(x.shape), x.dtype) for x in inputs))
        if key not in self.forwards:
            held = [x.clone() for x in inputs]
            (outputs, saved), replay = self.record(
                lambda: self.calls.forward(function, weights, blocks, held)
            )
            self.forwards[key] = RecordedForward(held, outputs, saved, replay)
        recorded = self.forwards[key]
        for buffer, given in zip(recorded.inputs, inputs, strict=True):
            buffer.copy_(given)
        recorded.turn += 1
        recorded.replay()
        outputs = {name: value.clone() for name, value in recorded.outputs.items()}
        return outputs, Kept(recorded.saved, recorded, recorded.turn)

    @in_turn
    def relevance(
        self,
        function: Function,
        weights: Mapping[str, Tensor],
        saved: Saved,
        given: Sequence[Tensor],
        places: frozenset[str],
        ledger: bool,
        chunk: int = 0,
    ) -> tuple[dict[str, Tensor], list[Tensor]]:
        """Relevance and amounts, copied."""
        state = self._current(saved)
        call = (id(state.source), function, tuple(x.shape for x in given), places, ledger, chunk)
        key = (settings(), *call, state.added)
        if key not in self.relevances:
            run = partial(self.calls.relevance, function, weights)
            self.relevances[key] = self._recorded(run, state, given, places, ledger, chunk)
        recorded = self.relevances[key]
        for buffer, x in zip(recorded.given, given, strict=True):
            buffer.copy_(x)
        recorded.replay()
        for block, name, value in recorded.added:
            state[block][name] = value
        if recorded.added:
            state.added |= {id(recorded)}
        found = {name: value.clone() for name, value in recorded.found.items()}
        return found, [amount.clone() for amount in recorded.amounts]

    def check(self, saved: Saved) -> None:
        """Refuse a state that a later forward pass of the same shape has overwritten."""
        self._current(saved)

    def _current(self, saved: Saved) -> Kept:
        if not isinstance(saved, Kept) or saved.source not in self.forwards.values():
            raise ProgramError("this state is of another program; run forward of this one")
        if saved.turn != saved.source.turn:
            raise ProgramError(
                "this state is not there any more: a program loaded with capture=True keeps one for"
                " each shape, and forward has run again; ask for relevance before the next forward"
            )
        return saved

    def _recorded(
        self, run: Callable[..., Any], state: Kept, given: Sequence[Tensor], *asked: Any
    ) -> RecordedRelevance:
        held, before = (
            [x.clone() for x in given],
            {block: dict(part) for block, part in state.items()},
        )

        def call() -> tuple[dict[str, Tensor], list[Tensor], list[tuple[str, str, Any]]]:
            saved = {block: dict(part) for block, part in before.items()}
            found, amounts = run(saved, held, *asked)
            added = [
                (block, name, value)
                for block, part in saved.items()
                for name, value in part.items()
                if name not in before[block]
            ]
            return found, amounts, added

        (found, amounts, added), replay = self.record(call)
        return RecordedRelevance(held, found, amounts, added, replay)


def settings() -> tuple[bool, ...]:
    """What of torch's settings decides which kernels run."""
    return (torch.are_deterministic_algorithms_enabled(),)


def chosen_calls(device: torch.device, compile: bool, capture: bool) -> Calls:
    """How a program on `device` runs, as `load` was asked."""
    if capture and device.type != "cuda":
        raise ProgramError(
            f"capture=True records CUDA graphs, and this program is on {device}; load it with"
            ' device="cuda", or leave capture out'
        )
    calls = Compiled() if compile else Calls()
    return Captured(calls, Recorder(device)) if capture else calls
