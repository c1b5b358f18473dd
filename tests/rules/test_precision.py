"""Every rule of the catalogue in half precision, computed by the kernels that programs carry.

On zeros, denormals and large values no relevance may become NaN or infinite. On inputs that are
not ill-conditioned the error against float64, in units of the dtype's rounding, stays small:
`python -m tests.rules.test_precision` prints the table.
"""

from __future__ import annotations

import functools
import math
import zlib
from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lrpc.backend.expression import render
from lrpc.backend.sources import FUNCTIONS, MODULES
from lrpc.ir.graph import Node
from lrpc.ir.ops import TABLE, resolve
from lrpc.ir.types import B
from lrpc.rules import CATALOGUE
from lrpc.rules.maps import MAPS
from tests.rules.test_bilinear import BILINEAR
from tests.rules.test_deformable import sampling
from tests.rules.test_linear import linear_cases
from tests.rules.test_nonlinear import ACTIVATIONS
from tests.rules.test_norms import OPS as NORMS
from tests.rules.test_norms import norm
from tests.rules.test_structure import STRUCTURE
from tests.support.one_node import Case, flow

KERNELS = {
    name: getattr(module, name) for module in MODULES for name in FUNCTIONS if hasattr(module, name)
}
ROUNDING = {torch.bfloat16: 2.0**-8, torch.float16: 2.0**-11}
TINY = {torch.bfloat16: 2.0**-133, torch.float16: 2.0**-24}  # the smallest denormals
LARGE = {torch.bfloat16: 1e4, torch.float16: 1e3}
EPS = {torch.bfloat16: 1e-6, torch.float16: 1e-3}  # 1/ε must be far inside the dtype's range


POSITIVE = ("sqrt", "log", "log1p", "reciprocal")


def grid_case() -> Case:
    generator = torch.Generator().manual_seed(3)
    value = torch.randn(2, 3, 5, 6, dtype=torch.float64, generator=generator)
    loc = torch.rand(2, 4, 7, 2, dtype=torch.float64, generator=generator) * 1.6 - 0.8
    options = {"mode": "bilinear", "padding": "zeros", "align_corners": False}
    return Case("grid_sample", (value, loc), options)


def of_one_map() -> dict[str, Case]:
    """One case for each op of the catalogue."""
    found = {case.op: case for case, _, _ in reversed(linear_cases().values())}
    found |= {case.op: case for case, _ in reversed(BILINEAR.values())}
    found |= {case.op: case for case, _ in reversed(STRUCTURE.values())}
    x = next(iter(found["permute"].inputs))
    found |= {op: Case(op, (2 * x,), attrs) for op, attrs, _ in ACTIVATIONS.values()}
    given = {"clamp": {"min": -1.0, "max": 2.0}, "pow": {"exponent": 2}}
    found |= {
        op: Case(op, (2 * x,), given.get(op, {})) for op in ("abs", "exp", "erf", "sin", "cos")
    }
    found |= {op: Case(op, (2 * x,), given[op]) for op in given}
    found |= {op: Case(op, (x.abs() + 0.1,)) for op in POSITIVE}
    found |= {op: norm(op, True, (2, 3, 4), 0).case for op in NORMS}
    found |= {op: Case(op, (x, x[:, :1] + x.exp()), role="residual") for op in ("add", "sub")}
    found["softmax"] = Case("softmax", (x,), {"dim": -1})
    found["deform_sample"] = sampling(0)
    found["grid_sample"] = grid_case()
    found["cumsum"] = Case("cumsum", (x,), {"dim": -1})
    found["scatter_sum"] = Case("scatter_sum", (x, (x > 0).long()), {"dim": -1, "size": 3})
    found["shift"] = Case("shift", (x,), {"by": 0.5})
    found["reshape"] = Case("reshape", (x,), {"shape": (B, 24)})
    found["expand"] = Case("expand", (x[:, :1],), {"shape": (B, 4, 6)})
    found["cast"] = Case("cast", (x,), {"dtype": "f32"})
    found["embedding"] = Case(
        "embedding", (torch.tensor([[0, 2], [1, 1]]),), {}, {"weight": x[0, :3]}
    )
    return found


def of_one_shape() -> dict[str, Case]:
    """Linear maps whose output has their input's shape."""
    x = CASES["conv2d"].inputs[0]
    one = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "groups": 1}
    weight = {"weight": torch.tensor([[0.5, -1.0], [2.0, 0.25]]).double().reshape(2, 2, 1, 1)}
    up = {**one, "output_padding": (0, 0)}
    size = tuple(x.shape[-2:])
    return {
        "linear": replace(CASES["linear"], weights={"weight": 0.5 * torch.eye(4).double()}),
        "conv2d": Case("conv2d", (x,), one, weight),
        "conv_transpose2d": Case("conv_transpose2d", (x,), up, weight),
        "interpolate": Case(
            "interpolate", (x,), {"size": size, "mode": "bilinear", "align_corners": False}
        ),
        "avg_pool2d": Case(
            "avg_pool2d", (x,), {"kernel": (3, 3), "stride": (1, 1), "padding": (1, 1)}
        ),
    }


CASES = of_one_map()
SQUARE = of_one_shape()
RULES = sorted(CATALOGUE)


@functools.cache
def compiled(text: str) -> object:
    return compile(text, "<emitted>", "eval")


def by_kernels(
    node: Node,
    tensors: Mapping[str, Tensor],
    inputs: tuple[Tensor, ...],
    sizes: Mapping[str, int],
) -> tuple[Tensor, ...]:
    """What the text that a program holds for `node` computes."""
    names = [f"x{i}" for i in range(len(inputs))]
    text = render(node, names, lambda name: f"w[{name!r}]")
    scope = {"torch": torch, "F": F, "w": tensors, "device": torch.device("cpu"), **KERNELS}
    made = eval(compiled(text), scope, {**dict(zip(names, inputs, strict=True)), **sizes})  # type: ignore[call-overload]
    return tuple(made) if isinstance(made, tuple | list) else (made,)


def cast(case: Case, dtype: torch.dtype) -> Case:
    """`case` with its floating tensors rounded to `dtype`."""

    def to(t: Tensor) -> Tensor:
        return t.to(dtype) if t.is_floating_point() else t

    return replace(
        case,
        inputs=tuple(map(to, case.inputs)),
        weights={k: to(t) for k, t in case.weights.items()},
        constants={k: to(t) for k, t in case.constants.items()},
    )


def output(case: Case) -> Tensor:
    """What the operation computes, by its reference."""
    inputs = list(case.inputs)
    for place, constant in sorted(case.constants.items()):
        inputs.insert(place, constant)
    attrs = {k: resolve(v, {"B": len(inputs[0])}) for k, v in case.attrs.items()}
    made = TABLE[case.op].reference(*inputs, **attrs, **case.weights)
    first: Tensor = made[0] if isinstance(made, tuple) else made
    return first


def seeds_of(case: Case, rule: str) -> Tensor:
    generator = torch.Generator().manual_seed(zlib.crc32(f"{case.op} {rule}".encode()))
    z = output(case)
    return torch.randn(2, *z.shape, generator=generator, dtype=torch.float64).to(z.dtype)


def params_of(op: str, rule: str, dtype: torch.dtype) -> dict[str, object]:
    box: dict[str, object] = {"low": -3.0, "high": 3.0} if rule == "z_box" else {}
    stabilised = any(p.name == "eps" for p in CATALOGUE[op, rule].params)
    return box | ({"eps": EPS[dtype]} if stabilised else {})


def case_of(op: str, rule: str) -> Case:
    return SQUARE.get(op, CASES[op]) if rule == "pass" else CASES[op]


def hard(case: Case, dtype: torch.dtype) -> Case:
    """`case` with zeros, denormals and large values among its inputs; places and shares stay.

    They are such that the output is finite: logarithms and reciprocals get no 0.
    """
    large = LARGE[dtype] if case.op not in (*BILINEAR, "pow") else LARGE[dtype] ** 0.5
    least = {"log": TINY[dtype], "reciprocal": 1 / large, "exp": math.log(TINY[dtype])}
    most = math.log(large) if case.op == "exp" else math.inf
    low = least.get(case.op, 0.0 if case.op in POSITIVE else -math.inf)
    free = 1 if case.op in ("deform_sample", "grid_sample") else len(case.inputs)
    inputs = []
    for x in case.inputs[:free]:
        flat = x.flatten().clone()
        if x.is_floating_point():
            for i, value in enumerate((0.0, TINY[dtype], large, -large)):
                flat[i::6] = min(max(value, low), most)
        inputs.append(flat.reshape(x.shape))
    return cast(replace(case, inputs=(*inputs, *case.inputs[free:])), dtype)


def forms(rule: str, dtype: torch.dtype) -> list[tuple[bool, float]]:
    """Whether relevance arrives itself, and the part of it that is no multiple of the output.

    float16 has no room for 1/ε of the latter, and `gradient_input` meets none.
    """
    roomy = dtype == torch.bfloat16 and rule != "gradient_input"
    return [(False, 0.0), (True, 0.0), *([(True, 1.0)] if roomy else [])]


@pytest.mark.parametrize("dtype", list(ROUNDING), ids=str)
@pytest.mark.parametrize(("op", "rule"), RULES)
def test_hard_inputs_give_finite_relevance(op: str, rule: str, dtype: torch.dtype) -> None:
    case = hard(case_of(op, rule), dtype)
    g = seeds_of(case, rule)
    assert torch.isfinite(output(case)).all()
    for itself, offset in forms(rule, dtype):
        found = flow(case, rule, g, itself, by_kernels, offset, **params_of(op, rule, dtype))
        for part in (*found.given.values(), *found.inputs, *found.booked.values()):
            assert torch.isfinite(part).all(), (itself, offset)


@pytest.mark.parametrize("op", MAPS)
@pytest.mark.parametrize("rule", ["alpha_beta", "z_plus"])
def test_small_denominators_of_one_sign_are_finite_in_float16(op: str, rule: str) -> None:
    """Positive contributions of 1e-4 against a negative output of −1000: R/ε is far beyond 65504,
    though what an entry gets is not."""
    small = case_of(op, rule)
    x = torch.full_like(small.inputs[0], -30.0)
    x.flatten(1)[:, ::5] = 1e-4
    case = cast(replace(small, inputs=(x,)), torch.float16)
    g = seeds_of(case, rule)
    found = flow(case, rule, g, run=by_kernels, eps=1e-6)
    expected = flow(cast(case, torch.float64), rule, g.double(), eps=1e-6)
    largest = float(expected.inputs[0].abs().max())
    apart = float((found.inputs[0].double() - expected.inputs[0]).abs().max())
    assert apart <= 16 * ROUNDING[torch.float16] * largest


def error(op: str, rule: str, dtype: torch.dtype, itself: bool) -> float:
    """Largest error against float64 on the same inputs, in roundings of the largest entry."""
    case = cast(case_of(op, rule), dtype)
    g, params = seeds_of(case, rule), params_of(op, rule, dtype)
    found = flow(case, rule, g, itself, by_kernels, **params)
    wide = cast(case, torch.float64)
    expected = flow(wide, rule, g.double(), itself, **params)
    worst = 0.0
    for mine, exact in zip(found.inputs, expected.inputs, strict=True):
        scale = float(exact.abs().max())
        assert torch.isfinite(mine).all()
        if scale:
            worst = max(worst, float((mine - exact).abs().max()) / scale / ROUNDING[dtype])
    return worst


WORST = {"splat_value": 16, "gamma_weight": 64}  # a ratio of two long sums; a small denominator


@pytest.mark.parametrize(
    "dtype", [torch.bfloat16, pytest.param(torch.float16, marks=pytest.mark.slow)], ids=str
)
@pytest.mark.parametrize(("op", "rule"), RULES)
def test_errors_are_a_few_roundings(op: str, rule: str, dtype: torch.dtype) -> None:
    for itself in (False, True):
        assert error(op, rule, dtype, itself) < WORST.get(rule, 8), itself


def table() -> str:
    """Errors of every rule, per dtype and form of arrival."""
    head = "op               rule             bf16 G   bf16 R    f16 G    f16 R"
    rows = [
        f"{op:16} {rule:14}"
        + "".join(
            f"{error(op, rule, d, itself):9.1f}" for d in ROUNDING for itself in (False, True)
        )
        for op, rule in RULES
    ]
    return "\n".join([head, *rows])


if __name__ == "__main__":
    print(table())
