"""Tokens take the relevance of the rows that embeddings look up for them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lrpc.ir.interpreter import interpret
from lrpc.program.interpreted import reference_relevance
from lrpc.rules.composite import composite
from passes import AssignRules, MarkRest
from passes.lower_relevance import LowerRelevance
from passes.reachable import relevance_reachable
from tests.support.graphs import module
from tests.support.one_node import Case
from tests.support.twins import check, n

EMBEDDING = ("pass", "gradient_input")


@pytest.mark.parametrize("rule", EMBEDDING)
def test_a_token_takes_the_sum_of_its_row(rule: str) -> None:
    torch.manual_seed(0)
    table, ids = n(5, 3), torch.tensor([[4, 0, 4, 1], [2, 2, 3, 0]])

    def twin(r: Tensor) -> list[Tensor]:
        sums = [[sum(r[b, t].tolist()) for t in range(4)] for b in range(2)]
        return [torch.tensor(sums, dtype=torch.float64)]

    rows = torch.stack([torch.stack([table[i] for i in row]) for row in ids])
    found = check(Case("embedding", (ids,), {}, {"weight": table}), rule, rows, twin)
    assert found.sinks == {}


TEXT = """
graph @g(%ids: i64[B,4], %kinds: i64[B,2], %mask: i64[B,4]) {
  weight "table": f64[2,3]
  weight "more": f64[2,3]
  %flat: i64[4*B] = reshape(%ids) {shape=[4*B]}
  %back: i64[B,4] = reshape(%flat) {shape=[B,4]}
  %part: i64[B,2] = slice(%back) {dim=-1, start=1, stop=3, step=1}
  %narrow: i32[B,2] = cast(%part) {dtype="i32"}
  %rows: f64[B,2,3] = embedding(%narrow) {weight="table"}
  %sorts: f64[B,2,3] = embedding(%kinds) {weight="more"}
  %sum: f64[B,2,3] = add(%rows, %sorts)
  %seen: f64[B,4] = cast(%mask) {dtype="f64"}
  %gate: f64[B,2] = slice(%seen) {dim=-1, start=0, stop=2, step=1}
  %wide: f64[B,2,1] = reshape(%gate) {shape=[B,2,1]}
  %y: f64[B,2,3] = mul(%sum, %wide)
  return %y
}
"""


def test_relevance_follows_tokens_to_the_input_and_stops_at_other_numbers() -> None:
    places = "".join(f'place "{name}" %{name}\n  ' for name in ("y", "ids", "kinds"))
    before = module(TEXT.replace("return %y", f"{places}return %y"))
    able = relevance_reachable(before.graph)
    assert {"ids", "flat", "back", "part", "narrow", "rows", "kinds", "sorts", "sum", "y"} == able
    step = AssignRules(composite("epsilon", 0.0))
    ready = step.run(MarkRest().run(before))
    joint = LowerRelevance("y", ("ids", "kinds")).run(ready)
    torch.manual_seed(1)
    given = {
        "ids": torch.randint(2, (2, 4)),
        "kinds": torch.randint(2, (2, 2)),
        "mask": torch.tensor([[1, 1, 0, 0], [0, 1, 1, 1]]),
    }
    values = interpret(ready.graph, ready.tensors, given, keep=True)
    g = n(3, *values["y"].shape)
    found = reference_relevance(joint.graph, joint.tensors, given, values, g)
    r = g * given["mask"][:, :2, None]
    rows = before.tensors["table"][given["ids"][:, 1:3]]
    expected = torch.zeros(3, 2, 4).double()
    expected[..., 1:3] = (r * rows).sum(-1)
    torch.testing.assert_close(found["ids"], expected)
    kinds = before.tensors["more"][given["kinds"]]
    torch.testing.assert_close(found["kinds"], (r * kinds).sum(-1))
