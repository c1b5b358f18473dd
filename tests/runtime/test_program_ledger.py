"""The ledger accounts for all relevance: over the program, at every node, against read values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import lrpc
from lrpc.ir.graph import Node, Rule
from lrpc.rules import CATALOGUE
from lrpc.rules.context import Context
from tests.support.maskdino_cases import digits_image
from tests.support.programs import Programs, difference, noise, strongest

LIMITS = {"fp32": 1e-4, "fp64": 1e-10}
DTYPES = {"fp32": torch.float32, "fp64": torch.float64}
SINKS = {"bias", "epsilon", "softmax", "position", "detached", "border", "rescale"}
AT = {"mask_logit": [(3, 12, 20), (8, 30, 5)], "box": [(3, 1), (8, 2)], "encoder_feature": [7, 99]}


def places(kind: str, state: Any) -> Tensor:
    """Two seeds for each image, [2, B, n]: the strongest logits for classes and queries."""
    logits = state.outputs["pred_logits"]
    best = [strongest(one) for one in logits]
    first = torch.tensor(best)
    if kind == "class_logit":
        return torch.stack([first, first.flip(0)])
    if kind == "decoder_query":
        return torch.stack([first, first.flip(0)])[..., :1]
    index = torch.tensor(AT[kind]).reshape(2, 1, -1)
    return index.expand(-1, len(logits), -1)


def check(program: Any, images: Tensor, kind: str, limit: float) -> Any:
    """Closure of the whole and of every node, and the ledger's ends against what can be read."""
    state = program.forward(images)
    at = places(kind, state)
    found = program.relevance(state, kind, at=at, ledger=True)
    ledger = found.ledger
    assert set(ledger.sinks) <= SINKS
    assert float(ledger.closure.max()) < limit
    # What ends is what can be read at the pixels, and the residual is small beside what went round.
    at_pixels = found.input.flatten(2).sum(-1)
    moved = found.input.abs().flatten(2).sum(-1)
    assert float(((ledger.end - at_pixels).abs() / moved).max()) < limit
    plain = program.relevance(state, kind, at=at)
    assert plain.ledger is None
    for mine, other in zip(tensors(plain), tensors(found), strict=True):
        assert torch.equal(mine, other)
    return state, at, ledger


def tensors(relevance: Any) -> list[Tensor]:
    return [*relevance.inputs.values(), *relevance.layers.values()]


KINDS = ["class_logit", "mask_logit", "box", "encoder_feature", "decoder_query"]


@pytest.mark.parametrize("precision", ["fp32", "fp64"])
@pytest.mark.parametrize("kind", KINDS)
def test_digits_close(programs: Programs, kind: str, precision: str) -> None:
    program = programs.digits(PRECISION=precision)
    images = torch.cat([digits_image("02"), digits_image("05")]).to(DTYPES[precision])
    _, _, ledger = check(program, images, kind, LIMITS[precision])
    if precision == "fp64":  # of the start, which in float32 can be small beside what moves
        nodes = {node: float(rest.max()) for node, rest in ledger.node_closure().items()}
        assert max(nodes.values()) < LIMITS["fp64"], max(nodes, key=lambda node: nodes[node])


@pytest.mark.parametrize("precision", ["fp32", "fp64"])
def test_the_strongest_class_logit_closes_relative_to_itself(
    programs: Programs, precision: str
) -> None:
    program = programs.digits(PRECISION=precision)
    images = torch.cat([digits_image("02"), digits_image("05")]).to(DTYPES[precision])
    strongest_class(program, images, LIMITS[precision])


def strongest_class(program: Any, images: Tensor, limit: float) -> None:
    """Both closures in units of the logit that relevance started from, the smaller unit."""
    state, _, ledger = check(program, images, "class_logit", limit)
    logits = torch.stack([one.max() for one in state.outputs["pred_logits"]])
    assert difference(ledger.start[0], logits) < limit
    rest = ledger.start - ledger.end - sum(ledger.sinks.values())
    assert float((rest[0].abs() / logits.abs()).max()) < limit
    nodes = {node: float(rest[0].max()) for node, rest in ledger.node_closure().items()}
    worst = max(nodes, key=lambda node: nodes[node])
    assert nodes[worst] < limit, worst
    assert set(nodes) <= set(program.manifest["rules"])
    assert len(nodes) > 250  # every node that relevance passes, not blocks of them


@pytest.mark.slow
@pytest.mark.parametrize("rules", ["attnlrp", "cp_lrp"])
def test_the_released_size_closes(programs: Programs, rules: str) -> None:
    names = ["class_logit", "encoder_feature", "decoder_query"]
    program = programs.full(rules, 1e-6, PRECISION="fp32", TARGETS=names)
    images = noise(2, 128, 160, seed=5).float()
    for kind in names:
        check(program, images, kind, LIMITS["fp32"])
    strongest_class(program, images, LIMITS["fp32"])


def test_the_biggest_sinks_have_names(programs: Programs) -> None:
    program = programs.digits(PRECISION="fp64")
    images = digits_image("02").double()
    _, _, ledger = check(program, images, "class_logit", LIMITS["fp64"])
    biggest = ledger.biggest(6)
    shares = [abs(share) for *_, share in biggest]
    assert shares == sorted(shares, reverse=True)
    modules = programs.model_names()
    for module, kind, share in biggest:
        assert module in modules
        assert kind in SINKS
        assert abs(share) > 0.05
    module, kind, share = biggest[0]
    assert module.endswith("decoder_norm")  # its shift counts twice, and nothing cancels it
    amounts = [a for _, m, k, a in ledger.rows if (m, k) == (module, kind)]
    assert float((sum(amounts) / ledger.start).mean()) == pytest.approx(share)


# -- a rule that loses relevance without saying so -------------------------------------------------


def model() -> nn.Module:
    torch.manual_seed(0)
    layers = (nn.Linear(6, 8), nn.ReLU(), nn.LayerNorm(8), nn.Linear(8, 4))
    return nn.Sequential(*layers).double().eval().requires_grad_(False)


def worst_nodes(x: Tensor) -> tuple[float, dict[str, float]]:
    """Closure of a small program compiled now, and of each of its nodes."""
    program: Any = lrpc.compile(model(), (x,), composite="attnlrp")
    state = program.forward(x)
    found = program.relevance(state, "output", at=[(1,), (3,)], ledger=True).ledger
    return float(found.closure.max()), {k: float(v.max()) for k, v in found.node_closure().items()}


def leaking(
    emit: Callable[[Context, Node, Rule], None], kept: float
) -> Callable[[Context, Node, Rule], None]:
    """`emit`, handing on only the share `kept` of what it gives to inputs."""

    def broken(ctx: Context, node: Node, rule: Rule) -> None:
        propagate = ctx.propagate
        try:
            ctx.propagate = lambda value, g, kind="": propagate(value, ctx.scaled(g, kept), kind)  # type: ignore[method-assign]
            emit(ctx, node, rule)
        finally:
            del ctx.propagate

    return broken


@pytest.mark.parametrize(
    ("op", "rule", "count"), [("linear", "epsilon", 2), ("layer_norm", "detach_sigma", 1)]
)
def test_a_rule_that_drops_a_hundredth_is_found(
    monkeypatch: pytest.MonkeyPatch, op: str, rule: str, count: int
) -> None:
    generator = torch.Generator().manual_seed(4)
    x = torch.rand(3, 6, generator=generator, dtype=torch.float64)
    closure, nodes = worst_nodes(x)
    assert closure < LIMITS["fp64"]
    assert max(nodes.values()) < LIMITS["fp64"]
    declared = CATALOGUE[op, rule]
    monkeypatch.setitem(CATALOGUE, (op, rule), replace(declared, emit=leaking(declared.emit, 0.99)))
    closure, nodes = worst_nodes(x)
    assert closure > 1e-4
    guilty = {node for node, rest in nodes.items() if rest > LIMITS["fp64"]}
    assert len(guilty) == count
