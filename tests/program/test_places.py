"""Places inside layers, where relevance stops, and targets that start there."""

from __future__ import annotations

import json

import pytest

from lrpc.config import default_config
from lrpc.errors import ConfigError
from lrpc.program.targets import Places, asked_places, maskdino_places, with_boundaries
from passes import MoveBoundaries
from tests.commands.test_cli_errors import Line, line  # noqa: F401
from tests.support.graphs import module
from tests.support.programs import DIGITS, Programs


def inside(*asked: str) -> set[str]:
    usual = maskdino_places(2, 2, ["res3"]).paths
    return set(maskdino_places(2, 2, ["res3"], asked).paths) - set(usual)


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ((), set()),
        (("encoder.*", "*"), set()),
        (("encoder.layers.1.self_attn",), {"encoder.layers.1.self_attn"}),
        (
            ("*.layers.*.ffn.pre_res",),
            {f"{stack}.layers.{i}.ffn.pre_res" for stack in ("encoder", "decoder") for i in (0, 1)},
        ),
        (("*.cross_attn",), {"decoder.layers.0.cross_attn", "decoder.layers.1.cross_attn"}),
        (("decoder.input",), {"decoder.input"}),
        (("encoder.layers.0.ffn",), set()),  # the layer's own output
        (("encoder.layers.0.cross_attn",), set()),
    ],
)
def test_places_inside_a_layer_are_there_where_named(
    asked: tuple[str, ...], found: set[str]
) -> None:
    assert inside(*asked) == found


def test_no_two_places_are_one_tensor() -> None:
    every = maskdino_places(2, 2, ["res3"], ["*.self_attn", "*.cross_attn", "*.pre_res"])
    assert len(set(every.paths.values())) == len(every.paths)


def test_targets_inside_a_layer_ask_for_their_places() -> None:
    names = ["class_logit", "encoder_feature:*", "encoder_feature:1.self_attn", "decoder_query:0"]
    assert asked_places(names, "x") == ("encoder.layers.1.self_attn", "x")


def test_relevance_stops_at_the_image_and_where_told() -> None:
    places = maskdino_places(2, 1, [])
    assert with_boundaries(places, ()).boundaries == ("input",)
    found = with_boundaries(places, ["encoder.layers.*", "input"])
    assert found.boundaries == ("input", "encoder.layers.0", "encoder.layers.1")
    with pytest.raises(
        ConfigError, match=r"LRPC.BOUNDARIES: no place matches 'encoder.layer.0'; did you"
    ):
        with_boundaries(places, ["encoder.layer.0"])
    with pytest.raises(ConfigError, match=r"places: none"):
        with_boundaries(Places(), ["x"])


def test_a_target_is_no_stop_of_its_own(programs: Programs) -> None:
    """Each layer's relevance ends at the layer before, in one program of all layers."""
    targets, stop = ["encoder_feature:*"], ["encoder.layers.*", "encoder.input"]
    folder = programs.directory(DIGITS, TARGETS=targets, BOUNDARIES=stop, DYNAMIC=False)
    manifest = json.loads((folder / "manifest.json").read_text())
    reads = {target["name"]: target["reads"] for target in manifest["targets"]}
    assert reads == {
        "encoder_feature:0": ["encoder.layers.0", "encoder.input"],
        "encoder_feature:1": ["encoder.layers.1", "encoder.layers.0"],
        "encoder_feature:2": ["encoder.layers.2", "encoder.layers.1"],
    }


def test_a_stop_that_permutes_a_value_used_elsewhere_too_moves_to_it() -> None:
    text = """
    graph @g(%x: f32[B,4,6]) {{
      %a: f32[B,4,6] = relu(%x)
      %p: f32[B,6,4] = permute(%a) {{dims=[0, 2, 1]}}
      %b: f32[B,6,4] = relu(%p)
      {other}place "s" %p
      return %b
    }}
    """
    once = module(text.format(other=""))
    assert MoveBoundaries(("s",)).run(once).graph.value_at["s"].name == "p"
    twice = module(text.format(other="%c: f32[B,4,6] = silu(%a)\n      "))
    assert MoveBoundaries(("s",)).run(twice).graph.value_at["s"].name == "a"
    assert MoveBoundaries().run(twice).graph.value_at["s"].name == "p"


@pytest.mark.parametrize(
    "name", ["encoder_feature:1.self_attn", "decoder_query:2.ffn.pre_res", "encoder_feature:*"]
)
def test_targets_of_parts_of_layers_are_read(name: str) -> None:
    config = default_config(["LRPC.TARGETS", f"['{name}']"])
    assert list(config.LRPC.TARGETS) == [name]


@pytest.mark.parametrize("part", ["1.", "1.pre_res", "*.ffn", "1.self", "1.ffn.post_res"])
def test_parts_that_no_layer_has_are_refused(part: str) -> None:
    with pytest.raises(ConfigError, match="expected a layer index"):
        default_config(["LRPC.TARGETS", f"['encoder_feature:{part}']"])


def test_a_part_that_is_the_layer_s_own_is_refused(line: Line) -> None:  # noqa: F811
    assert line.digits("LRPC.TARGETS", "['encoder_feature:1.ffn']") == (
        "LRPC.TARGETS: encoder_feature:1.ffn: there are layers 0 to 2, none has that part;"
        " did you mean encoder.layers.1?"
    )
    assert line.digits("LRPC.BOUNDARIES", "[encoder.layers.7]").startswith(
        "LRPC.BOUNDARIES: no place matches 'encoder.layers.7'; did you mean encoder.layers.2?"
    )
