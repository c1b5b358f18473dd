"""Traces of two batch sizes, 2 and 3, and of several input sizes become one program, in which these
are symbols."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, fx

from lrpc.errors import TraceError
from lrpc.frontend.execute import call_name
from lrpc.frontend.made import without_constants
from lrpc.frontend.ratios import NoRatio, ratio
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
from lrpc.frontend.traces import SIZES, Differs, Traces, Uneven
from lrpc.ir.graph import Loc
from lrpc.ir.types import NAMES, Sym, TensorType


class NotOneProgram(TraceError):
    """Two traces are no instances of one program."""

    uneven = False
    """Whether they may be with floors over more steps."""


def unify(traces: Traces) -> RecordedProgram:
    """The program that all traces are instances of; NotOneProgram where there is none."""
    calls: list[Call] = []
    nodes = [[n for n in t.graph.nodes if n.op != "output"] for t in traces.all]
    places = tuple({n: i for i, n in enumerate(own)} for own in nodes)
    for index, same in enumerate(zip(*nodes, strict=False)):
        for other, node in enumerate(same[1:], 1):
            if _called(node) != _called(same[0]):
                raise _branches(same[0], traces, other)
        try:
            calls.append(_call(index, same, traces, places))
        except NoRatio as error:
            raise NotOneProgram(
                f"{_called(same[0])[1]} takes a number that depends on the sizes, {error}, and is "
                f"no fraction of them, {_place(same[0])}; compute it with tensors, as from "
                "torch.tensor(height), or compile for one size"
            ) from None
        except Differs as differs:
            refusal = _branches(same[0], traces, _first_different(index, same, traces))
            refusal.uneven = isinstance(differs, Uneven)
            raise refusal from None
    for other, own in enumerate(nodes[1:], 1):
        if len(own) != len(nodes[0]):
            longer = max(own, nodes[0], key=len)
            raise _branches(longer[min(len(own), len(nodes[0]))], traces, other)
    refs = places[0]
    for other, trace in enumerate(traces.all[1:], 1):
        _check_numbers(traces.two.output, trace.output, other == 1)
    output = mapped(traces.two.output, fx.Node, lambda n: Ref(refs[n]))
    boundaries = tuple(_boundary(b, refs) for b in traces.two.boundaries)
    if traces.more:
        calls = [*without_constants(calls)]
    return RecordedProgram(
        tuple(calls), boundaries, output, traces.two.decisions, traces.two.stopped
    )


def _first_different(index: int, same: Sequence[fx.Node], traces: Traces) -> int:
    """Which of the traces differs from the first at a call: the one of more images, or another."""
    pair = Traces(traces.two, traces.three)
    nodes = [[n for n in t.graph.nodes if n.op != "output"] for t in pair.all]
    places = tuple({n: i for i, n in enumerate(own)} for own in nodes)
    try:
        _call(index, same[:2], pair, places)
    except Differs:
        return 1
    return 2


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


def _check_numbers(a: Any, b: Any, images: bool) -> None:
    """Refuse outputs that are numbers and differ between two traces, of more `images` or of other
    sizes."""
    first, second = f"for {SIZES[0]} images", f"for {SIZES[1]}"
    if not images:
        first, second = "at one size", "at another"
    plain = [[x for x in found(output, object) if not isinstance(x, fx.Node)] for output in (a, b)]
    if len(plain[0]) != len(plain[1]):
        raise NotOneProgram(
            f"the model returns {len(plain[0])} numbers {first} and {len(plain[1])} {second}; "
            "return tensors instead"
        )
    for x, y in zip(*plain, strict=True):
        if x != y and (x == x or y == y):
            raise NotOneProgram(
                f"the model returns {x} {first} and {y} {second}; return tensors instead"
            )


def _branches(node: fx.Node, traces: Traces, other: int) -> NotOneProgram:
    """The refusal of a model whose trace number `other` differs from the first from a node on."""
    name = "a constant" if node.op == "get_attr" else call_name(node.target)
    differs = f"differs from {name} on, {_place(node)}"
    if other > 1:
        sizes = ", ".join(f"{s.name} in steps of {s.step}" for s in traces.varying.sizes)
        return NotOneProgram(
            f"the model is not the same for all sizes ({sizes}): at another size it {differs}; "
            "larger steps may do, or compile it for one size"
        )
    if traces.two.decisions:
        return NotOneProgram(
            f"the model reads numbers out of its images ({traces.two.decisions[0]}) and, for "
            f"others, {differs}; compute with tensors instead"
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


def _call(index: int, same: Sequence[fx.Node], traces: Traces, places: Places) -> Call:
    a = same[0]
    typed = _merge_type([n.meta["type"] for n in same], traces)
    target: Any = a.target
    if a.op == "get_attr":
        names = [str(n.target) for n in same]
        name = names[0] if names == [names[0]] * len(names) else "constant."
        stored = [t.stored[n] for t, n in zip(traces.all, names, strict=True)]
        target = _stored(name, stored, typed, a)
    elif a.op == "call_module":
        target = traces.two.model.get_submodule(str(a.target))
    args, kwargs = _merge([(tuple(n.args), dict(n.kwargs)) for n in same], traces, places)
    links = [a.meta[key] for key in ("writes", "view_of")]
    writes, view_of = (None if n is None else places[0][n] for n in links)
    name = type(target).__name__ if a.op == "call_module" else call_name(a.target)
    return Call(
        index, a.op, target, name, args, kwargs, typed, _loc(a), writes, view_of, a.meta["same"]
    )


def _merge(same: Sequence[Any], traces: Traces, places: Places) -> Any:
    """What all traces have in one place, with extents in place of integers."""
    a = same[0]
    if all(isinstance(x, fx.Node) for x in same):
        refs = {own[x] for own, x in zip(places, same, strict=True)}
        if len(refs) > 1:
            raise Differs
        return Ref(refs.pop())
    if any(type(x) is not type(a) for x in same):
        raise Differs
    if isinstance(a, (tuple, list)) and all(len(x) == len(a) for x in same):
        return tuple(_merge(parts, traces, places) for parts in zip(*same, strict=True))
    if isinstance(a, dict) and all(list(x) == list(a) for x in same):
        return {key: _merge([x[key] for x in same], traces, places) for key in a}
    if isinstance(a, slice):
        ends = ("start", "stop", "step")
        return slice(*(_merge([getattr(x, k) for x in same], traces, places) for k in ends))
    if type(a) is int:
        return traces.extent(same)
    if type(a) is float and same[1] == a and any(x != a and x == x for x in same):
        return ratio([a, *same[2:]], traces.varying)
    if all(x == a or (x != x and a != a) for x in same):
        return a
    raise Differs


def _merge_type(same: Sequence[Any], traces: Traces) -> CallType:
    a = same[0]
    if any(x is None for x in same):
        return None
    if any(len(x) != len(a) for x in same):
        raise Differs
    if isinstance(a[0], torch.dtype):
        if any(x[0] != a[0] or len(x[1]) != len(a[1]) for x in same):
            raise Differs
        shape = tuple(traces.extent(dims) for dims in zip(*(x[1] for x in same), strict=True))
        name = NAMES.get(a[0].to_real() if a[0].is_complex else a[0])  # that of its parts
        return None if name is None else TensorType(name, shape)
    return tuple(_merge_type(parts, traces) for parts in zip(*same, strict=True))


def _stored(
    name: str, tensors: list[Tensor], typed: CallType, node: fx.Node
) -> Stored | ImageNumbers:
    if not isinstance(typed, TensorType):
        raise TraceError(f"a constant of dtype {tensors[0].dtype} has no type, at {_loc(node)}")
    if _of_sizes(tensors[2:], tensors[0]):
        raise NotOneProgram(
            f"a constant {typed} depends on the size of the input, {_place(node)}; compute it from "
            "tensors, or compile for one size"
        )
    tensors = tensors[:2]
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


def _of_sizes(others: Sequence[Tensor], one: Tensor) -> bool:
    """Whether a constant is another at other sizes."""
    return any(t.shape != one.shape or not _equal(t, one) for t in others)


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
    """Whether a constant counts the images, or n rows of each, along an axis, alike on others."""
    whole = not tensors[0].is_floating_point() and tensors[0].dtype != torch.bool
    axes = [axis for axis, dim in enumerate(typed.shape) if isinstance(dim, Sym)]
    if not whole or len(axes) != 1:
        return False
    after = len(typed.shape) - axes[0] - 1
    counts = (torch.arange(t.shape[axes[0]]).reshape(-1, *(1,) * after) for t in tensors)
    return all(bool((t == n).all()) for t, n in zip(tensors, counts, strict=True))


def _equal(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors are the same up to rounding: sums may run in another order per image."""
    if a.data_ptr() == b.data_ptr() and (a.shape, a.stride()) == (b.shape, b.stride()):
        return a.dtype == b.dtype  # such as a parameter
    if a.numel() == 0 or not a.is_floating_point():
        return bool((a == b).all())
    finite = a[torch.isfinite(a)]
    scale = float(finite.abs().max()) if finite.numel() else 0.0
    slack = scale * torch.finfo(a.dtype).eps * 1e3
    return torch.allclose(a, b, rtol=0.0, atol=slack, equal_nan=True)
