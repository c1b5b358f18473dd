"""`lrpc opt`: passes by name over the text of a graph."""
