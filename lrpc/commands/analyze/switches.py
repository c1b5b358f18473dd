"""The command's switches as a composite and entries of LRPC.RULES; one table for all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lrpc.errors import AnalysisError

METHODS = {"lrp": "maskdino", "gradinput": "gradient_input"}
THESIS = "thesis"  # the composite of the thesis
RESIDUAL = {
    "epsilon": "epsilon",
    "zsign": "z_sign",
    "energy": "energy",
    "dotpos": "dot_positive",
    "identity": "skip",
}
NORM = {
    name: name
    for name in (
        *("detach_sigma", "identity", "local_linear", "z_sign", "taylor", "abs_grad_xmu", "xmu"),
    )
}
SOFTMAX = {name: name for name in ("taylor", "gradient", "epsilon", "detach")}
DEFORMABLE = {name: name for name in ("value", "value_and_weights", "splat", "splat_value")}
PROBABILITIES = ("attention_probabilities", "deformable_probabilities")


@dataclass(frozen=True)
class Switches:
    """What the user chose about rules; None leaves it to the composite."""

    method: str = "lrp"
    composite: str | None = None
    epsilon: float | None = None
    residual_split: str | None = None
    ln_rule: str | None = None
    softmax_rule: str | None = None
    deform_rule: str | None = None
    qk_share: float | None = None

    def __post_init__(self) -> None:
        lrp_only = {
            "--composite": self.composite,
            "--residual-split": self.residual_split,
            "--ln-rule": self.ln_rule,
            "--softmax-rule": self.softmax_rule,
            "--deform-rule": self.deform_rule,
            "--qk-share": self.qk_share,
        }
        given = [option for option, value in lrp_only.items() if value is not None]
        if self.method == "gradinput" and given:
            raise AnalysisError(
                f"{given[0]} goes with --method lrp; gradinput has no rules to choose"
            )

    @property
    def given(self) -> bool:
        """Whether anything was chosen that a compiled program has already decided."""
        return self != Switches(self.method) or self.method != "lrp"

    def chosen_composite(self) -> str:
        """The composite by name."""
        return self.composite or METHODS[self.method]

    def entries(self) -> list[dict[str, str | float]]:
        """The entries of LRPC.RULES, to be put before all others."""
        found: list[dict[str, str | float]] = []
        found += _one("residual", RESIDUAL, self.residual_split)
        found += _one("layer_norm", NORM, self.ln_rule)
        for role in PROBABILITIES:
            found += _one(role, SOFTMAX, self.softmax_rule)
        return [*found, *self._shares()]

    def _shares(self) -> list[dict[str, str | float]]:
        """ρ of an attention to its weights, 1 − ρ to its values.

        In deformable attention where its weights are followed at all: splatting does not.
        """
        share, chosen = self.qk_share, self.deform_rule
        found: list[dict[str, str | float]] = []
        if share is not None:
            found.append({"role": "attention_values", "rule": "share", "ratio": share})
            if chosen is None and self.chosen_composite() != THESIS:
                chosen = "value_and_weights"
        entries = _one("deformable_sampling", DEFORMABLE, chosen)
        if share is not None and chosen == "value_and_weights":
            entries = [{**entries[0], "share": share}]
        return [*found, *entries]


def _one(role: str, rules: Mapping[str, str], choice: str | None) -> list[dict[str, str | float]]:
    return [] if choice is None else [{"role": role, "rule": rules[choice]}]
