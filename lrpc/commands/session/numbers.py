"""Numbers on the command line, within their ranges."""

from __future__ import annotations

import argparse


def positive(text: str) -> int:
    """A whole number from 1, for argparse."""
    return int(between(text, 1, 10**6, whole=True))


def fraction(text: str) -> float:
    """A number from 0 to 1, for argparse."""
    return between(text, 0, 1)


def percentile(text: str) -> float:
    """A percentile that leaves some colour, for argparse."""
    return between(text, 50, 100)


def sigma(text: str) -> float:
    """A width in pixels, for argparse."""
    return between(text, 0, 100)


def between(text: str, low: float, high: float, whole: bool = False) -> float:
    """A number in a range; argparse turns the error into exit code 2."""
    try:
        value = float(int(text)) if whole else float(text)
    except ValueError:
        value = float("nan")
    if not low <= value <= high:
        kind = "whole number" if whole else "number"
        raise argparse.ArgumentTypeError(f"'{text}' is not a {kind} from {low:g} to {high:g}")
    return value
