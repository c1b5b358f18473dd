"""A torch.fx tracer whose tensors carry values: real model code runs, and leaves a graph behind."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch._subclasses.fake_tensor import FakeTensor

from lrpc.errors import TraceError
from lrpc.frontend.attributes import refused_control_flow
from lrpc.frontend.capture import ONE_AT_A_TIME
from lrpc.frontend.constants import Constants
from lrpc.frontend.factories import Factories
from lrpc.frontend.leaves import is_leaf, leaf_functions, nothing_kept_whole
from lrpc.frontend.proxy import TracedTensor
from lrpc.frontend.recording import Recorder
from lrpc.frontend.records import SHAPE_OF, Boundary, Decision, Input, found, kind_of, mapped
from lrpc.frontend.running import ByShapes
from lrpc.frontend.source_location import raised_place
from lrpc.frontend.structure import nested
from lrpc.ir.graph import Loc


@dataclass(frozen=True)
class Trace:
    """One run: the fx graph, the tensors it met, the module calls asked for, the nested output.

    Nested results hold nodes of `graph`. Node meta: `type` (dtype and shape), `loc`, `writes`,
    `view_of` and `same` (see `Call`). `stopped` are the places of what the model computed without
    gradients and went on with.
    """

    model: nn.Module
    graph: fx.Graph
    stored: Mapping[str, Tensor]  # parameters and buffers by name, constants as `constant.N`
    boundaries: tuple[Boundary, ...]
    output: Any
    decisions: tuple[Decision, ...]
    stopped: tuple[Loc, ...]


class ValueTracer(Recorder):
    """Traces one call of a module on example arguments; `watched` modules' calls are noted down.

    With `shapes` values are shapes and dtypes alone: quick, but code that reads numbers out of
    traced tensors needs a full trace. So do in-place links (`writes`, `view_of`) and layouts: with
    "alone", where there is no full trace beside, they are refused.

    Everything that does not depend on the arguments' tensors is computed right away and shows up as
    a constant. Numbers that model code reads out of traced tensors are listed as decisions. What
    the model computes under `torch.no_grad()` is detached where it goes on, unless
    `ignore_no_grad`. With `follows_sizes` tensors that are made from numbers are recorded as well.
    """

    def __init__(
        self,
        watched: Collection[str] = (),
        shapes: ByShapes = "",
        ignore_no_grad: bool = False,
        observe: Callable[[fx.Node, Tensor], None] | None = None,
        follows_sizes: bool = False,
    ) -> None:
        super().__init__(shapes, ignore_no_grad)
        self.follows_sizes = follows_sizes
        self.watched = watched
        self.observe = observe  # is shown every tensor as it is computed
        self.boundaries: list[Boundary] = []
        self._output: Any = None
        self._raised: tuple[Exception | None, str] = (None, "")  # an error, and the module it left

    def record(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Trace:
        """Run `model` on arguments whose tensors are `Input`s, and return what was recorded.

        One at a time in a process: others wait. Code of other threads runs as always.
        """
        self._arguments = (args, kwargs)
        self.constants = Constants(model, self._stored)
        self._thread = threading.get_ident()
        try:
            with ONE_AT_A_TIME, leaf_functions(), torch.enable_grad(), _uncompiled():
                self.active = True
                with nothing_kept_whole():
                    graph = self.trace(model)
            returned, shapes = (self._output, self.boundaries), self.runner.fake is not None
            unread = self.true_places.prune(graph, returned, shapes)
        except TraceError:
            raise
        except Exception as error:
            raise self._in_one_line(error) from error
        finally:
            self.active = False
            del self._arguments  # large where the images are
        decisions = {
            told: d
            for told, d in self.decisions.items()
            if (d.what.removeprefix(SHAPE_OF), d.place) not in unread
        }
        return Trace(
            model, graph, self.constants.stored, tuple(self.boundaries), self._output,
            tuple(decisions.values()), tuple(self.stopped),
        )  # fmt: skip

    def _in_one_line(self, error: Exception) -> TraceError:
        if self.refusal is not None:  # what carried it through C++ has lost its text
            return self.refusal
        reason = (str(error).splitlines() or [""])[0]
        module = self._raised[1] if self._raised[0] is error else ""
        place = Loc(module, *raised_place(error))
        if type(error).__module__.startswith("torch._dynamo"):  # torch's own tracer gave up
            return refused_control_flow(place)
        return TraceError(f"{type(error).__name__} at {place}: {reason}")

    # How fx calls the root, calls modules and reads their attributes.

    def create_args_for_root(
        self, root_fn: Callable[..., Any], is_module: bool, concrete_args: Any = None
    ) -> tuple[Any, list[Any]]:
        args, kwargs = mapped(self._arguments, Input, self._placeholder)

        def run_traced() -> None:
            self.modules.append("")
            with Factories(self):
                result = nested(self.root(*args, **kwargs))  # with its hooks
            result = mapped(result, TracedTensor, self.outside)
            self._close("", args, kwargs, result)
            self._output = self._nodes(result)
            self.modules.pop()

        return run_traced, []

    def _placeholder(self, given: Input) -> TracedTensor:
        node = self.create_node("placeholder", given.name, (), {})
        value = self.runner.example(given.value)
        if type(value) is not Tensor and not isinstance(value, FakeTensor):
            raise TraceError(
                f"input {given.name!r} is a {type(given.value).__name__}; "
                "give a plain tensor, as by .as_subclass(torch.Tensor)"
            )
        if value.is_complex():
            raise TraceError(
                f"input {given.name!r} holds complex numbers; give torch.view_as_real of it"
            )
        made = self.made(node, value, [])
        made.carries = value.is_floating_point()
        return made

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: Any
    ) -> Any:
        if self.runner.busy or threading.get_ident() != self._thread or m is self.root:
            return forward(*args, **kwargs)
        path = (self.submodule_paths or {}).get(m)
        if path is None:  # a module made on the fly has no path
            return forward(*args, **kwargs)
        self.modules.append(path)
        try:
            if is_leaf(m) and found((args, kwargs), TracedTensor):
                result = self.create_proxy("call_module", path, args, kwargs)
            else:
                result = forward(*args, **kwargs)
            self._close(path, args, kwargs, result)
        except Exception as error:
            self._raised = self._raised if self._raised[0] is error else (error, path)
            raise
        finally:
            self.modules.pop()
        return result

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        return attr_val  # parameters stay tensors: what is computed from them alone is constant

    def _close(self, path: str, args: Any, kwargs: Any, result: Any) -> None:
        if path in self.watched:
            inputs = tuple(self._nodes(x) for x in _tensors((args, kwargs)))
            self.boundaries.append(Boundary(path, inputs, self._nodes(nested(result))))

    def _nodes(self, tree: Any) -> Any:
        plain = mapped(tree, TracedTensor, lambda x: x.node)
        return mapped(plain, Tensor, self.intern)

    def _stored(self, name: str, tensor: Tensor) -> fx.Node:
        node = self.create_node("get_attr", name, (), {})
        node.meta["type"] = kind_of(tensor)
        return node


@contextmanager
def _uncompiled() -> Iterator[None]:
    """While active, what `torch.compile` made runs as the Python code that it was made of."""
    if "torch._dynamo" not in sys.modules:
        yield
        return
    with sys.modules["torch._dynamo"].config.patch(error_on_nested_fx_trace=False):
        yield


def _tensors(tree: Any) -> list[Any]:
    """Traced and plain tensors among arguments, in order."""
    return [x for x in found(tree, object) if isinstance(x, Tensor)]
