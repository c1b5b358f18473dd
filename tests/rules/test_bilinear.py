"""Rules of products and sums against slow float64 twins."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import lrpc
from lrpc.errors import RuleError
from lrpc.ir.interpreter import interpret
from passes.lower_relevance import LowerRelevance
from tests.support.graphs import module
from tests.support.one_node import Case, flow
from tests.support.twins import (
    SEEDS,
    Twin,
    back,
    check,
    closes,
    columns,
    n,
    seeds_for,
    stab,
)

BILINEAR: dict[str, tuple[Case, Callable[[Tensor, Tensor], Tensor]]] = {
    "mul": (Case("mul", (n(2, 3, 4), n(2, 3, 4))), torch.mul),
    "mul broadcast": (Case("mul", (n(2, 3, 4), n(2, 1, 4))), torch.mul),
    "matmul": (Case("matmul", (n(2, 3, 4), n(2, 4, 2))), torch.matmul),
    "einsum": (
        Case("einsum", (n(2, 3, 4), n(2, 5, 4)), {"equation": "bqc,bkc->bqk"}),
        lambda a, b: torch.einsum("bqc,bkc->bqk", a, b),
    ),
    "einsum, one factor summed": (
        Case("einsum", (n(2, 3, 4), n(2, 4)), {"equation": "bij,bj->b"}),
        lambda a, b: (a.sum(1) * b).sum(1),
    ),
    "einsum, both factors summed": (
        Case("einsum", (n(2, 3, 4), n(2, 5, 6)), {"equation": "bij,bkl->bkj"}),
        lambda a, b: a.sum(1)[:, None] * b.sum(2)[:, :, None],
    ),
    "einsum, summed and broadcast": (
        Case("einsum", (n(2, 3, 4), n(2, 1, 4)), {"equation": "bij,biZ->bi"}),
        lambda a, b: a.sum(2) * b.sum(2),
    ),
}


def bilinear_twin(name: str, eps: float, share: float) -> tuple[Case, Tensor, Twin]:
    case, f = BILINEAR[name]
    a, b = case.inputs
    z = f(a, b)
    left, right = columns(lambda v: f(v, b), a), columns(lambda v: f(a, v), b)

    def twin(r: Tensor) -> list[Tensor]:
        s = r / stab(z, eps)
        return [share * back(left, s, a), (1 - share) * back(right, s, b)]

    return case, z, twin


@pytest.mark.parametrize("eps", [0.0, 0.5])
@pytest.mark.parametrize("name", list(BILINEAR))
def test_uniform(name: str, eps: float) -> None:
    case, z, twin = bilinear_twin(name, eps, 0.5)
    check(case, "uniform", z, twin, eps=eps)


@pytest.mark.parametrize("share", [0.25, 1.0])
@pytest.mark.parametrize("name", list(BILINEAR))
def test_share(name: str, share: float) -> None:
    case, z, twin = bilinear_twin(name, 0.1, share)
    found = flow(case, "share", (g := seeds_for(z)), ratio=share, eps=0.1)
    closes(found)
    for k in range(SEEDS):
        for mine, expected in zip(found.inputs, twin(z * g[k]), strict=True):
            if mine.dim() > 1:  # nothing is sent where the share is 0
                torch.testing.assert_close(mine[k], expected, rtol=1e-9, atol=1e-10)
            else:
                assert not expected.any()


@pytest.mark.parametrize("name", list(BILINEAR))
def test_gradient_input_on_bilinear_maps(name: str) -> None:
    case, f = BILINEAR[name]
    a, b = case.inputs
    z = f(a, b)
    left, right = columns(lambda v: f(v, b), a), columns(lambda v: f(a, v), b)
    found = check(
        case, "gradient_input", z, lambda r: [back(left, r / z, a), back(right, r / z, b)]
    )
    assert "rescale" in found.sinks


@pytest.mark.parametrize("rule", ["uniform", "share", "gradient_input"])
def test_a_constant_factor_takes_nothing(rule: str) -> None:
    x, c = n(2, 3, 4), n(4)
    found = check(Case("mul", (x,), constants={1: c}), rule, x * c, lambda r: [r])
    assert not found.sinks


@pytest.mark.parametrize("eps", [0.0, 1e-6, 0.5])
@pytest.mark.parametrize("op", ["add", "sub"])
@pytest.mark.parametrize("shape", [(2, 3, 4), (2, 1, 4), (2, 3, 1)])
def test_epsilon_on_sums(op: str, shape: tuple[int, ...], eps: float) -> None:
    a, b = n(2, 3, 4), n(*shape)
    signed = b if op == "add" else -b
    z = a + signed
    summed = [i for i in range(3) if shape[i] == 1 and z.shape[i] != 1]

    def twin(r: Tensor) -> list[Tensor]:
        s = r / stab(z, eps)
        part = signed * s
        return [a * s, part.sum(summed, keepdim=True) if summed else part]

    check(Case(op, (a, b)), "epsilon", z, twin, eps=eps)


def test_a_position_keeps_its_share_or_splits() -> None:
    a, b, eps = n(2, 3, 4), n(2, 3, 4), 0.1
    z = a + b
    case = Case("add", (a, b), role="positional")
    kept = flow(case, "epsilon", g := seeds_for(z), eps=eps)
    closes(kept)
    lost = (b * (z * g / stab(z, eps))).sum((2, 3))
    torch.testing.assert_close(kept.sinks["position"], lost)
    assert kept.inputs[1].dim() == 1
    split = check(
        case, "epsilon", z,
        lambda r: [a * r / stab(z, eps), b * r / stab(z, eps)], eps=eps, position="split",
    )  # fmt: skip
    assert "position" not in split.sinks


@pytest.mark.parametrize("op", ["add", "sub"])
def test_gradient_input_on_sums(op: str) -> None:
    a, b = n(2, 3, 4), n(2, 3, 4)
    sign = 1 if op == "add" else -1
    z = a + sign * b
    check(Case(op, (a, b)), "gradient_input", z, lambda r: [a * r / z, sign * b * r / z])


@pytest.mark.parametrize("factor", ["first", "second"])
@pytest.mark.parametrize("name", list(BILINEAR))
def test_a_detached_factor_takes_nothing(name: str, factor: str) -> None:
    case, z, twin = bilinear_twin(name, 0.1, 0.0 if factor == "first" else 1.0)
    found = check(case, "detach", z, twin, factor=factor, eps=0.1)
    assert found.inputs[0 if factor == "first" else 1].dim() == 1


PRODUCTS = """
graph @g(%a: f64[B,4], %b: f64[B,4], %c: f64[B,4]) {{
  weight "w": f64[4]
  %k: f64[4] = constant() {{weight="w"}}
  %p: f64[B,4] = mul(%a, %b) rule={inner}
  %q: f64[B,4] = mul(%k, %p) rule=uniform(eps=0.0)
  {more}
  %z: f64[B,4] = mul({last}) rule=uniform(eps=0.0)
  place "z" %z
  place "a" %a
  place "b" %b
  place "c" %c
  return %z
}}
"""


@pytest.mark.parametrize(
    ("inner", "more", "last", "shares"),
    [
        ("uniform(eps=0.0)", "", "%q, %c", (1 / 3, 1 / 3, 1 / 3)),
        ("uniform(eps=0.0)", "", "%c, %q", (1 / 3, 1 / 3, 1 / 3)),
        ("uniform(eps=0.0)", "%r: f64[B,4] = mul(%c, %a) rule=uniform(eps=0.0)", "%q, %r",
         (1 / 2, 1 / 4, 1 / 4)),
        ("uniform(eps=0.0)", "%r: f64[B,4] = silu(%q) rule=pass", "%q, %r",
         (1 / 2, 1 / 2, 0)),  # not a chain: q is also read by itself
        ("share(ratio=0.25, eps=0.0)", "", "%q, %c", (1 / 8, 3 / 8, 1 / 2)),
    ],
)  # fmt: skip
def test_n_factors_take_one_nth_each(
    inner: str, more: str, last: str, shares: tuple[float, ...]
) -> None:
    """R of every factor of z, from a z that is its own relevance: G = 1."""
    given = module(PRODUCTS.format(inner=inner, more=more, last=last))
    joint = LowerRelevance("z", ("a", "b", "c")).run(given)
    inputs = {name: n(2, 4) for name in "abc"}
    values = interpret(joint.graph, joint.tensors, {**inputs, "seed": torch.ones(1, 2, 4).double()},
                       keep=True)  # fmt: skip
    reads = {str(r.attr("name")): r for r in joint.graph.nodes if r.op == "read"}
    for name, share in zip("abc", shares, strict=True):
        if not share:
            assert name not in reads
            continue
        g, x = (values[v.name] for v in reads[name].inputs)
        torch.testing.assert_close(g[0] * x, share * values["z"], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("rule", ["uniform", "gradient_input"])
@pytest.mark.parametrize("equation", ["bii,bi->b", "bi,bii->bi"])
def test_a_diagonal_is_refused_in_one_line(equation: str, rule: str) -> None:
    square, row = n(2, 3, 3), n(2, 3)
    case = Case("einsum", (square, row) if equation.startswith("bii") else (row, square),
                {"equation": equation})  # fmt: skip
    with pytest.raises(RuleError, match=r'^einsum ".*" at .* takes a diagonal, .*$'):
        flow(case, rule, n(1, 2) if equation.endswith(">b") else n(1, 2, 3))


@pytest.mark.parametrize("equation", ["...i,...i->...", "...ij,...jk", "bi...,b...->b", "bij,j"])
def test_equations_that_leave_axes_unsaid(equation: str) -> None:
    class Twice(torch.nn.Module):
        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return torch.einsum(equation, x, y.exp())

    x = n(3, 4, 4)
    y = {"bi...,b...->b": x[:, 0], "bij,j": x[0, 0]}.get(equation, x)
    unbatched = ["y"] if y.dim() == 1 else []
    program = lrpc.compile(Twice().eval(), (x, y), composite="gradient_input", unbatched=unbatched)
    state = program.forward(x, y)
    leaves = [x.clone().requires_grad_(), y.clone().requires_grad_()]
    out = Twice()(*leaves)
    seed = torch.randn_like(out)
    gradients = torch.autograd.grad(out, leaves, seed)
    found = program.relevance(state, "output", seeds=(seed * out).detach()[None])
    for name, leaf, gradient in zip("xy", leaves, gradients, strict=True):
        torch.testing.assert_close(found.inputs[name][0], (leaf * gradient).detach())
