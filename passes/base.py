"""What a pass is, and how a sequence of them runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import ClassVar, Protocol

from lrpc.ir.graph import Graph, Module
from lrpc.ir.verifier import verify


class Pass(Protocol):
    """A rewrite of a module: a frozen dataclass whose fields are its options."""

    name: ClassVar[str]

    def run(self, module: Module) -> Module:
        """The rewritten module; `module` itself is left as it is."""
        ...


def run_pipeline(
    module: Module,
    passes: Iterable[Pass],
    after: Callable[[Pass, Module], None] | None = None,
) -> Module:
    """Run `passes` in order, verifying after each; `after` sees every verified result.

    Raises IRError that names the pass where its result does not verify.
    """
    for step in passes:
        module = step.run(module)
        verify(module.graph, step.name)
        if after is not None:
            after(step, module)
    return module


@dataclass(frozen=True)
class Joints:
    """All graphs of a program: the forward pass, and for each target of all composites its joint
    graphs, without and with ledger. `starts` names the values that relevance starts from."""

    forward: Graph
    pairs: tuple[tuple[Graph, Graph], ...]
    starts: tuple[str, ...]

    def graphs(self) -> Iterable[Graph]:
        """Each of them."""
        yield self.forward
        for pair in self.pairs:
            yield from pair


class JointPass(Protocol):
    """A rewrite of all graphs of a program together: a frozen dataclass, as a pass is."""

    name: ClassVar[str]

    def run(self, joints: Joints) -> Joints:
        """The rewritten graphs; `joints` itself is left as it is."""
        ...


def run_joint_pipeline(
    joints: Joints,
    passes: Iterable[JointPass],
    after: Callable[[JointPass, Joints], None] | None = None,
) -> Joints:
    """As `run_pipeline`, for passes over all graphs of a program."""
    for step in passes:
        joints = step.run(joints)
        for graph in joints.graphs():
            verify(graph, step.name)
        if after is not None:
            after(step, joints)
    return joints
