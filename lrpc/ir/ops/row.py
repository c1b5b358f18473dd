"""One row of the op table, and how its output types follow from its reference semantics."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import islice
from typing import Any

import torch

from lrpc.errors import IRError
from lrpc.ir.extents import Extent, Size, beyond, grid, sizes_in
from lrpc.ir.graph import Attr
from lrpc.ir.limits import INTEGER
from lrpc.ir.meta import formulas
from lrpc.ir.ops.sized import broadcast, resolve, resolved, same_symbols, type_at
from lrpc.ir.ops.traits import Family, Trait, View
from lrpc.ir.stand_ins import FIRST, NotAProduct, coefficient, points, solve
from lrpc.ir.types import DTYPES, NAMES, Dim, Sizes, Sym, TensorType
from lrpc.support.untrusted import short


def _whole(value: Any, least: int = -INTEGER) -> bool:
    return (
        isinstance(value, int)
        and value is not True
        and value is not False
        and (least <= value <= INTEGER)
    )


def _extent(value: Any) -> bool:
    return _whole(value.coeff if isinstance(value, Sym) else value)


def _all(value: Any, holds: Callable[[Any], bool]) -> bool:
    return isinstance(value, tuple) and all(map(holds, value))


# How torch says on meta tensors that shapes, dtypes or sizes do not go together. Where the meta
# function is one of its decompositions in Python, that is an assertion or a division by zero too.
REFUSALS = (RuntimeError, ValueError, IndexError, TypeError, ArithmeticError, AssertionError)

# What an attribute may hold. `?` at the end of a kind makes the attribute optional; a kind with
# bars in it is one of the words between them.
KINDS: dict[str, Callable[[Any], bool]] = {
    "int": _whole,
    "axis": _whole,
    "count": lambda v: _whole(v, 1),
    "number": lambda v: (
        isinstance(v, (bool, float)) or (_whole(v) and not isinstance(v, Extent))
    ),  # models multiply by flags
    "filling": lambda v: isinstance(v, (bool, float)) or _whole(v),
    "bool": lambda v: isinstance(v, bool),
    "str": lambda v: isinstance(v, str),
    "dtype": lambda v: isinstance(v, str) and v in DTYPES,
    "weight": lambda v: isinstance(v, str),
    "ints": lambda v: _all(v, _whole),
    "axes": lambda v: _all(v, _whole),
    "order": lambda v: _all(v, _whole),  # of all axes
    "counts": lambda v: _all(v, lambda n: _whole(n, 1)),
    "dim": _extent,
    "dims": lambda v: _all(v, _extent),
    "pairs": lambda v: _all(v, lambda p: _all(p, lambda n: _whole(n, 1)) and len(p) == 2),
}


@dataclass(frozen=True, eq=False)
class Op:
    """What an operation is: arity (None: one or more), attributes by kind, meaning and traits.

    `reference(*inputs, **attrs)` is the meaning; attributes of kind `weight` arrive as tensors,
    extents as integers. Type inference runs the reference on meta tensors. `view` says how the
    result shows its first input's memory, where programs need not copy it. `contracted` are the
    operands whose entries are summed in many products: of a map its input, of a matrix product
    both. `operands` names the operands where others than the operation itself look for one.
    """

    name: str
    arity: int | None
    attrs: Mapping[str, str]
    reference: Callable[..., Any]
    family: Family
    traits: Trait = Trait.NONE
    view: View | None = None
    contracted: tuple[int, ...] = ()
    operands: tuple[str, ...] = ()
    outputs: int = 1

    def has(self, trait: Trait) -> bool:
        """Whether it has all of `trait`."""
        return trait in self.traits

    def operand(self, name: str) -> int | None:
        """The place of the operand of this name, None where there is none."""
        return self.operands.index(name) if name in self.operands else None

    @cached_property
    def kinds(self) -> dict[str, str]:
        """The kind of each attribute."""
        return {attr: kind.rstrip("?") for attr, kind in self.attrs.items()}

    @cached_property
    def weighted(self) -> bool:
        """Whether an attribute names a weight."""
        return "weight" in self.kinds.values()

    def kind(self, attr: str) -> str:
        return self.kinds[attr]

    def check(self, attrs: tuple[tuple[str, Attr], ...], inputs: int) -> None:
        """Raise IRError where the arity or an attribute does not fit this row."""
        if self.arity is not None and inputs != self.arity:
            raise IRError(f"op {self.name} takes {self.arity} inputs, got {inputs}")
        if self.arity is None and inputs == 0:
            raise IRError(f"op {self.name} takes one input or more, got none")
        given = dict(attrs)
        for key, value in given.items():
            if key not in self.attrs:
                known = ", ".join(self.attrs) or "none"
                raise IRError(f"op {self.name} has no attribute {key!r}; it has: {known}")
            kind = self.kinds[key]
            words = kind.split("|") if "|" in kind else ()
            if value not in words if words else not KINDS[kind](value):
                what = f"one of {', '.join(words)}" if words else f"of kind {kind}"
                raise IRError(f"op {self.name}: attribute {key}={short(repr(value))} is not {what}")
        for key, kind in self.attrs.items():
            if key not in given and not kind.endswith("?"):
                raise IRError(f"op {self.name} misses its attribute {key!r}")


def infer(
    op: Op,
    inputs: tuple[TensorType, ...],
    attrs: tuple[tuple[str, Attr], ...],
    weights: tuple[tuple[str, TensorType], ...],
) -> tuple[TensorType, ...]:
    """The output types of `op`; `weights` has the types of its weight attributes by name."""
    op.check(attrs, len(inputs))  # each time: to the cache, False is 0 and 1.0 is 1
    _check_axes(op, inputs, attrs)
    if weights:  # their types say all, whatever their names
        attrs = tuple((key, "" if op.kinds[key] == "weight" else v) for key, v in attrs)
    return _inferred(op, inputs, attrs, weights)


@lru_cache(maxsize=65536)
def _inferred(
    op: Op,
    inputs: tuple[TensorType, ...],
    attrs: tuple[tuple[str, Attr], ...],
    weights: tuple[tuple[str, TensorType], ...],
) -> tuple[TensorType, ...]:
    dims = [dim for kind in (*inputs, *(t for _, t in weights)) for dim in kind.shape]
    atoms = [*dims, *_atoms([value for _, value in attrs])]
    if own := sizes_in(coefficient(atom) for atom in atoms):
        return _of_all_sizes(op, inputs, attrs, weights, own)
    symbolic = any(isinstance(atom, Sym) for atom in atoms)
    sizes: list[Sizes] = []
    found: list[tuple[torch.Tensor, ...]] = []
    for point in islice(points(map(coefficient, atoms)), 3 if symbolic else 1):
        sizes.append(point)
        found.append(_results(op, inputs, attrs, weights, point))
        if len(found) == 2 and not _large(types := _solved(op, inputs, found, sizes)):
            return types
    return _solved(op, inputs, found, sizes)


def _of_all_sizes(
    op: Op,
    inputs: tuple[TensorType, ...],
    attrs: tuple[tuple[str, Attr], ...],
    weights: tuple[tuple[str, TensorType], ...],
    own: Sequence[Size],
) -> tuple[TensorType, ...]:
    """The output types where extents depend on sizes: from those at several sizes."""

    def at_sizes(point: Sizes) -> tuple[TensorType, ...]:
        here = tuple(type_at(t, point) for t in inputs)
        given = tuple((key, resolved(value, point)) for key, value in attrs)
        held = tuple((key, type_at(t, point)) for key, t in weights)
        return _inferred(op, here, given, held)

    example, *others = grid(own)
    found = [at_sizes(example)]
    if op.outputs == 0:
        return ()
    if op.has(Trait.ELEMENTWISE):
        dims = broadcast([t.shape for t in inputs])
        kind = None if dims is None else TensorType(found[0][0].dtype, dims)
        if kind is not None and found[0] == (type_at(kind, example),):
            return (kind,)
    checks = beyond(own)
    found += [at_sizes(point) for point in [*others, *checks]]
    types = []
    for i, same in enumerate(zip(*found[: -len(checks)], strict=True)):
        shape = [same_symbols(dims, own) for dims in zip(*(t.shape for t in same), strict=True)]
        kind = TensorType(same[0].dtype, tuple(d for d in shape if d is not None))
        beyond_grid = zip(checks, found[-len(checks) :], strict=True)
        if None in shape or any(type_at(kind, point) != last[i] for point, last in beyond_grid):
            raise IRError(
                f"op {op.name} does not fit inputs {_listed(inputs)}: its result is no polynomial "
                f"in {', '.join(s.name for s in own)}, in steps of {own[0].step}"
            )
        types.append(kind)
    return tuple(types)


def _check_axes(
    op: Op, inputs: tuple[TensorType, ...], attrs: tuple[tuple[str, Attr], ...]
) -> None:
    """Axes count those of the first input: meta functions do not all look."""
    for key, value in attrs:
        if op.kinds[key] in ("axis", "axes", "order"):
            rank = max(1, inputs[0].rank)
            if not all(isinstance(n, int) and -rank <= n < rank for n in _atoms(value)):
                raise IRError(
                    f"op {op.name}: attribute {key}={short(repr(value))} is no axis of {inputs[0]}"
                )


def _large(types: tuple[TensorType, ...]) -> bool:
    """Whether two points are too few to be sure of these types."""
    return any(coefficient(d) >= FIRST for t in types for d in t.shape if isinstance(d, Sym))


def _atoms(value: object) -> Iterator[Dim]:
    """The integers and symbols anywhere in an attribute."""
    if isinstance(value, (tuple, list)):
        for item in value:
            yield from _atoms(item)
    elif isinstance(value, (int, Sym)):
        yield value


def _results(
    op: Op,
    inputs: tuple[TensorType, ...],
    attrs: tuple[tuple[str, Attr], ...],
    weights: tuple[tuple[str, TensorType], ...],
    sizes: Sizes,
) -> tuple[torch.Tensor, ...]:
    """What the reference gives on meta tensors for given sizes of B and K."""
    keywords = {k: resolve(v, sizes) for k, v in attrs}
    try:
        keywords.update({k: t.meta(sizes) for k, t in weights})
        with torch.device("meta"), formulas():
            result = op.reference(*(t.meta(sizes) for t in inputs), **keywords)
    except REFUSALS as error:
        reason = _in_symbols(str(error).partition("\n")[0], sizes)
        raise IRError(f"op {op.name} does not fit inputs {_listed(inputs)}: {reason}") from error
    return result if isinstance(result, tuple) else (result,)


def _solved(
    op: Op,
    inputs: tuple[TensorType, ...],
    found: Sequence[tuple[torch.Tensor, ...]],
    sizes: Sequence[Sizes],
) -> tuple[TensorType, ...]:
    """The types that have the shapes of all results, each found for other sizes of B and K."""
    types = []
    for results in zip(*found, strict=True):
        try:
            shape = tuple(solve(e, sizes) for e in zip(*(t.shape for t in results), strict=True))
        except NotAProduct:
            raise IRError(
                f"op {op.name} does not fit inputs {_listed(inputs)}: an extent of its result "
                "is no product of an integer, B and K"
            ) from None
        types.append(TensorType(NAMES[results[0].dtype], shape))
    return tuple(types)


def _in_symbols(text: str, sizes: Sizes) -> str:
    """torch's words, with B and K for the sizes that stand for them."""

    def symbol(match: re.Match[str]) -> str:
        coeff, symbols = int(match.group()), list[str]()
        for name, size in sizes.items():
            while coeff and coeff % size == 0:
                coeff //= size
                symbols.insert(0, name)
        return "*".join([str(coeff)] * (coeff != 1) + symbols) if symbols else match.group()

    return re.sub(r"[0-9]{4,40}", symbol, text)


def _listed(types: tuple[TensorType, ...]) -> str:
    return ", ".join(map(str, types))


def no_grad_transpose(
    function: Callable[[torch.Tensor], torch.Tensor], like: torch.Tensor, g: torch.Tensor
) -> torch.Tensor:
    """The transpose of a linear map by autograd: what hand-written transposes are held to."""
    with torch.enable_grad():
        x = torch.zeros_like(like).requires_grad_(True)
        y = function(x)
    return torch.autograd.grad(y, x, g.expand_as(y))[0]
