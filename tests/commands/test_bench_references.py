"""What the benchmark holds programs against: partly detached models, peers, floors."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import lrpc
from lrpc.commands.bench.memory import held, peak
from lrpc.models.maskdino.layers import sample_values
from tests.support.programs import difference
from tests.support.torchvision_shim import torchvision_models
from tools.bench import peers
from tools.bench.case_vit import LABEL, OUTSIDE, SMALL, Transformers, chosen
from tools.bench.detached import Gamma, detached, relevance
from tools.bench.encoder import Encoder, Layout, drawn, with_attention
from tools.bench.floors import Ceilings, Work, encoder_forward, encoder_relevance, vit_forward
from tools.bench.settings import QUICK, Options
from tools.bench.vit import Sizes, ViT

TINY = Layout(((4, 4), (2, 2)), layers=2, width=32, ffn=64, heads=2)
FULL = (13_125, 256, 1024, 8, 3, 4)


@pytest.mark.parametrize("composite", ["attnlrp", "cp_lrp", "gamma", "gradient_input"])
def test_programs_agree_with_detached_encoders(composite: str) -> None:
    model = Encoder(TINY).double()
    tokens, weights = (x.double() for x in drawn(2, TINY, 3))
    program: Any = lrpc.compile(model, (tokens,), composite=composite, epsilon=0.0)
    state = program.forward(tokens)
    found = program.relevance(state, seeds=state.outputs * weights).input
    expected = relevance(detached(model, composite), tokens, weights)
    assert difference(found, expected) < 1e-9
    if composite != "gradient_input":  # the rules are not the gradient
        assert difference(relevance(model, tokens, weights), expected) > 1e-2


@pytest.mark.parametrize("composite", ["attnlrp", "cp_lrp", "gamma", OUTSIDE])
def test_programs_agree_with_detached_transformers(composite: str) -> None:
    options = Options("cpu", **QUICK, tell=lambda _: None)
    made = Transformers(SMALL, options)
    model, images = made.model.double(), made.images.double()
    given = chosen(OUTSIDE, 0.0) if composite == OUTSIDE else composite
    program: Any = lrpc.compile(model, (images,), composite=given, epsilon=0.0)
    found = program.relevance(program.forward(images), at=[(LABEL,)]).input[0]
    assert difference(found, made.reference(composite)) < 1e-9


def test_gamma_is_its_formula() -> None:
    """One output at a time, with shares written out."""
    torch.manual_seed(0)
    layer, gamma = nn.Linear(5, 4).double(), 0.3
    x = torch.randn(3, 5).double()
    w, b = layer.weight.detach(), layer.bias.detach()
    map_ = Gamma(w, b, nn.functional.linear, gamma)
    expected = torch.zeros_like(x)
    for n in range(3):
        for j in range(4):
            z = w[j] @ x[n] + b[j]
            parts = w[j] * x[n]
            favoured = (parts * z > 0).double()  # contributions of the output's own sign count more
            shares = parts * (1 + gamma * favoured)
            own_bias = b[j] * (1 + gamma * float(b[j] * z > 0))
            expected[n] += z * shares / (shares.sum() + own_bias)
    assert difference(relevance(map_, x, torch.ones(1, 3, 4).double())[0], expected) < 1e-12


def test_the_transformer_is_torchvision_s() -> None:
    models = torchvision_models()
    sizes = Sizes(image=32, patch=8, layers=2, heads=4, width=64, ffn=128, classes=10)
    own = ViT(sizes)
    other = models.VisionTransformer(
        image_size=32, patch_size=8, num_layers=2, num_heads=4, hidden_dim=64, mlp_dim=128,
        num_classes=10,
    ).eval()  # fmt: skip
    other.load_state_dict(own.state_dict())
    x = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(own(x), other(x), rtol=1e-4, atol=1e-5)
    names = {name: tuple(p.shape) for name, p in ViT(Sizes(layers=1)).named_parameters()}
    full = dict(models.vit_b_16().named_parameters())
    assert names == {name: tuple(full[name].shape) for name in names}
    assert vars(Sizes()) == {
        "image": 224, "patch": 16, "layers": 12, "heads": 12, "width": 768, "ffn": 3072,
        "classes": 1000,
    }  # fmt: skip


def fake_extension(step: int) -> Any:
    """The interface of Deformable DETR's extension, by grid_sample and autograd."""

    def levels(sizes: Tensor, starts: Tensor) -> tuple[tuple[int, int], ...]:
        shapes = tuple((int(h), int(w)) for h, w in sizes)
        first = [sum(h * w for h, w in shapes[:i]) for i in range(len(shapes))]
        assert starts.tolist() == first
        return shapes

    def forward(
        value: Tensor, sizes: Tensor, starts: Tensor, places: Tensor, weights: Tensor, given: int
    ) -> Tensor:
        assert given == step
        assert places.shape[:-1] == weights.shape
        return sample_values(value, levels(sizes, starts), places, weights.flatten(-2))

    def backward(
        value: Tensor, sizes: Tensor, starts: Tensor, places: Tensor, weights: Tensor,
        grad: Tensor, given: int,
    ) -> tuple[Tensor, ...]:  # fmt: skip
        leaves = [x.detach().requires_grad_(True) for x in (value, places, weights)]
        with torch.enable_grad():
            out = forward(leaves[0], sizes, starts, leaves[1], leaves[2], given)
        return torch.autograd.grad(out, leaves, grad)

    return SimpleNamespace(ms_deform_attn_forward=forward, ms_deform_attn_backward=backward)


def test_the_extension_is_called_as_it_wants(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, peers.EXTENSION, fake_extension(2))
    assert peers.importable(peers.EXTENSION) is None
    model = Encoder(TINY).double()
    other = with_attention(model, peers.ExtensionAttention).double()
    tokens, weights = (x.double() for x in drawn(2, TINY, 1))
    mine, theirs = (relevance(m, tokens, weights) for m in (model, other))
    assert difference(theirs, mine) < 1e-12
    assert "no_such_package cannot be imported (ModuleNotFoundError" in str(
        peers.importable("sys", "no_such_package")
    )


@pytest.mark.parametrize("gamma", [False, True], ids=["CP-LRP", "γ"])
def test_lxt_agrees(gamma: bool) -> None:
    """On classes of their own: torch's stay as they are."""
    torchvision_models()
    if (reason := peers.import_lxt()) is not None:
        pytest.skip(reason)
    before = {kind: kind.forward for kind in (nn.LayerNorm, nn.GELU, nn.MultiheadAttention)}
    made = Transformers(SMALL, Options("cpu", **QUICK, tell=lambda _: None))
    found = made.lxt(gamma).call()
    assert difference(found, made.reference(OUTSIDE if gamma else "cp_lrp").float()) < 1e-4
    assert all(kind.forward is forward for kind, forward in before.items())


def test_floors_count_what_runs() -> None:
    """Products as torch counts them; what it does not see, samplings and their weighing, aside."""
    tokens, _ = drawn(1, TINY, 1)
    with FlopCounterMode(display=False) as counter:
        Encoder(TINY)(tokens)
    sizes = (TINY.tokens, TINY.width, TINY.ffn, TINY.heads, 2, 4)
    corners = 8 * TINY.tokens * 2 * 4 * TINY.width
    told = TINY.layers * (encoder_forward(*sizes).operations - corners)
    assert counter.get_total_flops() == told

    small = Sizes(image=32, patch=8, layers=1, heads=4, width=64, ffn=128, classes=10)
    x = torch.randn(1, 3, 32, 32, requires_grad=True)  # else one kernel does it all, uncounted
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        ViT(small)(x)
    patches = 2 * 16 * 64 * 192
    head = 2 * 64 * 10
    told = vit_forward(small.tokens, 64, 128, 0).operations + patches + head
    assert counter.get_total_flops() == told


def test_the_floor_of_the_large_encoder() -> None:
    both = encoder_forward(*FULL).plus(encoder_relevance(*FULL))
    assert both.operations == pytest.approx(37e9, rel=0.01)
    share = encoder_relevance(*FULL).operations / encoder_forward(*FULL).operations
    assert 0.87 <= share <= 0.94
    ceilings = Ceilings(matmul=368e12, copy=4.3e12, half=784e12)
    assert ceilings.seconds(both) == pytest.approx(0.15e-3, rel=0.05)  # moving bounds it
    assert ceilings.seconds(both, half=True) == pytest.approx(ceilings.seconds(both) / 2)
    assert Ceilings(1e12, 1e15, 1e11).seconds(Work(5e12, 1), half=True) == 50
    assert Ceilings(1e12, 1e15).seconds(Work(5e12, 1)) == 5


def test_peaks_are_seen() -> None:
    def call() -> Tensor:
        a = torch.ones(250_000)  # 1 MB
        b = a + 1
        del a
        return b[:1000] * torch.ones(1000)

    assert peak(call, "cpu") == pytest.approx(2e6, rel=0.01)
    x = torch.ones(100)
    assert held([x, x[:50], torch.ones(3).double()]) == 424
