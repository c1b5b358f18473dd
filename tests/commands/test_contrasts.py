"""Contrasts: what starts where one class or query is to be told from others, and its relevance."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import lrpc
from lrpc.commands.session.calls import Request, explain
from lrpc.commands.session.contrasts import Against, ContrastError, contrast
from lrpc.commands.session.facts import read_facts
from lrpc.commands.session.record import amplification
from lrpc.commands.session.seeds import Scene, Seed, resolve
from lrpc.commands.session.targets import TargetError, TargetSpec, parse_target, parse_targets
from lrpc.commands.session.terminal import warn_amplified
from lrpc.errors import ProgramError
from lrpc.program.loading import under_composite
from lrpc.support.terminal import Terminal
from tests.commands.test_run_targets import scene
from tests.support.maskdino_cases import digits_image
from tests.support.programs import Programs

LOGITS = torch.tensor([[2.0, -1.0, 0.5, 3.0], [0.1, 0.2, -0.3, 1.0]], dtype=torch.float64)


def by_formula(row: list[float], label: int, word: str | int) -> list[float]:
    """The start, written from the formulas, number by number."""
    n = len(row)
    if isinstance(word, int):
        return [(i == label) * z - (i == word) * z for i, z in enumerate(row)]
    if word == "next":
        return by_formula(row, label, max((z, i) for i, z in enumerate(row) if i != label)[1])
    if word == "mean":
        return [z if i == label else -z / (n - 1) for i, z in enumerate(row)]
    if word == "clrp":
        return [row[label] if i == label else -row[label] / (n - 1) for i in range(n)]
    e = torch.tensor(row, dtype=torch.float64).exp()
    p = (e / e.sum()).tolist()
    if word == "sglrp":
        return [p[i] * (1 - p[i]) if i == label else -p[label] * p[i] for i in range(n)]
    if word == "sigmoid":
        p = (e / (1 + e)).tolist()
    return [((i == label) - p[i]) * z for i, z in enumerate(row)]


@pytest.mark.parametrize("word", [0, 3, "next", "mean", "softmax", "sigmoid", "clrp", "sglrp"])
def test_starts_are_those_of_the_formulas(word: str | int) -> None:
    found = contrast(LOGITS, (1, 2), word)
    assert not found[0].any()
    wanted = LOGITS.new_tensor(by_formula(LOGITS[1].tolist(), 2, word))
    torch.testing.assert_close(found[1], wanted, rtol=1e-14, atol=1e-15)


def test_weights_of_softmax_and_sigmoid_are_gradients_of_likelihoods() -> None:
    z = LOGITS[0].clone().requires_grad_()
    (g,) = torch.autograd.grad(z.log_softmax(0)[1], z)
    torch.testing.assert_close(contrast(LOGITS, (0, 1), "softmax")[0], g * z.detach())
    wanted = torch.nn.functional.one_hot(torch.tensor(1), 4).double()
    loss = torch.nn.functional.binary_cross_entropy_with_logits(z, wanted, reduction="sum")
    (g,) = torch.autograd.grad(-loss, z)
    torch.testing.assert_close(contrast(LOGITS, (0, 1), "sigmoid")[0], g * z.detach())


def test_a_logit_of_no_object_is_no_other_class() -> None:
    for word in ("next", "mean", "sigmoid", "clrp"):
        assert contrast(LOGITS, (0, 0), word, classes=3)[0, 3] == 0
    assert contrast(LOGITS, (0, 0), "softmax", classes=3)[0, 3] != 0  # it shares the 1
    assert contrast(LOGITS, (0, 0), 3, classes=3)[0, 3] == -3


@pytest.mark.parametrize(
    ("text", "index", "against"),
    [
        ("class_logit:3,2-5", (3, 2), Against("5", 1)),
        ("class_logit:3-7,2", (3, 2), Against("7", 0)),
        ("class_logit:3,2-mean", (3, 2), Against("mean", 1)),
        ("class_logit:3,2-traffic light", (3, 2), Against("traffic light", 1)),
        ("class:2-next", (2,), Against("next", 0)),
        ("layer_class_logit:1:3,2-softmax", (3, 2), Against("softmax", 1)),
    ],
)
def test_expressions_parse_and_print_back(
    text: str, index: tuple[int, ...], against: Against
) -> None:
    found = parse_target(text)
    assert (found.index, found.against, str(found)) == (index, against, text)


def test_each_detection_is_contrasted_where_no_number_is_given() -> None:
    found = parse_target("class_logit:-next")
    assert (found.index, str(found)) == (None, "class_logit:-next")
    slugs = [s.slug for s in resolve([found], scene())]
    assert slugs == ["class_logit-q1-c2-vs-next", "class_logit-q3-c0-vs-next"]
    words = [s.words for s in resolve(parse_targets(["class_logit:-1"]), scene())]
    assert words[1] == "class_logit, query 3, class 0 against class 1"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("class_logit:3,2-", "'-' must be a number; a class may also be contrasted with mean"),
        ("class_logit:3-mean,2", "'-mean' must be a number"),
        ("class_logit:3-1,2-4", "'2-4' is a second contrast; give one"),
        ("mask_logit:3,2,1-4", "contrasts are of classes: class_logit, class, class_region"),
        ("box:-mean", "contrasts are of classes"),
        ("class_logit:-1,2", "'-1' is not a number from 0 up"),
    ],
)
def test_what_has_no_meaning_is_refused(text: str, message: str) -> None:
    with pytest.raises(TargetError) as caught:
        parse_target(text)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("class_logit:0,1-1", "it is contrasted with itself"),
        ("class_logit:0,1-99", "'99' is none of 3 classes"),
        ("class_logit:0-99,1", "'99' is outside pred_logits"),
        ("class_logit:0,1-dgo", "no class or contrast of that name; did you mean 'dog'?"),
    ],
)
def test_what_a_model_does_not_have_is_refused(text: str, message: str) -> None:
    with pytest.raises(TargetError) as caught:
        resolve([parse_target(text).numbered(("cat", "dog", "cow"))], scene())
    assert message in str(caught.value)
    assert parse_target("class_logit:0,1-dog").numbered(("cat", "dog")) == TargetSpec(
        "class_logit", None, (0, 1), Against("1", 1)
    )


def test_one_class_alone_has_nothing_to_be_told_from() -> None:
    with pytest.raises(ContrastError, match="there is one class alone"):
        contrast(torch.ones(2, 1), (0, 0), "mean")


@pytest.mark.parametrize("composite", ["attnlrp", "maskdino"])
def test_relevance_of_a_contrast_is_the_same_sum_of_classes(
    programs: Programs, composite: str
) -> None:
    """Rules are linear in the relevance that arrives, so it equals Σ weight × relevance of each
    class alone; and its ledger closes for the difference."""
    program = programs.digits(composite, PRECISION="fp64")
    state = program.forward(digits_image("02").double())
    outputs = {name: value[0] for name, value in state.outputs.items()}
    frame = tuple(digits_image("02").shape[2:])
    logits = outputs["pred_logits"]
    query = int(logits.amax(1).argmax())
    label = int(logits[query].argmax())
    index = torch.tensor([[query, c] for c in range(logits.shape[1])])
    alone = program.relevance(state, "class_logit", at=index, read=["input"]).input[:, 0]

    def summed(start: Tensor) -> Tensor:
        weights = start[query] / logits[query]
        return (weights[:, None, None, None] * alone).sum(0)

    words = ("3", "mean", "next", "softmax", "sigmoid", "clrp", "sglrp")
    texts = [f"class_logit:{query},{label}-{word}" for word in words if word != str(label)]
    picture = Scene(outputs, frame, frame, [], classes=logits.shape[1])
    seeds = resolve(parse_targets(texts), picture)
    facts = read_facts(under_composite(program.manifest, None))
    (found,) = explain(program, state, [seeds], Request(("input",)), facts.places)
    assert [one.seed.slug for one in found] == [seed.slug for seed in seeds]
    for one in found:
        start = _start(one.seed)
        wanted = summed(start)
        torch.testing.assert_close(
            one.input, wanted, rtol=0, atol=1e-11 * float(wanted.abs().max())
        )
        ledger: Any = one.ledger
        assert ledger.start == pytest.approx(float(start.sum()), abs=1e-12)
        assert ledger.closure < 1e-10
        grown = float(one.input.abs().sum()) / float(start.abs().sum())
        assert amplification(one) == pytest.approx(grown, rel=1e-9)  # where it sums to 0, too


def test_what_sums_to_0_but_for_rounding_is_not_scaled(programs: Programs) -> None:
    program = programs.digits("maskdino")
    state = program.forward(digits_image("02"))
    logits = state.outputs["pred_logits"]
    start = contrast(logits[0], (3, 2), "clrp")[None, None]
    assert float(start.sum().abs()) < 1e-5
    for norm in ("sum1", "sumT"):
        with pytest.raises(ProgramError, match=f"norm={norm}: the relevance .* sums to 0; use"):
            program.relevance(state, "class_logit", seeds=start, norm=norm)
    near = start.clone()
    near[0, 0, 3, 2] *= 1.01
    scaled = program.relevance(state, "class_logit", seeds=near, norm="sum1", ledger=True)
    assert float(scaled.ledger.start) == pytest.approx(1.0, rel=1e-4)


def _start(seed: Seed) -> Tensor:
    assert seed.start is not None
    return seed.start


class Steep(nn.Module):
    """Two classes whose logits are small differences of what their rules multiply."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        widths = [3, 16, 16, 16, 16, 16, 16, 2]
        pairs = pairwise(widths)
        self.layers = nn.ModuleList(nn.Linear(a, b, bias=False) for a, b in pairs)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = x.mean((2, 3)) / 100
        for layer in self.layers:
            x = layer(x)
        return {"logits": x}


def test_relevance_that_explodes_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """γ on a network without biases and activations: contributions of both signs grow, and records
    hold by how much."""
    model, rules = Steep().eval(), [{"role": "linear", "rule": "gamma", "gamma": 50.0}]
    x = torch.rand(1, 3, 8, 8) * 255
    composite = {"own": {"composite": "epsilon", "rules": rules}}
    program = lrpc.compile(model, (x,), composite=composite)
    state = program.forward(x)
    found = program.relevance(state, "logits", at=[(0,)], ledger=True)
    grown = found.amplification["x"]
    assert float(grown) == pytest.approx(
        float(found.input.abs().sum() / found.ledger.start.abs()), rel=1e-6
    )
    warn_amplified(Terminal(stderr=True), float(grown))
    told = " ".join(capsys.readouterr().err.split())
    assert (f"{float(grown):.2g} times what it starts from" in told) == (float(grown) > 100)
    warn_amplified(Terminal(stderr=True), 99.0)
    assert not capsys.readouterr().err
    warn_amplified(Terminal(stderr=True), 3e30, "relevance by gamma")
    assert "warning: relevance by gamma is up to 3e+30 times" in capsys.readouterr().err
