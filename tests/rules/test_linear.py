"""Rules of linear maps against slow float64 twins written from their formulas."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import lrpc
from lrpc.errors import RuleError
from tests.support.one_node import Case, flow
from tests.support.twins import (
    SEEDS,
    back,
    check,
    columns,
    n,
    stab,
)

CONV = {"stride": (2, 1), "padding": (1, 0), "dilation": (1, 1), "groups": 2}


def linear_cases() -> dict[str, tuple[Case, Callable[[Tensor], Tensor], Tensor]]:
    """Name → case, the map without its bias, the bias."""
    torch.manual_seed(0)
    w, b, x = n(3, 4), n(3), n(2, 5, 4)
    kernel, bias, image = n(4, 1, 3, 2), n(4), n(2, 2, 4, 3)
    up, up_bias = n(2, 3, 2, 2), n(3)
    scale, shift, mean, var = n(2), n(2), n(2), n(2).exp()
    factor = (scale / (var + 1e-5).sqrt()).reshape(-1, 1, 1)
    two = {**CONV, "stride": (2, 2), "padding": (0, 0), "groups": 1}
    return {
        "linear": (
            Case("linear", (x,), {}, {"weight": w, "bias": b}), lambda v: v @ w.T, b,
        ),
        "linear without bias": (
            Case("linear", (x,), {}, {"weight": w}), lambda v: v @ w.T, torch.zeros(()).double(),
        ),
        "conv2d": (
            Case("conv2d", (image,), CONV, {"weight": kernel, "bias": bias}),
            lambda v: F.conv2d(v, kernel, None, (2, 1), (1, 0), 1, 2),
            bias.reshape(-1, 1, 1),
        ),
        "conv_transpose2d": (
            Case("conv_transpose2d", (image,), {**two, "output_padding": (0, 0)},
                 {"weight": up, "bias": up_bias}),
            lambda v: F.conv_transpose2d(v, up, None, 2),
            up_bias.reshape(-1, 1, 1),
        ),
        "batch_norm": (
            Case("batch_norm", (image,), {"eps": 1e-5},
                 {"weight": scale, "bias": shift, "mean": mean, "var": var}),
            lambda v: v * factor,
            shift.reshape(-1, 1, 1) - mean.reshape(-1, 1, 1) * factor,
        ),
        "interpolate": (
            Case("interpolate", (image,),
                 {"size": (7, 5), "mode": "bilinear", "align_corners": False}),
            lambda v: F.interpolate(v, (7, 5), mode="bilinear", align_corners=False),
            torch.zeros(()).double(),
        ),
        "interpolate, nearest": (
            Case("interpolate", (image,), {"size": (7, 2), "mode": "nearest",
                 "align_corners": False}),
            lambda v: F.interpolate(v, (7, 2), mode="nearest"),
            torch.zeros(()).double(),
        ),
        "avg_pool2d": (
            Case("avg_pool2d", (image,), {"kernel": (2, 2), "stride": (1, 1), "padding": (1, 1)}),
            lambda v: F.avg_pool2d(v, 2, 1, 1),
            torch.zeros(()).double(),
        ),
        "avg_pool2d of what is there": (
            Case("avg_pool2d", (image,),
                 {"kernel": (3, 3), "stride": (2, 2), "padding": (1, 1), "ceil": True,
                  "uncounted": True}),
            lambda v: F.avg_pool2d(v, 3, 2, 1, ceil_mode=True, count_include_pad=False),
            torch.zeros(()).double(),
        ),
    }  # fmt: skip


@pytest.mark.parametrize("eps", [0.0, 1e-6, 0.5])
@pytest.mark.parametrize("name", list(linear_cases()))
def test_epsilon_on_linear_maps(name: str, eps: float) -> None:
    case, f, bias = linear_cases()[name]
    (x,) = case.inputs
    matrix, z = columns(f, x), f(x) + bias
    found = check(case, "epsilon", z, lambda r: [back(matrix, r / stab(z, eps), x)], eps=eps)
    assert ("epsilon" in found.sinks) == (eps > 0)
    assert ("bias" in found.sinks) == ("bias" in case.weights)


@pytest.mark.parametrize("eps", [0.0, 0.5])
@pytest.mark.parametrize("name", list(linear_cases()))
def test_epsilon_with_the_bias_excluded(name: str, eps: float) -> None:
    case, f, bias = linear_cases()[name]
    (x,) = case.inputs
    matrix, z = columns(f, x), f(x) + bias
    pure = stab(f(x), eps)
    safe = torch.where(pure == 0, math.inf, pure)
    found = check(
        case, "epsilon", z, lambda r: [back(matrix, r / safe, x)], eps=eps, bias="excluded"
    )
    assert "bias" not in found.sinks


CLASS_AXES = {"linear": -1, "linear without bias": -1, "conv2d": 1, "conv_transpose2d": 1}


@pytest.mark.parametrize("eps", [0.0, 1e-6, 0.5])
@pytest.mark.parametrize("name", CLASS_AXES)
def test_contrast_is_epsilon_with_weights_less_their_mean(name: str, eps: float) -> None:
    case, f, bias = linear_cases()[name]
    (x,) = case.inputs
    z = f(x) + bias
    matrix = columns(lambda v: f(v) - f(v).mean(CLASS_AXES[name], keepdim=True), x)
    found = check(case, "contrast", z, lambda r: [back(matrix, r / stab(z, eps), x)], eps=eps)
    assert ("epsilon" in found.sinks) == (eps > 0)
    assert ("bias" in found.sinks) == ("bias" in case.weights)
    assert "shared" in found.sinks


def test_contrast_of_one_class_is_epsilon_and_of_a_difference_too() -> None:
    torch.manual_seed(2)
    x, w, b = n(2, 4), n(1, 4), n(1)
    one = Case("linear", (x,), {}, {"weight": w, "bias": b})
    alone, plain = (
        flow(one, rule, n(3, 2, 1) * 0 + 1, eps=0.1) for rule in ("contrast", "epsilon")
    )
    assert torch.equal(alone.inputs[0], plain.inputs[0])
    assert "shared" not in alone.sinks
    several = Case("linear", (x,), {}, {"weight": n(3, 4), "bias": n(3)})
    g = torch.tensor([[[1.0, -1.0, 0.0]] * 2], dtype=torch.float64)
    differing, plain = (flow(several, rule, g, eps=0.0) for rule in ("contrast", "epsilon"))
    assert torch.allclose(differing.inputs[0], plain.inputs[0], rtol=1e-12)
    assert float(differing.sinks["shared"].abs().max()) < 1e-12


@pytest.mark.parametrize("name", list(linear_cases()))
def test_gradient_input_on_linear_maps(name: str) -> None:
    case, f, bias = linear_cases()[name]
    (x,) = case.inputs
    z, matrix = f(x) + bias, columns(f, x)
    check(case, "gradient_input", z, lambda r: [back(matrix, r / z, x)])


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 6), st.integers(1, 6), st.floats(0, 2), st.integers(0, 999))
def test_epsilon_sums(wide: int, out: int, eps: float, seed: int) -> None:
    """The formula as two loops; an output that is exactly 0 counts as positive."""
    torch.manual_seed(seed)
    w, b, x = n(out, wide), n(out), n(1, wide)
    w[0], b[0] = 0, 0
    g = n(1, 1, out)
    found = flow(Case("linear", (x,), {}, {"weight": w, "bias": b}), "epsilon", g, eps=eps)
    expected = [0.0] * wide
    for j in range(out):
        z = sum(float(w[j, i] * x[0, i]) for i in range(wide)) + float(b[j])
        divisor = z + (eps if z >= 0 else -eps)
        for i in range(wide):
            expected[i] += float(x[0, i] * w[j, i]) * (
                float(g[0, 0, j]) * z / divisor if z else 0.0
            )
    torch.testing.assert_close(found.inputs[0][0, 0], torch.tensor(expected).double())


# -- rules that take weights apart -----------------------------------------------------------------


@dataclass(frozen=True)
class Map:
    """A linear map written out: M with z = M x + b, and where M has a weight at all."""

    case: Case
    matrix: Tensor
    bias: Tensor
    support: Tensor
    shape: torch.Size

    @property
    def x(self) -> Tensor:
        return self.case.inputs[0].flatten()

    @property
    def output(self) -> Tensor:
        return self.z.reshape(self.shape)

    def box(self, values: float | tuple[float, ...]) -> Tensor:
        """One number for each entry of x, given one or one for each channel."""
        (x,) = self.case.inputs
        each = torch.tensor(values, dtype=torch.float64)
        trailing = 0 if self.case.op == "linear" else x.dim() - 2
        return each.reshape(-1, *(1,) * trailing).expand_as(x).flatten()

    @property
    def z(self) -> Tensor:
        return self.matrix @ self.x + self.bias


def written_out(case: Case, f: Callable[[Tensor], Tensor], bias: Tensor) -> Map:
    (x,) = case.inputs
    matrix = columns(f, x)
    z = f(x)
    return Map(case, matrix, (z * 0 + bias).flatten(), (matrix != 0).double(), z.shape)


def positive(t: Tensor) -> Tensor:
    return torch.where(t > 0, t, 0.0)


def negative(t: Tensor) -> Tensor:
    return torch.where(t < 0, t, 0.0)


def over(r: Tensor, d: Tensor, eps: float) -> Tensor:
    """r / stab_ε(d), and 0 where there is nothing to share it out by."""
    divisor = stab(d, eps)
    return torch.where(divisor == 0, 0.0, r / torch.where(divisor == 0, 1.0, divisor))


def twin(rule: str, m: Map, r: Tensor, p: dict[str, Any]) -> tuple[Tensor, float]:
    """R_x and the bias's share, as rules.md writes them."""
    w, x, eps = m.matrix, m.x, float(p.get("eps", 1e-6))
    up, un, xp, xn = positive(w), negative(w), positive(x), negative(x)
    b = torch.zeros_like(m.bias) if p.get("bias") == "excluded" else m.bias
    if rule == "gamma":
        g = float(p["gamma"])
        more, less = w + g * up, w + g * un
        bp, bn = b + g * positive(b), b + g * negative(b)
        sp = over(torch.where(m.z > 0, r, 0.0), more @ xp + less @ xn + bp, eps)
        sn = over(torch.where(m.z < 0, r, 0.0), less @ xp + more @ xn + bn, eps)
        out = xp * (more.T @ sp) + xn * (less.T @ sp) + xp * (less.T @ sn) + xn * (more.T @ sn)
        return out, float(sp @ bp + sn @ bn)
    if rule == "gamma_weight":
        g = float(p["gamma"])
        more = w + g * up
        b = m.bias if p.get("bias") == "kept" else b + g * positive(b)
        s = over(r, more @ x + b, eps)
        return x * (more.T @ s), float(s @ b)
    if rule in ("alpha_beta", "z_plus"):
        alpha, beta = (float(p["alpha"]), float(p["beta"])) if rule == "alpha_beta" else (1.0, 0.0)
        sp = over(r, up @ xp + un @ xn + positive(b), eps)
        sn = over(r, un @ xp + up @ xn + negative(b), eps)
        out = alpha * (xp * (up.T @ sp) + xn * (un.T @ sp))
        out = out - beta * (xp * (un.T @ sn) + xn * (up.T @ sn))
        return out, float(alpha * (sp @ positive(b)) - beta * (sn @ negative(b)))
    if rule == "z_box":
        low, high = m.box(p["low"]), m.box(p["high"])
        s = over(r, m.z - (up @ low + positive(m.bias)) - (un @ high + negative(m.bias)), eps)
        return x * (w.T @ s) - low * (up.T @ s) - high * (un.T @ s), 0.0
    if rule == "w_square":
        s = over(r, (w**2).sum(1) + b**2, eps)
        return (w**2).T @ s, float(s @ b**2)
    if rule == "epsilon":
        s, factor = over(r, w @ x + b, eps), float(p.get("bias_factor", 1.0))
        equal = m.support
        share = {"spread": equal, "by_activation": (w * x).abs()}.get(str(p.get("bias")), 0 * equal)
        count = share.sum(1)
        handed = (count > 0).double() * factor
        given = share.T @ (handed * b * s / torch.where(count > 0, count, 1.0))
        return x * (w.T @ s) + given, float((1 - handed) * s @ b)
    assert rule == "flat"
    return m.support.T @ over(r, m.support.sum(1), eps), 0.0


def held_to_twin(m: Map, rule: str, **params: Any) -> None:
    """R at the input and each sink, for relevance that arrives per unit of activation and as R."""
    shape = m.output.shape
    g = n(SEEDS, *shape)
    weight = n(shape[-1], shape[-1])
    for behind, relevance in ((None, m.output * g), (weight, m.output @ weight.T * g)):
        found = flow(replace(m.case, behind=behind), rule, g, **params)
        assert set(found.sinks) <= {"bias", "epsilon", "sign"}
        sinks = {k: v.sum(1) for k, v in found.sinks.items()}  # over the batch
        nothing = torch.zeros(SEEDS, dtype=torch.float64)
        for k in range(SEEDS):
            r = relevance[k].flatten()
            expected, bias = twin(rule, m, r, params)
            near = {"rtol": 1e-9, "atol": 1e-9 * float(expected.abs().max() + r.abs().max())}
            torch.testing.assert_close(found.inputs[0][k].flatten(), expected, **near)
            lost = r.sum() - expected.sum()
            booked = sum((sink[k] for sink in sinks.values()), nothing[k])
            torch.testing.assert_close(booked, lost, **near)
            assert float(sinks.get("bias", nothing)[k]) == pytest.approx(bias, abs=near["atol"])
        rest = found.booked["start"] - found.booked["end"] - sum(found.sinks.values())
        scale = max(float(v.abs().max()) for v in found.booked.values())
        assert float(rest.abs().max()) <= 1e-10 * scale


@pytest.mark.parametrize(("rule", "alpha"), [("z_plus", 1.0), ("alpha_beta", 2.0)])
def test_what_nothing_of_its_sign_contributes_to_is_a_sink_of_its_own(
    rule: str, alpha: float
) -> None:
    """Output 1 has negative contributions alone, so its positive part, α of it, is lost whole."""
    model = torch.nn.Linear(2, 2).double().eval()
    model.weight.data = torch.tensor([[1.0, -0.5], [-1.0, -2.0]], dtype=torch.float64)
    model.bias.data.zero_()
    x = torch.tensor([[2.0, 1.0]], dtype=torch.float64)
    rules = [{"role": "linear", "rule": rule, "eps": 1e-9}]
    program = lrpc.compile(model, (x,), composite={"one": {"composite": "epsilon", "rules": rules}})
    state = program.forward(x)
    found = program.relevance(state, "output", seeds=state.outputs[None], ledger=True).ledger
    assert float(found.start) == pytest.approx(1.5 - 4.0)
    assert float(found.sinks["sign"]) == pytest.approx(alpha * -4.0)
    assert abs(float(found.sinks["epsilon"])) < 1e-8
    assert float(found.closure) < 1e-14


RULES: list[tuple[str, dict[str, Any]]] = [
    ("epsilon", {"eps": 1e-6, "bias": "excluded"}),
    ("epsilon", {"eps": 1e-6, "bias": "spread"}),
    ("epsilon", {"eps": 0.2, "bias": "spread", "bias_factor": 0.3}),
    ("epsilon", {"eps": 0.2, "bias": "spread", "bias_factor": 0.0}),
    ("epsilon", {"eps": 1e-6, "bias": "by_activation"}),
    ("epsilon", {"eps": 0.2, "bias": "by_activation", "bias_factor": 0.3}),
    ("gamma", {"gamma": 0.25, "eps": 1e-6}),
    ("gamma", {"gamma": 1.5, "eps": 0.3}),
    ("gamma", {"gamma": 0.0, "eps": 0.1, "bias": "excluded"}),
    ("gamma_weight", {"gamma": 0.5, "eps": 0.2}),
    ("gamma_weight", {"gamma": 0.5, "eps": 0.2, "bias": "kept"}),
    ("gamma_weight", {"gamma": 1.0, "eps": 0.2, "bias": "excluded"}),
    ("alpha_beta", {"alpha": 2.0, "beta": 1.0, "eps": 1e-6}),
    ("alpha_beta", {"alpha": 1.3, "beta": 0.3, "eps": 0.2, "bias": "excluded"}),
    ("z_plus", {"eps": 1e-6}),
    ("z_plus", {"eps": 0.0, "bias": "excluded"}),
    ("z_box", {"low": -3.0, "high": 2.5, "eps": 1e-6}),
    ("z_box", {"low": -4, "high": 4, "eps": 0.0}),
    ("w_square", {"eps": 1e-6}),
    ("w_square", {"eps": 0.5, "bias": "excluded"}),
    ("flat", {"eps": 1e-6}),
    ("flat", {"eps": 0.0}),
]


@pytest.mark.parametrize(("rule", "params"), RULES)
@pytest.mark.parametrize("name", list(linear_cases()))
def test_rules_by_weight(name: str, rule: str, params: dict[str, Any]) -> None:
    held_to_twin(written_out(*linear_cases()[name]), rule, **params)


@st.composite
def drawn_maps(draw: st.DrawFn) -> Map:
    """Any linear or convolution: shapes, strides, padding, dilation, groups; some x and z are 0."""
    torch.manual_seed(draw(st.integers(0, 10**6)))
    kind = draw(st.sampled_from(["linear", "conv2d", "conv_transpose2d", "avg_pool2d"]))
    small = st.integers(1, 3)
    pair = st.tuples(small, small)
    if kind == "linear":
        wide, out = draw(st.integers(1, 5)), draw(st.integers(1, 5))
        w, b, x = n(out, wide), n(out), n(2, wide)
        case = Case(kind, (x,), {}, {"weight": w, "bias": b})
        return spotted(case, lambda v: v @ w.T, b)
    if kind == "avg_pool2d":
        kernel, stride = draw(pair), draw(pair)
        padding = tuple(draw(st.integers(0, k // 2)) for k in kernel)
        x = n(1, 2, draw(st.integers(3, 5)), draw(st.integers(3, 5)))
        case = Case(kind, (x,), {"kernel": kernel, "stride": stride, "padding": padding})
        zero = torch.zeros(1, dtype=torch.float64)
        return spotted(case, lambda v: F.avg_pool2d(v, kernel, stride, padding), zero)
    groups, kernel, stride, dilation = draw(st.sampled_from([1, 2])), *(draw(pair) for _ in "123")
    padding = tuple(
        draw(st.integers(0, d * (k - 1))) for k, d in zip(kernel, dilation, strict=True)
    )
    attrs: dict[str, Any] = {
        "stride": stride, "padding": padding, "dilation": dilation, "groups": groups,
    }  # fmt: skip
    size = [draw(st.integers(1 + d * (k - 1), 5 + d * (k - 1)))
            for k, d in zip(kernel, dilation, strict=True)]  # fmt: skip
    x, b = (
        n(1, 2 * groups, *(min(s, 5) if kind != "conv2d" else min(s, 7) for s in size)),
        n(2 * groups),
    )
    if kind == "conv2d":
        w = n(2 * groups, 2, *kernel)
        case = Case(kind, (x,), attrs, {"weight": w, "bias": b})
        return spotted(case, lambda v: F.conv2d(v, w, None, **attrs), b.reshape(-1, 1, 1))
    w = n(2 * groups, 2, *kernel)
    attrs["output_padding"] = tuple(
        draw(st.integers(0, max(s, d) - 1)) for s, d in zip(stride, dilation, strict=True)
    )
    sides = zip(x.shape[2:], stride, dilation, kernel, strict=True)
    whole = [(h - 1) * s + d * (k - 1) for h, s, d, k in sides]
    attrs["padding"] = tuple(min(p, w // 2) for p, w in zip(padding, whole, strict=True))
    case = Case(kind, (x,), attrs, {"weight": w, "bias": b})
    return spotted(case, lambda v: F.conv_transpose2d(v, w, None, **attrs), b.reshape(-1, 1, 1))


def spotted(case: Case, f: Callable[[Tensor], Tensor], bias: Tensor) -> Map:
    """With a third of the inputs exactly 0, and outputs that are 0 where the first bias is."""
    (x,) = case.inputs
    x[torch.rand(x.shape) < 0.3] = 0.0
    bias.view(-1)[0] = 0.0
    return written_out(case, f, bias)


@settings(max_examples=120, deadline=None)
@given(drawn_maps(), st.sampled_from(RULES), st.floats(0.05, 1.0))
def test_rules_by_weight_on_any_map(m: Map, chosen: tuple[str, dict[str, Any]], eps: float) -> None:
    rule, params = chosen
    held_to_twin(m, rule, **params | {"eps": eps})


@pytest.mark.parametrize("corners", [False, True])
@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("rule", ["w_square", "flat"])
def test_interpolation_taken_apart(rule: str, mode: str, corners: bool) -> None:
    """Squares and counts of weights that are products of one weight along each axis."""
    x, size = n(2, 2, 4, 3), (7, 5)
    case = Case("interpolate", (x,), {"size": size, "mode": mode, "align_corners": corners})
    m = written_out(
        case,
        lambda v: F.interpolate(v, size, mode=mode, align_corners=corners),
        torch.zeros(1, dtype=torch.float64),
    )
    held_to_twin(m, rule, eps=1e-6)


@pytest.mark.parametrize("rule", ["gamma", "gamma_weight", "alpha_beta", "z_plus", "z_box"])
def test_signs_of_bicubic_weights_are_refused(rule: str) -> None:
    attrs = {"size": (7, 5), "mode": "bicubic", "align_corners": False}
    box = {"low": 0.0, "high": 1.0} if rule == "z_box" else {}
    with pytest.raises(RuleError, match=r"mode bicubic .* has weights of both signs"):
        flow(Case("interpolate", (n(1, 1, 4, 3),), attrs), rule, n(1, 1, 1, 7, 5), **box)


@pytest.mark.parametrize("name", ["linear", "conv2d", "avg_pool2d"])
def test_box_for_each_channel(name: str) -> None:
    case, f, bias = linear_cases()[name]
    channels = case.inputs[0].shape[-1 if name == "linear" else 1]
    low = tuple(-3.0 - c for c in range(channels))
    held_to_twin(written_out(case, f, bias), "z_box", low=low, high=3.5, eps=1e-6)
    with pytest.raises(RuleError, match=f"3 numbers given for {name} with {channels} input chan"):
        flow(case, "z_box", n(1, *(f(case.inputs[0]) + bias).shape), low=(-1, -1, -1), high=2)


@pytest.mark.parametrize(("rule", "params"), RULES)
def test_inputs_known_not_to_be_negative(rule: str, params: dict[str, Any]) -> None:
    """Behind a ReLU half of the work is left out, and nothing changes."""
    case, f, bias = linear_cases()["conv2d"]
    (x,) = case.inputs
    m = written_out(replace(case, inputs=(positive(x),)), f, bias)
    g = n(SEEDS, *m.output.shape)
    found = flow(replace(case, before="relu"), rule, g, **params)
    usual = flow(m.case, rule, g, **params)
    counts = [sum(node.op.startswith("conv2d") for node in f.nodes) for f in (found, usual)]
    assert counts[0] < counts[1] or rule not in ("alpha_beta", "z_plus")
    for k in range(SEEDS):
        expected, _ = twin(rule, m, (m.output * g[k]).flatten(), params)
        torch.testing.assert_close(found.inputs[0][k].flatten(), expected, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("name", ["batch_norm", "linear", "conv2d", "avg_pool2d"])
def test_pass_on_linear_maps(name: str) -> None:
    """R stays where it is; where shapes differ there is no such place."""
    x, image = n(2, 3, 4), n(2, 2, 4, 3)
    same = {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1), "groups": 1}
    cases = {
        "batch_norm": linear_cases()["batch_norm"][0],
        "linear": Case("linear", (x,), {}, {"weight": n(4, 4), "bias": n(4)}),
        "conv2d": Case("conv2d", (image,), same, {"weight": n(2, 2, 3, 3)}),
        "avg_pool2d": linear_cases()["avg_pool2d"][0],
    }
    case = cases[name]
    g = n(SEEDS, *case.inputs[0].shape)
    if name == "avg_pool2d":
        with pytest.raises(RuleError, match="needs an output of its input's shape, but avg_pool2d"):
            flow(case, "pass", g)
        return
    found = flow(case, "pass", g)
    torch.testing.assert_close(found.inputs[0], found.z * g)
    assert not found.sinks


@pytest.mark.parametrize("eps", [0.0, 1e-6, 0.5])
@pytest.mark.parametrize("op", ["sum", "mean"])
def test_epsilon_on_sums_along_axes(op: str, eps: float) -> None:
    x = n(2, 4, 6)
    x[0] = 0.0
    attrs = {"dims": (-2,), "keepdim": False}

    def f(v: Tensor) -> Tensor:
        return v.sum(1) if op == "sum" else v.mean(1)

    matrix = columns(f, x)
    check(Case(op, (x,), attrs), "epsilon", f(x),
          lambda r: [back(matrix, over(r, f(x), eps), x)], eps=eps)  # fmt: skip


@pytest.mark.parametrize("excluded", [False, True])
@pytest.mark.parametrize(
    ("before", "after", "maps", "transposes"),
    [("", "", 2, 2), ("relu", "", 2, 2), ("", "relu", 2, 2), ("relu", "relu", 2, 1)],
)
def test_gamma_takes_as_few_maps_as_signs_allow(
    before: str, after: str, maps: int, transposes: int, excluded: bool
) -> None:
    """Beside the forward pass one map, and two transposes, or one between two ReLUs: no relevance
    comes back to outputs below 0. The result is that of the rule's definition."""
    torch.manual_seed(0)
    w, b, x = n(3, 4), n(3), n(2, 5, 4)
    seed, given = n(SEEDS, 2, 5, 3), positive(x) if before else x
    params: dict[str, Any] = {"gamma": 0.7, "eps": 0.1}
    params |= {"bias": "excluded"} if excluded else {}
    case = Case("linear", (x,), {}, {"weight": w, "bias": b}, before=before, after=after)
    found = flow(case, "gamma", seed, **params)
    assert sum(v.op == "linear" for v in found.nodes) == maps
    assert sum(v.op == "linear_transpose" for v in found.nodes) == transposes
    m = written_out(replace(case, inputs=(given,)), lambda v: v @ w.T, b)
    for k in range(SEEDS):
        arrived = (positive(m.output) if after else m.output) * seed[k]
        expected, _ = twin("gamma", m, arrived.flatten(), params)
        mine = found.inputs[0][k].flatten()
        torch.testing.assert_close(mine, expected, rtol=1e-9, atol=1e-10)
    rest = found.booked["start"] - found.booked["end"] - sum(found.sinks.values())
    assert float(rest.abs().max()) < 1e-10


def test_gamma_of_0_takes_no_map() -> None:
    w, b, x = n(3, 4), n(3), n(2, 5, 4)
    case = Case("linear", (x,), {}, {"weight": w, "bias": b})
    found = flow(case, "gamma", n(SEEDS, 2, 5, 3), gamma=0.0)
    assert [v.op for v in found.nodes if v.op.startswith("linear")] == [
        "linear",
        "linear_transpose",
    ]


@pytest.mark.parametrize("rule", ["epsilon", "gamma", "gradient_input"])
def test_of_an_output_that_only_a_relu_reads_the_relu_is_enough(rule: str) -> None:
    """No relevance is where the two differ: neither the rule nor its ledger reads the output."""
    w, b, x = n(3, 4), n(3), n(2, 5, 4)
    case = Case("linear", (x,), {}, {"weight": w, "bias": b}, after="relu")
    found = flow(case, rule, n(SEEDS, 2, 5, 3))
    (z,) = (node.out for node in found.nodes if node.op == "linear" and not node.role)
    readers = [node.op for node in found.nodes if z in node.inputs]
    assert readers == ["relu"]
    rest = found.booked["start"] - found.booked["end"] - sum(found.sinks.values())
    assert float(rest.abs().max()) < 1e-10
