"""Long random runs, each a command of its own: python -m tests.fuzz.NAME."""
