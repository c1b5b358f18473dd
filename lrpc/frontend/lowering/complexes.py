"""Complex numbers inside a model: pairs of real and imaginary parts, until it takes these."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from lrpc.frontend.lowering import elementwise, shapes
from lrpc.frontend.lowering.context import Context, Operand
from lrpc.frontend.records import Stored, found
from lrpc.ir.types import DTYPES

REMEDY = "take their real and imaginary parts"


@dataclass(frozen=True)
class Complex:
    """A complex tensor by its parts."""

    called: ClassVar[str] = "complex numbers"
    re: Operand
    im: Operand


#: Linear calls that treat both parts alike: what moves entries, adds them up or repeats them.
ALIKE = frozenset({
    "reshape", "view", "flatten", "unflatten", "transpose", "swapaxes", "swapdims", "permute",
    "movedim", "moveaxis", "t", "T", "mT", "unsqueeze", "squeeze", "getitem", "select", "narrow",
    "expand", "repeat", "repeat_interleave", "tile", "roll", "flip", "contiguous", "clone", "split",
    "chunk", "unbind", "cat", "concat", "stack", "sum", "mean", "cumsum", "neg", "add", "sub",
    "detach", "resolve_conj", "resolve_neg",
})  # fmt: skip


def of(x: Operand) -> bool:
    """Whether an operand is complex."""
    constant = isinstance(x, Stored) and x.tensor.is_complex()
    return isinstance(x, (Complex, complex)) or constant


def concerned(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Whether a call makes complex numbers or takes some."""
    operands = (x for kind in (Complex, complex, Stored) for x in found((args, kwargs), kind))
    return name in MAKING or any(map(of, operands))


def lowered(c: Context, name: str, row: Callable[..., Any] | None, args: Any, kwargs: Any) -> Any:
    """The result of a call that makes or takes complex numbers."""
    if name in ROWS:
        return ROWS[name](c, *args, **kwargs)
    if name not in ALIKE or row is None:
        c.refuse("works on complex numbers", REMEDY)
    parts = [row(c, *_parts(c, args, at), **_parts(c, kwargs, at)) for at in ("re", "im")]
    return _joined(*parts)


def _joined(re: Operand, im: Operand) -> Operand:
    if isinstance(re, tuple):
        return tuple(map(_joined, re, im))
    return Complex(re, im)


def _parts(c: Context, tree: Any, at: str) -> Any:
    """The arguments with one part in place of each tensor; real ones have no imaginary part."""
    if isinstance(tree, dict):
        return {key: _parts(c, x, at) for key, x in tree.items()}
    if isinstance(tree, (tuple, list)):
        return type(tree)(_parts(c, x, at) for x in tree)
    return getattr(parts(tree), at) if of(tree) else tree


def parts(x: Operand) -> Complex:
    """An operand by its parts; a real tensor has 0 for the imaginary one."""
    if isinstance(x, Complex):
        return x
    if isinstance(x, complex):
        return Complex(x.real, x.imag)
    if isinstance(x, Stored) and x.tensor.is_complex():
        whole = x.tensor.resolve_conj()
        re, im = whole.real.contiguous(), whole.imag.contiguous()
        return Complex(Stored("", re, x.type), Stored("", im, x.type))
    return Complex(x, 0.0)


# -- products ------------------------------------------------------------------------------------


def mul(c: Context, x: Operand, y: Operand) -> Complex:
    """(a + ib)(p + iq)."""
    if not of(x):
        x, y = y, x
    a, b = parts(x).re, parts(x).im
    if not of(y):
        return Complex(_times(c, a, y), _times(c, b, y))
    p, q = parts(y).re, parts(y).im
    return Complex(
        c.op("sub", _times(c, a, p), _times(c, b, q)), c.op("add", _times(c, a, q), _times(c, b, p))
    )


def _times(c: Context, x: Operand, y: Operand) -> Any:
    return elementwise.mul(c, x, y)


def div(c: Context, x: Operand, y: Operand) -> Complex:
    if of(y):
        c.refuse("divides by complex numbers", REMEDY)
    return Complex(*(elementwise.div(c, part, y) for part in (parts(x).re, parts(x).im)))


def add(c: Context, x: Operand, y: Operand, *, alpha: float = 1) -> Complex:
    return _sum(c, elementwise.add, x, y, alpha)


def sub(c: Context, x: Operand, y: Operand, *, alpha: float = 1) -> Complex:
    return _sum(c, elementwise.sub, x, y, alpha)


def _sum(c: Context, row: Callable[..., Any], x: Operand, y: Operand, alpha: float) -> Complex:
    a, b = parts(x), parts(y)
    return Complex(row(c, a.re, b.re, alpha=alpha), row(c, a.im, b.im, alpha=alpha))


# -- between complex and real --------------------------------------------------------------------


def view_as_complex(c: Context, x: Operand) -> Complex:
    shape = c.type(x).shape[:-1]
    re, im = (c.reshape(c.slice(x, -1, i, i + 1), shape) for i in (0, 1))
    return Complex(re, im)


def view_as_real(c: Context, x: Operand) -> Operand:
    return shapes.stack(c, (parts(x).re, parts(x).im), -1)


def polar(c: Context, size: Operand, angle: Operand) -> Complex:
    return Complex(*(_times(c, size, c.op(part, angle)) for part in ("cos", "sin")))


def conj(c: Context, x: Operand) -> Operand:
    return Complex(parts(x).re, elementwise.scale(c, parts(x).im, -1.0)) if of(x) else x


def size(c: Context, x: Operand) -> Operand:
    """|z|."""
    squares = (_times(c, part, part) for part in (parts(x).re, parts(x).im))
    return c.op("sqrt", c.op("add", *squares))


# -- discrete Fourier transforms -------------------------------------------------------------------


def _waves(
    c: Context, count: int, rows: int, columns: int, norm: str | None, inverse: bool
) -> Tensor:
    """exp(∓2πi jk/n), [rows, columns], j < n, scaled as `norm` says."""
    j, k = torch.arange(columns, dtype=torch.float64), torch.arange(rows, dtype=torch.float64)
    turns = (k[:, None] * j[None]) % count / count
    scaled = {"ortho": 1 / math.sqrt(count), "forward": 1.0 if inverse else 1 / count}
    by = scaled.get(norm or "backward", 1 / count if inverse else 1.0)
    return by * torch.exp((2j if inverse else -2j) * math.pi * turns) * (j < count)


def _mapped(c: Context, x: Operand, matrix: Tensor, dim: int) -> Any:
    """`matrix` times each row of a real tensor along an axis."""
    value = c.value(x)
    weight = c.weight(c.constant(matrix.to(DTYPES[value.type.dtype]).contiguous()))
    last = list(range(value.type.rank))
    last[dim], last[-1] = last[-1], last[dim]
    turned = c.permute(value, tuple(last))
    return c.permute(c.op("linear", turned, weight=weight), tuple(last))


def _transformed(
    c: Context, x: Operand, n: int | None, dim: int, norm: str | None, inverse: bool,
    rows: int | None = None,
) -> Complex:  # fmt: skip
    z = parts(x)
    dim = c.axis(dim, c.type(z.re).rank)
    columns = c.counted(z.re, dim)
    count = n or columns
    waves = _waves(c, count, rows or count, columns, norm, inverse)
    re, im = (_mapped(c, z.re, part, dim) for part in (waves.real, waves.imag))
    if not of(x):
        return Complex(re, im)
    other = [_mapped(c, z.im, part, dim) for part in (waves.imag, waves.real)]
    return Complex(c.op("sub", re, other[0]), c.op("add", im, other[1]))


def fft(
    c: Context, x: Operand, n: int | None = None, dim: int = -1, norm: str | None = None
) -> Complex:
    return _transformed(c, x, n, dim, norm, False)


def ifft(
    c: Context, x: Operand, n: int | None = None, dim: int = -1, norm: str | None = None
) -> Complex:
    return _transformed(c, x, n, dim, norm, True)


def rfft(
    c: Context, x: Operand, n: int | None = None, dim: int = -1, norm: str | None = None
) -> Complex:
    count = n or c.counted(x, c.axis(dim, c.type(x).rank))
    return _transformed(c, x, n, dim, norm, False, count // 2 + 1)


def irfft(
    c: Context, x: Operand, n: int | None = None, dim: int = -1, norm: str | None = None
) -> Operand:
    """Of the first half of what a real signal gives: the rest is its mirror image."""
    z = parts(x)
    dim = c.axis(dim, c.type(z.re).rank)
    half = c.counted(z.re, dim)
    count = n or 2 * (half - 1)
    waves = _waves(c, count, count, half, norm, True)
    places = torch.arange(half)
    once = (places == 0) | (2 * places == count)
    waves = waves * torch.where(once, 1.0, 2.0) * (places <= count // 2)
    re = _mapped(c, z.re, waves.real, dim)
    return c.op("sub", re, _mapped(c, z.im, waves.imag, dim)) if of(x) else re


def _along(c: Context, x: Operand, s: Any, dim: Any) -> list[tuple[int, int | None]]:
    """Each axis and its size, None for as it is."""
    rank = c.type(parts(x).re).rank
    dims = list(c.axes(dim, rank) if dim is not None or s is None else range(-len(s), 0))
    sizes = [None] * len(dims) if s is None else [None if n == -1 else n for n in s]
    return list(zip(dims, sizes, strict=True))


def several(one: Callable[..., Any], last: Callable[..., Any], first: bool, two: bool) -> Any:
    """The transform over several axes: `last` along the last of them, `first` or behind the
    others."""

    def row(
        c: Context, x: Operand, s: Any = None, dim: Any = (-2, -1) if two else None,
        norm: str | None = None,
    ) -> Operand:  # fmt: skip
        *others, end = _along(c, x, s, dim)
        order = [(last, *end), *((one, *each) for each in others)]
        for transform, axis, n in order if first else [*order[1:], order[0]]:
            x = transform(c, x, n, axis, norm)
        return x

    return row


MAKING = {
    "view_as_complex": view_as_complex, "complex": lambda c, re, im: Complex(re, im),
    "polar": polar, "fft_fft": fft, "fft_ifft": ifft, "fft_rfft": rfft, "fft_irfft": irfft,
    "fft_fft2": several(fft, fft, True, True), "fft_fftn": several(fft, fft, True, False),
    "fft_ifft2": several(ifft, ifft, True, True), "fft_ifftn": several(ifft, ifft, True, False),
    "fft_rfft2": several(fft, rfft, True, True), "fft_rfftn": several(fft, rfft, True, False),
    "fft_irfft2": several(ifft, irfft, False, True),
    "fft_irfftn": several(ifft, irfft, False, False),
}  # fmt: skip
ROWS: dict[str, Callable[..., Any]] = {
    **MAKING,
    "mul": mul, "multiply": mul, "div": div, "true_divide": div, "add": add, "sub": sub,
    "view_as_real": view_as_real, "real": lambda c, x: parts(x).re,
    "imag": lambda c, x: parts(x).im, "conj": conj, "conj_physical": conj, "abs": size,
    "absolute": size,
}  # fmt: skip
