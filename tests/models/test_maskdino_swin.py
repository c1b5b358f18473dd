"""Swin backbones: roles, relevance against autograd, programs of any size, released configs."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import lrpc
from lrpc.config import load_config
from lrpc.ir.parser import parse_graph
from lrpc.models.maskdino import MaskDINOSpec, build_maskdino, seeded_weights
from lrpc.models.maskdino.backbone_specs import SwinSpec
from lrpc.models.maskdino.swin import SwinTransformer
from tests.models.test_maskdino_model import SWIN, small_config
from tests.oracle.patched import relevance
from tests.support.released import MASKDINO

DEPTHS = [1, 2, 1, 1]
SMALL = {
    **SWIN,
    "SWIN__DEPTHS": DEPTHS,
    "SWIN__WINDOW_SIZE": 5,
    "SWIN__APE": True,
    "SWIN__PRETRAIN_IMG_SIZE": 48,
    "MaskDINO__DEC_LAYERS": 1,
}


def images(height: int, width: int, count: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(height * width)
    return torch.rand(count, 3, height, width, generator=generator, dtype=torch.float64) * 255


class Logits(nn.Module):
    """The class logits of a small MaskDINO, of normalised images."""

    def __init__(self) -> None:
        super().__init__()
        self.model = build_maskdino(small_config(**SMALL)).double()
        self.model.normalize = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.model(x)["pred_logits"]
        return logits


def test_relevance_is_that_of_the_patched_model_and_gradients_are_autograd() -> None:
    """Autograd on the model with detached places, σ and weights knows nothing of lrpc."""
    model, x = Logits(), images(64, 96) / 100
    rules = lrpc.composite("attnlrp", epsilon=0.0, stop_at_detach=True)  # as autograd does
    program = lrpc.compile(model, (x,), composite={"attnlrp": rules, "gradient": "gradient_input"})
    roles = Counter(
        (n.op, n.role)
        for n in parse_graph((program.directory / "graph.lrp").read_text()).nodes
        if n.loc.module.startswith("model.backbone")
    )
    blocks = sum(DEPTHS)
    assert roles["add", "residual"] == 2 * blocks
    assert roles["add", "positional"] == 1  # absolute positions
    assert roles["add", "merge"] == blocks + DEPTHS[1] // 2  # positional bias; mask of the shift
    assert roles["matmul", "attention_scores"] == roles["matmul", "attention_values"] == blocks
    assert roles["softmax", "attention_probabilities"] == blocks
    assert roles["layer_norm", "layer_norm"] == 2 * blocks + 1 + 3 + 4
    state = program.forward(x)
    with torch.no_grad():
        torch.testing.assert_close(state.outputs, model(x), rtol=1e-12, atol=1e-12)
    for name in ("attnlrp", "gradient"):
        found = program.relevance(state, "output", at=[(3, 1)], composite=name, ledger=True)
        wanted = relevance(model, x, (3, 1), "gradient_input" if name == "gradient" else name)
        assert float(wanted.abs().max()) > 1e-3
        assert float((found.input[0] - wanted).abs().max() / wanted.abs().max()) < 1e-8
        assert float(found.ledger.closure.max()) < 1e-10


@pytest.mark.slow
@pytest.mark.parametrize("window", [7, 12])
def test_one_program_for_all_sizes(window: int) -> None:
    """Maps are padded to windows, of which there are floors of sizes over long periods; of one
    block: test_any_size_models.py."""
    spec = MaskDINOSpec.from_config(
        small_config(**SWIN, SWIN__DEPTHS=DEPTHS, SWIN__WINDOW_SIZE=window, SWIN__EMBED_DIM=8)
    ).backbone
    assert isinstance(spec, SwinSpec)
    model = SwinTransformer(spec)
    model.load_state_dict(seeded_weights(model))
    model = model.double().eval()
    dynamic = {"x": {2: ("H", 32), 3: ("W", 32)}}
    program = lrpc.compile(model, (images(64, 96),), dynamic=dynamic, composite="gradient_input")
    for size in ((96, 64), (32, 32), (256, 160), (480, 640)):
        x = images(*size, count=1).requires_grad_(True)
        wanted = model(x)
        state = program.forward(x.detach())
        torch.testing.assert_close(state.outputs, wanted, rtol=1e-12, atol=1e-12)
        value = wanted["res4"][:, 3, 1, 1]
        (gradient,) = torch.autograd.grad(value.sum(), x)
        found = program.relevance(state, "res4", at=[(3, 1, 1)], ledger=True)
        expected = (gradient * x).detach()
        error = (found.input[0] - expected).abs().max() / expected.abs().max()
        assert float(error) < 1e-8
        assert float(found.ledger.closure.max()) < 1e-10


RELEASED = sorted(MASKDINO.glob("configs/**/maskdino_*.yaml"))


@pytest.mark.skipif(not RELEASED, reason="set LRPC_MASKDINO_SRC to a checkout of MaskDINO")
@pytest.mark.parametrize("path", RELEASED, ids=lambda path: "/".join(path.parts[-3:]))
def test_released_configs_describe_an_embedded_model(path: Path) -> None:
    config = load_config(path, ("MODEL.WEIGHTS", ""))
    assert MaskDINOSpec.from_config(config).backbone.channels("res5") in (1536, 2048)
