"""lrpc: a compiler for layer-wise relevance propagation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lrpc.compiler import compile as compile

__version__ = "0.1.0"
__all__ = ["__version__", "compile"]


def __getattr__(name: str) -> Any:
    """`lrpc.compile`, imported when it is asked for: `lrpc --help` need not wait for torch."""
    if name == "compile":
        from lrpc.compiler import compile

        return compile
    raise AttributeError(f"module 'lrpc' has no attribute {name!r}")
