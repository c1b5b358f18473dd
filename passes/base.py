"""What a pass is, and how a sequence of them runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import ClassVar, Protocol

from lrpc.ir.graph import Module
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
