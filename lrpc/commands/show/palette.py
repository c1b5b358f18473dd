"""Colours of roles, by family, and of rules."""

from __future__ import annotations

from collections.abc import Iterable

# Mid-tone: readable as text on dark and light terminals, and as stripes on white.
ROLES: dict[str, str] = {
    "linear": "#2f6fdb",
    "convolution": "#1aa0d8",
    "product": "#4f8fb0",
    "bilinear": "#6a7fd0",
    "residual": "#2f9e44",
    "merge": "#74b816",
    "positional": "#1aab8a",
    "layer_norm": "#9c47d6",
    "group_norm": "#7450d8",
    "batch_norm": "#b968c7",
    "attention_scores": "#f08c00",
    "attention_probabilities": "#e8740c",
    "attention_values": "#d9930d",
    "deformable_sampling": "#e03c3c",
    "deformable_probabilities": "#e8590c",
    "coordinate": "#c2456f",
    "softmax": "#c98a1b",
    "activation": "#d6b100",
    "pooling": "#0c9aa6",
    "interpolation": "#38b2ac",
    "selection": "#a0764b",
    "structural": "#8a94a3",
    "detach": "#6c7683",
    "constant": "#a9a294",
    "relevance": "#4a5a8c",
}
NONE = "#c3c7cd"

RULES = (
    "#2f6fdb", "#2f9e44", "#e8740c", "#9c47d6", "#e03c3c", "#0c9aa6", "#c98a1b", "#c2456f",
    "#7450d8", "#74b816", "#a0764b", "#1aa0d8",
)  # fmt: skip


def role_colour(role: str) -> str:
    """The colour of a role; grey for none and for one that is not in use here."""
    return ROLES.get(role, NONE)


def rule_colours(rules: Iterable[str]) -> dict[str, str]:
    """A colour for each rule name, the same for the same set of names."""
    names = sorted(set(rules))
    return {name: RULES[i % len(RULES)] for i, name in enumerate(names)}


def tint(colour: str, share: float) -> str:
    """`colour` mixed with white: share 1 leaves it, 0 gives white."""
    parts = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return "#" + "".join(f"{round(255 - (255 - part) * share):02x}" for part in parts)
