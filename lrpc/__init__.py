"""lrpc: a compiler for layer-wise relevance propagation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lrpc.commands.compare.comparison import compare as compare
    from lrpc.compiler import compile as compile
    from lrpc.explainer import LRPExplainer as LRPExplainer
    from lrpc.rules.composite import composite as composite

__version__ = "0.1.0"
__all__ = ["LRPExplainer", "__version__", "compare", "compile", "composite"]


def __getattr__(name: str) -> Any:
    """What is imported when it is asked for: `lrpc --help` need not wait for torch."""
    if name == "compile":
        from lrpc.compiler import compile

        return compile
    if name == "compare":
        from lrpc.commands.compare.comparison import compare

        return compare
    if name == "composite":
        from lrpc.rules.composite import composite

        return composite
    if name == "LRPExplainer":
        from lrpc.explainer import LRPExplainer

        return LRPExplainer
    raise AttributeError(f"module 'lrpc' has no attribute {name!r}")
