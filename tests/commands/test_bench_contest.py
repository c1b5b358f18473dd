"""Candidates for one result: wrong ones are refused, absent and failing ones told, others timed."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from lrpc.commands.bench.timing import Second, Spread, interleaved, spread
from lrpc.errors import ConfigError, ProgramError
from tools.bench.case_checkpoint import against_first
from tools.bench.contest import Candidate, Contest, Ready, Row, distance
from tools.bench.goals import GOALS, figures, verdicts
from tools.bench.offered import CONFIGURATIONS, NotOfferedError, check, configuration, load
from tools.bench.sheets import sheets, to_markdown

X = torch.arange(1.0, 9.0)
calls: list[str] = []


def doubled() -> Tensor:
    calls.append("doubled")
    return 2 * X


def broken() -> Tensor:
    calls.append("broken")
    return 2 * X + 0.1 * (X == 8)


def no_such() -> Ready:
    raise NotOfferedError("needs the package nowhere")


def failing() -> Tensor:
    raise RuntimeError("out of everything\nand more")


def contest(*made: Candidate) -> list[Row]:
    calls.clear()
    references = {"double": lambda: 2 * X.double()}
    return Contest("cpu", references, repeats=3, tell=lambda _: None).run(made)


def candidate(name: str, call: Callable[[], Tensor], **more: Any) -> Candidate:
    return Candidate(name, functools.partial(Ready, call), "double", **more)


def test_a_wrong_answer_is_not_timed() -> None:
    right, wrong = contest(candidate("right", doubled), candidate("wrong", broken, limit=1e-3))
    assert calls.count("broken") == 1  # the check, and nothing after it
    assert calls.count("doubled") > 3
    assert (right.status, wrong.status) == ("measured", "wrong")
    assert wrong.time is None
    assert wrong.peak is None
    assert "3.5e-03, more than 1e-03" in wrong.note
    assert right.error == 0.0


def test_rounding_to_zero_is_told_from_a_wrong_answer() -> None:
    """Where the same way is right with ε = 0, and not far off with ε."""

    def far() -> Tensor:
        return 2 * X + 1.0 * (X == 8)

    right, wrong = functools.partial(Ready, doubled), functools.partial(Ready, broken)
    rows = contest(
        candidate("rounded", broken, exact=right),
        candidate("wrong both times", broken, exact=wrong),
        candidate("far off", far, exact=right),
    )
    assert [row.status for row in rows] == ["measured", "wrong", "wrong"]
    assert rows[0].note == "0e+00 with ε = 0"
    assert rows[0].error == pytest.approx(3.5e-3, rel=1e-2)
    assert rows[1].time is None


def test_what_is_not_finite_or_of_another_shape_is_wrong() -> None:
    rows = contest(
        candidate("nan", lambda: 2 * X / (X != 8)),
        candidate("shape", lambda: 2 * X[:, None]),
    )
    assert [row.status for row in rows] == ["wrong", "wrong"]
    assert distance(X[:4], X) == float("inf")
    assert distance(X, X.double()) == 0


def test_absent_and_failing_ways_leave_the_rest_alone() -> None:
    absent, failed, fine = contest(
        Candidate("absent", no_such, "double"),
        candidate("failed", failing),
        candidate("fine", doubled, ours=True),
    )
    assert (absent.status, absent.note) == ("absent", "needs the package nowhere")
    assert (failed.status, failed.note) == ("failed", "out of everything")
    assert fine.status == "measured"
    assert fine.against is None  # nothing to compare with
    (sheet,) = sheets({"tables": [{"title": "t", "rows": [r.to_json() for r in (absent, failed)]}]})
    assert sheet.notes == [
        "not here: absent – needs the package nowhere", "FAILED: failed – out of everything"
    ]  # fmt: skip


def test_rows_stand_against_the_fastest_alternative() -> None:
    def slow() -> Tensor:
        for _ in range(300):
            X.cumsum(0)
        return 2 * X

    first, other, ours = contest(
        candidate("a", slow),
        candidate("b", doubled),
        candidate("c", slow, ours=True),
    )
    assert first.against is not None
    assert first.against > 1
    assert other.against == 1
    assert ours.against is not None
    assert ours.against > 1


def test_parts_are_timed_and_checked_apart() -> None:
    made = Ready(
        lambda: None, forward=lambda: None, further=Second(lambda: 3, lambda x: [x] * 9),
        checked=doubled, weights=70, inputs=30,
    )  # fmt: skip
    (row,) = contest(Candidate("parts", lambda: made, "double"))
    assert row.status == "measured"
    assert row.forward is not None
    assert row.further is not None
    assert (row.peak, row.resident) == (100, 100)
    names = set(row.to_json())
    assert {"name", "status", "note", "error", "time", "forward", "further", "peak"} <= names


def test_turns() -> None:
    order: list[str] = []
    found = interleaved(
        {name: functools.partial(order.append, name) for name in "abc"}, 3, "cpu", warmups=1
    )
    assert sorted(order) == sorted("abc" * 4)
    assert [order[i : i + 3] for i in range(3, 12, 3)] == [
        ["a", "b", "c"], ["b", "c", "a"], ["c", "a", "b"]
    ]  # fmt: skip
    assert all(one.count == 3 for one in found.values())
    assert spread([4.0, 1.0, 3.0, 2.0, 5.0]) == Spread(3.0, 2.0, 4.0, 5)
    assert spread([7.0]) == Spread(7.0, 7.0, 7.0, 1)


def timed(name: str, goal: str, seconds: float, against: float, peak: int = 0) -> Row:
    return Row(
        name, True, goal, time=Spread(seconds, seconds, seconds, 1), against=against, peak=peak
    )


def test_goals_are_of_a_machine() -> None:
    rows = [timed("a", "encoder/tf32", 15e-3, 0.4, 10**9), timed("b", "encoder/tf32", 21e-3, 0.5)]
    values = figures(rows, ["encoder/tf32", "encoder/bf16"])
    assert values == {
        "encoder/tf32": {"seconds": ("a", 15e-3), "bytes": ("a", 1e9), "speedup": ("a", 2.5)}
    }
    time, memory = verdicts(values, "NVIDIA H200")
    assert (time["must"], time["reached"], time["aim"], time["aim_reached"]) == (
        20e-3, True, 12e-3, False
    )  # fmt: skip
    assert memory["aim_reached"]
    assert not verdicts(values, "another GPU")
    assert not verdicts(values, "")
    (ratio,) = verdicts({"encoder/fp32": values["encoder/tf32"]}, "")
    assert (ratio["kind"], ratio["value"], ratio["reached"]) == ("speedup", 2.5, True)
    (sheet,) = sheets({"verdicts": [time, ratio]})
    assert sheet.rows[0][1:] == [
        "15 ms", "a", "≤ 20 ms", "reached", "≤ 12 ms", "not reached"
    ]  # fmt: skip
    assert "| ≥ 2.50× | reached | ≥ 4.00× | not reached |" in to_markdown(sheet)
    assert len({goal.work for goal in GOALS}) == len(GOALS)


def test_a_budget_that_is_exceeded_is_wrong() -> None:
    """Shares are of what is beside weights and inputs."""
    rows = [
        timed("no checkpoints", "", 1.0, 0, 1100),
        timed("budget 50 % of the peak", "", 1.2, 0, 600),
        timed("budget 35 % of the peak", "", 1.2, 0, 500),
    ]
    for row in rows:
        row.resident = 100
    against_first(rows)
    assert [row.status for row in rows] == ["measured", "measured", "wrong"]
    assert rows[1].against == 1.2
    assert rows[2].note == "takes 40% of the peak: over its budget"


def test_options_are_asked_for(tmp_path: Any) -> None:
    def function(model: Any, precision: str = "fp32") -> None: ...

    check(function, {"precision": "tf32"}, "it")
    with pytest.raises(NotOfferedError, match=r"^it has no capture=True, budget='50%' in this"):
        check(function, {"capture": True, "precision": "tf32", "budget": "50%"}, "it")
    assert not configuration(CONFIGURATIONS["cpu"][0]).compiling
    one = configuration("tf32+compile+capture")
    assert (one.compiling, one.loading) == (
        {"precision": "tf32"}, {"compile": True, "capture": True}
    )  # fmt: skip
    assert all(
        configuration(name).name == name for names in CONFIGURATIONS.values() for name in names
    )
    with pytest.raises(ConfigError, match=r"^--ways tf32\+fast: expected one of fp32, tf32, bf16"):
        configuration("tf32+fast")
    with pytest.raises(ProgramError, match="not a program directory"):
        load(tmp_path, "cpu", {})
