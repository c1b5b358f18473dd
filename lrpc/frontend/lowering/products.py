"""Rows for products of several tensors, and for distances and angles between vectors."""

from __future__ import annotations

from string import ascii_letters
from typing import Any

from lrpc.frontend.lowering import diagonals, reductions
from lrpc.frontend.lowering.context import Context, Operand
from lrpc.frontend.lowering.elementwise import add, mul, scale, sub
from lrpc.frontend.lowering.layers import linear, matmul
from lrpc.frontend.records import Stored
from lrpc.ir.graph import Value
from lrpc.ir.types import Dim

# Products with a sum.


def addmm(
    c: Context, bias: Operand, x: Operand, y: Operand, *, beta: float = 1, alpha: float = 1
) -> Operand:
    """β · bias + α · x y, of matrices or of batches of them."""
    fixed = isinstance(bias, Stored) and isinstance(y, Stored) and not y.varies
    if fixed and (bias.tensor.dim(), y.tensor.dim()) == (1, 2) and (beta, alpha) == (1, 1):
        weight = c.weight(c.constant(y.tensor.t().contiguous()))
        return c.op("linear", x, weight=weight, bias=c.weight(bias))
    return _weighed(c, bias, matmul(c, x, y), beta, alpha)


def _weighed(c: Context, bias: Operand, product: Operand, beta: float, alpha: float) -> Operand:
    product = scale(c, product, alpha)
    return product if beta == 0 else add(c, scale(c, bias, beta), product)


def addbmm(
    c: Context, bias: Operand, x: Operand, y: Operand, *, beta: float = 1, alpha: float = 1
) -> Operand:
    """β · bias + α · Σ x y over the first axis."""
    c.size(x, 0)
    product = c.op("sum", matmul(c, x, y), dims=(-3,), keepdim=False)
    return _weighed(c, bias, product, beta, alpha)


def addr(
    c: Context, bias: Operand, x: Operand, y: Operand, *, beta: float = 1, alpha: float = 1
) -> Operand:
    return _weighed(c, bias, outer(c, x, y), beta, alpha)


def outer(c: Context, x: Operand, y: Operand) -> Operand:
    column = c.reshape(x, (*c.type(x).shape, 1))
    row = c.reshape(y, (1, *c.type(y).shape))
    return c.op("mul", column, row)


def tensordot(c: Context, x: Operand, y: Operand, dims: Any = 2, out: None = None) -> Operand:
    """Products summed over axes of both."""
    ranks = c.type(x).rank, c.type(y).rank
    if isinstance(dims, int):
        dims = (range(ranks[0] - dims, ranks[0]), range(dims))
    letters = iter(ascii_letters)
    left = [next(letters) for _ in range(ranks[0])]
    right = [next(letters) for _ in range(ranks[1])]
    for one, other in zip(*dims, strict=True):
        right[other] = left[one]
    kept = [a for a in left if a not in right] + [a for a in right if a not in left]
    return einsum(c, f"{''.join(left)},{''.join(right)}->{''.join(kept)}", x, y)


def bilinear(c: Context, x: Operand, y: Operand, weight: Operand, bias: Operand = None) -> Operand:
    """Σ x_i W_oij y_j + b_o."""
    lead = "".join(ascii_letters[: c.type(x).rank - 1])
    found = einsum(c, f"{lead}X,ZXY,{lead}Y->{lead}Z", x, weight, y)
    return found if bias is None else c.op("add", found, bias)


# Einstein sums.


def einsum(c: Context, equation: str, *operands: Operand) -> Operand:
    """Any number of tensors, one after the other; of each the diagonals that it names twice."""
    tensors = operands[0] if isinstance(operands[0], (tuple, list)) else operands
    if not isinstance(equation, str):
        c.refuse("takes its axes as lists", "write the equation as a text")
    written = _written_out(equation.replace(" ", ""), [c.type(x).rank for x in tensors])
    inputs, _, out = written.partition("->")
    parts = inputs.split(",")
    found, own = _on_diagonals(c, tensors[0], parts[0])
    for i, (x, letters) in enumerate(zip(tensors[1:], parts[1:], strict=True), 1):
        x, letters = _on_diagonals(c, x, letters)
        later = out + "".join(parts[i + 1 :])
        kept = out if i == len(parts) - 1 else _kept(own, letters, later)
        _check_summed(c, (found, x), (own, letters), kept)
        found = c.op("einsum", found, x, equation=f"{own},{letters}->{kept}")
        own = kept
    return _as_named(c, found, own, out)


def _kept(own: str, letters: str, later: str) -> str:
    every = own + "".join(a for a in letters if a not in own)
    return "".join(a for a in every if a in later)


def _check_summed(
    c: Context, tensors: tuple[Operand, ...], letters: tuple[str, ...], kept: str
) -> None:
    for x, part in zip(tensors, letters, strict=True):
        for axis, letter in enumerate(part):
            if letter not in kept:
                c.size(x, axis)


def _on_diagonals(c: Context, x: Operand, letters: str) -> tuple[Operand, str]:
    """`x` with every letter once: of two axes of one name their diagonal."""
    for letter in dict.fromkeys(letters):
        while letters.count(letter) > 1:
            one, other = letters.index(letter), letters.rindex(letter)
            x = diagonals.of_axes(c, x, 0, one, other)
            rest = "".join(a for i, a in enumerate(letters) if i not in (one, other))
            letters = rest + letter
    return x, letters


def _as_named(c: Context, x: Operand, own: str, out: str) -> Operand:
    """The axes of `x` in the order of `out`, summed over those that it does not name."""
    dims = tuple(i - len(own) for i, a in enumerate(own) if a not in out)
    for d in dims:
        c.size(x, d)
    value = c.op("sum", x, dims=dims, keepdim=False) if dims else c.value(x)
    left = [a for a in own if a in out]
    return c.permute(value, tuple(left.index(a) for a in out))


def _written_out(equation: str, ranks: list[int]) -> str:
    """`equation` with a letter for every axis of `...`, and with its result said."""
    inputs, arrow, out = equation.partition("->")
    parts = inputs.split(",")
    if not arrow:
        named = [letter for letter in inputs if letter.isalpha()]
        out = "..." + "".join(sorted(x for x in set(named) if named.count(x) == 1))
    free = [letter for letter in ascii_letters if letter not in equation]
    counts = [
        rank - len(part) + 3 if "..." in part else 0
        for part, rank in zip(parts, ranks, strict=True)
    ]
    dots = "".join(free[: max(counts)])
    written = [
        part.replace("...", dots[len(dots) - count :])
        for part, count in zip(parts, counts, strict=True)
    ]
    return f"{','.join(written)}->{out.replace('...', dots)}"


# Between vectors.


def dot(c: Context, x: Operand, y: Operand, *, dim: int = -1) -> Operand:
    """Σ x y along an axis."""
    product = mul(c, x, y)
    return _summed(c, product, dim)


def _summed(c: Context, x: Operand, dim: int) -> Value:
    axis = c.axis(dim, c.type(x).rank)
    c.size(x, axis)
    return c.op("sum", x, dims=(axis,), keepdim=False)


def cosine_similarity(
    c: Context, x: Operand, y: Operand, dim: int = 1, eps: float = 1e-8
) -> Operand:
    """Σ x y, each divided by its length, of which none is below ε."""
    rank = max(c.type(v).rank for v in (x, y))
    dim = c.axis(dim, rank)
    units = [c.op("div", v, _length(c, v, dim, eps)) for v in (x, y)]
    return _summed(c, c.op("mul", *units), dim)


def _length(c: Context, x: Operand, dim: int, eps: float) -> Value:
    return c.op("clamp", reductions.norm(c, x, 2, dim, keepdim=True), min=eps)


def pairwise_distance(
    c: Context, x: Operand, y: Operand, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False
) -> Operand:
    apart = c.op("shift", sub(c, x, y), by=eps)
    return reductions.norm(c, apart, p, -1, keepdim)


def cdist(
    c: Context, x: Operand, y: Operand, p: float = 2.0,
    compute_mode: str = "use_mm_for_euclid_dist_if_necessary",
) -> Operand:  # fmt: skip
    """The distance of every row of `x` to every row of `y`."""
    rows, columns = c.type(x).shape, c.type(y).shape
    wide: tuple[Dim, ...] = (*rows[:-1], 1, rows[-1])
    high: tuple[Dim, ...] = (*columns[:-2], 1, *columns[-2:])
    apart = c.op("sub", c.reshape(x, wide), c.reshape(y, high))
    return reductions.norm(c, apart, p, -1)


def cross(c: Context, x: Operand, y: Operand, dim: int | None = None) -> Operand:
    """x_{i+1} y_{i+2} − x_{i+2} y_{i+1}, of three entries along an axis."""
    axis = c.axis(-1 if dim is None else dim, c.result.rank)
    turned = [[_turned(c, v, axis, by) for by in (1, 2)] for v in (x, y)]
    (x1, x2), (y1, y2) = turned
    return c.op("sub", c.op("mul", x1, y2), c.op("mul", x2, y1))


def _turned(c: Context, x: Operand, axis: int, by: int) -> Value:
    ends = c.slice(x, axis, by, 3), c.slice(x, axis, 0, by)
    return c.op("cat", *ends, dim=axis)


def linear_of_rows(c: Context, x: Operand, y: Operand) -> Operand:
    """`inner`: rows of one with rows of the other."""
    return linear(c, x, y)


ROWS: dict[str, Any] = {
    "addmm": addmm, "baddbmm": addmm, "addmv": addmm, "addbmm": addbmm, "addr": addr,
    "outer": outer, "ger": outer, "mv": matmul, "inner": linear_of_rows,
    "tensordot": tensordot, "bilinear": bilinear, "einsum": einsum,
    "dot": dot, "vdot": dot, "linalg_vecdot": dot,
    "cosine_similarity": cosine_similarity, "pairwise_distance": pairwise_distance,
    "cdist": cdist, "cross": cross, "linalg_cross": cross,
}  # fmt: skip
