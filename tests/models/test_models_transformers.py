"""Transformers of torchvision and transformers: outputs, rules, roles and the ledger.

The reference is autograd on a patched copy (tests/oracle/patched.py), for two images at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import lrpc
from lrpc.ir.graph import Graph
from lrpc.ir.parser import parse_graph
from lrpc.program.verify import checks
from tests.oracle.patched import relevance
from tests.support import transformers_models as models
from tests.support.transformers_models import PAD, TOKENS

RULES = ("cp_lrp", "attnlrp", "gradient_input")
EXACT = {"cp_lrp": 1e-8, "attnlrp": 1e-8, "gradient_input": 1e-9}

# name → how to make the model and its inputs, whose first is the one that relevance arrives at.
FLOATS: dict[str, Callable[[], tuple[nn.Module, tuple[Tensor, ...]]]] = {
    "torchvision vit": lambda: (models.torchvision_vit(), (models.pixels(),)),
    "vit, sdpa": lambda: (models.vit("sdpa"), (models.pixels(),)),
    "vit without head": lambda: (models.vit("sdpa", "ViTModel"), (models.pixels(),)),
    "bert, sdpa": lambda: (models.bert_of_rows("sdpa"), (models.rows(), models.mask())),
    "bert, eager": lambda: (models.bert_of_rows("eager"), (models.rows(), models.mask())),
    "bert without head": lambda: (
        models.bert_of_rows("eager", "BertModel"),
        (models.rows(), models.mask()),
    ),
    "gpt2": lambda: (models.gpt2("sdpa"), (models.rows(), models.mask(left=True))),
    "llama": lambda: (models.llama("sdpa"), (models.rows(), models.mask(left=True))),
    "llama without a mask": lambda: (models.llama("sdpa", masked=False), (models.rows(),)),
    "llama, torch's norm": lambda: (
        models.llama("sdpa", "torch"),
        (models.rows(), models.mask(left=True)),
    ),
}


def compiled(
    model: nn.Module, args: tuple[Tensor, ...], rules: str | Sequence[str], epsilon: float = 0.0
) -> Any:
    return lrpc.compile(model, args, composite=rules, epsilon=epsilon)


def graph_of(program: Any) -> Graph:
    return parse_graph((program.directory / "graph.lrp").read_text())


def largest(found: Tensor, expected: Tensor) -> float:
    assert found.shape == expected.shape
    return float((found - expected).abs().max() / expected.abs().max())


def target_of(out: Tensor) -> tuple[int, ...]:
    return tuple(size // 2 for size in out.shape[1:])


@pytest.mark.parametrize("name", FLOATS)
def test_relevance_is_the_gradient_of_the_patched_model(name: str) -> None:
    """Under each composite of one program."""
    model, args = FLOATS[name]()
    program = compiled(model, args, RULES)
    assert program.manifest["settings"]["notes"] == []
    state = program.forward(*args)
    with torch.no_grad():
        out = model(*args)
    torch.testing.assert_close(state.outputs, out, rtol=1e-10, atol=1e-10)
    index = target_of(out)
    for rules in RULES:
        found = program.relevance(state, "output", at=[index], ledger=True, composite=rules)
        expected = relevance(lambda x: model(x, *args[1:]), args[0], index, rules)
        assert expected.abs().amax() > 1e-3
        assert list(found.inputs) == ["x"]
        assert largest(found.input[0], expected) < EXACT[rules], rules
        assert float(found.ledger.closure.max()) < 1e-10
        worst = max(float(v.max()) for v in found.ledger.node_closure().values())
        assert worst < 1e-10


@pytest.mark.parametrize("rules", RULES)
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_tokens_take_the_relevance_of_their_rows(attention: str, rules: str) -> None:
    model, args = models.bert_of_ids(attention), (models.ids(), models.mask())
    program = compiled(model, args, rules)
    state = program.forward(*args)
    with torch.no_grad():
        out = model(*args)
    torch.testing.assert_close(state.outputs, out, rtol=1e-10, atol=1e-10)
    found = program.relevance(state, "output", at=[(0,), (1,)], ledger=True)
    assert found.inputs["x"].shape == (2, 2, TOKENS)
    assert list(found.inputs) == ["x"]
    assert float(found.ledger.closure.max()) < 1e-10
    assert {"bias", "position"} <= set(found.ledger.sinks)
    table = model.model.bert.embeddings.word_embeddings.weight.detach()

    def of_rows(rows: Tensor) -> Tensor:
        result: Tensor = model.model(inputs_embeds=rows, attention_mask=args[1])[0]
        return result

    more = torch.cat([args[0], args[0][:1].flip(1)]), torch.cat([args[1], args[1][1:]])
    with torch.no_grad():
        torch.testing.assert_close(program.forward(*more).outputs, model(*more))
    for k in (0, 1):
        expected = relevance(of_rows, table[args[0]], (k,), rules).sum(-1)
        assert largest(found.inputs["x"][k], expected) < EXACT[rules]


@pytest.mark.parametrize("rules", ["cp_lrp", "attnlrp"])
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_padding_takes_no_relevance(attention: str, rules: str) -> None:
    model, args = models.bert_of_rows(attention), (models.rows(), models.mask())
    program = compiled(model, (args[0], torch.ones_like(args[1])), rules, 1e-6)
    found = program.relevance(program.forward(*args), "output", at=[(0,), (1,)], ledger=True)
    assert not found.input[:, 0, -PAD:].any()
    assert found.input[:, 0, :-PAD].all()
    assert found.input[:, 1].all()
    assert float(found.ledger.closure.max()) < 1e-10
    seen = torch.ones_like(args[1])
    alone = program.relevance(program.forward(args[0], seen), "output", at=[(0,)])
    assert alone.input[:, 0, -PAD:].all()  # the mask is an input, not what the example had
    with torch.no_grad():
        expected = model(args[0], seen)
    torch.testing.assert_close(program.forward(args[0], seen).outputs, expected)


def test_rows_that_see_nothing() -> None:
    """Left padding under a causal mask: with the least number of a dtype added to every score."""
    model = models.llama("eager", "own", torch.float32)
    args = (models.rows().float(), models.mask(left=True))
    program = compiled(model, args, "attnlrp", 1e-6)
    state = program.forward(*args)
    with torch.no_grad():
        torch.testing.assert_close(state.outputs, model(*args), rtol=1e-4, atol=1e-4)
    found = program.relevance(state, "output", at=[(3,)], ledger=True)
    assert bool(torch.isfinite(found.input).all())
    assert not found.input[:, 0, :PAD].any()
    assert found.input[:, 0, PAD:].any()
    assert float(found.ledger.closure.max()) < 1e-4
    worst = max(float(v.max()) for v in found.ledger.node_closure().values())
    assert worst < 1e-4


def test_softmax_in_float32() -> None:
    """This eager attention computes its softmax in float32 whatever the model's dtype."""
    model, args = models.vit("eager"), (models.pixels(),)
    program = compiled(model, args, "cp_lrp")
    state = program.forward(*args)
    with torch.no_grad():
        torch.testing.assert_close(state.outputs, model(*args), rtol=1e-10, atol=1e-10)
    found = program.relevance(state, "output", at=[(0,)])
    expected = relevance(model, args[0], (0,), "cp_lrp")
    assert largest(found.input[0], expected) < 1e-8


ROLES = {
    "torchvision vit": {
        "convolution": 1, "positional": 1, "layer_norm": 5, "attention_scores": 2,
        "attention_probabilities": 2, "attention_values": 2, "residual": 4, "activation": 2,
        "linear": 13,
    },
    "vit, sdpa": {
        "convolution": 1, "positional": 1, "layer_norm": 5, "attention_scores": 2,
        "attention_probabilities": 2, "attention_values": 2, "residual": 4, "activation": 2,
        "linear": 13,
    },
    "bert, eager": {
        "merge": 1, "positional": 1, "layer_norm": 5, "attention_scores": 2,
        "attention_probabilities": 2, "attention_values": 2, "residual": 4, "activation": 3,
        "linear": 14,
    },
    "llama": {
        "rms_norm": 5, "attention_scores": 2, "attention_probabilities": 2, "attention_values": 2,
        "residual": 4, "activation": 2, "linear": 15, "product": 10, "merge": 4,
    },
}  # fmt: skip


@pytest.mark.parametrize("name", ROLES)
def test_roles(name: str) -> None:
    model, args = FLOATS[name]()
    graph = graph_of(compiled(model, args, "attnlrp"))
    found = Counter(node.role for node in graph.nodes)
    del found["constant"], found["structural"]
    assert dict(found) == ROLES[name]
    softmaxes = [node for node in graph.nodes if node.op == "softmax"]
    assert {node.role for node in softmaxes} == {"attention_probabilities"}
    for node in graph.nodes:
        if node.role == "positional":
            assert node.inputs[1].name not in {v.name for v in graph.inputs}
            assert "pos" in node.inputs[1].name or "constant" in node.inputs[1].name


def test_an_activation_spelled_out() -> None:
    graph = graph_of(
        compiled(models.gpt2("sdpa", "gelu_new"), (models.rows(), models.mask()), "attnlrp")
    )
    assert sum(node.op == "gelu" and node.role == "activation" for node in graph.nodes) == 2
    assert not any(node.role == "product" for node in graph.nodes)


def test_layers_share_functions_and_are_numbered() -> None:
    """Of torchvision's encoder_layer_0 and encoder_layer_1."""
    model, args = FLOATS["torchvision vit"]()
    only = [{"role": "layer_norm", "layers": [1, 1], "rule": "identity"}]
    program = lrpc.compile(model, args, composite="attnlrp", rules=only)
    norms = [node for node in graph_of(program).nodes if node.op == "layer_norm"]
    named = [norm.loc.module for norm in norms if str(norm.rule) == "identity"]
    assert named == [f"encoder.layers.encoder_layer_1.ln_{i}" for i in (1, 2)]
    program = compiled(model, args, "attnlrp")
    text = (program.directory / "program.py").read_text()
    own = [line.split("(")[0] for line in text.splitlines() if line.startswith("def layers_")]
    kinds = ("0_forward", "1_relevance")
    assert own == [f"def layers_encoder_layer_{kind}" for kind in kinds]


@pytest.mark.slow
def test_vit_b_16() -> None:
    model = models.torchvision_vit(
        image_size=224, patch_size=16, num_layers=12, num_heads=12, hidden_dim=768, mlp_dim=3072,
        num_classes=1000,
    )  # fmt: skip
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(1, 3, 224, 224, generator=generator, dtype=torch.float64)
    program = compiled(model, (x,), "attnlrp")
    state = program.forward(x)
    with torch.no_grad():
        torch.testing.assert_close(state.outputs, model(x), rtol=1e-10, atol=1e-10)
    found = program.relevance(state, "output", at=[(207,)], ledger=True)
    assert largest(found.input[0], relevance(model, x, (207,), "attnlrp")) < 1e-8
    assert float(found.ledger.closure.max()) < 1e-10
    counts = Counter(node.role for node in graph_of(program).nodes)
    assert (counts["residual"], counts["attention_probabilities"]) == (24, 12)
    assert (counts["positional"], counts["layer_norm"]) == (1, 25)


def test_programs_of_tokens_are_verified(tmp_path: Path) -> None:
    model = models.bert_of_ids("sdpa")
    program = lrpc.compile(model, (models.ids(), models.mask()), composite="attnlrp")
    found = list(checks(program.save(tmp_path / "bert")))
    assert [check for check in found if not check.passed] == []
    assert "output → input.x" in [check.what for check in found]


def test_windows() -> None:
    """Swin folds windows into the batch, and adds a mask that every image repeats."""
    options = {
        "image_size": 32, "patch_size": 2, "embed_dim": 16, "depths": [1, 2], "num_heads": [2, 2],
        "window_size": 4,
    }  # fmt: skip
    made = models.made("SwinForImageClassification", "SwinConfig", "sdpa", **options)
    model = models.Call(models.disturbed(made), lambda m, x: m(pixel_values=x).logits)
    x = models.pixels()
    program = compiled(model, (x,), "attnlrp")
    found = program.relevance(program.forward(x), "output", at=[(1,)], ledger=True)
    assert largest(found.input[0], relevance(model, x, (1,), "attnlrp")) < 1e-8
    assert float(found.ledger.closure.max()) < 1e-10
    assert found.ledger.closure.shape == (1, 2)
