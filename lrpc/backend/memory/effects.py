"""The effects of the statements of a schedule: the text of each, run on meta tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lrpc.backend.expression import render
from lrpc.backend.memory.effect import Effect, Kept, Strided, effect_of
from lrpc.backend.memory.traces import Shape, Trace
from lrpc.backend.quoting import quoted
from lrpc.backend.render.rows import booked_amount, handed_out
from lrpc.backend.schedule.ir import Book, Call, Compute, Function, Read, Step, WeightName
from lrpc.backend.schedule.walk import unconditional
from lrpc.backend.schedule.words import spoken
from lrpc.errors import TraceError
from lrpc.ir.magnitudes import source


@dataclass(frozen=True, slots=True)
class Statement:
    """The text of a statement, the weights that it names, whether it speaks of B or K."""

    step: Step
    text: str
    weights: tuple[str | WeightName, ...]
    sized: bool


@dataclass
class Effects:
    """Effects of statements."""

    #: By the statement's id, and the operand that it writes over.
    statements: dict[tuple[int, int | None], Statement] = field(default_factory=dict)
    shapes: dict[object, Shape] = field(default_factory=dict)  # by what a function does
    known: dict[int, tuple[Function, Shape]] = field(default_factory=dict)  # by its id
    weighed: dict[tuple[int, str], tuple[Strided, ...]] = field(default_factory=dict)
    traces: dict[object, Trace] = field(default_factory=dict)

    def shape(self, function: Function, functions: Mapping[str, Function]) -> Shape:
        """The shape of a function, one for all that do the same, among the `functions` that it may
        call."""
        if id(function) not in self.known:
            calls = [s for s in unconditional(function.body) if isinstance(s, Call)]
            called = {s.function: self.shape(functions[s.function], functions) for s in calls}
            key = (function.code, tuple(map(id, called.values())))
            if key not in self.shapes:
                self.shapes[key] = Shape.of(function, called)
            self.known[id(function)] = (function, self.shapes[key])
        return self.known[id(function)][1]

    def weights_of(
        self, shape: Shape, prefix: str, weights: Mapping[str, Strided]
    ) -> tuple[Strided, ...]:
        """The layouts of the weights of a function that is called with a prefix."""
        key = (id(shape), prefix)
        if key not in self.weighed:
            self.weighed[key] = tuple(weights[full_name(w, prefix)] for w in shape.weights)
        return self.weighed[key]

    def of(
        self,
        step: Step,
        inputs: Sequence[Strided],
        prefix: str,
        weights: Mapping[str, Strided],
        sizes: Mapping[str, int],
        kept: Kept = (),
        over: int | None = None,
    ) -> Effect:
        """The effect of a statement in a function whose weights start with `prefix`; `kept` is what
        lies where it keeps a part of its work. It writes its result `over` an operand."""
        key = (id(step), over)
        if key not in self.statements:
            self.statements[key] = _statement(step, over)
        said = self.statements[key]
        own = (sizes["B"], sizes.get("K", 0)) if said.sized else (0, 0)
        more = of_images(sizes) if said.sized else ()
        used = tuple(weights[full_name(w, prefix)] for w in said.weights)
        return effect_of(said.text, tuple(inputs), used, *own, kept, more)


def of_images(sizes: Mapping[str, int]) -> tuple[tuple[str, int], ...]:
    """The sizes of images that vary."""
    return tuple((name, size) for name, size in sizes.items() if name not in ("B", "K"))


def full_name(name: str | WeightName, prefix: str) -> str:
    """The name of a weight, or a prefix of such, in a function with a prefix."""
    return f"{prefix}{name.name}" if isinstance(name, WeightName) else name


def _statement(step: Step, over: int | None) -> Statement:
    names = [f"x[{i}]" for i in range(len(step.inputs))]
    if isinstance(step, Read):
        return Statement(step, handed_out(names), (), False)
    if isinstance(step, Book):
        return Statement(step, booked_amount(step, names), (), False)
    used: dict[str | WeightName, int] = {}
    kept = f", k, {quoted(step.keeps.name)}" if step.keeps else ""

    def weight(name: str | WeightName) -> str:
        own = name if isinstance(name, str) else name.name
        return f"w[{used.setdefault(name, len(used))}]" + (".abs()" if source(own) else "")

    text = render(step, names, weight, kept, over)
    return Statement(step, text, tuple(used), bool(spoken(step)))


def not_run(s: Step, prefix: str, count: int, error: Exception) -> TraceError:
    """The error of a statement that does not run for so many images."""
    images, reason = "1 image" if count == 1 else f"{count} images", str(error).splitlines()[0]
    op = s.op if isinstance(s, Compute) else "read"
    return TraceError(
        f"{op} at {s.origin.place(prefix)} does not run for {images}: {reason}; a program must take"
        " any number of images"
    )


def called(s: Step, graph: Mapping[str, str]) -> tuple[str, str]:
    """The operation of a statement, and the value, place or kind of row that it is for."""
    if isinstance(s, Compute):
        name = s.outputs[0].name
        return s.op, graph.get(name, name)
    return ("read", s.place) if isinstance(s, Read) else ("record", "record")
