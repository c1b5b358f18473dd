"""lrpc: a compiler for layer-wise relevance propagation."""

__version__ = "0.1.0"
