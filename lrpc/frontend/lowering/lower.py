"""Walks the recorded calls, hands each to its row, and keeps what in-place operations changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from lrpc.errors import IRError, TraceError
from lrpc.frontend.batch import NotOneProgram
from lrpc.frontend.execute import is_in_place, out_of_place
from lrpc.frontend.lowering import complexes, diagonals, indexing, shapes, writes
from lrpc.frontend.lowering.advice import no_rule, shown
from lrpc.frontend.lowering.context import Context, Operand
from lrpc.frontend.lowering.liveness import live_calls
from lrpc.frontend.lowering.missing import Missing
from lrpc.frontend.lowering.table import ROWS, row_of
from lrpc.frontend.lowering.views import Memory, view_layout
from lrpc.frontend.records import Call, ImageNumbers, RecordedProgram, Ref, Stored, mapped
from lrpc.ir.extents import NotInSteps
from lrpc.ir.graph import Node, Value
from lrpc.ir.types import NAMES, Sym, TensorType

#: Arguments that torch takes under NumPy's names, too, and those that change no number.
SPELT = {"axis": "dim", "keepdims": "keepdim", "x1": "input", "x2": "other"}
#: Operands of products by the names that torch gives them, in its order.
FACTORS = ("mat1", "batch1", "vec1", "mat", "mat2", "batch2", "vec2", "vec")
ELSEWHERE = frozenset({"device", "memory_format"})

#: Calls that may leave the numbers of the images as they are.
AXES = frozenset({
    "getitem", "view", "reshape", "unsqueeze", "squeeze", "flatten", "unflatten", "to", "long",
    "contiguous", "clone", "detach",
})  # fmt: skip

#: What a row raises where it meets arguments of a kind that it has no case for.
UNREAD = (TypeError, ValueError, AttributeError, LookupError, ArithmeticError, RuntimeError)


@dataclass(frozen=True)
class Lowered:
    """Nodes in program order with a name hint each, their inputs and weights, the wanted values."""

    inputs: tuple[Value, ...]
    nodes: tuple[Node, ...]
    hints: tuple[str, ...]
    tensors: Mapping[str, Tensor]
    values: tuple[Value, ...]


def lower(
    program: RecordedProgram,
    wanted: tuple[Ref, ...],
    names: Mapping[object, str],
    became: dict[int, Operand] | None = None,
) -> Lowered:
    """Lower what the `wanted` results need; `names` are state-dict names by memory. `became` is
    filled with what each call was lowered to, by its index."""
    live = live_calls(program.calls, wanted)
    walk = Lowering(program.calls, names)
    walk.live = live
    for call in program.calls:
        if call.index in live or call.kind == "placeholder":
            walk.step(call)
            if became is not None:
                became[call.index] = walk.operands.get(call.index)
    values = tuple(walk.wanted(ref) for ref in wanted)
    builder = walk.builder
    return Lowered(walk.inputs, tuple(builder.nodes), tuple(walk.hints), walk.tensors, values)


class Lowering(Context):
    """The operands that calls have become."""

    def __init__(self, calls: tuple[Call, ...], names: Mapping[object, str]) -> None:
        given = [call for call in calls if call.kind == "placeholder"]
        self.inputs = tuple(Value(call.target, _tensor_type(call)) for call in given)
        super().__init__(self.inputs, names)
        self.calls = calls
        self.memory = Memory(calls)
        self.operands: dict[int, Operand] = {
            call.index: value for call, value in zip(given, self.inputs, strict=True)
        }

    def step(self, call: Call) -> None:
        """Lower one call; TraceError with its place where that cannot be done."""
        self.call = call
        if call.kind == "placeholder":
            return
        if call.kind == "get_attr":
            self.operands[call.index] = call.target
            return
        try:
            result = self._apply(call)
            self.operands[call.index] = result
            if call.writes is not None:
                self._write(call, result)
        except NotInSteps as error:
            raise NotOneProgram(
                f"{self.call.name} does not come out alike at all sizes ({error}), at "
                f"{self.call.loc}; take larger steps of the sizes, or compile for one size"
            ) from error
        except (IRError, *UNREAD) as error:
            args, kwargs = mapped((self.call.args, self.call.kwargs), Ref, self._known)
            called = shown(self.call.name, args, kwargs)
            raise TraceError(f"{called} cannot be compiled, at {self.call.loc}") from error

    def wanted(self, ref: Ref) -> Value:
        """The value of a result that the model returns, or that a place names."""
        self.call = self.calls[ref.index]
        operand = self.operand(ref.index)
        if complexes.of(operand):
            self.refuse("gives complex numbers, which the model returns", complexes.REMEDY)
        value = self.value(operand)
        if 0 in value.type.shape:
            self.refuse(f"gives an empty tensor, {value.type}, which the model returns")
        return value

    def _known(self, ref: Ref) -> Operand:
        return self.operands.get(ref.index)

    def _apply(self, call: Call) -> Operand:
        row = row_of(call)
        args, kwargs = mapped((call.args, call.kwargs), Ref, lambda ref: self.operand(ref.index))
        kwargs = {SPELT.get(key, key): x for key, x in kwargs.items() if key not in ELSEWHERE}
        if kwargs.get("out", self) is None:
            del kwargs["out"]
        first = [kwargs.pop(key) for key in ("input", "self") if key in kwargs]
        second = [kwargs.pop("other")] if "other" in kwargs and len(first) + len(args) == 1 else []
        second += [kwargs.pop(key) for key in FACTORS if key in kwargs]
        name = out_of_place(call.name) if is_in_place(call.name) else call.name
        if complexes.concerned(name, args, kwargs):
            return complexes.lowered(self, name, row, (*first, *args, *second), kwargs)
        if row is None:
            raise TraceError(no_rule(call))
        if isinstance(args[0] if args else None, ImageNumbers) and _still_images(call, args[0]):
            return ImageNumbers(self.result)
        return self._checked(row(self, *first, *args, *second, **kwargs))

    def operand(self, index: int) -> Operand:
        """What a call has become, after the in-place operations so far."""
        if index not in self.operands:  # a view whose memory was written to: take it anew
            outer, self.call = self.call, self.calls[index]
            self.operands[index] = self._apply(self.call)
            self.call = outer
        return self.operands[index]

    def seen(self, args: tuple[Any, ...]) -> list[Operand]:
        refs = [x.index for x in args if isinstance(x, Ref)]
        return [self.operands[i] for i in refs if i in self.operands]

    def _write(self, call: Call, result: Operand) -> None:
        """Everything that shares the written memory changes: itself, what it is a view of (by
        putting the new part back), and other views, which are taken anew when they are used."""
        assert call.writes is not None
        changed = [(call.writes, result)]
        for view in self.memory.views_up(call.writes):
            parent = self.calls[view].view_of
            assert parent is not None
            changed.append((parent, self._put_back(call, self.calls[view], changed[-1][1])))
        for index in self.memory.group(call.writes):
            self.operands.pop(index, None)
        for written, operand in changed:
            for index in self.memory.equals(written):
                if index <= call.index:
                    self.operands[index] = operand

    def _put_back(self, call: Call, view: Call, part: Operand) -> Operand:
        """What a tensor has become, of which `view` took the part that is now `part`."""
        assert view.view_of is not None
        if isinstance(part, Missing):
            return part
        whole, row = self.operand(view.view_of), ROWS.get(view.name)
        if row in (shapes.reshape, shapes.view):
            return self.reshape(part, self.type(whole).shape)
        source = self.calls[view.args[0].index]
        parts = isinstance(source.type, tuple)
        if row is indexing.getitem and not parts:
            return writes.setitem(self, whole, view.args[1], part)
        name = source.name if parts else view.name
        index = diagonals.diagonal_index(self, whole, view) if name == "diagonal" else None
        if index is not None:
            return writes.setitem(self, whole, index, part)
        lies = view_layout(view, source if parts else None, self.type(whole))
        if lies is not None:
            return writes.put_back(self, self.value(whole), lies, self.value(part))
        return Missing(
            f"{call.name} at {call.loc} changed this through {name}",
            "compute a new tensor there instead",
        )

    def _checked(self, result: Operand) -> Operand:
        """`result`, spread over the batch where its images are alike, and in the precision that was
        traced; IRError where it is of another shape or kind than the call gave."""
        wanted = self.call.type
        if isinstance(result, Stored) or not isinstance(wanted, TensorType):
            return result
        if isinstance(result, Value) and result.type != wanted:
            if not _spreads(result.type, wanted):
                raise IRError(f"{result.type} is not the {wanted} that {self.call.name} gave")
            if result.type.dtype != wanted.dtype:
                result = self.op("cast", result, dtype=wanted.dtype)
            result = self.expand(result, wanted.shape)
        return result


def _still_images(call: Call, images: ImageNumbers) -> bool:
    """Whether a call leaves the numbers of the images as they are, but for axes of one entry."""
    if not isinstance(call.type, TensorType) or call.name not in AXES:
        return False
    kept = [dim for dim in call.type.shape if dim != 1]
    return kept == [dim for dim in images.type.shape if dim != 1] and not call.type.is_float


def _spreads(own: TensorType, wanted: TensorType) -> bool:
    """Whether the two differ in precision and in axes that are spread over the batch, alone."""
    kinds = [(t.is_float, t.dtype == "bool") for t in (own, wanted)]
    if kinds[0] != kinds[1] or own.rank != wanted.rank:
        return False
    pairs = zip(own.shape, wanted.shape, strict=True)
    return all(a == b or (a == 1 and isinstance(b, Sym)) for a, b in pairs)


def _tensor_type(call: Call) -> TensorType:
    if not isinstance(call.type, TensorType):
        known = ", ".join(str(dtype).removeprefix("torch.") for dtype in NAMES)
        raise TraceError(f"input {call.target!r} is of none of the dtypes {known}; convert it")
    return call.type
