"""The released model, where it can be imported, against the embedded one and our defaults."""

from __future__ import annotations

import importlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lrpc.cli import main
from lrpc.commands.analyze.table import read_table
from lrpc.compiler import compile_config
from lrpc.config import load_config
from lrpc.config.schema import DEFAULTS
from lrpc.errors import ConfigError
from lrpc.ir.parser import parse_graph
from lrpc.models.sources import build_model
from lrpc.program.loading import load_program
from tests.support.maskdino_cases import GOLDEN
from tests.support.released import require_released

# Warnings of the released code are its own affair.
pytestmark = pytest.mark.filterwarnings("ignore")
EXAMPLE = Path(__file__).parents[2] / "examples" / "maskdino.yaml"
CASES = (EXAMPLE, *(GOLDEN / f"{name}.yaml" for name in ("3s", "ade20k_semantic", "swin")))


@pytest.fixture(autouse=True)
def released() -> None:
    """Skips visibly, and says what to set, where the released code is not there."""
    require_released()


def build(path: Path, *overrides: str) -> nn.Module:
    return build_model(load_config(path, overrides))[0]


def outputs(model: nn.Module, images: Tensor) -> dict[str, Tensor]:
    with torch.no_grad():
        found: dict[str, Tensor] = model(images)
    return found


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_released_equals_embedded(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seed = ("LRPC.INIT_SEED", "0" if path == EXAMPLE else "3")
    images = torch.rand(2, 3, 160, 192, generator=torch.Generator().manual_seed(0)) * 255
    embedded, model = build(path, *seed), build(path, *seed, "LRPC.SOURCE", "detectron2")
    assert capsys.readouterr().out == ""
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert set(model.state_dict()) == set(embedded.state_dict())
    modules = {"normalize", "backbone", "sem_seg_head"}
    assert modules <= {name for name, _ in model.named_children()}
    expected, found = outputs(embedded, images), outputs(model, images)
    assert set(found) == set(expected)
    for key, value in expected.items():
        distance = (found[key] - value).abs().max() / value.abs().max()
        assert float(distance) < 1e-4, key


def test_layers_and_proposals_are_the_same() -> None:
    images = torch.rand(2, 3, 160, 160, generator=torch.Generator().manual_seed(0)) * 255
    kinds = "layer_class_logit:*, layer_mask_logit, layer_box:*, proposal_class_logit"
    targets = ("LRPC.TARGETS", f"[{kinds}]")
    expected = outputs(build(EXAMPLE, *targets), images)
    found = outputs(build(EXAMPLE, *targets, "LRPC.SOURCE", "detectron2"), images)
    assert len(expected) == 3 + 3 + 1 + 3 + 1
    with pytest.raises(ConfigError, match="makes masks of the last layer alone"):
        build(EXAMPLE, "LRPC.TARGETS", "[layer_mask_logit:0]", "LRPC.SOURCE", "detectron2")
    assert set(found) == set(expected)
    for key, value in expected.items():
        distance = (found[key] - value).abs().max() / value.abs().max()
        assert float(distance) < 1e-4, key


def test_defaults_are_those_of_the_released_code() -> None:
    settings = importlib.import_module("detectron2.config").get_cfg()
    importlib.import_module("detectron2.projects.deeplab").add_deeplab_config(settings)
    importlib.import_module("maskdino").add_maskdino_config(settings)

    def walk(node: Any, prefix: str = "") -> dict[str, Any]:
        flat: dict[str, Any] = {}
        for key, value in node.items():
            child = walk(value, f"{prefix}{key}.") if hasattr(value, "items") else None
            flat |= {f"{prefix}{key}": value} if child is None else child
        return flat

    ours = {key: value for key, value in DEFAULTS.items() if not key.startswith("LRPC.")}
    theirs = walk(settings)
    assert set(ours) == set(theirs)
    for key, value in theirs.items():
        assert type(ours[key]) is type(value) or isinstance(value, list | tuple), key
        same = list(ours[key]) == list(value) if isinstance(value, list | tuple) else None
        assert ours[key] == value if same is None else same, key


def test_key_that_the_installed_version_does_not_know(monkeypatch: pytest.MonkeyPatch) -> None:
    maskdino = importlib.import_module("maskdino")
    add = maskdino.add_maskdino_config

    def add_less(settings: Any) -> None:
        add(settings)
        del settings.MODEL.MaskDINO["PRED_CONV"]

    monkeypatch.setattr(maskdino, "add_maskdino_config", add_less)
    source = ("LRPC.SOURCE", "detectron2")
    build(EXAMPLE, *source)
    with pytest.raises(ConfigError) as caught:
        build(EXAMPLE, *source, "MODEL.MaskDINO.PRED_CONV", "True")
    assert str(caught.value) == (
        "command line: MODEL.MaskDINO.PRED_CONV: the installed detectron2 does not know it; "
        "remove it"
    )


def annotated_roles(program: Path) -> Counter[tuple[str, str]]:
    """How often each role has each rule, without what only moves or computes places."""
    graph = parse_graph((program / "graph.lrp").read_text())
    silent = ("structural", "constant", "coordinate")
    return Counter((n.role, str(n.rule)) for n in graph.nodes if n.role not in silent)


def test_released_model_compiles_to_the_same_rules_and_relevance(tmp_path: Path) -> None:
    images = torch.rand(2, 3, 160, 160, generator=torch.Generator().manual_seed(0)) * 255
    found = {}
    for source in ("embedded", "detectron2"):
        config = load_config(EXAMPLE, ("LRPC.SOURCE", source, "LRPC.EPSILON", "0"))
        compile_config(config, tmp_path / source)
        program: Any = load_program(tmp_path / source, "cpu")
        state = program.forward(images)
        result = program.relevance(state, "class_logit", at=[(1, 2), (7, 3)], ledger=True)
        assert float(result.ledger.closure.max()) < 1e-4
        found[source] = result
    assert annotated_roles(tmp_path / "detectron2") == annotated_roles(tmp_path / "embedded")
    ours, theirs = found["embedded"], found["detectron2"]
    assert set(ours.layers) == set(theirs.layers)
    pairs = {"input": (ours.input, theirs.input)}
    for name, value in ours.layers.items():
        other = theirs.layers[name]  # the released decoder has queries before images
        pairs[name] = (value, other.transpose(1, 2) if "decoder" in name else other)
    for name, (value, other) in pairs.items():
        assert float((value - other).abs().max() / value.abs().max()) < 1e-4, name


@pytest.mark.parametrize(
    "words",
    [
        ("encoder", "1", "--sublayer", "self_attn", "--composite", "attnlrp"),
        ("decoder", "2", "--target-norm", "sumT"),
        ("decoder", "1", "--measure", "pre_res", "--deform-rule", "value_and_weights"),
        ("decoder", "0", "--method", "gradinput"),
        ("decoder", "1", "--sublayer", "self_attn", "--measure", "pre_res"),
    ],
    ids=" ".join,
)
def test_analyze_gives_the_same_account_of_the_released_model(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    """The released decoder has queries before images: places are read by their own axes."""
    module, layer, *options = words
    rules = ["--ln-rule", "detach_sigma", "--residual-split", "epsilon"]
    asked = ["--which-module", module, "--layer-index", layer, "--feature-index", "3", *options]
    told = []
    for source in ("embedded", "detectron2"):
        out = tmp_path / f"{source}.csv"
        images = ["--images-dir", str(EXAMPLE.parent / "digits" / "scenes")]
        first = ["analyze", *images, "--images-glob", "0[23].png", "--output-csv", str(out)]
        keys = ["LRPC.SOURCE", source, "LRPC.EPSILON", "0", "LRPC.SHAPES", "[[96, 96]]"]
        given = [*asked, *([] if "gradinput" in words else rules), "--batch-size", "2"]
        assert main([*first, *given, "--config", str(EXAMPLE), *keys]) == 0
        assert main(["validate", str(out)]) == 0
        told.append((read_table(out), json.loads(Path(f"{out}.json").read_text())["accounts"]))
    (table, accounts), (other, others) = told
    for name, column in table.items():
        scale = max(abs(value) for value in column) or 1
        assert other[name] == pytest.approx(column, abs=1e-3 * scale), name
    for account, theirs in zip(accounts, others, strict=True):
        assert theirs["elsewhere"] == pytest.approx(account["elsewhere"], rel=1e-3)
