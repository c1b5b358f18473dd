"""Measurements: what `tools/bench` and `lrpc bench` time, check and print."""
