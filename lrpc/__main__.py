"""`python -m lrpc` is the command `lrpc`."""

from __future__ import annotations

import sys

from lrpc.cli import script

if __name__ == "__main__":
    sys.exit(script())
