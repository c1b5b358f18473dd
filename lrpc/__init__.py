"""lrpc: a compiler for layer-wise relevance propagation."""

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
    from lrpc.compiler import compile
    from lrpc.explainer import LRPExplainer
    from lrpc.program.attention import attention
    from lrpc.program.loading import load
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
    "load": "lrpc.program.loading",
    "open": "lrpc.results.opened",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'lrpc' has no attribute {name!r}")
