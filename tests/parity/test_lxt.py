"""Single rules against LXT's explicit functions, vision transformers against its efficient ones.

LXT's explicit stabiliser is z + ε for either sign of z, so parity is tested with an ε that matters
for neither; where the two differ for good is tested beside it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import lrpc
from lrpc.rules.composite import composite
from tests.support.one_node import Case, flow
from tests.support.programs import difference
from tests.support.torchvision_shim import torchvision_models

models = torchvision_models()  # LXT imports torchvision and zennit
functional = pytest.importorskip("lxt.explicit.functional")
#: What docs/coverage.md says of this file.
PARITY = (
    ("linear add", "epsilon", "LXT", "test_explicit_rules"),
    ("matmul mul", "uniform", "LXT", "test_explicit_rules"),
    ("softmax", "taylor", "LXT", "test_explicit_rules"),
    ("layer_norm", "detach_sigma", "LXT", "test_explicit_rules"),
)
EPS = 1e-12
GONE = ("find_pruneable_heads_and_indices", "prune_linear_layer", "apply_chunking_to_forward")


def away(*shape: int) -> Tensor:
    """Random values that keep a distance from 0, as denominators must for a small ε."""
    values = torch.randn(shape, dtype=torch.float64)
    return values + 0.1 * torch.where(values >= 0, 1.0, -1.0)


def theirs(f: Callable[..., Tensor], inputs: tuple[Tensor, ...], r: Tensor) -> tuple[Tensor, ...]:
    """Relevance at `inputs` as LXT's function sends it back."""
    leaves = [x.clone().requires_grad_(True) for x in inputs]
    return torch.autograd.grad(f(*leaves), leaves, r)


def layer_norm(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
    made: Tensor = functional.layer_norm_grad_fn.apply(x, w, b, 1e-5, EPS)
    return made


torch.manual_seed(0)
W, BIAS = away(5, 4), away(5)
X, Y = away(2, 3, 4), away(2, 3, 4)
GAIN, SHIFT = away(4), away(4)

#: Our case, rule and parameters, LXT's function of the same inputs. Its matmul stabilises 2z.
EXPLICIT: dict[str, tuple[Case, str, dict[str, Any], Callable[..., Tensor]]] = {
    "linear": (
        Case("linear", (X,), {}, {"weight": W, "bias": BIAS}), "epsilon", {"eps": EPS},
        lambda x: functional.linear_epsilon(x, W, BIAS, EPS),
    ),
    "add": (
        Case("add", (X, Y), role="residual"), "epsilon", {"eps": EPS},
        lambda x, y: functional.add2(x, y, False, EPS),
    ),
    "matmul": (
        Case("matmul", (X, away(2, 4, 3))), "uniform", {"eps": EPS / 2},
        lambda x, y: functional.matmul(x, y, False, EPS),
    ),
    "mul": (
        Case("mul", (X, Y)), "uniform", {"eps": 0.0}, lambda x, y: functional.mul2(x, y),
    ),
    "softmax": (
        Case("softmax", (X,), {"dim": -1}), "taylor", {},
        lambda x: functional.softmax(x, -1),
    ),
    "layer_norm": (
        Case("layer_norm", (X,), {"eps": 1e-5}, {"weight": GAIN, "bias": SHIFT}), "detach_sigma",
        {"eps": EPS}, lambda x: layer_norm(x, GAIN, SHIFT),
    ),
    "rms_norm": (
        Case("rms_norm", (X,), {"eps": 1e-5}, {"weight": GAIN}), "identity", {},
        lambda x: functional.rms_norm_identity(x, GAIN, 1e-5),
    ),
    "mean": (
        Case("mean", (X,), {"dims": (-1,), "keepdim": True}), "epsilon", {"eps": EPS / 4},
        lambda x: functional.mean(x, -1, True, EPS),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", list(EXPLICIT))
def test_explicit_rules(name: str) -> None:
    case, rule, params, function = EXPLICIT[name]
    z = function(*case.inputs)
    g = torch.randn(2, *z.shape, dtype=torch.float64)
    found = flow(case, rule, g, itself=name in ("rms_norm", "mul"), **params)
    if name == "rms_norm":  # LXT normalises in float32, ours arrives with the float64 output
        z = found.z
    for k in range(2):
        expected = theirs(function, case.inputs, z * g[k])
        for mine, other in zip(found.inputs, expected, strict=True):
            torch.testing.assert_close(mine[k], other, rtol=1e-9, atol=1e-9)


def test_an_unsigned_stabiliser_is_singular_at_minus_epsilon() -> None:
    """At z = −ε LXT divides by 0; the signed stabiliser halves z's relevance, as at z = ε."""
    eps = 0.25
    x, y = torch.tensor([[-1.0, 1.0]]).double(), torch.tensor([[0.75, -0.75]]).double()
    r = torch.ones(1, 2).double()
    unsigned, _ = theirs(lambda a, b: functional.add2(a, b, False, eps), (x, y), r)
    assert torch.isinf(unsigned[0, 0])
    assert unsigned[0, 1] == 2.0
    found = flow(Case("add", (x, y)), "epsilon", (r / (x + y))[None], eps=eps)
    assert found.inputs[0][0].tolist() == [[2.0, 2.0]]


def test_softmax_is_summed_over_its_own_dimension() -> None:
    """LXT sums over the last axis whatever the softmax's: ours is its result on the transpose."""
    s = X.softmax(-2)
    r = torch.randn_like(X)
    found = flow(Case("softmax", (X,), {"dim": -2}), "taylor", (r / s)[None]).inputs[0][0]
    (as_is,) = theirs(lambda x: functional.softmax(x, -2), (X,), r)
    (turned,) = theirs(lambda x: functional.softmax(x, -1), (X.mT,), r.mT)
    torch.testing.assert_close(found, turned.mT, rtol=1e-9, atol=1e-9)
    assert float((found - as_is).abs().max()) > 0.1


def test_activations_that_are_zero(efficient: Any) -> None:
    """LXT divides f(x) by x + 1e-10: 0/0 in half precision, 5e9 for a sigmoid. Ours has limits."""
    zero = torch.zeros(1, 1)
    half = theirs(lambda x: efficient.rules.identity_rule_implicit(torch.relu, x),
                  (zero.half(),), torch.ones(1, 1).half())[0]  # fmt: skip
    assert torch.isnan(half).all()
    steep = theirs(lambda x: efficient.rules.identity_rule_implicit(torch.sigmoid, x),
                   (zero.double(),), torch.ones(1, 1).double())[0]  # fmt: skip
    assert float(steep) == pytest.approx(5e9)
    one = torch.ones(1, 1, 1).double()
    for op in ("relu", "sigmoid"):
        found = flow(Case(op, (zero.double(),)), "pass", one)
        assert found.given["x0"].item() == (0.0 if op == "relu" else 0.25)


@pytest.fixture(scope="module")
def efficient() -> Any:
    """lxt.efficient; it asks transformers for names that version 5 dropped and never calls them."""
    utils = pytest.importorskip("transformers.pytorch_utils")
    with pytest.MonkeyPatch.context() as patch:
        for name in GONE:
            if not hasattr(utils, name):
                patch.setattr(utils, name, None, raising=False)
        made = pytest.importorskip("lxt.efficient")
        __import__("lxt.efficient.patches")
        __import__("lxt.efficient.zennit_patches")
    return made


@contextlib.contextmanager
def unpatched_afterwards(*classes: Any) -> Iterator[None]:
    """Gives `classes` their own methods back, whatever was put in their place."""
    kept = [{k: v for k, v in vars(c).items() if callable(v)} for c in classes]
    try:
        yield
    finally:
        for cls, own in zip(classes, kept, strict=True):
            for name in set(vars(cls)) - set(own):
                if name.startswith("original_"):
                    delattr(cls, name)
            for name in ("forward", "backward"):
                if name in own:
                    setattr(cls, name, own[name])


def vision_transformer(size: int = 16) -> nn.Module:
    """A small one, its zero-initialised head and biases perturbed."""
    torch.manual_seed(0)
    model = models.VisionTransformer(
        image_size=size, patch_size=8, num_layers=3, num_heads=2, hidden_dim=12, mlp_dim=24,
        num_classes=5,
    )  # fmt: skip
    return perturbed(model)


def perturbed(model: nn.Module) -> nn.Module:
    for parameter in model.parameters():
        scale = 0.1 if parameter.dim() == 1 else 0.5 / parameter[0].numel() ** 0.5
        parameter.data = parameter + scale * torch.randn_like(parameter)
    return model.double().eval()


def gradient_times_input(model: nn.Module, x: Tensor, label: int) -> Tensor:
    leaf = x.clone().requires_grad_(True)
    (found,) = torch.autograd.grad(model(leaf)[:, label].sum(), leaf)
    return found * x


def patch_map(efficient: Any, rules: str, eps: float) -> dict[Any, Callable[[Any], bool]]:
    """LXT's own for vision transformers, its activations with ε `eps`.

    AttnLRP for torch's attention, which LXT has for transformers' alone, is put together from its
    rules.
    """
    patches, divide = efficient.patches, efficient.rules.divide_gradient

    def activation(self: Any, x: Tensor) -> Tensor:
        made: Tensor = efficient.rules.identity_rule_implicit_fn.apply(
            self.original_forward, x, eps
        )
        return made

    def forward(self: Any, query: Tensor, key: Tensor, value: Tensor, **more: Any) -> Any:
        parts = divide(query, 4), divide(key, 4), divide(value, 2)
        return self.original_forward(*parts, **more)

    def put(function: Any) -> Callable[[Any], bool]:
        return lambda cls: bool(patches.patch_method(function, cls, keep_original=True))

    maps = {**efficient.models.vit_torch.cp_LRP, nn.GELU: put(activation)}
    return {**maps, nn.MultiheadAttention: put(forward)} if rules == "attnlrp" else maps


def check_vit(
    efficient: Any, model: nn.Module, x: Tensor, rules: str, limits: dict[float, float]
) -> None:
    """Against LXT with each ε of its activations in `limits`, to the limit given there."""
    label = 3
    program = lrpc.compile(model, (x,), composite=rules, epsilon=0.0)
    state = program.forward(x)
    at = torch.full((1, len(x), 1), label)
    found = program.relevance(state, "output", at=at)
    plain = gradient_times_input(model, x, label)
    for eps, limit in limits.items():
        with unpatched_afterwards(nn.GELU, nn.LayerNorm, nn.MultiheadAttention):
            patches = patch_map(efficient, rules, eps)
            efficient.monkey_patch(models.vision_transformer, patches)
            expected = gradient_times_input(model, x, label)
        assert difference(found.input[0], expected) < limit
        assert difference(plain, expected) > 1e-2  # the rules are not the gradient, and are undone


@pytest.mark.parametrize("rules", ["cp_lrp", "attnlrp"])
def test_a_small_vision_transformer(efficient: Any, rules: str) -> None:
    torch.manual_seed(1)
    x = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    check_vit(efficient, vision_transformer(), x, rules, {1e-10: 1e-7, 1e-30: 1e-12})


def test_lxt_patches_by_itself_do_the_same(efficient: Any) -> None:
    torch.manual_seed(1)
    x, model = torch.randn(1, 3, 16, 16, dtype=torch.float64), vision_transformer()
    found = []
    for patches in (None, patch_map(efficient, "cp_lrp", 1e-10)):
        with unpatched_afterwards(nn.GELU, nn.LayerNorm, nn.MultiheadAttention):
            efficient.monkey_patch(models.vision_transformer, patches)
            found.append(gradient_times_input(model, x, 3))
    assert torch.equal(*found)


@pytest.mark.slow
@pytest.mark.parametrize("rules", ["cp_lrp", "attnlrp"])
def test_vit_b_16(efficient: Any, rules: str) -> None:
    torch.manual_seed(1)
    model = perturbed(models.vit_b_16())
    # x + 1e-10 is off by parts in 100,000 for the few of 1.8 million activations next to 0
    limits = {1e-10: 1e-5, 1e-30: 1e-10}
    check_vit(efficient, model, torch.randn(1, 3, 224, 224).double(), rules, limits)


def test_gamma_with_zennit(efficient: Any) -> None:
    """γ on the patch convolution and on linear layers; LXT's hooks leave attention's own maps."""
    from zennit.composites import LayerMapComposite
    from zennit.core import BasicHook
    from zennit.rules import Gamma

    model, tiny = vision_transformer(), 1e-14
    torch.manual_seed(1)
    x = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    made = composite(
        "gamma", 0.0, [{"role": "linear", "module": "*self_attention*", "rule": "epsilon"}],
        conv_gamma=0.25, linear_gamma=0.1,
    )  # fmt: skip
    program = lrpc.compile(model, (x,), composite=made)
    found = program.relevance(program.forward(x), "output", at=torch.full((1, 2, 1), 2))
    layers = [(nn.Conv2d, Gamma(0.25, tiny)), (nn.Linear, Gamma(0.1, tiny))]
    with unpatched_afterwards(nn.GELU, nn.LayerNorm, nn.MultiheadAttention, BasicHook):
        efficient.monkey_patch(models.vision_transformer)
        efficient.zennit_patches.monkey_patch_zennit()
        hooks = LayerMapComposite(layers)
        hooks.register(model)
        expected = gradient_times_input(model, x, 2)
        hooks.remove()
    assert difference(found.input[0], expected) < 1e-7
