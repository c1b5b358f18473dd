"""Mutated inputs: `python -m tests.fuzz.graphs`, `python -m tests.fuzz.configs`."""
