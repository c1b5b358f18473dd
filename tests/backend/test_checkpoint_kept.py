"""Blocks that keep a part of what they save: the same relevance, and predicted to the byte."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch import Tensor, nn

import lrpc
from lrpc.backend.memory.choose import Choice
from lrpc.backend.memory.run import Model
from lrpc.backend.memory.search import Search
from lrpc.cli import main
from lrpc.program.loading import load_program
from lrpc.program.memory_of import open_model
from tests.runtime.test_load_compile import counting
from tests.support.cases import slow_but
from tests.support.deep import deep
from tests.support.networks import small
from tests.support.peaks import peaks_as_predicted
from tests.support.storage import Tracker

SEEDS = 4
AT = [(i % 4,) for i in range(SEEDS)]
MODELS = ("CNN", "small ViT", "deformable encoder")
PLACES = [0.1, 0.3, 0.5, 0.7, 0.9, 1.0]  # on the front, from all kept to all recomputed
SAVED = r"^    (\w+) = (?:{i: )?saved\[f?\"(.*?)(?:\.{i})?\"\](?: for .*)?$"
PARTS = (
    r"(\w+) = dict\((\w+)(?:\[(\d+)\])?\)  # the rest computed again"
    r"(?:\n +(\w+_recompute\w*)\(w, .*?\b\1[,)])?"
)


def model_of(name: str) -> tuple[nn.Module, Tensor]:
    if name == "short deformable encoder":
        return deep(2)
    return deep() if name == "deformable encoder" else small(name)


@functools.cache
def compiled(
    name: str, place: float, chunk: int = SEEDS, per_pass: int = SEEDS, **options: Any
) -> Any:
    """All blocks at this place of their fronts; at 0 nothing is recomputed."""

    def there(model: Model, *_: object) -> Choice:
        search = Search(model, "auto")
        levels = tuple(round(place * (len(front.options) - 1)) for front in search.fronts)
        return Choice(dict(search.kept(levels)), chunk, per_pass, SEEDS, 0, 0, 0, 0.0)

    model, x = model_of(name)
    options = {key: list(v) if isinstance(v, tuple) else v for key, v in options.items()}
    with patch("lrpc.program.build.choose", there):
        return lrpc.compile(model, (x,), seeds=SEEDS, check=not place, **options)


def same(found: Any, expected: Any) -> None:
    """Equal to the bit, the ledger too."""
    assert torch.equal(found.input, expected.input)
    for a, b in zip(found.ledger.rows, expected.ledger.rows, strict=True):
        assert a[:3] == b[:3]
        assert torch.equal(a[3], b[3])


@pytest.mark.parametrize("place", slow_but([0.1, 0.5, 1.0], PLACES))
@pytest.mark.parametrize("name", MODELS)
def test_what_a_block_keeps_changes_nothing(name: str, place: float) -> None:
    _, x = model_of(name)
    whole, program = compiled(name, 0.0), compiled(name, place)
    one, other = program.forward(x), whole.forward(x)
    assert torch.equal(one.outputs, other.outputs)
    for _ in range(2):  # tables of samplings are there for the second call, or go with the first
        found = program.relevance(one, "output", at=AT, ledger=True)
        same(found, whole.relevance(other, "output", at=AT, ledger=True))
        plain = program.relevance(one, "output", at=AT[:2])
        assert torch.equal(plain.input, whole.relevance(other, "output", at=AT[:2]).input)


@pytest.mark.parametrize("ledger", [False, True], ids=["plain", "ledger"])
@pytest.mark.parametrize(
    ("place", "chunk", "per_pass"),
    slow_but(
        [(0.1, 4, 4), (0.5, 2, 3), (1.0, 2, 3)],
        [(place, *chunks) for place in (0.1, 0.5, 1.0) for chunks in ((4, 4), (2, 3))],
    ),
)
def test_predicted_to_the_byte(place: float, chunk: int, per_pass: int, ledger: bool) -> None:
    for name in MODELS:
        _, x = model_of(name)
        program = compiled(name, place, chunk, per_pass)
        model = open_model(Path(program.directory))
        for batch, seeds in [(1, 1), (2, 4)]:
            peaks_as_predicted(program, model, x, batch, seeds, ledger)


@pytest.mark.parametrize("place", slow_but([0.5, 1.0], [0.1, 0.5, 0.7, 1.0]))
@pytest.mark.parametrize(
    "options", [{"precision": "bf16"}, {"composite": ("gamma", "attnlrp", "epsilon_alpha2_beta1")}]
)
def test_several_composites_and_bf16(options: dict[str, Any], place: float) -> None:
    _, x = small("small ViT")
    whole, program = (compiled("small ViT", p, **options) for p in (0.0, place))
    one, other = program.forward(x), whole.forward(x)
    for composite in options.get("composite", ("",)):
        how = {"composite": composite} if composite else {}
        found = program.relevance(one, "output", at=AT, ledger=True, **how)
        same(found, whole.relevance(other, "output", at=AT, ledger=True, **how))


@pytest.mark.parametrize("place", slow_but([0.1, 0.5], PLACES[:-1]))
def test_equal_blocks_share_the_function_that_makes_the_rest(place: float) -> None:
    """And it holds no statement that what is kept makes needless."""
    program = compiled("deformable encoder", place)
    text = (program.directory / "program.py").read_text()
    kept = program.manifest["memory"]["kept"]
    scopes = dict(re.findall(SAVED, text, re.MULTILINE))
    found = re.findall(PARTS, text)
    calls = [(again, scopes[part] + f".{i}" * bool(i), name) for again, part, i, name in found]
    assert {key for _, key, _ in calls} == set(kept)
    used = {name for _, key, name in calls if key.startswith("layers.")} - {""}
    if place == 0.1:  # the tables that relevance makes are alone made anew
        assert not used
        return
    assert used == {"layers_recompute"}
    (body,) = re.findall(r"def layers_recompute\(.*?(?=\n\n\n)", text, re.DOTALL)
    for local in kept["layers.0"]:
        assert f"    {local} = " not in body
    assert ("deform_sample(" in body) == ("attention_sampled" not in kept["layers.0"])


def test_the_plan_says_what_each_block_does(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kept and made again, by name, blocks of a kind together; the manifest says the same."""
    monkeypatch.setenv("COLUMNS", "1000")
    program = compiled("deformable encoder", 0.5)
    memory = program.manifest["memory"]
    assert set(memory["made"]) == set(memory["kept"]) == set(memory["recomputed"])
    assert main(["plan", str(program.directory)]) == 0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    at = lines.index("recomputed for relevance")
    kept, made = (", ".join(memory[key]["layers.0"]) for key in ("kept", "made"))
    (row,) = [i for i, line in enumerate(lines) if line.startswith("layers.0 ") and i > at][:1]
    assert [cell.strip() for cell in lines[row].split("   ") if cell] == ["layers.0", kept, made]
    assert lines[row + 1 : row + 6] == [f"layers.{i}" for i in range(1, 6)]


def test_tables_stay_where_they_are_kept() -> None:
    """What samplings share is in the state where the manifest says so, and nowhere else."""
    _, x = deep()
    seen = set()
    for place in PLACES[:-1]:
        program = compiled("deformable encoder", place)
        kept = program.manifest["memory"]["kept"]["layers.0"]
        with Tracker():
            state = program.forward(x)
            before = set(state.saved["layers.0"])
            program.relevance(state, "output", at=AT)
        there = any(name.startswith("attention_sampled.") for name in before)
        assert there == ("attention_sampled.tables" in kept)
        assert before == set(state.saved["layers.0"])
        assert {n for n in before if "." not in n} == {n for n in kept if "." not in n}
        seen.add(there)
    assert seen == {True, False}


def test_torch_compile_takes_such_a_program_whole() -> None:
    torch._dynamo.reset()
    _, x = model_of("short deformable encoder")
    program = compiled("short deformable encoder", 0.5, 2)
    fast = load_program(program.directory, "cpu", compile=True)
    backend = counting(fast)
    found, expected = (p.relevance(p.forward(x), "output", at=AT) for p in (fast, program))
    assert torch.equal(found.input, expected.input)
    assert len(backend.graphs) == 2  # one for each half
    torch._dynamo.reset()
