"""Two traces, with batch sizes 2 and 3, become one program with a symbolic batch size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, fx

from lrpc.errors import TraceError
from lrpc.frontend.execute import call_name
from lrpc.frontend.records import (
    Boundary,
    Call,
    CallType,
    ImageNumbers,
    RecordedProgram,
    Ref,
    Stored,
    found,
    mapped,
)
from lrpc.frontend.tracer import Trace
from lrpc.ir.graph import Loc
from lrpc.ir.types import NAMES, Dim, Sym, TensorType

SIZES = (2, 3)


class _Differs(Exception):
    """Two traces differ in a way that no power of the batch size explains."""


class NotOneProgram(TraceError):
    """Two traces are no instances of one program."""


def unify(two: Trace, three: Trace) -> RecordedProgram:
    """The program that both traces are instances of; NotOneProgram where there is none."""
    calls: list[Call] = []
    first, second = ([n for n in t.graph.nodes if n.op != "output"] for t in (two, three))
    places = tuple({n: i for i, n in enumerate(nodes)} for nodes in (first, second))
    for index, (a, b) in enumerate(zip(first, second, strict=False)):
        if _called(a) != _called(b):
            raise _branches(a, two)
        try:
            calls.append(_call(index, a, b, (two, three), places))
        except _Differs:
            raise _branches(a, two) from None
    if len(first) != len(second):
        longer = max(first, second, key=len)
        raise _branches(longer[min(len(first), len(second))], two)
    refs = places[0]
    _check_numbers(two.output, three.output)
    output = mapped(two.output, fx.Node, lambda n: Ref(refs[n]))
    boundaries = tuple(_boundary(b, refs) for b in two.boundaries)
    return RecordedProgram(tuple(calls), boundaries, output, two.decisions, two.stopped)


def _called(node: fx.Node) -> tuple[str, str]:
    """What a node calls. A tensor that the model has made and stored is the same under any name."""
    return node.op, "" if node.op == "get_attr" else call_name(node.target)


def check_repeats(one: Trace, again: Trace) -> None:
    """TraceError where two traces of one call differ."""
    first, second = ([n for n in t.graph.nodes if n.op != "output"] for t in (one, again))
    for a, b in zip(first, second, strict=False):
        same = _called(a) == _called(b) and _plain(a) == _plain(b)
        if same and a.op == "get_attr":
            x, y = one.stored[str(a.target)], again.stored[str(b.target)]
            same = (x.shape, x.dtype) == (y.shape, y.dtype) and _equal(x, y)
        if not same:
            name = "a constant" if a.op == "get_attr" else call_name(a.target)
            raise TraceError(
                f"two calls of the model on the same images differ from {name} on, {_place(a)}: it"
                " keeps something from one call to the next, or draws random numbers; compute all"
                " of it in every call"
            )


def _plain(node: fx.Node) -> list[str]:
    """The numbers among a node's arguments, as text: NaN is itself."""
    return [str(x) for x in found((node.args, node.kwargs), object) if not isinstance(x, fx.Node)]


def _check_numbers(a: Any, b: Any) -> None:
    """Refuse outputs that are numbers and differ between the two."""
    plain = [[x for x in found(output, object) if not isinstance(x, fx.Node)] for output in (a, b)]
    if len(plain[0]) != len(plain[1]):
        raise NotOneProgram(
            f"the model returns {len(plain[0])} numbers for {SIZES[0]} images and {len(plain[1])} "
            f"for {SIZES[1]}; return tensors instead"
        )
    for x, y in zip(*plain, strict=True):
        if x != y and (x == x or y == y):
            raise NotOneProgram(
                f"the model returns {x} for {SIZES[0]} images and {y} for {SIZES[1]}; "
                "return tensors instead"
            )


def _branches(node: fx.Node, trace: Trace) -> NotOneProgram:
    name = "a constant" if node.op == "get_attr" else call_name(node.target)
    differs = f"differs from {name} on, {_place(node)}"
    if trace.decisions:
        return NotOneProgram(
            f"the model reads numbers out of its images ({trace.decisions[0]}) and, for others, "
            f"{differs}; compute with tensors instead"
        )
    return NotOneProgram(
        f"the model branches on its batch size: for {SIZES[0]} and {SIZES[1]} images it {differs}"
    )


def _place(node: fx.Node) -> str:
    """Where a node comes from; what is returned as it is comes from no line."""
    loc = _loc(node)
    return f"at {loc}" if loc.file or loc.module else "in what the model returns"


def _loc(node: fx.Node) -> Loc:
    loc: Loc = node.meta["loc"]
    return loc


def _boundary(boundary: Boundary, refs: Mapping[fx.Node, int]) -> Boundary:
    inputs, output = mapped((boundary.inputs, boundary.output), fx.Node, lambda n: Ref(refs[n]))
    return replace(boundary, inputs=inputs, output=output)


Places = tuple[dict[fx.Node, int], ...]


def _call(index: int, a: fx.Node, b: fx.Node, traces: tuple[Trace, Trace], places: Places) -> Call:
    typed = _merge_type(a.meta["type"], b.meta["type"])
    target: Any = a.target
    if a.op == "get_attr":
        names = [str(n.target) for n in (a, b)]
        name = names[0] if names[0] == names[1] else "constant."
        stored = [t.stored[n] for t, n in zip(traces, names, strict=True)]
        target = _stored(name, stored, typed, a)
    elif a.op == "call_module":
        target = traces[0].model.get_submodule(str(a.target))
    args, kwargs = _merge((tuple(a.args), dict(a.kwargs)), (tuple(b.args), dict(b.kwargs)), places)
    links = [a.meta[key] for key in ("writes", "view_of")]
    writes, view_of = (None if n is None else places[0][n] for n in links)
    name = type(target).__name__ if a.op == "call_module" else call_name(a.target)
    return Call(
        index, a.op, target, name, args, kwargs, typed, _loc(a), writes, view_of, a.meta["same"]
    )


def _merge(a: Any, b: Any, places: Places) -> Any:
    if isinstance(a, fx.Node) and isinstance(b, fx.Node):
        if places[0][a] != places[1][b]:
            raise _Differs
        return Ref(places[0][a])
    if isinstance(a, (tuple, list)) and type(a) is type(b) and len(a) == len(b):
        return tuple(_merge(x, y, places) for x, y in zip(a, b, strict=True))
    if isinstance(a, dict) and isinstance(b, dict) and list(a) == list(b):
        return {key: _merge(a[key], b[key], places) for key in a}
    if isinstance(a, slice) and isinstance(b, slice):
        ends = ("start", "stop", "step")
        return slice(*(_merge(getattr(a, k), getattr(b, k), places) for k in ends))
    if type(a) is int and type(b) is int:
        return extent(a, b)
    if type(a) is type(b) and (a == b or (a != a and b != b)):
        return a
    raise _Differs


def extent(a: int, b: int) -> Dim:
    """The extent that is `a` for two images and `b` for three."""
    if a == b:
        return a
    for power in (1, 2):
        coeff = a // SIZES[0] ** power
        if coeff > 0 and (coeff * SIZES[0] ** power, coeff * SIZES[1] ** power) == (a, b):
            return Sym(coeff, batch=power)
    raise _Differs


def _merge_type(a: Any, b: Any) -> CallType:
    if a is None or b is None:
        return None
    if isinstance(a[0], torch.dtype) and isinstance(b[0], torch.dtype):
        if a[0] != b[0] or len(a[1]) != len(b[1]):
            raise _Differs
        shape = tuple(extent(x, y) for x, y in zip(a[1], b[1], strict=True))
        return TensorType(NAMES[a[0]], shape) if a[0] in NAMES else None
    if len(a) != len(b):
        raise _Differs
    return tuple(_merge_type(x, y) for x, y in zip(a, b, strict=True))


def _stored(
    name: str, tensors: list[Tensor], typed: CallType, node: fx.Node
) -> Stored | ImageNumbers:
    if not isinstance(typed, TensorType):
        raise TraceError(f"a constant of dtype {tensors[0].dtype} has no type, at {_loc(node)}")
    if not name.startswith("constant."):
        return Stored(name, tensors[0], typed)
    if _count_images(tensors, typed):
        return ImageNumbers(typed)
    reduced = tensors[0]
    for axis, dim in enumerate(typed.shape):
        if isinstance(dim, Sym):
            reduced = reduced.narrow(axis, 0, 1)
    if all(_equal(reduced.expand_as(t), t) for t in tensors):
        return Stored("", reduced.clone(), typed)
    if (repeated := _one_image(tensors, typed)) is not None:
        return Stored("", repeated.clone(), typed)
    raise NotOneProgram(f"a constant {typed} differs between images or batch sizes, {_place(node)}")


def _one_image(tensors: list[Tensor], typed: TensorType) -> Tensor | None:
    """The entries [n, …] of one image, where the constants [n·B, …] repeat them for all images."""
    axes = [(i, dim) for i, dim in enumerate(typed.shape) if isinstance(dim, Sym)]
    if len(axes) != 1 or axes[0][1].batch != 1:
        return None
    axis, entries = axes[0][0], axes[0][1].coeff
    one = tensors[0].narrow(axis, 0, entries)
    copies = [torch.cat([one] * (t.shape[axis] // entries), axis) for t in tensors]
    return one if all(_equal(c, t) for c, t in zip(copies, tensors, strict=True)) else None


def _count_images(tensors: list[Tensor], typed: TensorType) -> bool:
    whole = not tensors[0].is_floating_point() and tensors[0].dtype != torch.bool
    one_axis = [dim for dim in typed.shape if dim != 1] == [Sym(batch=1)]
    return (
        whole
        and one_axis
        and all(bool((t.flatten() == torch.arange(t.numel())).all()) for t in tensors)
    )


def _equal(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors are the same up to rounding: sums may run in another order per image."""
    if a.numel() == 0 or not a.is_floating_point():
        return bool((a == b).all())
    finite = a[torch.isfinite(a)]
    scale = float(finite.abs().max()) if finite.numel() else 0.0
    slack = scale * torch.finfo(a.dtype).eps * 1e3
    return torch.allclose(a, b, rtol=0.0, atol=slack, equal_nan=True)
