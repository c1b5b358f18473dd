"""From an `nn.Module` and example inputs to the forward graph."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from torch import Tensor, nn

from lrpc.errors import TraceError
from lrpc.frontend.batch import NotOneProgram, check_repeats, unify
from lrpc.frontend.calls import ModelCall
from lrpc.frontend.capture import (
    Example,
    as_for_inference,
    model_example,
    of_size,
)
from lrpc.frontend.finish import finish
from lrpc.frontend.gradients import with_backward_hooks
from lrpc.frontend.lowering import lower
from lrpc.frontend.periods import along, in_doubt, refuted
from lrpc.frontend.places import Place, parse_place, watched
from lrpc.frontend.records import RecordedProgram, Ref, memory_of
from lrpc.frontend.running import ByShapes
from lrpc.frontend.sizes import PERIODS, Dynamic, varying
from lrpc.frontend.structure import described, dropped
from lrpc.frontend.tracer import Trace, ValueTracer
from lrpc.frontend.traces import SIZES, Traces
from lrpc.ir.graph import Loc, Module

__all__ = ["NO_GRAD", "Imported", "import_model"]

NO_GRAD = ("detach", "ignore")
"""What may hold for results that a model computes under `torch.no_grad()`."""

SHAPES_ONLY_ABOVE = 1 << 18
"""Elements in the inputs above which propagating shapes is quicker than running the model."""


@dataclass(frozen=True)
class Imported:
    """The forward graph of a model, how its outputs nest, and what in it is special to the example.

    `structure` is JSON-able: see `structure.described`. `recorded` holds the calls that the graph
    was made of, `hooked` the modules with backward hooks, which are not followed, `dropped` the
    outputs that are no tensors.
    """

    module: Module
    structure: Any
    recorded: RecordedProgram = field(repr=False, compare=False)
    hooked: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()

    @property
    def decisions(self) -> tuple[str, ...]:
        """What model code read out of values, in words: it stays as it was on the example."""
        return tuple(map(str, self.recorded.decisions))

    @property
    def stopped(self) -> tuple[Loc, ...]:
        """Where it computed under `torch.no_grad()` what it went on with: that is detached."""
        return self.recorded.stopped

    @property
    def fixed(self) -> tuple[str, ...]:
        """A note on each of `decisions`."""
        return tuple(f"special to the example: {decision}" for decision in self.decisions)

    @property
    def unfollowed(self) -> tuple[str, ...]:
        """A note on backward hooks, where there are any."""
        if not self.hooked:
            return ()
        names = ", ".join(self.hooked[:5]) + ", …" * (len(self.hooked) > 5)
        return (f"backward hooks are not followed; relevance is as without those of {names}",)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user of the program should know of it."""
        notes = (*self.fixed, *self.unfollowed)
        if self.dropped:
            notes = (*notes, f"outputs that are no tensors are left out: {', '.join(self.dropped)}")
        if not self.stopped:
            return notes
        places = "; ".join(map(str, self.stopped))
        return (
            *notes,
            f"under torch.no_grad(), so treated as detached: what is computed at {places}",
        )


def import_model(
    model: nn.Module,
    inputs: Mapping[str, Tensor] | Example,
    *,
    scope: str = "",
    places: Mapping[str, str] | None = None,
    constants: Mapping[str, Any] | None = None,
    unbatched: Collection[str] = (),
    no_grad: str = "detach",
    held: bool = False,
    dynamic: Dynamic | None = None,
) -> Imported:
    """Trace `model`, or the submodule `scope` of it, and lower what its outputs and places need.

    `inputs` are example tensors by the names of the forward signature, with the batch in front
    except for those in `unbatched`; `constants` are its other arguments; an `Example` holds both.
    The model runs in evaluation mode, twice, on batches of 2 and 3 (the given images, and others
    made of them by `of_size`), and is left as it was. `places` names tensors: "path" is what that
    module returns, "path:in0" its first tensor argument, "path:out1" or "path:out.key" a part of
    what it returns, "path@0" its first call instead of its last. Spatial sizes are those of the
    example, or vary along the axes of `dynamic`. What the model computes under
    `torch.no_grad()` (or in inference mode) is treated as detached where it goes on; with
    `no_grad` "ignore", as if gradients were on. `held` says that what comes of it will be held
    against the model's values: then large inputs are traced by their shapes alone where the
    model asks for no more. Raises TraceError.
    """
    example = inputs
    if not isinstance(example, Example):
        example = model_example(model, example, constants or {})
    sizes = varying(example, dynamic or {})
    call = ModelCall(model, example, scope, frozenset(unbatched), no_grad == "ignore", sizes)
    target = call.target
    parsed = {name: parse_place(target, name, text) for name, text in (places or {}).items()}
    with as_for_inference(model):
        return _imported(recorded(call, parsed, held), target, parsed)


def recorded(call: ModelCall, places: Mapping[str, Place], held: bool = False) -> RecordedProgram:
    """The calls that the model makes, batch sizes read as symbols; to be used while the model is
    `as_for_inference`. `held` as for `import_model`."""
    small, large = (call.inside(of_size(call.example, size, call.unbatched)) for size in SIZES)
    follows = bool(call.varying.sizes)
    trace = partial(_trace, call.target, places, follows, ignore_no_grad=call.ignore_no_grad)
    if held and large.elements > SHAPES_ONLY_ABOVE:
        with suppress(TraceError):  # values decide whether it is one
            two = trace(small, shapes="alone")
            return _one_program(call, two, trace(large, shapes="beside values"), trace)
    two = trace(small)
    try:
        return _unified(call, two, large, trace)
    except NotOneProgram:
        check_repeats(two, trace(small))
        raise


def _trace(
    target: nn.Module,
    places: Mapping[str, Place],
    follows_sizes: bool,
    example: Example,
    shapes: ByShapes = "",
    ignore_no_grad: bool = False,
) -> Trace:
    tracer = ValueTracer(watched(places), shapes, ignore_no_grad, follows_sizes=follows_sizes)
    return tracer.record(target, example.args, example.kwargs)


def _one_program(
    call: ModelCall, two: Trace, three: Trace, trace: Callable[..., Trace]
) -> RecordedProgram:
    """The program of these traces and of those at other sizes, at as few as tell its numbers."""
    if not call.varying.sizes:
        return unify(Traces(two, three))
    example = {size.name: size.example for size in call.varying.sizes}
    known = {(*example.values(),): two}

    def at(points: Sequence[Mapping[str, int]]) -> tuple[Trace, ...]:
        for point in points:
            if (place := (*point.values(),)) not in known:
                known[place] = _at_sizes(call, point, two, trace)
        return tuple(known[(*point.values(),)] for point in points)

    refused = NotOneProgram("")
    for period in PERIODS:
        varying = call.varying.over(period)
        if in_doubt(period) and refuted([at(line) for line in along(varying.sizes)], period):
            continue
        more = at(varying.points[1:])
        try:
            return unify(Traces(two, three, more, varying))
        except NotOneProgram as refusal:
            refused = refusal
            if not refusal.uneven:
                break
    raise refused


def _at_sizes(
    call: ModelCall, point: Mapping[str, int], two: Trace, trace: Callable[..., Trace]
) -> Trace:
    """The trace at other sizes; NotOneProgram where the model fails there."""
    other = of_size(call.varying.resized(call.example, point), SIZES[0], call.unbatched)
    large = other.elements > SHAPES_ONLY_ABOVE and not two.decisions
    try:
        return trace(call.inside(other), shapes="beside values" if large else "")
    except (TraceError, RuntimeError) as error:
        size = ", ".join(f"{name} = {length}" for name, length in point.items())
        reason = (str(error).splitlines() or [""])[0]
        raise NotOneProgram(
            f"the model fails for {size}: {reason}; take its own step of sizes in `dynamic`, "
            "or compile it for one size"
        ) from error


def _unified(
    call: ModelCall, two: Trace, large: Example, trace: Callable[..., Trace]
) -> RecordedProgram:
    """For large inputs the second trace runs on shapes only, unless the first read numbers out of
    tensors; where shapes alone lead to an error, values decide whether it is one."""
    if large.elements > SHAPES_ONLY_ABOVE and not two.decisions:
        with suppress(TraceError):
            return _one_program(call, two, trace(large, shapes="beside values"), trace)
    return _one_program(call, two, trace(large), trace)


def state_names(target: nn.Module) -> dict[object, str]:
    """The names of parameters and buffers, by the memory that they are."""
    names: dict[object, str] = {}
    for name, tensor in (*target.named_parameters(), *target.named_buffers()):
        names.setdefault(memory_of(tensor), name)
    return names


def _imported(program: RecordedProgram, target: nn.Module, places: Mapping[str, Place]) -> Imported:
    structure, outputs = described(program.output, Ref)
    left_out = tuple(dropped(program.output))
    if not outputs:
        instead = f", but {', '.join(left_out)}" if left_out else ""
        raise TraceError(f"{type(target).__name__} returns no tensor{instead}")
    found = {name: place.find(name, program.boundaries) for name, place in places.items()}
    lowered = lower(program, (*outputs.values(), *found.values()), state_names(target))
    module = finish(lowered, tuple(outputs), tuple(found))
    return Imported(module, structure, program, with_backward_hooks(target), left_out)
