"""Configuration: what is read, from where, and the one line that says what is wrong."""

from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path

import pytest

from lrpc.config import Config, default_config, load_config
from lrpc.config.schema import DEFAULTS, LIMITS, parse
from lrpc.errors import ConfigError
from tests.support.configs import error_of, write
from tests.support.released import MASKDINO


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder, so that error texts hold relative paths."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


# Values


def test_defaults_are_released_code_defaults_not_yaml_values() -> None:
    config = default_config()
    assert config.MODEL.MaskDINO.DEC_LAYERS == 6
    assert config.MODEL.MaskDINO.NUM_OBJECT_QUERIES == 100
    assert config["MODEL"]["SEM_SEG_HEAD"]["TOTAL_NUM_FEATURE_LEVELS"] == 4
    assert config.LRPC.TARGETS[0] == "class_logit"
    assert config.LRPC.SHAPES == ((480, 640),)
    assert config.where("LRPC.SEEDS") == "defaults"


def test_every_default_is_accepted_by_its_own_key() -> None:
    for key, default in DEFAULTS.items():
        assert parse(key, default) == parse(key, parse(key, default))
    assert set(LIMITS) <= set(DEFAULTS)


def test_file_over_defaults_with_tuples_and_numbers_in_text(folder: Path) -> None:
    text = (
        'MODEL:\n  PIXEL_STD: "(58, 57.0, 57.5)"\n'
        "SOLVER:\n  BASE_LR: 1e-4\n  STEPS: (10, 20)\nLRPC:\n"
    )
    config = load_config(write("c.yaml", text))
    assert config.MODEL.PIXEL_STD == (58.0, 57.0, 57.5)
    assert config.SOLVER.BASE_LR == 1e-4
    assert config.SOLVER.STEPS == (10, 20)
    assert config.where("SOLVER.STEPS") == "c.yaml:5"


def test_lrpc_values(folder: Path) -> None:
    text = """LRPC:
  TARGETS: [box, "encoder_feature:2", "decoder_query:*"]
  RULES:
  - {role: conv, module: "backbone.*", layers: [0, 3], rule: gamma, gamma: 0.25}
  MEMORY: {BUDGET: 80%, CHECKPOINT: auto}
  SHAPES: [[64, 96], [32, 32]]
  PASSES: ["mine.passes:Extra"]
  SOURCE: mine.models:build
"""
    node = load_config(write("c.yaml", text)).LRPC
    assert node.TARGETS == ("box", "encoder_feature:2", "decoder_query:*")
    assert node.RULES[0]["gamma"] == 0.25
    assert node.RULES[0].layers == (0, 3)
    assert node.MEMORY.BUDGET == "80%"
    assert node.SHAPES == ((64, 96), (32, 32))


# Bases


def test_child_overrides_bases_and_later_base_the_earlier(folder: Path) -> None:
    write("bases/a.yaml", "LRPC: {SEEDS: 2, EPSILON: 0.5, SCOPE: a, MEMORY: {BUDGET: 7}}\n")
    write("bases/deep/b.yaml", "_BASE_: ../a.yaml\nLRPC: {SEEDS: 3, SCOPE: b}\n")
    absolute = write("c0.yaml", "LRPC: {SEEDS: 4}\n")
    path = write(
        "c.yaml",
        f"_BASE_: [bases/deep/b.yaml, {Path(absolute).resolve()}]\nLRPC: {{SCOPE: mine}}\n",
    )
    config = load_config(path)
    assert (config.LRPC.SEEDS, config.LRPC.EPSILON, config.LRPC.SCOPE) == (4, 0.5, "mine")
    assert config.LRPC.MEMORY.BUDGET == 7
    assert config.where("LRPC.EPSILON") == "bases/deep/../a.yaml:1"


def test_base_cycle(folder: Path) -> None:
    write("b.yaml", "# base\n_BASE_: c.yaml\nLRPC: {SEEDS: 2}\n")
    assert error_of("_BASE_: b.yaml\n") == (
        "b.yaml:2: _BASE_: c.yaml leads back to itself; remove one of the two"
    )


def test_base_of_one_file_twice_is_no_cycle(folder: Path) -> None:
    write("b.yaml", "LRPC: {SEEDS: 2}\n")
    write("x.yaml", "_BASE_: b.yaml\nLRPC: {SCOPE: x}\n")
    assert load_config(write("c.yaml", "_BASE_: [b.yaml, x.yaml]\n")).LRPC.SEEDS == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "_BASE_: gone.yaml\n",
            "c.yaml:1: _BASE_: gone.yaml: no such file or directory; check the path",
        ),
        (
            "_BASE_: https://example.org/b.yaml\n",
            "c.yaml:1: _BASE_: https://example.org/b.yaml is not a file; download it first",
        ),
        ("\n_BASE_: {a: 1}\n", "c.yaml:2: _BASE_: expected a path or a list of paths"),
        (
            "LRPC:\n  _BASE_: b.yaml\n",
            "c.yaml:2: LRPC._BASE_: belongs at the top of the file; move it there",
        ),
    ],
)
def test_base_errors(folder: Path, text: str, message: str) -> None:
    assert error_of(text) == message


# Weights


def test_weights_are_relative_to_the_file_that_sets_them(folder: Path) -> None:
    write("bases/b.yaml", "MODEL: {WEIGHTS: w/model.pth}\n")
    config = load_config(write("c.yaml", "_BASE_: bases/b.yaml\n"))
    assert str(folder / "bases/w/model.pth") == config.MODEL.WEIGHTS
    moved = load_config("c.yaml", ["MODEL.WEIGHTS", "elsewhere/model.pth"])
    assert str(folder / "elsewhere/model.pth") == moved.MODEL.WEIGHTS
    assert config.digest() == moved.digest()
    assert config.to_dict(portable=True)["MODEL"]["WEIGHTS"] == "model.pth"


@pytest.mark.parametrize("url", ["detectron2://a/R-50.pkl", "https://example.org/m.pth", ""])
def test_weights_urls_stay(folder: Path, url: str) -> None:
    weights = default_config(["MODEL.WEIGHTS", url]).MODEL.WEIGHTS
    assert weights == url


# Overrides


def test_overrides_are_literals_where_the_key_is_not_text(folder: Path) -> None:
    pairs = ["LRPC.SEEDS", "3", "LRPC.SCOPE", "5", "LRPC.PADDING_MASK", "true"]
    pairs += ["LRPC.SHAPES", "[[64,32]]", "LRPC.MEMORY.BUDGET", "4096"]
    config = default_config(pairs)
    assert config.LRPC.SEEDS == 3
    assert config.LRPC.SCOPE == "5"
    assert config.LRPC.PADDING_MASK is True
    assert config.LRPC.SHAPES == ((64, 32),)
    assert config.LRPC.MEMORY.BUDGET == 4096


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["LRPC.SEEDS"],
            "command line: LRPC.SEEDS has no value; overrides are KEY VALUE pairs",
        ),
        (
            ["LRPC.SEEDZ", "1"],
            "command line: LRPC.SEEDZ: unknown key; did you mean LRPC.SEEDS? "
            "Correct it or remove it",
        ),
        (
            ["LRPC.SEEDS", "many"],
            "command line: LRPC.SEEDS: expected an integer of at least 1, "
            'got "many"; the default is 8',
        ),
        (
            ["_BASE_", "a.yaml"],
            "command line: _BASE_: belongs into a file; give another file",
        ),
        (
            ["LRPC", "1"],
            "command line: LRPC: is a section, got 1; set a key inside it, such as LRPC.BOUNDARIES",
        ),
    ],
)
def test_override_errors(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        default_config(overrides)
    assert str(caught.value) == message


def test_tag_under_a_key_that_is_never_read_is_noted_not_run(folder: Path) -> None:
    text = 'INPUT:\n  MIN_SIZE_TRAIN: !!python/object/apply:eval ["1/0"]\n'
    config = load_config(write("c.yaml", text))
    assert config.INPUT.MIN_SIZE_TRAIN == (800,)
    assert config.notes == (
        "c.yaml:2: INPUT.MIN_SIZE_TRAIN: the YAML tag !!python/object/apply:eval is never "
        "evaluated; the compiler does not read this key and keeps its default",
    )


def test_a_former_name_of_a_key_is_taken_and_noted(folder: Path) -> None:
    path = folder / "old.yaml"
    path.write_text("LRPC:\n  STOP: [input]\n")
    config = load_config(path)
    assert config.LRPC.BOUNDARIES == ("input",)
    assert config.notes == (f"{path}:2: LRPC.STOP is called LRPC.BOUNDARIES now",)
    with pytest.raises(ConfigError, match=r"LRPC.STOP: is a former name of LRPC.BOUNDARIES; set"):
        load_config(path, ["LRPC.BOUNDARIES", "[input]"])


def test_merge_keys_and_aliases(folder: Path) -> None:
    text = "LRPC: {SHAPES: &s [[32, 32]], RULES: [&r {role: a, rule: x}, {<<: *r, role: b}]}\n"
    rules = load_config(write("c.yaml", text)).LRPC.RULES
    assert [rule.to_dict() for rule in rules] == [
        {"role": "a", "rule": "x"},
        {"rule": "x", "role": "b"},
    ]


# The object


def test_immutable_equal_and_hashable() -> None:
    config = default_config(["LRPC.SEEDS", "2"])
    with pytest.raises(ConfigError, match=r"^SEEDS: a configuration cannot be changed"):
        config.LRPC.SEEDS = 3
    with pytest.raises(TypeError):
        config["LRPC"] = {}  # type: ignore[index]
    with pytest.raises(AttributeError, match="no key 'NOPE'"):
        _ = config.NOPE
    assert config == default_config(["LRPC.SEEDS", "2"])
    assert hash(config) == hash(default_config(["LRPC.SEEDS", "2"]))
    assert config != default_config()
    for other in (copy.deepcopy(config), pickle.loads(pickle.dumps(config))):
        assert other == config
        assert other.where("LRPC.SEEDS") == "command line"


def test_round_trip_through_plain_values(folder: Path) -> None:
    config = default_config(["LRPC.RULES", "[{'role': 'conv', 'rule': 'gamma'}]"])
    again = Config(json.loads(json.dumps(config.to_dict())))
    assert again == config
    assert again.digest() == config.digest()


def test_digest_is_stable_and_sees_every_value(folder: Path) -> None:
    spelt_out = load_config(write("c.yaml", "LRPC: {EPSILON: 1.0e-6, SEEDS: 8}\n"))
    assert spelt_out.digest() == default_config().digest()
    assert spelt_out.digest() != default_config(["LRPC.SEEDS", "2"]).digest()
    assert len(spelt_out.digest()) == 64


# Released files


def released_files() -> list[Path]:
    return sorted((MASKDINO / "configs").rglob("*.yaml"))


@pytest.mark.skipif(
    not released_files(), reason="no MaskDINO checkout: set LRPC_MASKDINO_SRC to its folder"
)
def test_released_files_load_as_they_are() -> None:
    for path in released_files():
        config = load_config(path)
        assert config.LRPC == default_config().LRPC
        for note in config.notes:
            assert "INPUT.MIN_SIZE_TRAIN" in note
    three_scale = "configs/coco/instance-segmentation/maskdino_R50_bs16_50ep_3s.yaml"
    config = load_config(MASKDINO / three_scale)
    assert (config.MODEL.MaskDINO.DEC_LAYERS, config.MODEL.MaskDINO.DROPOUT) == (9, 0.0)
    assert config.MODEL.WEIGHTS == "detectron2://ImageNetPretrained/torchvision/R-50.pkl"


def test_composites_by_name_list_or_mapping(folder: Path) -> None:
    """Strings, lists and mappings of own names, in a file and on the command line."""
    file = write("c.yaml", "LRPC: {COMPOSITE: {a: cp_lrp, b: {composite: epsilon, epsilon: 0.5}}}")
    assert load_config(file).LRPC.COMPOSITE.b.epsilon == 0.5
    assert load_config(file, ["LRPC.COMPOSITE", "cp_lrp"]).LRPC.COMPOSITE == "cp_lrp"
    several = load_config(file, ["LRPC.COMPOSITE", "[cp_lrp, epsilon]"]).LRPC.COMPOSITE
    assert several == ("cp_lrp", "epsilon")
    config = load_config(file, ["LRPC.COMPOSITE", "{mine: cp_lrp}"])
    assert config.LRPC.to_dict()["COMPOSITE"] == {"mine": "cp_lrp"}


@pytest.mark.parametrize(
    ("given", "expected"), [("60 MB", 60_000_000), ("1.5GB", 1_500_000_000), ("2 kB", 2000)]
)
def test_a_budget_takes_the_units_that_plans_are_printed_in(given: str, expected: int) -> None:
    found = default_config(["LRPC.MEMORY.BUDGET", given]).LRPC.MEMORY.BUDGET
    assert found == expected


@pytest.mark.parametrize("given", ["60 mb", "1.5", "1.5 MB GB", "-1 MB", "0 MB", "1e3 MB"])
def test_a_budget_in_other_words_is_refused(given: str) -> None:
    with pytest.raises(ConfigError, match="bytes as in"):
        default_config(["LRPC.MEMORY.BUDGET", given])
