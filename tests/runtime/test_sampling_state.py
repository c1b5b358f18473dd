"""What samplings share is worked out once per state, and lives no longer than the state."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

import lrpc
from lrpc.backend.schedule.ir import SAVED, Compute, Entry, Part
from lrpc.backend.schedule.state import within
from lrpc.backend.schedule.tables import shared_tables, with_tables
from lrpc.ir.graph import Value
from lrpc.ir.types import B, TensorType
from tests.support.models import Sampler

X = torch.randn(2, 8, 8, generator=torch.Generator().manual_seed(1))
COMPOSITES = ["attnlrp", "cp_lrp", "gradient_input"]


class Twice(torch.nn.Module):
    """Two samplings, one after the other."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = Sampler(2), Sampler(4)
        for parameter in self.parameters():
            torch.nn.init.normal_(parameter, std=0.5)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.first(x)
        out: Tensor = self.second(y)
        return out


@pytest.fixture(scope="module")
def program() -> Any:
    """Three composites; seeds in chunks of two."""
    return lrpc.compile(Twice().eval(), (X,), composite=COMPOSITES, seeds=2)


def functions_of(program: Any) -> dict[str, Any]:
    """The global names of the program's own module."""
    names: dict[str, Any] = program.interface.forward.__globals__
    return names


@pytest.fixture
def counted(program: Any, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often the program computes indices, and their transpose."""
    calls: Counter[str] = Counter()
    names = functions_of(program)
    for name in ("deform_corners", "deform_sorted"):
        plain = names[name]

        def told(*given: Any, name: str = name, plain: Any = plain) -> Any:
            calls[name] += 1
            return plain(*given)

        monkeypatch.setitem(names, name, told)
    return calls


def seeds(count: int) -> Tensor:
    return torch.randn(count, *X.shape, generator=torch.Generator().manual_seed(count))


def test_once_per_state(program: Any, counted: Counter[str]) -> None:
    state = program.forward(X)
    assert counted == {"deform_corners": 2}  # the transpose waits for the first call
    for composite in COMPOSITES:
        program.relevance(state, seeds=seeds(5), composite=composite)
        program.relevance(state, seeds=seeds(1), composite=composite, ledger=True)
    assert counted == {"deform_corners": 2, "deform_sorted": 2}
    program.relevance(program.forward(X), seeds=seeds(1))
    assert counted == {"deform_corners": 4, "deform_sorted": 4}


def test_splatting_has_a_transpose_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    rules = [{"op": "deform_sample", "rule": "splat"}]
    variants = {"splat": {"composite": "attnlrp", "rules": rules}, "value": "attnlrp"}
    several = lrpc.compile(Sampler(2).eval(), (X,), composite=variants)
    state = several.forward(X)
    found = [several.relevance(state, seeds=seeds(2), composite=c).input for c in variants]
    monkeypatch.setitem(functions_of(several), "once", lambda kept, name, make: make())
    for composite, first in zip(variants, found, strict=True):
        again = several.relevance(several.forward(X), seeds=seeds(2), composite=composite).input
        assert torch.equal(first, again)


@pytest.mark.parametrize("composite", COMPOSITES)
def test_the_same_as_without_a_state(
    program: Any, monkeypatch: pytest.MonkeyPatch, composite: str
) -> None:
    """Two images after another image: nothing of one state reaches the other."""
    program.relevance(program.forward(X.flip(1)), seeds=seeds(3), composite=composite)
    state = program.forward(X)
    found = [program.relevance(state, seeds=seeds(k), composite=composite).input for k in (3, 1)]
    monkeypatch.setitem(functions_of(program), "once", lambda kept, name, make: make())
    for k, result in zip((3, 1), found, strict=True):
        plain = program.relevance(program.forward(X), seeds=seeds(k), composite=composite).input
        assert plain.any()
        assert torch.equal(result, plain)


def test_freed_with_the_state(program: Any) -> None:
    state = program.forward(X)
    program.relevance(state, seeds=seeds(1))
    kept = {name: v for part in state.saved.values() for name, v in part.items() if "." in name}
    assert {name.split(".")[1] for name in kept} == {"corners", "by_row"}
    watched = [weakref.ref(t) for group in kept.values() for t in group]
    del state, kept
    gc.collect()
    assert all(ref() is None for ref in watched)


def test_what_no_relevance_needs_is_not_kept() -> None:
    """Relevance that starts before a sampling leaves its indices alone."""
    shapes = {"v": (8, 2, 4), "l": (8, 2, 2, 4, 2), "a": (8, 2, 2, 4), "o": (8, 8)}
    values = [Value(name, TensorType("f32", (B, *shape))) for name, shape in shapes.items()]
    levels = (("levels", ((2, 3), (1, 2))),)
    step = Compute("deform_sample", tuple(values[:3]), (values[3],), levels)
    entry = Entry(Part(SAVED, "block"), "sampled")
    tables = shared_tables([step], {"o": entry})
    assert with_tables(step, tables, {"l"}).keeps == entry
    assert within(entry, "") is None  # another part of the state is out of reach
    assert with_tables(step, tables, {"v"}).keeps is None


SCRIPT = """
import sys
{block}
sys.path.insert(0, {directory!r})
import program, torch
assert (program.triton is None) == {blocked}
p = program.load()
state = p.forward(torch.load({given!r}))
torch.save(p.relevance(state, seeds=torch.ones(2, 2, 8, 8)).input, {out!r})
"""


@pytest.mark.parametrize("blocked", [True, False])
def test_programs_run_with_and_without_triton(program: Any, tmp_path: Path, blocked: bool) -> None:
    if not blocked:
        pytest.importorskip("triton")
    directory = program.save(tmp_path / "program")
    given, out = tmp_path / "x.pt", tmp_path / "out.pt"
    torch.save(X, given)
    text = SCRIPT.format(
        block="sys.modules['triton'] = None" if blocked else "", blocked=blocked,
        directory=str(directory), given=str(given), out=str(out),
    )  # fmt: skip
    subprocess.run([sys.executable, "-I", "-c", text], check=True)
    expected = program.relevance(program.forward(X), seeds=torch.ones(2, 2, 8, 8)).input
    torch.testing.assert_close(torch.load(out), expected)


def test_equal_programs_share_their_operators(program: Any, tmp_path: Path) -> None:
    pytest.importorskip("triton")
    again = lrpc.compile(Twice().eval(), (X,), composite=COMPOSITES, seeds=2)
    other = lrpc.compile(Twice().eval(), (X,), composite="cp_lrp")
    mine, same, apart = (functions_of(p)["OPERATORS"] for p in (program, again, other))
    assert mine == same != apart


def test_compiles_without_a_graph_break(program: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch.compile takes forward and relevance whole, on a new state and on a used one."""
    names, goal = functions_of(program), program.interface.targets["output"]
    module = ModuleType(names["__name__"])  # as `import program` leaves it
    module.__dict__.update(names)
    monkeypatch.setitem(sys.modules, module.__name__, module)

    def both(x: Tensor, g: Tensor) -> tuple[Any, Any]:
        saved: dict[str, dict[str, Any]] = {name: {} for name in program.interface.blocks}
        names["forward"](program.weights, saved, x)
        first = goal.run(program.weights, saved, g, frozenset(goal.reads))
        return first, goal.run(program.weights, saved, g, frozenset(goal.reads))

    with torch.no_grad():
        found = torch.compile(both, fullgraph=True, backend="eager")(X, seeds(2))
        expected = both(X, seeds(2))
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b)
