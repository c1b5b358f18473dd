"""Rows of the ledger, and what is read of relevance, as text."""

from __future__ import annotations

from collections.abc import Sequence

from lrpc.backend.quoting import literal
from lrpc.backend.schedule.ir import Book


def handed_out(inputs: Sequence[str]) -> str:
    """The expression that a `Read` of these inputs hands out."""
    text = f"{inputs[0]} * {inputs[1]}" if len(inputs) > 1 else inputs[0]
    return text + (f" + {inputs[2]}" if len(inputs) > 2 else "")


def booked(row: Book, inputs: Sequence[str]) -> str:
    """The statement that books a row where there is a ledger."""
    more = [f"times={row.times}"] if row.times > 1 else []
    for key in ("batch", "fold"):
        value = row.attr(key)
        more += [f"{key}={literal(value)}"] if value not in (None, 1) else []
    more += [f"{key}=True" for key in ("negative", "rest") if row.attr(key)]
    return f"book(ledger, {', '.join([*inputs, *more])})"


def booked_amount(row: Book, inputs: Sequence[str]) -> str:
    """The expression of the amount that a `Book` appends; the row before has no part in what it
    allocates."""
    sign = "-" if row.attr("negative") or row.attr("rest") else ""
    fold = f", {literal(row.attr('fold'))}" if row.attr("fold") is not None else ""
    return f"{sign}inner({inputs[0]}, {inputs[1]}, {literal(row.attr('batch'))}{fold})"
