"""Lowering: recorded calls become IR, one row of a literal table per name of a call."""

from lrpc.frontend.lowering.lower import Lowered, lower
from lrpc.frontend.lowering.table import ROWS

__all__ = ["ROWS", "Lowered", "lower"]
