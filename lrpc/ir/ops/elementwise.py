"""Elementwise ops: arithmetic, activations, comparisons."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from lrpc.ir.ops.row import Op
from lrpc.ir.ops.traits import Family, View
from lrpc.ir.ops.traits import Trait as T
from lrpc.ir.types import DTYPES

COMPARISONS = {
    "gt": torch.gt,
    "ge": torch.ge,
    "lt": torch.lt,
    "le": torch.le,
    "eq": torch.eq,
    "ne": torch.ne,
}
LOGIC = {"and": torch.logical_and, "or": torch.logical_or}


def _masked_fill(x: Tensor, mask: Tensor, value: float) -> Tensor:
    return torch.where(mask, torch.full((), value, dtype=x.dtype, device=x.device), x)


# Entry by entry into memory of its own, as well recomputed as kept.
ENTRYWISE = T.ALLOCATES | T.ELEMENTWISE | T.CHEAP
ROWS = (
    Op("add", 2, {}, torch.add, Family.SUM, ENTRYWISE | T.COMMUTES),
    Op("sub", 2, {}, torch.sub, Family.SUM, ENTRYWISE),
    Op("mul", 2, {}, torch.mul, Family.PRODUCT, ENTRYWISE | T.COMMUTES),
    Op("div", 2, {}, torch.div, Family.SCALING, ENTRYWISE),
    Op("scale", 1, {"by": "number"}, lambda x, by: x * by, Family.SCALING, ENTRYWISE),
    Op("shift", 1, {"by": "number"}, lambda x, by: x + by, Family.SCALING, ENTRYWISE),
    Op("reciprocal", 1, {}, torch.reciprocal, Family.FUNCTION, ENTRYWISE | T.INVERTS),
    Op("pow", 1, {"exponent": "number"}, lambda x, exponent: x**exponent, Family.FUNCTION,
       T.ALLOCATES | T.ELEMENTWISE | T.INVERTS),
    Op("exp", 1, {}, torch.exp, Family.FUNCTION, ENTRYWISE | T.NOT_NEGATIVE),
    Op("log", 1, {}, torch.log, Family.FUNCTION, T.ALLOCATES | T.ELEMENTWISE),
    Op("log1p", 1, {}, torch.log1p, Family.FUNCTION, T.ALLOCATES | T.ELEMENTWISE),
    Op("erf", 1, {}, torch.erf, Family.FUNCTION, ENTRYWISE | T.BOUNDED),
    Op("sqrt", 1, {}, torch.sqrt, Family.FUNCTION, ENTRYWISE | T.NOT_NEGATIVE),
    Op("sin", 1, {}, torch.sin, Family.FUNCTION, T.ALLOCATES | T.ELEMENTWISE | T.BOUNDED),
    Op("cos", 1, {}, torch.cos, Family.FUNCTION, T.ALLOCATES | T.ELEMENTWISE | T.BOUNDED),
    Op("abs", 1, {}, torch.abs, Family.FUNCTION, ENTRYWISE | T.NOT_NEGATIVE),
    Op("relu", 1, {}, lambda x: torch.where(x > 0, x, torch.zeros_like(x)), Family.ACTIVATION,
       ENTRYWISE | T.EXACT | T.NOT_NEGATIVE),
    Op("leaky_relu", 1, {"slope": "number"}, lambda x, slope: torch.where(x > 0, x, x * slope),
       Family.ACTIVATION, ENTRYWISE),
    Op("relu6", 1, {}, lambda x: torch.clamp(x, 0, 6), Family.ACTIVATION, T.ELEMENTWISE | T.CHEAP),
    Op("elu", 1, {}, lambda x: torch.where(x > 0, x, torch.expm1(x.clamp(max=0))),
       Family.ACTIVATION, T.ELEMENTWISE | T.CHEAP),
    Op("gelu", 1, {"approximate": "none|tanh"}, F.gelu, Family.ACTIVATION, T.ELEMENTWISE | T.CHEAP),
    Op("silu", 1, {}, lambda x: x * torch.sigmoid(x), Family.ACTIVATION, ENTRYWISE),
    Op("hardswish", 1, {}, lambda x: x * torch.clamp(x + 3, 0, 6) / 6, Family.ACTIVATION,
       T.ELEMENTWISE | T.CHEAP),
    Op("mish", 1, {}, lambda x: x * torch.tanh(F.softplus(x)), Family.ACTIVATION,
       T.ELEMENTWISE | T.CHEAP),
    Op("centred_softplus", 1, {}, lambda x: F.softplus(x) - math.log(2), Family.ACTIVATION,
       T.ELEMENTWISE),
    Op("sigmoid", 1, {}, torch.sigmoid, Family.ACTIVATION, ENTRYWISE | T.NOT_NEGATIVE | T.BOUNDED),
    Op("tanh", 1, {}, torch.tanh, Family.ACTIVATION, ENTRYWISE | T.BOUNDED),
    Op("clamp", 1, {"min": "number?", "max": "number?"}, torch.clamp, Family.FUNCTION, ENTRYWISE),
    Op("detach", 1, {}, lambda x: x.clone(), Family.DETACH, T.ELEMENTWISE | T.CHEAP | T.EXACT,
       view=View.SAME),
    Op("cast", 1, {"dtype": "dtype"}, lambda x, dtype: x.to(DTYPES[dtype]), Family.STRUCTURAL,
       T.ELEMENTWISE | T.CHEAP | T.KEEPS_SIGN),
    Op("compare", 2, {"kind": "|".join(COMPARISONS)}, lambda a, b, kind: COMPARISONS[kind](a, b),
       Family.PREDICATE, T.ELEMENTWISE | T.CHEAP),
    Op("compare_scalar", 1, {"kind": "|".join(COMPARISONS), "value": "number"},
       lambda a, kind, value: COMPARISONS[kind](a, value), Family.PREDICATE,
       T.ELEMENTWISE | T.CHEAP),
    Op("logical", 2, {"kind": "|".join(LOGIC)}, lambda a, b, kind: LOGIC[kind](a, b),
       Family.PREDICATE, T.ELEMENTWISE | T.CHEAP),
    Op("logical_not", 1, {}, torch.logical_not, Family.PREDICATE, T.ELEMENTWISE | T.CHEAP),
    Op("where", 3, {}, torch.where, Family.STRUCTURAL, T.ELEMENTWISE | T.CHEAP | T.JOINS),
    Op("masked_fill", 2, {"value": "number"}, _masked_fill, Family.STRUCTURAL, ENTRYWISE),
)  # fmt: skip
