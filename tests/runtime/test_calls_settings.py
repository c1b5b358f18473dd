"""A program computes the same whatever the caller has set in torch, and leaves all of it as it was,
for every thread at every moment."""

from __future__ import annotations

import contextlib
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

import lrpc
from lrpc.runtime import settings
from tests.support import small_calls

INPUTS = small_calls.inputs()


@pytest.fixture(scope="module")
def program() -> Any:
    return small_calls.program()


def explained(program: Any) -> Tensor:
    found: Tensor = program.relevance(program.forward(*INPUTS), at=[1], ledger=True).input
    return found


@contextlib.contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@contextlib.contextmanager
def deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


@contextlib.contextmanager
def anomaly() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with torch.autograd.detect_anomaly():
            yield


MODES: dict[str, Callable[[], Any]] = {
    "bf16": lambda: torch.autocast("cpu", torch.bfloat16),
    "fp16": lambda: torch.autocast("cpu", torch.float16),
    "inference": torch.inference_mode,
    "no_grad": torch.no_grad,
    "enable_grad": torch.enable_grad,
    "float64": lambda: default_dtype(torch.float64),
    "float16": lambda: default_dtype(torch.float16),
    "meta": lambda: torch.device("meta"),
    "deterministic": deterministic,
    "anomaly": anomaly,
}


@pytest.mark.parametrize("mode", MODES)
def test_modes_of_the_caller_change_nothing(program: Any, mode: str) -> None:
    expected = explained(program)
    with MODES[mode]():
        assert torch.equal(explained(program), expected)
        state = program.forward(*INPUTS)
    assert torch.equal(program.relevance(state, at=[1]).input, expected)
    state = program.forward(*INPUTS)
    with MODES[mode]():
        assert torch.equal(program.relevance(state, at=[1]).input, expected)


@pytest.mark.parametrize("mode", ["bf16", "fp16", "inference", "float64", "meta"])
def test_modes_of_the_caller_change_nothing_in_what_is_compiled(program: Any, mode: str) -> None:
    model, inputs = small_calls.model(), small_calls.inputs()
    with MODES[mode]():
        example = tuple(x.to("cpu", copy=True) for x in inputs)
        made = lrpc.compile(model, example, composite="epsilon")
    assert torch.equal(explained(made), explained(program))


def test_inference_tensors_are_inputs_as_others(program: Any) -> None:
    """They count no writes: the program works on its own copy."""
    with torch.inference_mode():
        images, words = (x.clone() for x in INPUTS)
        state = program.forward(images, words)
        images.zero_()
    assert torch.equal(program.relevance(state, at=[1]).input, explained(program))
    assert not state.outputs.is_inference()


# What belongs to the whole process.


SET: dict[str, Callable[[], object]] = {
    "default": lambda: None,
    "medium": lambda: torch.set_float32_matmul_precision("medium"),
    "allow_tf32": lambda: setattr(torch.backends.cuda.matmul, "allow_tf32", True),
    "no cudnn": lambda: setattr(torch.backends.cudnn, "allow_tf32", False),
    "new": lambda: setattr(torch.backends.cuda.matmul, "fp32_precision", "tf32"),
    "new, all": lambda: setattr(torch.backends, "fp32_precision", "tf32"),
    "new, mkldnn": lambda: setattr(torch.backends.mkldnn.matmul, "fp32_precision", "bf16"),
}


@pytest.fixture
def untouched() -> Iterator[None]:
    """Settings as they are in a new process, before and after."""
    found = settings.found_float32()
    yield
    torch.backends.fp32_precision = "none"
    settings.restore_float32(found)
    assert settings.found_float32() == found


@pytest.mark.parametrize("name", SET)
@pytest.mark.parametrize(("kind", "tf32"), [("cuda", False), ("cuda", True), ("cpu", False)])
@pytest.mark.usefixtures("untouched")
def test_float32_precision_is_set_and_comes_back(name: str, kind: str, tf32: bool) -> None:
    """By either of torch's two interfaces, which refuse to be read where the other was used."""
    SET[name]()
    before = settings.found_float32()
    shared = settings.SharedFloat32()
    shared.enter(kind, tf32)
    assert [settings.rounds(part) for part in settings.FLOAT32[kind]] == [
        tf32 for _ in settings.FLOAT32[kind]
    ]
    shared.enter(kind, tf32)
    shared.leave()
    assert settings.rounds(settings.FLOAT32[kind][0]) == tf32  # one is still running
    shared.leave()
    after = settings.found_float32()  # mixing the two, torch may have refused to read some before
    assert {name: after[name] for name in before} == before


@pytest.mark.usefixtures("untouched")
def test_a_program_on_the_cpu_computes_in_full_float32(program: Any) -> None:
    expected = explained(program)
    torch.set_float32_matmul_precision("medium")
    assert torch.equal(explained(program), expected)
    assert torch.get_float32_matmul_precision() == "medium"


def in_threads(calls: list[Callable[[], object]]) -> None:
    """Runs them all at once; raises what one of them raised."""
    failed: list[BaseException] = []

    def run(call: Callable[[], object]) -> None:
        try:
            call()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not any(thread.is_alive() for thread in threads)
    if failed:
        raise failed[0]


def test_threads_see_the_settings_of_the_process_all_the_time(program: Any) -> None:
    """On a CPU nothing needs setting, so that nobody ever sees another value, or loses theirs."""
    expected, before = explained(program), settings.found_float32()
    modes = (torch.get_default_dtype(), torch.is_grad_enabled(), torch.get_num_threads())
    done = threading.Event()

    def work() -> None:
        for _ in range(30):
            assert torch.equal(explained(program), expected)

    def work_under_autocast() -> None:
        with torch.autocast("cpu", torch.bfloat16), torch.inference_mode():
            work()
            assert torch.is_autocast_enabled("cpu")
            assert torch.is_inference_mode_enabled()

    def watch() -> None:
        while not done.wait(0.0005):
            assert settings.found_float32() == before
            now = (torch.get_default_dtype(), torch.is_grad_enabled(), torch.get_num_threads())
            assert now == modes

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        in_threads([work, work, work_under_autocast])
    finally:
        done.set()
        watcher.join()
    assert settings.found_float32() == before


@pytest.mark.usefixtures("untouched")
def test_threads_take_turns_where_they_want_different_precisions() -> None:
    """As programs on a GPU do: each has its own while it runs, then the caller's is back."""
    torch.set_float32_matmul_precision("high")
    before, shared = settings.found_float32(), settings.SharedFloat32()
    counts = {True: 0, False: 0}

    def work(tf32: bool) -> None:
        for _ in range(200):
            shared.enter("cuda", tf32)
            try:
                for part in settings.FLOAT32["cuda"]:
                    assert settings.rounds(part) == tf32
                counts[tf32] += 1
            finally:
                shared.leave()

    in_threads([lambda tf32=tf32: work(tf32) for tf32 in (True, False, True, False)])
    assert counts == {True: 400, False: 400}
    assert shared.running == 0
    assert settings.found_float32() == before


def test_all_programs_of_a_process_share_one_turn(program: Any) -> None:
    other = type(small_calls.program()).__init__.__globals__
    own = type(program).__init__.__globals__
    assert own["shared_float32"]() is other["shared_float32"]() is settings.shared_float32()


def test_programs_load_in_several_threads(program: Any) -> None:
    from lrpc.program.loading import load_program

    expected = explained(program)

    def load() -> None:
        for _ in range(4):
            assert torch.equal(explained(load_program(program.directory, "cpu")), expected)

    in_threads([load] * 4)
