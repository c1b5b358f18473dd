"""Composites: what entries match, first maps, options, and what the config says of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import lrpc
from lrpc.config import composite_options, load_config
from lrpc.errors import ConfigError, RuleError
from lrpc.ir.graph import Node
from lrpc.ir.parser import read_graph
from lrpc.program.configured_rules import configured_composites, unused_options
from lrpc.program.protocol import Program
from lrpc.rules.composite import COMPOSITES, Entry, composite, entry
from lrpc.rules.entries import SWITCHES
from passes.assign_rules import backbone, first_maps
from tests.support.graphs import module

BOX = {"low": -2.0, "high": 2.0}

FIRST = """
graph @g(%x: f64[B,4], %ids: i64[B,4]) {{
  weight "w": f64[4,4]
  %n: f64[B,4] = layer_norm(%x) {{eps=1e-05}}
  %a: f64[B,4] = linear(%n) {{weight="w"}}
  %b: f64[B,4] = linear(%x) {{weight="w"}}
  %c: f64[B,4] = linear(%a) {{weight="w"}}
  %f: f64[B,4] = cast(%ids) {{dtype="f64"}}
  %d: f64[B,4] = linear(%f) {{weight="w"}}
  %s: f64[B,4] = {join}
  %e: f64[B,4] = linear(%s) {{weight="w"}}
  return %e
}}
"""


@pytest.mark.parametrize(
    ("join", "found"), [("add(%c, %d)", {"a", "b"}), ("add(%x, %c)", {"a", "b", "e"})]
)
def test_first_maps(join: str, found: set[str]) -> None:
    """Behind a norm still, beside others too; not behind another map, nor from integers. A skip
    from the input reaches a later map as well."""
    assert first_maps(module(FIRST.format(join=join)).graph) == found


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 5, 3)
        self.norm, self.fc = nn.BatchNorm2d(4), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv2(self.norm(self.conv1(x).relu()).relu()).relu()
        found: Tensor = self.fc(y.mean((2, 3)))
        return found


class Hybrid(nn.Module):
    """Two convolutions and a projection, attention over its tokens, and a convolution of what it
    and another projection give."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 1)
        self.project, self.skip = nn.Conv2d(4, 8, 1), nn.Conv2d(4, 4, 1)
        self.late = nn.Conv2d(12, 4, 1)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(x).relu()
        y = (y + self.conv2(y)).relu()
        tokens = self.project(y).flatten(2).transpose(1, 2)
        seen = self.attention(tokens, tokens, tokens, need_weights=False)[0]
        seen = seen.transpose(1, 2).reshape(-1, 8, *y.shape[2:])
        found: Tensor = self.late(torch.cat([self.skip(y), seen], 1).relu())
        return found


def test_the_backbone_is_what_extracts_features_before_attention() -> None:
    """Up to its last activation: neither what projects its maps, for attention or beside it, nor
    what comes after. Without attention, all maps are the backbone."""
    torch.manual_seed(0)
    program = lrpc.compile(Hybrid().eval(), (torch.randn(2, 3, 6, 6),), composite="epsilon")
    graph = read_graph(Path(program.directory) / "graph.lrp")
    early = backbone(graph)
    modules = {node.loc.module for node in graph.nodes if node.outputs and node.out.name in early}
    assert modules == {"conv1", "conv2"}
    entries = [{"role": "convolution", "backbone": True, "rule": "gamma", "gamma": 0.5}]
    own = lrpc.compile(
        Hybrid().eval(), (torch.randn(2, 3, 6, 6),), composite="epsilon", rules=entries
    )
    graph = read_graph(Path(own.directory) / "graph.lrp")
    rules = {n.loc.module: n.rule.name for n in graph.nodes if n.role == "convolution" and n.rule}
    others = dict.fromkeys(("project", "skip", "late"), "epsilon")
    assert rules == {"conv1": "gamma", "conv2": "gamma", **others}
    plain = lrpc.compile(Net().eval(), (torch.randn(2, 3, 8, 8),), composite="epsilon")
    graph = read_graph(Path(plain.directory) / "graph.lrp")
    maps = {n.out.name for n in graph.nodes if n.role in ("linear", "convolution")}
    assert backbone(graph) == maps


def compiled(composite: Any, **options: Any) -> Program:
    torch.manual_seed(0)
    return lrpc.compile(Net().eval(), (torch.randn(1, 3, 8, 8),), composite=composite, **options)


def chosen(program: Program) -> dict[str, str]:
    """Names of values → rules, of the maps alone."""
    rules = program.manifest["rules"]
    return {k: v for k, v in rules.items() if k in ("conv1", "conv2", "norm", "fc", "mean")}


def test_composites_of_convolutional_networks() -> None:
    same = {"mean": "epsilon(eps=1e-06)", "norm": "pass"}
    assert chosen(compiled(composite("epsilon_plus", 0.5))) == same | {
        "conv1": "z_plus(eps=1e-06)",
        "conv2": "z_plus(eps=1e-06)",
        "fc": "epsilon(eps=0.5)",
    }
    assert chosen(compiled(composite("epsilon_plus_flat", 0.5, stabilizer=0.25))) == {
        "conv1": "flat(eps=0.25)",
        "conv2": "z_plus(eps=0.25)",
        "fc": "epsilon(eps=0.5)",
        "mean": "epsilon(eps=0.25)",
        "norm": "pass",
    }
    found = chosen(compiled("epsilon_alpha2_beta1"))
    assert found["conv2"] == "alpha_beta(alpha=2.0, beta=1.0, eps=1e-06)"
    boxed = composite("epsilon_gamma_box", low=(-2.0, -1.5, -1.0), high=2, conv_gamma=0.5)
    assert chosen(compiled(boxed)) == same | {
        "conv1": "z_box(low=[-2.0,-1.5,-1.0], high=2.0, eps=1e-06)",
        "conv2": "gamma(gamma=0.5, eps=1e-06)",
        "fc": "epsilon(eps=1e-06)",
    }


def test_gamma_for_each_role() -> None:
    found = chosen(compiled("gamma"))
    assert found["conv1"] == "gamma(gamma=1.0, eps=1e-06)"
    assert found["fc"] == "gamma(gamma=0.5, eps=1e-06)"
    found = chosen(compiled(lrpc.composite("gamma", conv_gamma=100, linear_gamma=0.05)))
    assert found["conv2"] == "gamma(gamma=100.0, eps=1e-06)"
    assert found["fc"] == "gamma(gamma=0.05, eps=1e-06)"


def test_rules_and_epsilon_go_with_a_composite_that_is_made_already() -> None:
    own = [{"op": "conv2d", "first": True, "rule": "flat"}]
    found = chosen(compiled(lrpc.composite("gamma"), rules=own, epsilon=0.125))
    assert found["conv1"] == "flat(eps=0.125)"
    assert found["conv2"] == "gamma(gamma=1.0, eps=0.125)"
    assert chosen(compiled(composite("epsilon", 0.25)))["fc"] == "epsilon(eps=0.25)"


@pytest.mark.parametrize(
    ("name", "options", "text"),
    [
        (
            *("epsilon_gamma_box", {"low": 0.0}),
            "composite epsilon_gamma_box needs high (LRPC.BOX.HIGH): the largest value of an"
            " input, one or one for each channel",
        ),
        (
            *("epsilon", {"conv_gamma": 1.0}),
            "composite epsilon has no option conv_gamma (LRPC.GAMMA.CONVOLUTION); it has: none",
        ),
        (
            *("gamma", {"gamma": 1.0}),
            "composite gamma has no option gamma; it has: conv_gamma (LRPC.GAMMA.CONVOLUTION),"
            " linear_gamma (LRPC.GAMMA.LINEAR)",
        ),
    ],
)
def test_wrong_options(name: str, options: dict[str, Any], text: str) -> None:
    with pytest.raises(RuleError) as caught:
        composite(name, **options)
    assert str(caught.value) == text


def test_no_entry_hides_another() -> None:
    """An entry that chooses the same nodes as one before it would never be used."""
    for each in COMPOSITES.values():
        keys = [(e.role, e.op, e.module, e.layers, e.switches) for e in each.entries]
        assert len(keys) == len(set(keys)), each.name


def test_entries_say_what_they_choose() -> None:
    said = [entry.nodes for entry in COMPOSITES["maskdino"].entries]
    assert said[:2] == ["classes", "role convolution, backbone"]
    assert "role linear, module *encoder.layers.*" in said
    assert len(said) == len(set(said))
    found = {"role": "linear|convolution", "layers": [0, 2], "first": True, "rule": "gamma"}
    assert str(entry(found)) == "gamma (role linear|convolution, layers [0, 2], first)"
    assert str(entry({"rule": "epsilon"})) == "epsilon"


def test_first_narrows_an_entry() -> None:
    node = Node("conv2d", (), (), role="convolution")
    assert Entry("flat", role="convolution", first=True).matches(node, frozenset({"first"}))
    assert not Entry("flat", role="convolution", first=True).matches(node)
    assert Entry("flat", role="convolution").matches(node, frozenset({"first"}))


def test_classes_narrow_an_entry() -> None:
    node = Node("linear", (), (), role="linear")
    assert Entry("contrast", role="linear", classes=True).matches(node, frozenset({"classes"}))
    assert not Entry("contrast", role="linear", classes=True).matches(node)
    assert Entry("epsilon", role="linear").matches(node, frozenset({"classes"}))
    with pytest.raises(RuleError, match="classes must be true or false, got 1"):
        lrpc.composite("epsilon", rules=[{"role": "linear", "classes": 1, "rule": "contrast"}])


# -- configs ---------------------------------------------------------------------------------------


def config(tmp_path: Path, text: str) -> Any:
    path = tmp_path / "c.yaml"
    path.write_text(f"INPUT: {{FORMAT: RGB}}\nLRPC: {text}\n")
    return load_config(path)


def test_options_in_a_config(tmp_path: Path) -> None:
    assert composite_options(config(tmp_path, "{COMPOSITE: gamma}")) == {}
    given = config(tmp_path, "{COMPOSITE: gamma, GAMMA: {CONVOLUTION: 100, LINEAR: 0.05}}")
    assert composite_options(given) == {"conv_gamma": 100, "linear_gamma": 0.05}
    boxed = config(tmp_path, "{COMPOSITE: epsilon_gamma_box, BOX: {LOW: [-2, -2.5, -1], HIGH: 2}}")
    assert composite_options(boxed) == {"low": (-2.0, -2.5, -1.0), "high": 2.0}


def test_the_box_of_a_normalised_image(tmp_path: Path) -> None:
    given = config(tmp_path, "{COMPOSITE: epsilon_gamma_box}")
    pairs = list(zip(given.MODEL.PIXEL_MEAN, given.MODEL.PIXEL_STD, strict=True))
    assert composite_options(given) == {
        "low": tuple(-mean / std for mean, std in pairs),
        "high": tuple((255 - mean) / std for mean, std in pairs),
    }
    own = config(tmp_path, "{COMPOSITE: epsilon_gamma_box, SOURCE: 'net:make'}")
    assert composite_options(own) == {}  # nobody knows how that model normalises


def test_options_that_no_composite_of_a_config_has_are_named(tmp_path: Path) -> None:
    """A config may be the base of others: what it sets for their composites is left out."""
    box = "GAMMA: {CONVOLUTION: 2}, BOX: {LOW: -2, HIGH: 3}"
    given = config(tmp_path, f"{{COMPOSITE: [epsilon, gamma], {box}}}")
    assert [one.settings for one in configured_composites(given)] == [{}, {"conv_gamma": 2}]
    assert unused_options(given) == [
        "LRPC.BOX.LOW is not used: no composite here has the option low",
        "LRPC.BOX.HIGH is not used: no composite here has the option high",
    ]
    used = config(tmp_path, f"{{COMPOSITE: {{a: {{composite: epsilon_gamma_box}}}}, {box}}}")
    (one,) = configured_composites(used)
    assert one.settings == {"conv_gamma": 2, "low": -2.0, "high": 3.0}
    assert unused_options(used) == []
    alone = config(tmp_path, f"{{COMPOSITE: epsilon, {box}}}")
    assert configured_composites(alone)[0].settings == {}
    assert len(unused_options(alone)) == 3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{GAMMA: {LINEAR: -1}}", "LRPC.GAMMA.LINEAR: expected a finite number of at least 0, or"),
        ("{BOX: {LOW: [1, x]}}", "LRPC.BOX.LOW: expected a finite number, a list of them or null"),
        (
            "{RULES: [{op: conv2d, first: 1, rule: flat}]}",
            "LRPC.RULES: entry 0: first: expected true or false, got 1",
        ),
        (
            "{RULES: [{role: linear, classes: 1, rule: flat}]}",
            "LRPC.RULES: entry 0: classes: expected true or false, got 1",
        ),
        (
            "{RULES: [{role: [linear, convolution], rule: flat}]}",
            "entry 0: role: expected a name (several in one text: linear|convolution), got [",
        ),
        (
            "{RULES: [{op: conv2d, rule: z_box, low: [a]}]}",
            "entry 0: low: expected a number, a list of numbers or text, got [",
        ),
    ],
)
def test_wrong_configs(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config(tmp_path, text)
    assert said in str(caught.value)


def test_every_switch_of_an_entry_selects_alone(tmp_path: Path) -> None:
    for switch in SWITCHES:
        (rule,) = config(tmp_path, f"{{RULES: [{{{switch}: true, rule: epsilon}}]}}").LRPC.RULES
        assert entry(dict(rule)).nodes == switch


def test_rules_of_a_config_take_lists(tmp_path: Path) -> None:
    given = config(
        tmp_path, "{RULES: [{op: conv2d, first: true, rule: z_box, low: [-1, -2], high: 3}]}"
    )
    (made, *_) = composite("epsilon", 1e-6, [dict(rule) for rule in given.LRPC.RULES]).entries
    assert made == Entry("z_box", op="conv2d", first=True, params={"low": (-1, -2), "high": 3})
