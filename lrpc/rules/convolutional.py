"""Composites for convolutional networks, as zennit defines those of the same names.

The epsilon rule on linear maps, another on convolutions, and where it says so a third on the first
map. Their ε is `stabilizer` but for that of linear maps. Batch norm that is not folded into a
convolution passes relevance on unchanged; averages and sums share it out by their summands.
"""

from __future__ import annotations

from collections.abc import Mapping

from lrpc.rules.entries import Composite, Entry, Option, in_place_of

STABILISED = {"eps": Option("stabilizer", 1e-6, "ε of all rules but that of linear maps")}
BOX = {
    "low": Option("low", None, "the smallest value of an input, one or one for each channel"),
    "high": Option("high", None, "the largest value of an input, one or one for each channel"),
}
SOURCE = "as zennit's of that name (Anders et al. 2021, 2106.13200)"


def convolutional(rest: tuple[Entry, ...]) -> tuple[Composite, ...]:
    """The composites; `rest` has the entries for whatever is not of a convolutional network."""

    def made(name: str, doc: str, convolution: Entry, *first: Entry) -> Composite:
        own = (*first, convolution, *BASE)
        return Composite(name, in_place_of(own, rest), doc=f"{doc}; {SOURCE}.")

    plus = _convolution("z_plus")
    box = _convolution("z_box", BOX, first=True)
    two_to_one = _convolution("alpha_beta", {"alpha": 2.0, "beta": 1.0})
    signed = _convolution("gamma", {"gamma": Option("conv_gamma", 0.25, "γ of convolutions")})
    flat = (
        _convolution("flat", first=True),
        Entry("flat", role="linear", first=True, params=STABILISED),
    )
    return (
        made("epsilon_plus", "z⁺ on convolutions, epsilon on linear maps", plus),
        made(
            "epsilon_alpha2_beta1",
            "αβ with α = 2, β = 1 on convolutions, epsilon on linear maps",
            two_to_one,
        ),
        made("epsilon_plus_flat", "epsilon_plus with the flat rule on the first map", plus, *flat),
        made(
            "epsilon_gamma_box",
            "γ on convolutions, the box rule on the first of them, epsilon on linear maps",
            signed,
            box,
        ),
    )


def _convolution(
    rule: str, params: Mapping[str, object] | None = None, first: bool = False
) -> Entry:
    return Entry(rule, role="convolution", first=first, params={**(params or {}), **STABILISED})


BASE = (
    *(Entry("epsilon", role=role, params=STABILISED) for role in ("residual", "merge")),
    Entry("epsilon", op="avg_pool2d", params=STABILISED),
    Entry("epsilon", op="mean", params=STABILISED),
    Entry("pass", role="batch_norm"),
)
