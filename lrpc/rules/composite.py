"""Composites: ordered maps from nodes to rules. The first entry that matches a node decides."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from lrpc.errors import RuleError
from lrpc.ir.graph import Node, Rule
from lrpc.rules import CATALOGUE, find

_LAYER = re.compile(r"(?:^|\.)(\d+)(?:\.|$)")


@dataclass(frozen=True)
class Entry:
    """Nodes by role, op, module glob and layer range (first index in the module path) → a rule.

    Nodes of role `coordinate` (sampling locations, boxes) match only where `role` names that role:
    relevance leaves them out unless asked to follow them.
    """

    rule: str
    role: str = "*"
    op: str = "*"
    module: str = "*"
    layers: tuple[int, int] | None = None
    params: Mapping[str, object] = field(default_factory=dict)

    def matches(self, node: Node) -> bool:
        path = node.loc.module
        named = node.role != "coordinate" or self.role == "coordinate"
        return (
            named
            and fnmatchcase(node.role, self.role)
            and fnmatchcase(node.op, self.op)
            and fnmatchcase(path, self.module)
            and (self.layers is None or self._in_layers(path))
        )

    def _in_layers(self, path: str) -> bool:
        assert self.layers is not None
        found = _LAYER.search(path)
        return found is not None and self.layers[0] <= int(found.group(1)) <= self.layers[1]


@dataclass(frozen=True)
class Composite:
    """A named list of entries. `epsilon` fills every ε that an entry leaves open."""

    name: str
    entries: tuple[Entry, ...]
    epsilon: float = 1e-6
    doc: str = ""

    def rule_for(self, node: Node) -> Rule | None:
        """The rule for `node`, or None where no entry matches it."""
        for entry in self.entries:
            if entry.matches(node):
                declaration = find(node.op, entry.rule)
                params = dict(entry.params)
                if any(p.name == "eps" for p in declaration.params):
                    params.setdefault("eps", self.epsilon)
                return declaration.make(params)
        return None

    def before(self, entries: Sequence[Entry]) -> Composite:
        """This composite with `entries` taking precedence."""
        return Composite(self.name, (*entries, *self.entries), self.epsilon, self.doc)

    def with_epsilon(self, epsilon: float) -> Composite:
        return Composite(self.name, self.entries, epsilon, self.doc)


SUMS = tuple(Entry("epsilon", role=r) for r in ("residual", "merge", "positional"))
COMMON = (
    Entry("epsilon", role="linear"),
    Entry("epsilon", role="convolution"),
    Entry("epsilon", role="batch_norm"),
    Entry("epsilon", role="interpolation"),
    Entry("epsilon", op="avg_pool2d"),
    *SUMS,
    Entry("detach_sigma", role="*_norm"),
    Entry("uniform", role="attention_scores"),
    Entry("uniform", role="bilinear"),
    Entry("uniform", role="product"),
    Entry("pass", role="activation"),
    Entry("pass", op="max_pool2d"),
    Entry("pass", role="selection"),
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
CP_LRP = Composite(
    "cp_lrp",
    (
        Entry("share", role="attention_values", params={"ratio": 0.0}),
        Entry("detach", role="attention_probabilities"),
        Entry("value", role="deformable_sampling"),
        Entry("detach", role="deformable_probabilities"),
        *COMMON,
    ),
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
COMPOSITES = {c.name: c for c in (ATTNLRP, CP_LRP, EPSILON, GRADIENT_INPUT)}


def composite(
    name: str,
    epsilon: float = 1e-6,
    rules: Sequence[Mapping[str, object]] = (),
    stop_at_detach: bool = False,
    split_positions: bool = False,
) -> Composite:
    """A composite by name, with the user's own rules before its entries.

    Each of `rules` holds `rule`, any of `role`, `op`, `module`, `layers`, and the rule's
    parameters.
    """
    if name not in COMPOSITES:
        near = difflib.get_close_matches(name, COMPOSITES, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise RuleError(f"unknown composite {name!r}{hint}; there are: {', '.join(COMPOSITES)}")
    own = [entry(spec) for spec in rules]
    if stop_at_detach:
        own.append(Entry("detach", op="detach"))
    if split_positions and name != "gradient_input":
        own.append(Entry("epsilon", role="positional", params={"position": "split"}))
    return COMPOSITES[name].with_epsilon(epsilon).before(own)


def entry(spec: Mapping[str, object]) -> Entry:
    """An entry from its mapping form; RuleError where the rule or a parameter is unknown."""
    rest = dict(spec)
    name = rest.pop("rule", None)
    if not isinstance(name, str):
        raise RuleError(f"a rule entry needs `rule: NAME`, got {dict(spec)!r}")
    where = {k: str(rest.pop(k)) for k in ("role", "op", "module") if k in rest}
    layers = rest.pop("layers", None)
    if layers is not None and not (isinstance(layers, Sequence) and len(layers) == 2):
        raise RuleError(f"rule {name}: layers must be [first, last], got {layers!r}")
    _check_params(name, where.get("op"), rest)
    bounds = None if layers is None else (int(layers[0]), int(layers[1]))
    return Entry(name, layers=bounds, params=rest, **where)


def _check_params(name: str, op: str | None, params: Mapping[str, object]) -> None:
    if op is not None and "*" not in op:
        find(op, name).make(params)
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
