"""`lrpc rules`: everything is there, whole, and nothing is wider than the terminal."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from lrpc.commands.rules import show_all, show_one
from lrpc.errors import RuleError
from lrpc.rules import FAMILIES
from lrpc.rules.composite import COMPOSITES


def printed(name: str = "", width: int = 80) -> str:
    text = io.StringIO()
    console = Console(file=text, width=width)
    if name:
        show_one(name, console)
    else:
        show_all(console)
    return text.getvalue()


def joined(text: str) -> str:
    return " ".join(text.split())


def test_all_rules_at_eighty_columns() -> None:
    text = printed()
    assert max(map(len, text.splitlines())) <= 80
    rules = [rule for family in FAMILIES.values() for rule in family]
    for rule in rules:
        assert joined(rule.formula) in joined(text)  # brackets are text, no markup
        assert joined(rule.source) in joined(text)
    for composite in COMPOSITES.values():
        assert joined(composite.doc) in joined(text)


@pytest.mark.parametrize("name", sorted({r.name for rules in FAMILIES.values() for r in rules}))
def test_one_rule_in_detail(name: str) -> None:
    text = printed(name)
    assert max(map(len, text.splitlines())) <= 80
    for rule in (r for rules in FAMILIES.values() for r in rules if r.name == name):
        wide = joined(printed(name, width=400))
        for part in (rule.formula, rule.conserves, rule.source):
            assert joined(part) in wide
        for param in rule.params:
            assert f"{param.name} {param.meaning} {param.takes}" in wide


def test_parameters_with_their_ranges() -> None:
    text = joined(printed("gamma", width=200))
    assert "gamma γ, how much more positive parts count a number from 0 up; by default 0.25" in text
    assert "bias whether b takes its share" in text
    assert "absorb or excluded; by default absorb" in text
    box = joined(printed("z_box", width=200))
    assert "a number, or one for each channel; must be given" in box


def test_composites_in_detail() -> None:
    text = joined(printed("epsilon_gamma_box"))
    assert "role convolution, first z_box(low=low, high=high, eps=stabilizer)" in text
    assert "conv_gamma γ of convolutions; by default 0.25" in text


def test_unknown_names() -> None:
    with pytest.raises(RuleError, match=r"unknown rule 'gama'; did you mean gamma\?; there are: "):
        printed("gama")
