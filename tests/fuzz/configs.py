"""Feeds mutated configs, and KEY VALUE pairs, to the reader of configs.

python -m tests.fuzz.configs --count 100000 --seed 0
"""

from __future__ import annotations

import random
import re
import sys
import tempfile
from functools import cache
from pathlib import Path

from lrpc.config import default_config, load_config
from lrpc.config.schema import DEFAULTS, SECTIONS
from lrpc.errors import ConfigError
from tests.fuzz.report import command

BASES = [
    """MODEL:
  WEIGHTS: weights.pth
  PIXEL_MEAN: [123.675, 116.280, 103.530]
  RESNETS: {DEPTH: 50, STRIDE_IN_1X1: False, NORM: "FrozenBN"}
  MaskDINO:
    DEC_LAYERS: 9
    INITIALIZE_BOX_TYPE: "mask2box"
SOLVER:
  STEPS: (327778, 355092)
  BASE_LR: 0.0001
VERSION: 2
""",
    """LRPC:
  SOURCE: embedded
  TARGETS: [class_logit, "encoder_feature:2", "decoder_query:*"]
  COMPOSITE: {mine: {composite: epsilon, rules: [{role: a, rule: epsilon, eps: 1e-3}]}, b: cp_lrp}
  RULES:
    - &rule {role: residual, layers: [0, 2], rule: epsilon, eps: 1.0e-3}
    - {<<: *rule, role: conv}
  SHAPES: &sizes [[480, 640], [64, 96]]
  MEMORY: {BUDGET: "50%", CHECKPOINT: auto}
  BOX: {LOW: [0, 0.5, 1], HIGH: null}
""",
    """_BASE_: base.yaml
INPUT:
  MIN_SIZE_TRAIN: !!python/object/apply:eval ["[800]"]
  FORMAT: "RGB"
LRPC:
  EPSILON: 1.0e-6
  SEEDS: 4
  READ: ["encoder.*"]
  CLASS_NAMES: [zero, one, "two words"]
""",
]
VALUES = [
    *(
        "1",
        "-1",
        "0",
        "2**70",
        str(2**63),
        "9" * 41,
        "9" * 5000,
        "0x" + "f" * 5000,
        "1e999",
        ".nan",
    ),
    *(
        ".inf",
        "-.inf",
        "true",
        "null",
        "~",
        '""',
        "yes",
        "2001-01-01",
        "2001-99-99 1:1:1",
        "1:30:00",
    ),
    *(
        "!!binary aGk=",
        "!!binary é",
        "!!set {a, b}",
        "!!omap [a: 1]",
        "!!python/object:os.system x",
    ),
    *(
        "!!int abc",
        "!!float x",
        "!!timestamp x",
        "!!bool maybe",
        "!!null x",
        "!!str [a]",
        "!x y",
        "!",
    ),
    *(
        "[]",
        "{}",
        "[[]]",
        "{a: {b: c}}",
        "[1, [2, [3]]]",
        "{1: 2}",
        "{[1]: 2}",
        "? [a]\n  : b",
        "<<",
    ),
    *("&a [*a]", "&b {<<: *b}", "*undefined", "{<<: 3}", "{<<: [1]}", "{<<: {a: 1}, <<: {b: 2}}"),
    *(
        "=",
        "%",
        "@",
        "`",
        "|\n   text",
        ">-\n   text",
        "'",
        '"',
        "[" * 40,
        "{a: " * 40,
        "-",
        "- - - 1",
    ),
    *(
        '"(1, 2)"',
        '"{1: 2}"',
        '"{1, 2}"',
        "\"b'x'\"",
        '"1j"',
        '"9**9**9"',
        '"[!!x y]"',
        '"[&a *a]"',
    ),
    *('"' + "(" * 300 + '"', '"' + "-" * 9000 + '1"', '"[2001-99-99]"', "~nobody/x", '"a\\0b"'),
    *(
        '"\\uD800"',
        "http://x/y.yaml",
        "/dev/zero",
        "x" * 5000,
        '"' + "9" * 5000 + '%"',
        '"[a: b: c]"',
    ),
]
KEYS = [
    *("a", "_BASE_", "1", "null", "<<", "é", "k" * 300, '"a\\nb"', "LRPC.SEEDS", "[a]", "{a: b}"),
    *(
        "? x",
        "&k key",
        "*k",
        "!!x y",
        "true",
        "1.5",
        "2001-01-01",
        '""',
        "MODEL.MaskDINO",
        "=",
        "~",
    ),
]
CHARACTERS = "\0\r\n\t \"'\\%@#(){}[]=,*:.-&!|>?~0aé\U0001f600\ufeff\x7f\u2028"


def _value(rng: random.Random, text: str) -> str:
    spots = [m.span() for m in re.finditer(r"(?<=: )[^,\n{}\[\]]+|(?<=[\[,] )[^,\n{}\[\]]+", text)]
    start, end = rng.choice(spots) if spots else (0, 0)
    return text[:start] + rng.choice(VALUES) + text[end:]


def _key(rng: random.Random, text: str) -> str:
    spots = [m.span() for m in re.finditer(r"\w+(?=:)", text)]
    start, end = rng.choice(spots) if spots else (0, 0)
    known = rng.choice(NAMES).rpartition(".")[2]
    return text[:start] + rng.choice([*KEYS, known, known, known]) + text[end:]


def _line(rng: random.Random, text: str) -> str:
    lines = text.split("\n")
    line = lines.pop(rng.randrange(len(lines)))
    for _ in range(rng.choice([0, 1, 2])):
        lines.insert(rng.randrange(len(lines) + 1), rng.choice(["", "  ", "\t"]) + line)
    return "\n".join(lines)


def _known(rng: random.Random, text: str) -> str:
    """A known key with some value, as a file of its own or in front."""
    parts = rng.choice(NAMES).split(".")
    lines = [f"{'  ' * depth}{part}:" for depth, part in enumerate(parts)]
    return "\n".join(lines) + f" {rng.choice(VALUES)}\n" + (text if rng.random() < 0.2 else "")


def _character(rng: random.Random, text: str) -> str:
    at = rng.randrange(len(text) + 1)
    return text[:at] + rng.choice(CHARACTERS) + text[at + rng.randrange(2) :]


def _block(rng: random.Random, text: str) -> str:
    source = rng.choice([text, *BASES])
    start, at = rng.randrange(len(source) + 1), rng.randrange(len(text) + 1)
    return text[:at] + source[start : start + rng.randrange(1, 60)] + text[at:]


def _cut(rng: random.Random, text: str) -> str:
    return text[: rng.randrange(len(text) + 1)]


NAMES = sorted({*DEFAULTS, *SECTIONS})
MUTATIONS = [_value, _value, _key, _key, _line, _known, _character, _block, _cut]
ENCODINGS = ["utf-8"] * 16 + ["utf-8-sig", "utf-16", "latin-1", "utf-32"]


def mutant(rng: random.Random) -> bytes:
    """The bytes of one of the texts, changed in one to three ways."""
    text = rng.choice(BASES)
    for _ in range(rng.choice([1, 1, 2, 3])):
        text = rng.choice(MUTATIONS)(rng, text)
    if rng.random() < 0.05:
        text = text.replace("\n", "\r\n")
    return text.encode(rng.choice(ENCODINGS), "replace")


@cache
def folder() -> Path:
    """Where the mutants lie, beside the file that they are based on."""
    path = Path(tempfile.mkdtemp(prefix="lrpc-fuzz-"))
    (path / "base.yaml").write_text("LRPC: {SEEDS: 2}\n")
    return path


def case(number: int, seed: int) -> str:
    """Load a mutant; one in ten is a list of KEY VALUE pairs instead."""
    rng = random.Random(f"{seed}:{number}")
    return overridden(rng) if number % 10 == 9 else loaded(mutant(rng))


def overridden(rng: random.Random) -> str:
    """What comes of some KEY VALUE pairs."""
    pairs = []
    for _ in range(rng.choice([1, 1, 2])):
        pairs += [rng.choice([*NAMES, *NAMES, *KEYS]), rng.choice(VALUES).strip('"')]
    if rng.random() < 0.05:
        pairs.pop()
    try:
        default_config(pairs).digest()
    except ConfigError as error:
        return _refused(error, " with overrides")
    return "taken with overrides"


def loaded(data: bytes) -> str:
    """What comes of a file that holds `data`."""
    path = folder() / "c.yaml"
    path.write_bytes(data)
    try:
        config = load_config(path)
    except ConfigError as error:
        return _refused(error, "")
    config.digest()
    hash(config)
    return "taken"


def _refused(error: ConfigError, how: str) -> str:
    said = str(error)
    assert "\n" not in said, said
    assert len(said) < 1200, said
    said.encode()
    return f"refused{how}"


if __name__ == "__main__":
    sys.exit(command("configs", case, 100_000))
