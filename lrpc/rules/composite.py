"""Composites: ordered maps from nodes to rules. The first entry that matches a node decides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lrpc.errors import RuleError
from lrpc.rules import CATALOGUE, find
from lrpc.rules.convolutional import convolutional
from lrpc.rules.entries import SWITCHES, Composite, Entry, Option, in_place_of
from lrpc.support.untrusted import meant

__all__ = ["COMPOSITES", "Composite", "Entry", "Option", "adapted", "composite", "entries", "entry"]

SUMS = tuple(Entry("epsilon", role=r) for r in ("residual", "merge", "positional"))
COMMON = (
    Entry("epsilon", role="linear"),
    Entry("epsilon", role="convolution"),
    Entry("epsilon", role="batch_norm"),
    Entry("epsilon", role="interpolation"),
    Entry("value", role="sampling"),
    Entry("epsilon", op="avg_pool2d"),
    Entry("epsilon", op="cumsum"),
    *SUMS,
    Entry("detach_sigma", role="*_norm"),
    Entry("uniform", role="attention_scores"),
    Entry("uniform", role="bilinear"),
    Entry("uniform", role="product"),
    Entry("pass", role="activation"),
    Entry("detach", role="normaliser"),
    Entry("pass", op="max_pool2d"),
    Entry("pass", op="amax"),
    Entry("pass", op="amin"),
    Entry("pass", role="selection"),
    Entry("pass", role="embedding"),
    Entry("pass", role="structural"),
    Entry("pass", op="detach"),
    Entry("taylor", role="softmax"),
)
ATTNLRP = Composite(
    "attnlrp",
    (
        Entry("uniform", role="attention_values"),
        Entry("taylor", role="attention_probabilities"),
        Entry("value_and_weights", role="deformable_sampling", params={"share": 0.5}),
        Entry("taylor", role="deformable_probabilities"),
        *COMMON,
    ),
    doc="AttnLRP: half of an attention's relevance through its weights (Achtibat et al. 2024).",
)
VALUES_ONLY = (
    Entry("share", role="attention_values", params={"ratio": 0.0}),
    Entry("detach", role="attention_probabilities"),
    Entry("value", role="deformable_sampling"),
    Entry("detach", role="deformable_probabilities"),
    *COMMON,
)
CP_LRP = Composite(
    "cp_lrp",
    VALUES_ONLY,
    doc="CP-LRP: attention weights are constants, all relevance to the values (Ali et al. 2022).",
)
EPSILON = Composite(
    "epsilon",
    (
        Entry("uniform", role="attention_values"),
        Entry("taylor", role="attention_probabilities"),
        Entry("value", role="deformable_sampling"),
        Entry("taylor", role="deformable_probabilities"),
        *COMMON,
    ),
    doc="The epsilon rule on every linear map, the sampling map among them; softmax by taylor.",
)
THESIS = Composite(
    "thesis",
    in_place_of(
        (
            Entry("share", role="attention_values", params={"ratio": 0.5}),
            Entry("gradient", role="attention_probabilities"),
            Entry("splat", role="deformable_sampling"),
            Entry("gradient", role="deformable_probabilities"),
            Entry("gradient", role="softmax"),
            Entry("z_sign", role="residual"),
            Entry("epsilon", role="batch_norm"),
            Entry("z_sign", role="*_norm"),
        ),
        COMMON,
    ),
    doc="Residuals and norms share out per token (z_sign), softmax by its gradient, deformable"
    " attention by splatting without values. Meant for one layer at a time: where the sums of"
    " z_sign nearly cancel its shares are large, and over many layers they multiply. Entries for"
    " `residual` (energy, dot_positive, skip), `*_norm` (local_linear, taylor, xmu, abs_grad_xmu),"
    " `attention_values` (share, ratio: the part of queries and keys) choose its variants.",
)
# What an entry `rule: locations` follows besides: the offsets, not the boxes they start from.
COORDINATES = (
    Entry("detach", op="detach", role="coordinate"),
    Entry("epsilon", op="add", role="coordinate"),
    Entry("epsilon", op="sub", role="coordinate"),
    Entry("uniform", op="mul", role="coordinate"),
    Entry("pass", role="coordinate"),
)
GRADIENT_INPUT = Composite(
    "gradient_input",
    (
        Entry("detach", op="detach"),
        Entry("detach", op="detach", role="coordinate"),
        Entry("gradient_input", role="coordinate"),
        Entry("gradient_input"),
    ),
    doc="Input times the model's own gradient, its detaches included; redistributes nothing.",
)
CONV_GAMMA = Option("conv_gamma", 1.0, "γ of convolutions")
LINEAR_GAMMA = Option("linear_gamma", 0.5, "γ of linear maps")
GAMMA = Composite(
    "gamma",
    in_place_of(
        (
            Entry("gamma", role="convolution", params={"gamma": CONV_GAMMA}),
            Entry("gamma", role="linear", params={"gamma": LINEAR_GAMMA}),
        ),
        VALUES_ONLY,
    ),
    doc="γ on convolutions and linear maps, CP-LRP in attention; larger γ, smoother maps.",
)
EARLY_GAMMA = Option("conv_gamma", 0.5, "γ of the backbone's convolutions")
LATE_GAMMA = Option("linear_gamma", 0.02, "γ of other convolutions, and of encoder layers")
MASKDINO = Composite(
    "maskdino",
    in_place_of(
        (
            Entry("contrast", classes=True),
            Entry("gamma", role="convolution", backbone=True, params={"gamma": EARLY_GAMMA}),
            Entry("gamma", role="convolution", first=True, params={"gamma": EARLY_GAMMA}),
            Entry("gamma", role="convolution", params={"gamma": LATE_GAMMA}),
            Entry(
                "gamma",
                role="linear",
                module="*encoder.layers.*",
                params={"gamma": LATE_GAMMA},
            ),
        ),
        EPSILON.entries,
    ),
    doc="For detectors, rules by part: class heads by what sets a class apart from the others"
    " (contrast); γ on the convolutions of the backbone, which extract features before the first"
    " attention, a small one on later ones and on the encoder's linear maps, where epsilon is"
    " noisy; deformable attention by its values; decoder and heads as in AttnLRP. docs/evaluate.md"
    " has the figures behind it.",
)
_ALL = (
    *(MASKDINO, ATTNLRP, CP_LRP, EPSILON, GAMMA),
    *(*convolutional(VALUES_ONLY), THESIS, GRADIENT_INPUT),
)
COMPOSITES = {c.name: c for c in _ALL}


def composite(
    name: str,
    epsilon: float = 1e-6,
    rules: Sequence[Mapping[str, object]] = (),
    stop_at_detach: bool = False,
    split_positions: bool = False,
    **options: object,
) -> Composite:
    """A composite by name, with your own rules before its entries.

    Args:
        name: one of the composites that `lrpc rules` lists.
        epsilon: stabiliser ε of every rule that has one.
        rules: exceptions: mappings with `rule`, its parameters, and any of `role`, `op`, `module`,
            `layers`, `first`, `classes` and `backbone`.
        stop_at_detach: whether relevance ends at `.detach()`.
        split_positions: whether position encodings propagate their share instead of absorbing it.
        **options: options of the composite, such as `conv_gamma`; `lrpc rules NAME` lists them.

    Raises:
        RuleError: an unknown name, option or rule, or a parameter out of range.
    """
    if not isinstance(name, str):
        raise RuleError(f"a composite is given by its name, as in 'attnlrp', got {name!r}")
    if name not in COMPOSITES:
        hint = meant(name, COMPOSITES)
        raise RuleError(f"unknown composite {name!r}{hint}; there are: {', '.join(COMPOSITES)}")
    for switch, value in (("stop_at_detach", stop_at_detach), ("split_positions", split_positions)):
        if not isinstance(value, bool):
            raise RuleError(f"{switch} takes True or False, got {value!r}")
    own = list(entries(rules))
    if stop_at_detach:
        own.append(Entry("detach", op="detach"))
    if split_positions and name != "gradient_input":
        own.append(Entry("epsilon", role="positional", params={"position": "split"}))
    return COMPOSITES[name].with_options(options).with_epsilon(epsilon).before(own)


def adapted(
    given: str | Composite, epsilon: float | None, rules: Sequence[Mapping[str, object]]
) -> Composite:
    """A composite, or that of a name, with the user's own rules before its entries; ε stays its own
    unless one is given."""
    base = composite(given) if isinstance(given, str) else given
    return (base if epsilon is None else base.with_epsilon(epsilon)).before(entries(rules))


def entries(rules: Sequence[Mapping[str, object]]) -> tuple[Entry, ...]:
    """The user's own rules as entries. Where one of them is `locations`, sampling locations are
    followed to their offsets."""
    own = tuple(entry(spec) for spec in listed_rules(rules))
    return (*own, *COORDINATES) if any(e.rule == "locations" for e in own) else own


def listed_rules(rules: Any) -> tuple[Mapping[str, object], ...]:
    """The user's own rules as a tuple of mappings; RuleError where they are something else."""
    one = isinstance(rules, Mapping | str) or not isinstance(rules, Sequence)
    wrong = [rules] if one else [spec for spec in rules if not isinstance(spec, Mapping)]
    if wrong:
        raise RuleError(
            'rules are a list of mappings, as in [{"rule": "gamma", "role": "linear", "gamma":'
            f" 0.1}}], got {wrong[0]!r}"
        )
    return tuple(rules)


def entry(spec: Mapping[str, object]) -> Entry:
    """An entry from its mapping form; RuleError where the rule or a parameter is unknown."""
    rest = dict(spec)
    name = rest.pop("rule", None)
    if not isinstance(name, str):
        raise RuleError(f"a rule entry needs `rule: NAME`, got {dict(spec)!r}")
    where: dict[str, Any] = {}
    for key in ("role", "op", "module"):
        if key in rest:
            where[key] = _pattern(name, key, rest.pop(key))
    layers = rest.pop("layers", None)
    bounds = None if layers is None else _bounds(name, layers)
    where |= {key: _switch(name, key, rest.pop(key, False)) for key in SWITCHES}
    _check_params(name, where.get("op"), rest)
    return Entry(name, layers=bounds, params=rest, own=True, **where)


def _switch(name: str, key: str, given: object) -> bool:
    if not isinstance(given, bool):
        raise RuleError(f"rule {name}: {key} must be true or false, got {given!r}")
    return given


def _pattern(name: str, key: str, given: object) -> str:
    if not isinstance(given, str):
        raise RuleError(f"rule {name}: {key} must be a text, got {given!r}")
    return given


def _bounds(name: str, layers: Any) -> tuple[int, int]:
    pair = list(layers) if isinstance(layers, Sequence) and len(layers) == 2 else []
    if not pair or any(isinstance(i, bool) or not isinstance(i, int) for i in pair):
        raise RuleError(f"rule {name}: layers must be [first, last], got {layers!r}")
    if pair[0] > pair[1]:
        raise RuleError(f"rule {name}: layers must be [first, last], in order, got {layers!r}")
    return pair[0], pair[1]


def _check_params(name: str, op: str | None, params: Mapping[str, object]) -> None:
    named = [one for one in (op or "*").split("|") if "*" not in one]
    if named:
        for one in named:
            find(one, name).make(params)
        return
    candidates = {d for (_, rule), d in CATALOGUE.items() if rule == name}
    if not candidates:
        find("linear", name)
    errors: list[RuleError] = []
    knowing = {d: params.keys() <= {p.name for p in d.params} for d in candidates}
    for declaration in sorted(candidates, key=lambda d: (not knowing[d], d.ops)):
        try:
            declaration.make(params)
        except RuleError as error:
            errors.append(error)
        else:
            return
    raise errors[0]
