"""`lrpc compare`: one target under several composites or programs."""
