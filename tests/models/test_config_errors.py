"""Configuration errors: one line with the place, the key, what is wrong and what to do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lrpc.config import load_config
from lrpc.config.schema import DEFAULTS
from lrpc.errors import ConfigError
from tests.support.configs import error_of, nested


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder, so that error texts hold relative paths."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("MODEL.MaskDINO.DEC_LAYERS", "nine", 'expected an integer of at least 1, got "nine"'),
        ("MODEL.MaskDINO.DEC_LAYERS", "true", "expected an integer of at least 1, got true"),
        ("MODEL.MaskDINO.TWO_STAGE", "1", "expected true or false, got 1"),
        (
            "MODEL.MaskDINO.INITIALIZE_BOX_TYPE",
            "mask",
            'expected one of "no", "bitmask", "mask2box", got "mask"',
        ),
        ("MODEL.PIXEL_STD", "[1, 1]", "expected three numbers above 0, got [1, 1]"),
        ("MODEL.PIXEL_MEAN", "[1, .nan, 1]", "expected three finite numbers, got [1, NaN, 1]"),
        ("SOLVER.BASE_LR", "fast", 'expected a finite number, got "fast"'),
        ("DATASETS.TRAIN", "coco", 'expected a list, got "coco"'),
        ("LRPC.PLUGINS", "[a/b]", 'expected a module such as "package.module", got "a/b"'),
        ("LRPC.COMPOSITE", "3", "expected a name, a list of names or a mapping, got 3"),
        ("LRPC.COMPOSITE", "[]", "expected a name, a list of names or a mapping, got []"),
        (
            "LRPC.COMPOSITE",
            "{a: {composite: epsilon, rules: [{rule: epsilon}]}}",
            "a: rules: entry 0: selects nothing; give role, op, module, layers, first, classes,"
            " backbone",
        ),
        ("LRPC.EPSILON", "-1", "expected a finite number of at least 0, got -1"),
        ("LRPC.EPSILON", ".inf", "expected a finite number of at least 0, got Infinity"),
        (
            "LRPC.SOURCE",
            "maskdino",
            'expected "embedded", "detectron2", "transformers:FOLDER" or "package.module:function",'
            ' got "maskdino"',
        ),
        (
            "LRPC.SCOPE",
            "a..b",
            'expected a module path such as "sem_seg_head.predictor", got "a..b"',
        ),
        (
            "LRPC.TARGETS",
            "[class_logits]",
            '"class_logits" is not a target; did you mean "class_logit"?',
        ),
        (
            "LRPC.TARGETS",
            '["box:1"]',
            '"box:1": box exists once, without a layer; remove :1',
        ),
        (
            "LRPC.TARGETS",
            '["decoder_query:-1"]',
            '"decoder_query:-1": expected a layer index or "*" after the colon',
        ),
        ("LRPC.TARGETS", "[]", "expected at least one target, got []"),
        ("LRPC.SHAPES", "[480, 640]", "expected two positive integers [H, W], got 480"),
        (
            "LRPC.MEMORY.BUDGET",
            "120%",
            'expected "", bytes as in "800 MB", or "1%" to "100%", got "120%"',
        ),
        (
            "LRPC.PASSES",
            "[mine]",
            'expected an import path "package.module:Class", got "mine"',
        ),
        (
            "LRPC.RULES",
            "[{role: conv}]",
            'entry 0: has no "rule"; name one that `lrpc rules` lists',
        ),
        (
            "LRPC.RULES",
            "[{rule: gamma}]",
            "entry 0: selects nothing; give role, op, module, layers, first, classes, backbone",
        ),
        (
            "LRPC.RULES",
            "[{role: conv, layers: [3, 1], rule: gamma}]",
            "entry 0: layers: expected [first, last] with 0 <= first <= last, got [3, 1]",
        ),
        (
            "LRPC.RULES",
            "[{role: conv, op: conv2d, rule: gamma}]",
            "entry 0: has both role and op; keep one of the two",
        ),
    ],
)
def test_bad_value_names_line_key_value_and_default(
    folder: Path, key: str, value: str, problem: str
) -> None:
    line = key.count(".") + 1
    default = json.dumps(DEFAULTS[key])
    default = default if len(default) <= 60 else f"{default[:60]}…"
    assert error_of(nested(key, value)) == (
        f"c.yaml:{line}: {key}: {problem}; the default is {default}"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "MODEL:\n  MaskDINO:\n    DEC_LAYER: 9\n",
            "c.yaml:3: MODEL.MaskDINO.DEC_LAYER: unknown key; "
            "did you mean MODEL.MaskDINO.DEC_LAYERS? Correct it or remove it",
        ),
        (
            "MODEL:\n  MASKDINO: {DEC_LAYERS: 9}\n",
            "c.yaml:2: MODEL.MASKDINO: unknown key; did you mean MODEL.MaskDINO? "
            "Correct it or remove it",
        ),
        (
            "LRPC: [1]\n",
            "c.yaml:1: LRPC: is a section, got [1]; set a key inside it, such as LRPC.BOUNDARIES",
        ),
        (
            "LRPC: {SEEDS: 1}\nLRPC: {SEEDS: 2}\n",
            "c.yaml:2: LRPC: given twice; remove one of the two",
        ),
        (
            "LRPC: {SEEDS: 1\n",
            "c.yaml:2: not valid YAML (expected ',' or '}', but got '<stream end>'); "
            "correct the syntax there",
        ),
        ("- 1\n", "c.yaml:1: expected keys such as MODEL at the top of the file"),
        ("", "c.yaml:1: expected keys such as MODEL at the top of the file"),
        (
            "LRPC:\n  SEEDS: !!python/object/apply:os.system [exit]\n",
            "c.yaml:2: LRPC.SEEDS: the YAML tag !!python/object/apply:os.system "
            "is never evaluated; write the value out",
        ),
        (
            "MODEL: {PIXEL_STD: !!python/tuple [1, 1, 1]}\n",
            "c.yaml:1: MODEL.PIXEL_STD: the YAML tag !!python/tuple is never evaluated; "
            "write the value out",
        ),
        (
            "LRPC: {RULES: &a [*a]}\n",
            "c.yaml:1: a YAML alias contains itself; remove it",
        ),
        (
            "LRPC:\n  SHAPES: [[480, 650]]\n",
            "c.yaml:2: LRPC.SHAPES: [480, 650] is not a multiple of "
            "MODEL.MaskDINO.SIZE_DIVISIBILITY (32); give [480, 640], images are padded to it",
        ),
        (
            "MODEL: {MaskDINO: {SIZE_DIVISIBILITY: 128}}\n",
            "c.yaml:1: LRPC.SHAPES: [480, 640] is not a multiple of "
            "MODEL.MaskDINO.SIZE_DIVISIBILITY (128); give [512, 640], images are padded to it",
        ),
    ],
)
def test_file_errors(folder: Path, text: str, message: str) -> None:
    assert error_of(text) == message


def test_unreadable_files(folder: Path) -> None:
    Path("latin.yaml").write_bytes(b"MODEL: \xe9\n")
    for path, message in {
        "gone.yaml": "gone.yaml: no such file or directory; check the path",
        ".": ".: is a directory; check the path",
        "latin.yaml": "latin.yaml: not UTF-8 text; give a YAML file",
    }.items():
        with pytest.raises(ConfigError) as caught:
            load_config(path)
        assert str(caught.value) == message
