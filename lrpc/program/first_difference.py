"""Finds the first thing that a model does on a call and its traced graph does not."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, fx

from lrpc.errors import LrpcError
from lrpc.frontend import recorded, state_names
from lrpc.frontend.calls import ModelCall, double
from lrpc.frontend.capture import Example, as_for_inference
from lrpc.frontend.execute import call_name
from lrpc.frontend.lowering import lower
from lrpc.frontend.places import parse_place
from lrpc.frontend.records import Call, Input, RecordedProgram, Ref, Stored, found, memory_of
from lrpc.frontend.structure import described
from lrpc.frontend.tracer import Trace, ValueTracer
from lrpc.ir.graph import Value
from lrpc.ir.interpreter import run_node
from lrpc.ir.types import Sym, TensorType

Print = tuple[tuple[int, ...], float, float, float]
"""A tensor's shape, norm and two projections: enough to tell values apart, and small enough to keep
one for every value of a large model."""

NEAR = {"f64": 1e-9}
ROUNDING = 1e-3  # of values in float32, after many layers

BRANCHES = "the model branches on values or on the number of images"

FAULT = (
    "the text of the program departs from its graph, which is a fault of lrpc: please report it"
    " with the model"
)


def first_difference(call: ModelCall, example: Example, program: RecordedProgram) -> str:
    """In words, the first thing that the model does on `example` and the `program` that was traced
    does not: where it stands, and what kind of construct does that.

    The model is traced on `example`, in float64 where it has such a form, and its calls and their
    values are held, in order, against those that it makes in general.
    """
    try:
        found = difference_in_double(call, example)
        if found is None:
            found = _search(call, example, ROUNDING)
    except LrpcError as error:
        return f"there, {str(error).splitlines()[0]}"
    return found or _since(call, program) or FAULT


def difference_in_double(call: ModelCall, example: Example) -> str | None:
    """The same where both compute in float64, so that rounding makes no difference: "" where they
    agree, None where the model has no float64 form."""
    try:
        return _search(call.in_double(), double(example), NEAR["f64"])
    except (RuntimeError, TypeError, ValueError, LrpcError):
        return None  # tensors that the model makes in float32, or the like


def other_calls(call: ModelCall, example: Example, program: RecordedProgram) -> str:
    """Where the model makes other calls on `example`, or on other shapes, than those recorded; ""
    for nowhere. Shapes are propagated, no values: TraceError where the model reads some."""
    with as_for_inference(call.model):
        inner = call.inside(example)
        noted = {boundary.path for boundary in program.boundaries}  # constants come in their order
        tracer = ValueTracer(noted, "beside values", call.ignore_no_grad)
        trace = tracer.record(call.target, inner.args, inner.kwargs)
    there = _There(program, trace, {}, call.batch_of(example), ROUNDING)
    return there.other_calls() or there.other_results()


def _since(call: ModelCall, program: RecordedProgram) -> str:
    """Where the model makes other calls now than when it was traced, on the same example."""
    with as_for_inference(call.model):
        now = recorded(
            call, {b.path: parse_place(call.target, "", b.path) for b in program.boundaries}
        )
    before, after = ([(c.kind, c.name, *_plain_of(c)) for c in p.calls] for p in (program, now))
    if before == after:
        return ""
    at = next((i for i, (a, b) in enumerate(zip(before, after, strict=False)) if a != b), -1)
    place = now.calls[at]
    return (
        f"{place.name} at {place.loc} is not what it was when the model was first traced: the model"
        " keeps state from one call to the next"
    )


def _plain_of(call: Call) -> tuple[str, ...]:
    """The numbers among a call's arguments, as text: NaN is itself."""
    numbers = found((call.args, call.kwargs), object)
    return tuple(str(x) for x in numbers if isinstance(x, (bool, int, float, str, Sym)))


def _search(call: ModelCall, example: Example, near: float) -> str:
    seen: dict[fx.Node, Print] = {}
    runs = [call.run(example)[2] for _ in range(2)]
    with as_for_inference(call.model), torch.no_grad():
        program = recorded(call, {})
        inner = call.inside(example)
        tracer = ValueTracer(
            ignore_no_grad=call.ignore_no_grad,
            observe=lambda node, value: seen.update({node: fingerprint(value)}),
        )
        trace = tracer.record(call.target, inner.args, inner.kwargs)
        given = {x.name: x.value for x in found((inner.args, inner.kwargs), Input)}
        there = _There(program, trace, seen, call.batch_of(example), near)
        return (
            there.other_calls()
            or there.other_values(state_names(call.target), given)
            or there.other_results()
            or there.other_outputs(runs)
        )


def fingerprint(value: Tensor) -> Print:
    """The `Print` of a tensor; infinities and NaN count as numbers of their own."""
    flat = value.detach().reshape(-1)
    parts = torch.view_as_real(flat.resolve_conj()).reshape(-1) if flat.is_complex() else flat
    finite = torch.nan_to_num(parts.double(), nan=7.0, posinf=11.0, neginf=-13.0)
    numbers = finite.clamp(-1e100, 1e100)  # masks may hold the least number of their dtype
    steps = torch.arange(numbers.numel(), dtype=torch.float64)
    one, other = torch.cos(steps), torch.sin(steps * 1.7 + 1)
    return tuple(value.shape), float(numbers.norm()), float(numbers @ one), float(numbers @ other)


@dataclass(frozen=True, eq=False)
class _There:
    """The program's recorded calls beside a trace of the call where it departs from the model."""

    program: RecordedProgram
    trace: Trace
    seen: Mapping[fx.Node, Print]
    batch: int
    near: float

    @cached_property
    def nodes(self) -> list[fx.Node]:
        """The traced calls, in order."""
        return [n for n in self.trace.graph.nodes if n.op != "output"]

    # Other calls, other constants.

    def other_calls(self) -> str:
        """Where the model takes another way than when it was traced; "" for nowhere."""
        calls, nodes = self.program.calls, self.nodes
        for call, node in zip(calls, nodes, strict=False):
            name = self._name(node)
            if call.kind != node.op or (call.kind != "get_attr" and call.name != name):
                return (
                    f"there it calls {name} at {node.meta['loc']}, where it called {call.name} when"
                    f" it was traced: {BRANCHES}"
                )
            if problem := self._other_type(call, node) or self._other_constant(call, node):
                return problem
            if self._numbers(call.args, call.kwargs) != self._numbers(node.args, node.kwargs):
                return (
                    f"there it calls {name} at {node.meta['loc']} with other numbers than when it"
                    f" was traced: they come from values or from the number of images"
                )
        if len(nodes) != len(calls):
            at = nodes[min(len(calls), len(nodes) - 1)].meta["loc"]
            return (
                f"there it makes {len(nodes)} calls, and made {len(calls)} when it was traced, from"
                f" {at} on: {BRANCHES}"
            )
        return ""

    def _name(self, node: fx.Node) -> str:
        if node.op == "call_module":
            return type(self.trace.model.get_submodule(str(node.target))).__name__
        return call_name(node.target)

    def _other_type(self, call: Call, node: fx.Node) -> str:
        if not isinstance(call.type, TensorType) or not isinstance(node.meta["type"], tuple):
            return ""
        stated, (_, shape) = call.type.sized({"B": self.batch}), node.meta["type"]
        if stated == shape:
            return ""
        if any(read.of_shape and read.place == call.loc for read in self.trace.decisions):
            traced = list(call.type.sized({"B": self.batch}))
            return (
                f"there {call.name} at {call.loc} has shape {list(shape)}, and had {traced} when it"
                " was traced: its shape comes from values"
            )
        return (
            f"there {call.name} at {call.loc} has shape {list(shape)}, where it had {call.type}"
            " when it was traced: the shape hangs on values, or is special to the number of images;"
            " name the axes, as in squeeze(dim), and keep shapes to those of the inputs"
        )

    def _other_constant(self, call: Call, node: fx.Node) -> str:
        if call.kind != "get_attr" or not isinstance(call.target, Stored):
            return ""
        traced, now = call.target, self.trace.stored[str(node.target)]
        if traced.name and memory_of(traced.tensor) == memory_of(now):
            return ""
        whole = traced.tensor
        if (axis := traced.repeated) is not None:
            repeats = traced.type.sized({"B": self.batch})[axis] // whole.shape[axis]
            whole = torch.cat([whole] * repeats, axis)
        whole = whole.expand(traced.type.sized({"B": self.batch}))
        if not _apart(fingerprint(whole), fingerprint(now), self.near):
            return ""
        uses = [c for c in self.program.calls if Ref(call.index) in found((c.args, c.kwargs), Ref)]
        user = f"{uses[0].name} at {uses[0].loc}" if uses else str(call.loc)
        return (
            f"{user} uses a tensor that the program holds fixed, and that is another there: the"
            " model computes it from its inputs in a way that tracing does not see"
        )

    def _numbers(self, *trees: Any) -> list[Any]:
        plain = [x.at({"B": self.batch}) if isinstance(x, Sym) else x for x in found(trees, object)]
        return [x for x in plain if isinstance(x, (bool, int, float)) and not _is_nan(x)]

    def other_results(self) -> str:
        """Where the model returns its results under other names, or others of them."""
        structure, refs = described(self.program.output, Ref)
        now, nodes = described(self.trace.output, fx.Node)
        index = {node: i for i, node in enumerate(self.nodes)}
        results = {name: index[node] for name, node in nodes.items()}
        if structure == now and results == {name: ref.index for name, ref in refs.items()}:
            return ""
        names = [n for n in {**results, **refs} if n not in results or n not in refs]
        what = f"{names[0]!r}" if names else "its results"
        return (
            f"there the model returns {what} otherwise than when it was traced: their number, names"
            " or order hang on values or on the number of images"
        )

    # Other values.

    def other_values(self, names: Mapping[object, str], given: Mapping[str, Tensor]) -> str:
        """The first call whose operations compute something else than it; "" for none."""
        became: dict[int, Any] = {}
        wanted = tuple(described(self.program.output, Ref)[1].values())
        lowered = lower(self.program, wanted, names, became)
        calls: dict[Value, list[int]] = {}
        for index, operand in became.items():
            if isinstance(operand, Value):
                calls.setdefault(operand, []).append(index)
        values = {v: given[v.name] for v in lowered.inputs}
        last = {v: i for i, node in enumerate(lowered.nodes) for v in node.inputs}
        for i, node in enumerate(lowered.nodes):
            inputs = tuple(values[v] for v in node.inputs)
            try:
                results = run_node(node, lowered.tensors, inputs, {"B": self.batch})
            except RuntimeError as error:
                reason = (str(error).splitlines() or [""])[0]
                return f"{node.op} at {node.loc} fails there, where the model does not: {reason}"
            for value, result in zip(node.outputs, results, strict=True):
                for index in calls.get(value, ()):
                    if problem := self._other_value(index, result):
                        return problem
                values[value] = result
            for value in {v for v in node.inputs if last[v] == i}:
                del values[value]
        return ""

    def _other_value(self, index: int, result: Tensor) -> str:
        call, traced = self.program.calls[index], self.seen.get(self.nodes[index])
        if traced is None or not _apart(traced, fingerprint(result), self.near):
            return ""
        return (
            f"the first value that differs is that of {call.name} at {call.loc}: the program"
            " computes something else for it, which is a fault of lrpc: please report it"
        )

    def other_outputs(self, runs: list[dict[str, Tensor]]) -> str:
        """What there is to say where the model itself is not what it was when it was traced."""
        traced = described(self.trace.output, fx.Node)[1]
        first, second = ({k: fingerprint(t) for k, t in run.items()} for run in runs)
        for name, node in traced.items():
            if _apart(first[name], second[name], self.near):
                return f"the model gives another {name!r} each time: it draws random numbers"
            if node in self.seen and _apart(first[name], self.seen[node], self.near):
                return (
                    f"the model computes another {name!r} while it is traced: it looks at types, at"
                    " whether it is traced or at whether gradients are on"
                )
        return ""


def _apart(a: Print, b: Print, near: float) -> bool:
    scale = max(a[1], b[1], 1e-30)
    return a[0] != b[0] or any(
        not abs(x - y) <= near * scale for x, y in zip(a[1:], b[1:], strict=True)
    )


def _is_nan(x: float) -> bool:
    return isinstance(x, float) and math.isnan(x)
