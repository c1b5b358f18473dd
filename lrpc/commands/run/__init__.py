"""`lrpc run`: images through a compiled program, relevance out as tensors, pictures and records."""
