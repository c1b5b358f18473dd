"""Holds the text of a program against the model that it was compiled from, before it is written."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Protocol

import torch
from torch import Tensor

from lrpc.errors import LrpcError, MismatchError, TraceError
from lrpc.frontend import Imported
from lrpc.frontend.calls import ModelCall, double
from lrpc.frontend.capture import Example
from lrpc.frontend.variation import varied
from lrpc.ir.graph import Graph
from lrpc.ir.interpreter import interpret
from lrpc.program.beside import Beside
from lrpc.program.first_difference import difference_in_double, first_difference, other_calls
from lrpc.program.reference import Running, doubled, graph_in_double, running
from lrpc.program.tolerance import TOLERANCES, Tolerance, apart, moved

MORE = 4
"""Images of the largest case by values: tracing sees batches of 2 and 3."""

MANY, MANY_NUMBERS = 65, 1 << 20
"""Images of the largest case by shapes, and numbers in all of them."""

SHAPES_ABOVE = 1 << 19
"""Numbers in one image's inputs above which more images than one are held by shapes alone."""

TRIES = 5
"""Sets of other values, where the model decides by values what to do."""

OF_SHAPES = " (calls and shapes)"

IN_DOUBLE = 1e-3
"""How close a graph comes to its model in float64: constants keep what they were in float32."""

_ROUNDING = {"fp64": "fp64", "bf16": "bf16", "f16": "bf16"}

UNCHECKED: Mapping[str, Any] = {"against": None, "on": [], "not_on": []}
"""What a manifest says of a program that was not held against its model."""


class Check(Protocol):
    """What can say how a program was held against its model."""

    def check(
        self, text: str, weights: Mapping[str, Tensor], precision: str
    ) -> Mapping[str, Any]: ...


@dataclass(frozen=True)
class CheckedBefore:
    """The check of a program that is compiled from its own graph again: it holds for that text."""

    said: Mapping[str, Any]
    sha256: str

    def check(self, text: str, weights: Mapping[str, Tensor], precision: str) -> Mapping[str, Any]:
        """What was said of this very text, or that nothing was."""
        same = hashlib.sha256(text.encode()).hexdigest() == self.sha256
        return self.said if same else UNCHECKED


#: What goes into a model by name, how its results nest, and they by name.
Ran = tuple[dict[str, Tensor], Any, dict[str, Tensor]]


@dataclass(frozen=True)
class Case:
    """One call that both are run on, in words; `shapes` says that its values are too many."""

    name: str
    example: Example
    shapes: bool = False
    small: bool = False  # one of several, of which the first that the model can take is held


@dataclass(frozen=True, eq=False)
class ModelCheck:
    """What a program's outputs are held against: the model's own, on the example and on other
    values, for one image and for more than were traced. Those of a model that may run `ahead` are
    computed from now on, while the program is made."""

    call: ModelCall
    imported: Imported
    ahead: bool = False

    def __post_init__(self) -> None:
        if self.ahead:
            _ = self._ahead

    @torch.no_grad()
    def check(self, text: str, weights: Mapping[str, Tensor], precision: str) -> dict[str, Any]:
        """Run both, and return what was compared. Raises MismatchError, which names the first value
        that differs and where the model computes it."""
        allowed = TOLERANCES[_rounding(precision, self.imported.module.graph)]
        program = running(text, weights)
        facts: dict[str, Any] = {"against": "the model", "on": [], "not_on": []}
        small = False  # one of the smallest sizes that the model itself can take has been held
        for case in self._cases:
            if case.small and small:
                continue
            try:
                if case.shapes:
                    self._hold_shapes(case)
                else:
                    self._hold(case, program, allowed)
                facts["on"].append(f"{case.name}{OF_SHAPES if case.shapes else ''}")
                small = small or case.small
            except _ModelError as error:
                if case.example is self.call.example:
                    raise self._fails(error) from error
                if not case.small:
                    facts["not_on"].append(f"{case.name}: {error}")
        return facts

    @cached_property
    def _ahead(self) -> Beside[Ran]:
        cases = [case for case in self._cases if not case.shapes]
        return Beside({case.name: partial(self.call.run, case.example) for case in cases})

    @cached_property
    def _cases(self) -> list[Case]:
        call = self.call
        own, fixed = call.batch_of(call.example), call.unbatched
        more = MORE if own != MORE else MORE + 1
        large = self._large
        cases = [Case("the example", call.example)]
        by_shapes = large and not self.imported.decisions
        if call.varying.sizes and by_shapes:
            return [*cases, *self._of_other_sizes(more)]
        if own != 1 or large:
            cases.append(Case("one other image", varied(call.example, 1, fixed)))
        others = varied(call.example, more, fixed)
        if call.varying.sizes:
            cases.append(Case(f"{more} other images", others))
            return [*cases, *self._of_other_sizes()]
        cases.append(Case(f"{more} other images", others, by_shapes))
        many = min(MANY, MANY_NUMBERS * own // max(call.example.elements, 1))
        if many > more and not self.imported.decisions:  # what reads values has no shapes alone
            cases.append(Case(f"{many} other images", varied(call.example, many, fixed), True))
        if self.imported.decisions:  # other values may decide otherwise
            for seed in range(1, 1 + TRIES):
                other = varied(call.example, own, fixed, seed)
                cases.append(Case(f"other values ({seed})", other))
        return cases

    def _of_other_sizes(self, most: int = 1) -> Iterator[Case]:
        """One image of each of the other sizes to hold a program at, `most` of the smallest."""
        varying = self.call.varying
        for point, small in varying.others(self._large):
            count = most if small else 1
            images = varying.resized(varied(self.call.example, count, self.call.unbatched), point)
            size = ", ".join(f"{k} = {n}" for k, n in point.items())
            yield Case(
                f"{'one image' if count == 1 else f'{count} images'} of {size}", images, small=small
            )

    def _hold(self, case: Case, program: Running, allowed: Tolerance) -> None:
        given, structure, wanted = self._of_model(case)
        if structure != self.imported.structure:
            raise self._mismatch(case, "the model returns other names or plain values")
        names = list(program.interface.inputs)
        try:
            got = program.outputs({name: given[name] for name in names})
        except RuntimeError as error:
            raise self._mismatch(case, f"the program fails ({_reason(error)})") from error
        few = {}
        for name, value in wanted.items():
            share, words = apart(got[name], value, allowed.near)
            if not share:
                continue
            too_many = share > 1 - allowed.share
            if too_many and not self._near_tie(case, name, got[name], value, allowed):
                raise self._mismatch(case, f"output {name!r} {words}")
            few[name] = words
        if few:
            self._hold_in_double(case, few)

    def _of_model(self, case: Case) -> Ran:
        """What the model makes of a case; its own code may refuse values that it never saw."""
        try:
            return self._ahead.result(case.name) if self.ahead else self.call.run(case.example)
        except Exception as error:
            raise _ModelError(f"{type(error).__name__}: {_reason(error)}") from error

    def _hold_in_double(self, case: Case, few: Mapping[str, str]) -> None:
        """Hold what few entries of some outputs differ by: it must be rounding alone, so that in
        float64 the model and its graph agree on all of them, or else call by call.

        Of large models, where that takes minutes, and of those without a float64 form, the calls
        and shapes are held, where there is one size."""
        by_values = not self._large or bool(self.imported.decisions)
        if by_values and self._agree_in_double(case, few):
            return
        name, what = next(iter(few.items()))
        if self.call.varying.sizes:  # a trace at one size makes other calls
            if by_values:
                raise self._refused(case, f"output {name!r} {what}")
            return
        problem = None if self._large else difference_in_double(self.call, case.example)
        if problem is None:
            with suppress(_ModelError):  # what reads values has no shapes alone
                problem = self._other_calls(case)
        if problem:
            raise self._refused(case, f"output {name!r} {what}; {problem}")

    def _agree_in_double(self, case: Case, names: Collection[str]) -> bool:
        exact = self._in_double(case)
        return exact is not None and all(moved(*exact[name], IN_DOUBLE) == 0 for name in names)

    def _in_double(self, case: Case) -> dict[str, tuple[Tensor, Tensor]] | None:
        """Each output of the graph and of the model, both in float64; None for other dtypes, and
        where the model has no float64 form."""
        module = self.imported.module
        if module.graph.dtype != "f32":
            return None
        try:
            given, _, wanted = self.call.in_double().run(double(case.example))
            wide = {name: doubled(t) for name, t in module.tensors.items()}
            got = interpret(graph_in_double(module.graph), wide, given)
        except (RuntimeError, TypeError, ValueError, LrpcError):
            return None
        return {name: (got[name], value) for name, value in wanted.items()}

    def _hold_shapes(self, case: Case) -> None:
        """Hold the calls that the model makes, not their values, against those recorded."""
        if problem := self._other_calls(case):
            raise self._refused(case, problem)

    def _other_calls(self, case: Case) -> str:
        try:
            return other_calls(self.call, case.example, self.imported.recorded)
        except TraceError as error:
            raise _ModelError(_reason(error)) from error

    @property
    def _large(self) -> bool:
        """Whether one image's inputs are so many numbers that running the model takes long."""
        return self.call.example.elements // self.call.batch_of(self.call.example) > SHAPES_ABOVE

    def _mismatch(self, case: Case, what: str) -> MismatchError:
        if sizes := self.call.varying.sizes:  # a trace at one size makes other calls
            steps = ", ".join(f"{s.name} of {s.step}" for s in sizes)
            return self._refused(case, f"{what}; larger steps than {steps} may do")
        problem = first_difference(self.call, case.example, self.imported.recorded)
        return self._refused(case, f"{what}; {problem}")

    def _fails(self, error: _ModelError) -> MismatchError:
        name = type(self.call.target).__name__
        return MismatchError(
            f"{name} fails on the example once it has been traced, so that its program cannot be"
            f" held against it: {error}; clear what it keeps between calls, or compile it unchecked"
            " with --no-check (check=False)"
        )

    def _refused(self, case: Case, what: str) -> MismatchError:
        name, decisions = type(self.call.target).__name__, self.imported.decisions
        because = f"; fixed when traced: {decisions[0]}" if decisions else ""
        return MismatchError(
            f"{name} and its program differ on {case.name}: {what}{because}; mend the model, or"
            " compile it unchecked with --no-check (check=False)"
        )

    def _near_tie(
        self, case: Case, name: str, got: Tensor, wanted: Tensor, allowed: Tolerance
    ) -> bool:
        """Whether the model in float64 is as far from its own float32 as from the program: where a
        model chooses (a top-k), rounding alone makes it choose otherwise."""
        if allowed.share == 1 or got.shape != wanted.shape:
            return False
        try:
            exact = self.call.in_double().run(double(case.example))[2][name]
        except (RuntimeError, TypeError, ValueError):  # a model without a float64 form
            return False
        own, ours = (moved(value, exact, allowed.near) for value in (wanted, got))
        return ours <= 2 * own + (1 - allowed.share)


class _ModelError(Exception):
    """The model's own code failed."""


def _rounding(precision: str, graph: Graph) -> str:
    """What a program rounds to: its precision, or float32 where a float64 model computes in it."""
    computed = {value.type.dtype for node in graph.nodes for value in node.outputs}
    exact = not computed & {"f32", "bf16", "f16"}
    return _ROUNDING.get(precision, "fp32") if exact or precision != "fp64" else "fp32"


def _reason(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0][:160]


def warning_of(notes: Sequence[str]) -> str:
    """One line on what a program holds fixed, as on its example."""
    more = f"; and {len(notes) - 3} more, in the manifest" if len(notes) > 3 else ""
    return f"{'; '.join(notes[:3])}{more}"
