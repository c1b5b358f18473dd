"""Measurements: what `tools/bench.py` and `lrpc bench` time, check and print."""
