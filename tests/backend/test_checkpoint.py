"""Programs that compute blocks again: the same relevance, within the budget, at the least cost."""

from __future__ import annotations

import functools
import itertools
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch import Tensor, nn

import lrpc
from lrpc.backend.memory.choose import Choice, choose
from lrpc.backend.memory.run import Model
from lrpc.backend.memory.search import Search, steps
from lrpc.backend.schedule.ir import Block, Recompute
from lrpc.backend.schedule.segments import Every
from lrpc.errors import ConfigError
from lrpc.program.memory_of import open_model
from tests.support.cases import slow_but
from tests.support.checkpoints import AT, SEEDS, both, compiled, model_of, same
from tests.support.networks import small
from tests.support.peaks import peaks_as_predicted
from tests.support.programs import Programs, noise
from tests.support.storage import Tracker

MODELS = ("tiny transformer", "CNN", "small ViT", "deformable encoder")
COMPOSITES = ("attnlrp", "gamma", "epsilon_alpha2_beta1")
CHUNKS = ((4, 4), (1, 4), (2, 3))  # of how many seeds at once, in passes of how many


@functools.cache
def forced(name: str, composite: str, chunk: int, per_pass: int) -> Any:
    """All blocks recomputed, with these seeds at once, whatever a budget would ask for."""

    def all_again(model: Model, *_: object) -> Choice:
        body = model.scheduler.blocks(Every()).forward.body
        keys = [s.key for s in body if isinstance(s, Block)]
        return Choice(dict.fromkeys(keys, ()), chunk, per_pass, SEEDS, 0, 0, 0, 0.0)

    model, x = model_of(name)
    with patch("lrpc.program.build.choose", all_again):
        return lrpc.compile(model, (x,), composite=composite, seeds=SEEDS)


RECOMPUTED = [
    *(("tiny transformer", "gamma"), ("CNN", "epsilon_alpha2_beta1"), ("small ViT", "attnlrp")),
    *(("deformable encoder", "attnlrp"), ("deformable encoder", "gamma")),
]


@pytest.mark.parametrize(
    ("name", "composite"), slow_but(RECOMPUTED, itertools.product(MODELS, COMPOSITES))
)
def test_blocks_computed_again_change_nothing(name: str, composite: str) -> None:
    _, x = model_of(name)
    expected = both(compiled(name, composite), x)
    program = compiled(name, composite, "block")
    assert program.manifest["memory"]["recomputed"]
    same(both(program, x), expected)


class TwoHeads(nn.Module):
    """Two outputs of one trunk."""

    def __init__(self, trunk: nn.Module) -> None:
        super().__init__()
        self.trunk, self.head = trunk, nn.Linear(7, 7)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        found = self.trunk(x)
        return {"output": found, "other": self.head(torch.tanh(found))}


def test_targets_share_what_is_computed_again() -> None:
    """In one function, which computes it again and frees it."""
    trunk, x = model_of("small ViT")
    model = TwoHeads(trunk).double().eval()
    keep: Any = lrpc.compile(model, (x,), seeds=SEEDS, composite="attnlrp")
    kept: dict[str, tuple[str, ...]] = {f"trunk.blocks.{i}": () for i in range(3)}
    choice = Choice(kept, SEEDS, 0, SEEDS, 0, 0, 0, 0.0)
    with patch("lrpc.program.build.choose", lambda *_: choice):
        again: Any = lrpc.compile(model, (x,), seeds=SEEDS, composite="attnlrp")
    schedule = open_model(again.directory).schedule
    shared = [f for f in schedule.functions if f.half in ("tail", "part")]
    assert any(isinstance(s, Recompute) for f in shared for s in f.body)
    for target in ("output", "other"):
        for ledger in (False, True):
            found, expected = (
                program.relevance(program.forward(x), target, at=AT, ledger=ledger)
                for program in (again, keep)
            )
            torch.testing.assert_close(found.input, expected.input, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("chunk", "per_pass"), slow_but([(1, 4), (2, 3)], [(1, 4), (3, 4), (1, 1), (2, 3)])
)
@pytest.mark.parametrize("name", ["small ViT", "deformable encoder"])
def test_few_seeds_at_a_time_through_each_block(name: str, chunk: int, per_pass: int) -> None:
    _, x = model_of(name)
    expected = both(compiled(name, "gamma"), x)
    program = forced(name, "gamma", chunk, per_pass)
    text = (program.directory / "program.py").read_text()
    assert re.search(r"in_chunks\(\s*chunk,\s*K,\s*lambda K", text)
    assert "computed again" in text
    same(both(program, x), expected)


PREDICTED = [
    *(("tiny transformer", (1, 4)), ("CNN", (2, 3)), ("small ViT", (4, 4)), ("small ViT", (2, 3))),
    *(("deformable encoder", (1, 4)), ("deformable encoder", (2, 3))),
]


@pytest.mark.parametrize("ledger", [False, True], ids=["plain", "ledger"])
@pytest.mark.parametrize(("name", "chunks"), slow_but(PREDICTED, itertools.product(MODELS, CHUNKS)))
def test_predicted_to_the_byte(name: str, chunks: tuple[int, int], ledger: bool) -> None:
    """With blocks recomputed, seeds in chunks, several passes and what samplings keep."""
    chunk, per_pass = chunks
    _, x = model_of(name)
    program = forced(name, "attnlrp", chunk, per_pass)
    model = open_model(Path(program.directory))
    assert (model.chunk, model.per_pass) == (chunk, per_pass)
    for batch, seeds in [(1, 1), (2, 4), (1, 9)]:
        peaks_as_predicted(program, model, x, batch, seeds, ledger)


@pytest.mark.parametrize("share", slow_but([75, 35], [100, 75, 50, 35]))
def test_budgets_are_kept(share: int) -> None:
    """The measured peak of forward and relevance, weights and inputs apart."""
    _, x = model_of("deformable encoder")
    program = compiled("deformable encoder", "attnlrp", "auto", f"{share}%")
    memory = program.manifest["memory"]
    with Tracker() as tracker:
        state = program.forward(x[:1])
        program.relevance(state, "output", at=AT)
    assert memory["budget"] == memory["free_peak"] * share // 100
    assert memory["peak"] <= memory["budget"]
    assert tracker.peak <= memory["budget"]
    assert tracker.peak == pytest.approx(memory["peak"], rel=0.03)
    same(both(program, x[:1]), both(compiled("deformable encoder", "attnlrp"), x[:1]))


TWO = ["class_logit", "encoder_feature:2"]
WHOLE = {"SEEDS": 1, "TARGETS": TWO, "DYNAMIC": False}  # sizes that vary keep some 2 % more
HALF = {**WHOLE, "MEMORY__BUDGET": "50%", "MEMORY__CHECKPOINT": "auto"}


def test_the_digits_program_at_half_its_memory(programs: Programs) -> None:
    program = programs.digits(**HALF)
    usual = programs.digits(**WHOLE)
    images = noise(1, 160, 160).float()
    for target in TWO:
        at = [(3, 5)] if target == "class_logit" else [(7,)]
        expected = usual.relevance(usual.forward(images), target, at=at).input
        with Tracker() as tracker:
            found = program.relevance(program.forward(images), target, at=at).input
        assert tracker.peak <= program.manifest["memory"]["budget"]
        scale = float(expected.abs().max())
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5 * scale)


COMBINED = [
    *(("tiny transformer", SEEDS, "attnlrp"), ("tiny transformer", SEEDS, "gamma")),
    *(("ViT of two blocks", 1, "attnlrp"), ("ViT of two blocks", 1, "gamma")),
    *(("small ViT", 1, "attnlrp"), ("small ViT", 1, "gamma")),  # thousands of combinations
]


@pytest.mark.parametrize(("name", "seeds", "composite"), slow_but(COMBINED[:3:2], COMBINED))
def test_hardly_a_choice_is_cheaper(name: str, seeds: int, composite: str) -> None:
    """Against all combinations of what blocks may keep, with all numbers of seeds; and none of
    those where each block keeps all or nothing is cheaper at all."""
    model = replace(open_model(Path(compiled(name, composite).directory)), chunk=seeds)
    search = Search(model, "auto")
    ends = [{0, len(front.options) - 1} for front in search.fronts]
    priced, coarse = [], []
    for levels in itertools.product(*(range(len(x.options)) for x in search.fronts)):
        for way in ((search.kept(levels), *step) for step in steps(seeds)):
            priced.append((search.more(way), search.most(*way)))
            if all(level in end for level, end in zip(levels, ends, strict=True)):
                coarse.append(priced[-1])
    free, least = search.free, min(peak for _, peak in priced)
    for share in range(int(100 * least / free) + 1, 101, 7):
        limit = free * share // 100
        found = choose(model, "auto", limit)
        assert found.peak <= limit
        assert found.more <= 1.2 * min(more for more, peak in priced if peak <= limit), share
        bests = [more for more, peak in coarse if peak <= limit]
        assert found.more <= min(bests, default=found.more), share


@pytest.mark.parametrize("name", MODELS)
def test_no_block_keeps_more_than_when_it_is_run_whole(name: str) -> None:
    """The smallest budget is at most that of `block`, which runs blocks again as they are."""
    model = open_model(Path(compiled(name, "attnlrp").directory))
    own, whole = Search(model, "auto"), Search(model, "block")
    for chunk, per_pass in steps(SEEDS):
        least = min(own.peak(way, chunk, per_pass) for way in own.least)
        assert least <= whole.peak(*whole.least, chunk, per_pass)


def test_the_smallest_budget_is_named_and_works() -> None:
    model = open_model(Path(compiled("small ViT", "attnlrp").directory))
    with pytest.raises(ConfigError, match=r"smallest budget that this program can meet is ") as no:
        choose(model, "auto", "1%")
    least = int(str(no.value).split("can meet is ")[1].split(" bytes")[0].replace(",", ""))
    assert choose(model, "auto", least).peak <= least
    with pytest.raises(ConfigError, match="cannot be met for one image"):
        choose(model, "auto", least - 1)
    with pytest.raises(ConfigError, match="CHECKPOINT auto may need less"):
        choose(model, "none", least)


def test_without_checkpoints_a_budget_means_fewer_seeds() -> None:
    model = open_model(Path(compiled("CNN", "attnlrp").directory))
    free = choose(model, "none", "").peak
    found = choose(model, "none", free * 97 // 100)
    assert not found.recomputed
    assert found.chunk < SEEDS
    assert max(found.peak, found.ledger_peak) <= free * 97 // 100


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"checkpoint": "some"}, r"checkpoint='some': choose among auto, none, block"),
        (
            {"budget": "lots"},
            r'budget: expected "", bytes as in "800 MB", or "1%" to "100%"',
        ),
        ({"budget": 10, "checkpoint": "auto"}, r"10 bytes cannot be met for one image"),
    ],
)
def test_refused_in_one_line(options: dict[str, Any], message: str) -> None:
    model, x = small("tiny transformer")
    with pytest.raises(ConfigError, match=message) as no:
        lrpc.compile(model, (x,), **options)
    assert "\n" not in str(no.value)


@pytest.mark.parametrize("norm", ["none", "sum1"])
def test_the_sum_over_seeds_costs_one(norm: str) -> None:
    _, x = model_of("deformable encoder")
    program = compiled("deformable encoder", "attnlrp")
    state, at = program.forward(x), [(i % 7,) for i in range(11)]
    whole = program.relevance(state, "output", at=at, norm=norm, ledger=True)
    found = program.relevance(state, "output", at=at, norm=norm, ledger=True, total=True)
    assert found.input.shape[0] == 1
    torch.testing.assert_close(found.input[0], whole.input.sum(0), rtol=1e-9, atol=1e-12)
    for a, b in zip(found.ledger.rows, whole.ledger.rows, strict=True):
        torch.testing.assert_close(a[3][0], b[3].sum(0), rtol=1e-9, atol=1e-10)


def test_an_edited_graph_keeps_the_budget(tmp_path: Path, programs: Programs) -> None:
    """`lrpc compile --graph` chooses anew, by the settings of the program."""
    directory = programs.digits(**HALF).directory
    report = lrpc.compiler.compile_graph(directory / "graph.lrp", tmp_path / "again")
    assert report.nodes
    for name in ("program.py", "weights.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (directory / name).read_bytes()
    memory = json.loads((directory / "manifest.json").read_text())["memory"]
    assert memory == json.loads((tmp_path / "again" / "manifest.json").read_text())["memory"]
