"""Programs, states and results go through pickles, copies and the workers of a DataLoader."""

from __future__ import annotations

import copy
import gc
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

import lrpc
from lrpc.errors import LrpcWarning, ProgramError
from lrpc.program.loading import load_program
from lrpc.runtime.calls import Calls
from lrpc.runtime.capture import Captured
from lrpc.runtime.loading import ProgramError as Refused
from tests.support import small_calls

INPUTS = small_calls.inputs()
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A program of a directory that stays."""
    made = small_calls.program()
    return load_program(made.save(tmp_path_factory.mktemp("calls") / "small"), "cpu")


def explained(program: Any) -> Any:
    return program.relevance(program.forward(*INPUTS), at=[1], ledger=True)


@pytest.mark.parametrize(
    "again", [copy.copy, copy.deepcopy, lambda v: pickle.loads(pickle.dumps(v))]
)
def test_what_is_copied_or_pickled_does_the_same(program: Any, again: Any) -> None:
    state, expected = program.forward(*INPUTS), explained(program)
    for one, of in (
        (again(program), state),
        (program, again(state)),
        (again(program), again(state)),
    ):
        assert torch.equal(one.relevance(of, at=[1]).input, expected.input)
    result = again(expected)
    assert torch.equal(result.input, expected.input)
    assert torch.equal(result.ledger.closure, expected.ledger.closure)


def test_a_pickled_program_is_its_directory(program: Any, tmp_path: Path) -> None:
    """Weights stay where they are; another program in that place is refused."""
    place = program.save(tmp_path / "place")
    data = pickle.dumps(load_program(place, "cpu"))
    assert len(data) < 2000
    assert place.name.encode() in data
    for file in place.iterdir():
        file.unlink()
    with pytest.raises(ProgramError, match=r"place: not a program directory, it lacks program\.py"):
        pickle.loads(data)
    place.rmdir()
    small_calls.program(composite="gamma").save(place)
    with pytest.raises(ProgramError, match="place holds another program than the one pickled"):
        pickle.loads(data)


def test_a_copy_outlives_the_first() -> None:
    """The directory of a program from lrpc.compile goes with the last of its copies."""
    first = small_calls.program()
    expected, place = explained(first).input, first.directory
    second, other = copy.deepcopy(first), copy.deepcopy(first)
    second.weights[next(iter(second.weights))].zero_()  # its own
    del first
    gc.collect()
    assert torch.equal(explained(other).input, expected)
    assert place.is_dir()
    del second, other
    gc.collect()
    assert not place.exists()


def test_a_state_in_the_buffers_of_a_recording_says_so() -> None:
    program = small_calls.program()

    def record(call: Any) -> Any:
        return call(), lambda: None

    program.calls = Captured(Calls(), record)
    state = program.forward(*INPUTS)
    for again in (copy.deepcopy, pickle.dumps):
        with pytest.raises(Refused, match=r"capture=True lasts until the next forward and"):
            again(state)


CHILD = """
import sys; sys.path.insert(0, {folder!r})
import pickle, torch, program
assert "lrpc" not in sys.modules
x, words = torch.load({given!r})
p = program.load()
state = p.forward(x, words)
again = pickle.loads(pickle.dumps([p, state, p.relevance(state, at=[1], ledger=True)]))
assert len(pickle.dumps(p)) < 2000
found = again[0].relevance(again[1], at=[1]).input
assert torch.equal(found, again[2].input)
torch.save(found, {out!r})
sys.modules["elsewhere"] = sys.modules.pop("program")
try:
    pickle.dumps(p)
except program.ProgramError as error:
    print(error)
"""


def test_without_lrpc_pickles_find_programs_by_the_module_s_name(
    program: Any, tmp_path: Path
) -> None:
    given, out = tmp_path / "given.pt", tmp_path / "out.pt"
    torch.save(list(INPUTS), given)
    folder = str(program.directory)
    code = CHILD.format(folder=folder, given=str(given), out=str(out))
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd="/"
    )
    assert not done.returncode, done.stderr
    assert torch.equal(torch.load(out), explained(program).input)
    assert done.stdout.startswith("a pickle finds programs by the module's name, and 'program' is")


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_data_loader_workers(program: Any, start: str) -> None:
    """The program goes to the workers with the data set; results and errors come back."""

    def loader(wrong: bool) -> Any:
        data = small_calls.Explained(program, wrong)
        return DataLoader(
            data, batch_size=1, num_workers=1 if wrong else 2, multiprocessing_context=start,
            collate_fn=small_calls.first, timeout=120,
        )  # fmt: skip

    results = list(loader(False))
    alone = small_calls.Explained(program)
    for i, result in enumerate(results):
        assert torch.equal(result.input, alone[i].input)
        assert torch.equal(result.ledger.start, alone[i].ledger.start)
    with pytest.raises(ProgramError, match=r"output: index0 must lie in 0\.\.4, got 9"):
        list(loader(True))


FORKED = """
from torch.utils.data import DataLoader
from tests.support import small_calls

program = small_calls.program()
loader = DataLoader(
    small_calls.Explained(program), batch_size=1, num_workers=1, timeout=120,
    multiprocessing_context="fork", collate_fn=small_calls.first,
)
assert len(list(loader)) == 4
del loader
assert program.directory.is_dir()
"""


def test_a_forked_worker_leaves_the_directory_of_its_parent() -> None:
    """In a process of its own: one that ran other tests has threads, which a fork lacks."""
    done = subprocess.run(
        [sys.executable, "-c", FORKED], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr


def test_group_norm_of_one_value_per_group() -> None:
    """torch's own function refuses it for one image, and only then; the program takes any batch."""
    model = nn.Sequential(nn.Conv2d(3, 4, 4), nn.GroupNorm(4, 4), nn.ReLU(), nn.Conv2d(4, 2, 1))
    model = nn.Sequential(model, nn.Flatten()).eval()
    nn.init.uniform_(model[0][1].bias)
    x = torch.randn(3, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    with pytest.warns(LrpcWarning, match="not held against the model on one other image"):
        program = lrpc.compile(model, (x,), composite="epsilon")
    with torch.no_grad():
        expected = model(x)
    torch.testing.assert_close(program.forward(x).outputs, expected)
    torch.testing.assert_close(program.forward(x[:1]).outputs, expected[:1])
