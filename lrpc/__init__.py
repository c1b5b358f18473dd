"""lrpc: a compiler for layer-wise relevance propagation.

Compile a model, load the program, explain images:

    program = lrpc.compile(model, (x,), composite="epsilon")  # any nn.Module
    program = lrpc.load("build/digits")  # what `lrpc compile` has written
    found = program.explain("photos", "class_logit", top=3)  # found[0].plot(), .save("a.pdf")
    results = lrpc.open("out")  # of `lrpc run --data`: results.frame(), results[0].map

`LRPExplainer` explains the outputs of a model in one call, and `compare` sets composites side by
side. Errors that a user may catch are subclasses of `LrpcError`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from lrpc.errors import (
    AnalysisError,
    ConfigError,
    ImageError,
    IRError,
    LrpcError,
    LrpcWarning,
    MismatchError,
    PrecisionError,
    ProgramError,
    RuleError,
    TraceError,
    WeightsError,
)

if TYPE_CHECKING:
    from lrpc.commands.compare.comparison import compare
    from lrpc.commands.jobs.explain import explain, images
    from lrpc.commands.session.contrasts import contrast
    from lrpc.compiler import compile
    from lrpc.door import load
    from lrpc.explainer import LRPExplainer
    from lrpc.program.attention import attention
    from lrpc.results.colour import imgify
    from lrpc.results.opened import open
    from lrpc.rules.composite import composite

__version__ = "0.1.0"
__all__ = [
    "AnalysisError",
    "ConfigError",
    "IRError",
    "ImageError",
    "LRPExplainer",
    "LrpcError",
    "LrpcWarning",
    "MismatchError",
    "PrecisionError",
    "ProgramError",
    "RuleError",
    "TraceError",
    "WeightsError",
    "__version__",
    "attention",
    "compare",
    "compile",
    "composite",
    "contrast",
    "explain",
    "images",
    "imgify",
    "load",
    "open",
]

#: Imported when they are asked for: `lrpc --help` need not wait for torch.
_LAZY = {
    "LRPExplainer": "lrpc.explainer",
    "attention": "lrpc.program.attention",
    "compare": "lrpc.commands.compare.comparison",
    "compile": "lrpc.compiler",
    "composite": "lrpc.rules.composite",
    "contrast": "lrpc.commands.session.contrasts",
    "explain": "lrpc.commands.jobs.explain",
    "images": "lrpc.commands.jobs.explain",
    "imgify": "lrpc.results.colour",
    "load": "lrpc.door",
    "open": "lrpc.results.opened",
}


def __dir__() -> list[str]:
    return __all__


if not TYPE_CHECKING:  # types come from above; a misspelt name is an error

    def __getattr__(name: str) -> Any:
        if name in _LAZY:
            return getattr(import_module(_LAZY[name]), name)
        raise AttributeError(f"module 'lrpc' has no attribute {name!r}")
