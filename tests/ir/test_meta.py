"""What formulas say of operations on tensors without data is what torch says: shape, strides,
dtype, memory; and they leave to torch what they do not cover, errors among it."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._ops import OpOverload

from lrpc.ir.meta import EXACT, FORMULAS, OVER_FIRST, REAL, TOLD, by_formula, formulas

aten = torch.ops.aten


def meta(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.empty(shape, dtype=dtype, device="meta")


ROWS, MASK = meta(2, 3, 4), meta(2, 3, 4, dtype=torch.bool)
OPERANDS: tuple[Any, ...] = (
    *(ROWS, meta(4), meta(2, 1, 4), meta(), meta(0, 3, 4), meta(3, 3)),
    meta(4, 2, 3).permute(1, 2, 0),  # dense, in another order
    meta(2, 3, 8)[..., :4],  # not dense
    meta(4).expand(2, 3, 4),
    *(meta(2, 3, 4, dtype=torch.float64), meta(2, 3, 4, dtype=torch.int64), MASK),
    *(2, 2.5, True),
)
NUMBERS_TOO = ("add", "add_", "sub", "sub_", "mul", "mul_", "div", "div_")


def fits(func: OpOverload, args: tuple[Any, ...]) -> bool:
    """Whether torch would hand these operands to the operation at all."""
    numbers = func._schema.name.partition("::")[2] in NUMBERS_TOO
    wanted = ["Tensor" in str(a.type) for a in func._schema.arguments]
    pairs = zip(args, wanted, strict=False)
    return all(isinstance(a, Tensor) == tensor or (tensor and numbers) for a, tensor in pairs)


def said(result: Any, args: tuple[Any, ...]) -> Any:
    """A result as far as it can be told without data; which operands it shares memory with."""
    if isinstance(result, (tuple, list)):
        return [said(part, args) for part in result]
    storage = result.untyped_storage()
    known = [a.untyped_storage()._cdata for a in args if isinstance(a, Tensor)]
    shares = [key == storage._cdata for key in known]
    return tuple(result.shape), result.stride(), result.dtype, shares, storage.nbytes()


def covered(func: OpOverload, args: tuple[Any, ...], **options: Any) -> bool:
    """Hold the formula against torch; whether it says anything."""
    found = FORMULAS[func](args, options)
    if found is None:
        return False
    given = (*args, *options.values())
    assert said(found, given) == said(func(*args, **options), given), (func, args)
    return True


def operation(name: str) -> OpOverload:
    packet, _, overload = name.partition(".")
    return getattr(getattr(aten, packet), overload or "default")  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", [*EXACT, *REAL, *TOLD, *OVER_FIRST])
def test_entry_by_entry(name: str) -> None:
    func = operation(name)
    count = min(2, sum(not a.kwarg_only for a in func._schema.arguments))
    more = (ROWS,) if "addcmul" in name else ()
    options = {"out": meta(2, 3, 4)} if name.endswith(".out") else {}
    calls = [(*args, *more) for args in product(OPERANDS, repeat=count)]
    calls = [args for args in calls if isinstance(args[0], Tensor) and fits(func, args)]
    told = [covered(func, args, **options) for args in calls]
    assert any(told)
    assert not all(told)


def test_choices() -> None:
    tensors = [x for x in OPERANDS if isinstance(x, Tensor)]
    masks = (MASK, meta(3, 1, dtype=torch.bool), ROWS)
    told = [covered(aten.where.self, args) for args in product(masks, tensors, tensors)]
    assert any(told)
    assert not all(told)


IMAGE, GRID, WEIGHT = meta(2, 4, 5, 6), meta(2, 3, 7, 2), meta(4)
TURNED = meta(2, 5, 6, 4).permute(0, 3, 1, 2)
CALLS: tuple[tuple[str, tuple[Any, ...], bool], ...] = (
    ("sum.dim_IntList", (ROWS, [-1]), True),
    ("sum.dim_IntList", (ROWS, [0, 1], True), True),
    ("sum.dim_IntList", (MASK, [0]), False),
    ("mean.dim", (ROWS, [1, -1], True), True),
    ("mean.dim", (TURNED, [1]), False),
    ("addmm", (meta(5), meta(2, 3), meta(3, 5)), True),
    ("addmm", (meta(2, 1), meta(3, 2).t(), meta(5, 3).t()), True),
    ("addmm", (meta(4), meta(2, 3), meta(3, 5)), False),
    ("grid_sampler_2d", (IMAGE, GRID, 0, 0, False), True),
    ("native_layer_norm", (ROWS, [4], WEIGHT, WEIGHT, 1e-5), True),
    ("native_layer_norm", (ROWS, [3, 4], None, None, 1e-5), True),
    ("native_layer_norm", (ROWS, [3], meta(3), meta(3), 1e-5), False),
    ("native_group_norm", (IMAGE, WEIGHT, WEIGHT, 2, 4, 30, 2, 1e-5), True),
    ("native_group_norm", (TURNED, WEIGHT, WEIGHT, 2, 4, 30, 2, 1e-5), False),
    ("upsample_bilinear2d", (IMAGE, [10, 3], False), True),
    ("upsample_bilinear2d", (TURNED, [10, 3], False), False),
)


@pytest.mark.parametrize(("name", "args", "told"), CALLS, ids=[f"{c[0]} {c[2]}" for c in CALLS])
def test_others(name: str, args: tuple[Any, ...], told: bool) -> None:
    assert covered(operation(name), args) == told


@pytest.mark.parametrize("image", [IMAGE, TURNED])
def test_batch_norm_keeps_no_statistics_in_use(image: Tensor) -> None:
    args = (image, WEIGHT, WEIGHT, WEIGHT, WEIGHT)
    found = FORMULAS[aten.native_batch_norm.default]((*args, False, 0.1, 1e-5), {})
    real = torch.native_batch_norm(
        *(torch.empty_strided(x.shape, x.stride()) for x in args), False, 0.1, 1e-5
    )
    assert [x.shape for x in found] == [x.shape for x in real]
    assert found[0].stride() == real[0].stride()
    assert FORMULAS[aten.native_batch_norm.default]((*args, True, 0.1, 1e-5), {}) is None


def test_data_and_errors_are_left_to_torch() -> None:
    one = torch.ones(2)
    assert torch.equal(by_formula(aten.add.Tensor, (one, one), {}), one + one)
    with formulas(), pytest.raises(RuntimeError, match="Attempting to broadcast"):
        torch.add(meta(2, 3), meta(2, 4))
