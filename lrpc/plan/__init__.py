"""Memory planning over plain lists: which buffers are live when, and where each lies."""
