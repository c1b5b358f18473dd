"""What each key accepts: the type of its default, and limits for the keys that models read."""

from __future__ import annotations

import ast
import difflib
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import yaml

from lrpc.config import limits
from lrpc.config.checks import PARSERS, parse_rules
from lrpc.config.document import Document, DocumentError, Tag
from lrpc.config.show import show
from lrpc.support.untrusted import NEAR_LENGTH, is_text


@dataclass(frozen=True)
class Limit:
    """A condition on a value of the right type, and how to say what it expects."""

    expected: str
    holds: Callable[[Any], bool]


CHECKPOINTS = ("auto", "none", "block")
#: Filters that resize images, by Pillow's numbers.
FILTERS = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")


def _one_of(*values: object) -> Limit:
    return Limit(f"one of {', '.join(show(value) for value in values)}", lambda v: v in values)


def _integer(least: int) -> Limit:
    return Limit(f"an integer of at least {least}", lambda v: v >= least)


def _three(text: str, holds: Callable[[float], bool]) -> Limit:
    return Limit(f"three {text}", lambda v: len(v) == 3 and all(map(holds, v)))


_YAML_WORDS = {"true": True, "false": False, "null": None}
_MASKDINO = "MODEL.MaskDINO."
_HEAD = "MODEL.SEM_SEG_HEAD."
_POSITIVE = _integer(1)
_GAMMA = Limit("a finite number of at least 0, or null", lambda v: v is None or 0 <= v < math.inf)
_STAGES = Limit(
    'names among "res2", "res3", "res4", "res5"',
    lambda v: bool(v) and all(name in ("res2", "res3", "res4", "res5") for name in v),
)

LIMITS: dict[str, Limit] = {
    "VERSION": _one_of(2),
    "INPUT.FORMAT": _one_of("RGB", "BGR"),
    "INPUT.MIN_SIZE_TEST": _integer(0),
    "INPUT.MAX_SIZE_TEST": _POSITIVE,
    "MODEL.PIXEL_MEAN": _three("finite numbers", math.isfinite),
    "MODEL.PIXEL_STD": _three("numbers above 0", lambda v: 0 < v < math.inf),
    "MODEL.RESNETS.DEPTH": _one_of(18, 34, 50, 101, 152),
    "MODEL.RESNETS.NUM_GROUPS": _POSITIVE,
    "MODEL.RESNETS.RES2_OUT_CHANNELS": _POSITIVE,
    "MODEL.RESNETS.STEM_OUT_CHANNELS": _POSITIVE,
    "MODEL.RESNETS.WIDTH_PER_GROUP": _POSITIVE,
    "MODEL.RESNETS.RES5_DILATION": _one_of(1, 2),
    f"{_MASKDINO}DEC_LAYERS": _POSITIVE,
    f"{_MASKDINO}DIM_FEEDFORWARD": _POSITIVE,
    f"{_MASKDINO}DROPOUT": Limit("a number in [0, 1)", lambda v: 0 <= v < 1),
    f"{_MASKDINO}ENC_LAYERS": _integer(0),
    f"{_MASKDINO}HIDDEN_DIM": _POSITIVE,
    f"{_MASKDINO}INITIALIZE_BOX_TYPE": _one_of("no", "bitmask", "mask2box"),
    f"{_MASKDINO}NHEADS": _POSITIVE,
    f"{_MASKDINO}NUM_OBJECT_QUERIES": _POSITIVE,
    f"{_MASKDINO}SIZE_DIVISIBILITY": _integer(-1),
    f"{_HEAD}COMMON_STRIDE": _POSITIVE,
    f"{_HEAD}CONVS_DIM": _POSITIVE,
    f"{_HEAD}DEFORMABLE_TRANSFORMER_ENCODER_N_HEADS": _POSITIVE,
    f"{_HEAD}DEFORMABLE_TRANSFORMER_ENCODER_N_POINTS": _POSITIVE,
    f"{_HEAD}DEFORMABLE_TRANSFORMER_ENCODER_IN_FEATURES": _STAGES,
    f"{_HEAD}DIM_FEEDFORWARD": _POSITIVE,
    f"{_HEAD}FEATURE_ORDER": _one_of("low2high", "high2low"),
    f"{_HEAD}MASK_DIM": _POSITIVE,
    f"{_HEAD}NUM_CLASSES": _POSITIVE,
    f"{_HEAD}NUM_FEATURE_LEVELS": _POSITIVE,
    f"{_HEAD}TOTAL_NUM_FEATURE_LEVELS": _POSITIVE,
    f"{_HEAD}TRANSFORMER_ENC_LAYERS": _integer(0),
    "LRPC.COMPOSITE": _one_of(
        *("maskdino", "attnlrp", "cp_lrp", "epsilon", "gamma", "epsilon_plus"),
        *("epsilon_alpha2_beta1", "epsilon_plus_flat", "epsilon_gamma_box", "thesis"),
        "gradient_input",
    ),
    "LRPC.GAMMA.CONVOLUTION": _GAMMA,
    "LRPC.GAMMA.LINEAR": _GAMMA,
    "LRPC.EPSILON": Limit("a finite number of at least 0", lambda v: v >= 0),
    "LRPC.SEEDS": _POSITIVE,
    "LRPC.PRECISION": _one_of("fp64", "fp32", "tf32", "bf16"),
    "LRPC.MEMORY.CHECKPOINT": _one_of(*CHECKPOINTS),
    "LRPC.PRECISION_TOLERANCE": Limit("a number above 0", lambda v: v > 0),
    "LRPC.DETACH": _one_of("copy", "stop"),
    "LRPC.RESIZE": _one_of("shortest", "aspect", "exact", "crop", "pad"),
    "LRPC.DETECTIONS": _one_of("pairs", "queries"),
    "LRPC.RESAMPLE": _one_of(*FILTERS),
    "LRPC.NO_GRAD": _one_of("detach", "ignore"),
    "LRPC.POSITION": _one_of("sink", "split"),
    "LRPC.INIT_SEED": _integer(0),
}


def _read(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(files(__package__).joinpath(name).read_text("utf-8"))
    return found


#: Defaults: of the keys that reach a model; of training, data sets, evaluation and the other
#: detectors of detectron2; and of the compiler's own node.
MODEL, OTHERS, LRPC = map(_read, ("model.yaml", "unread.yaml", "lrpc.yaml"))

#: Keys, and sections by a final dot, that the compiler never reads: it skips a tagged value there.
UNREAD = (
    *(f"{k}." if isinstance(v, dict) else k for k, v in OTHERS.items() if k != "MODEL"),
    *(f"MODEL.{key}." for key in OTHERS["MODEL"]),
    *("INPUT.MIN_SIZE_TRAIN", "INPUT.MAX_SIZE_TRAIN", "INPUT.CROP.", "INPUT.IMAGE_SIZE"),
    *("INPUT.MIN_SCALE", "INPUT.MAX_SCALE", "INPUT.RANDOM_FLIP", "INPUT.COLOR_AUG_SSD"),
)


def flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The keys of a tree of sections with their values, by full name."""
    for key, value in tree.items():
        if isinstance(value, dict):  # detectron2's nodes are dicts too
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


#: Every known key with its default, by its full name.
DEFAULTS: dict[str, Any] = {
    key: value for tree in (MODEL, OTHERS, LRPC) for key, value in flatten(tree)
}
SECTIONS = frozenset(
    ".".join(parts[:depth])
    for parts in (key.split(".") for key in DEFAULTS)
    for depth in range(1, len(parts))
)


def nearest_key(key: str) -> str | None:
    """Return the known key or section that is spelt most like `key`; None for a very long one."""
    if len(key) > NEAR_LENGTH:
        return None
    best, likeness = "", (-1.0, -1.0)
    for name in sorted({*DEFAULTS, *SECTIONS}):
        if 2 * min(len(key), len(name)) < likeness[0] * (len(key) + len(name)):
            continue  # too long or short to be more alike
        folded = difflib.SequenceMatcher(None, key.lower(), name.lower())
        if folded.quick_ratio() >= likeness[0] and (ratio := folded.ratio()) >= likeness[0]:
            found = ratio, difflib.SequenceMatcher(None, key, name).ratio()
            best, likeness = (name, found) if found > likeness else (best, likeness)
    return best


def is_unread(key: str) -> bool:
    """Whether the compiler never reads `key`."""
    return any(f"{key}.".startswith(k) if k.endswith(".") else key == k for k in UNREAD)


def parse(key: str, value: Any) -> Any:
    """Return `value` as the known `key` stores it; ValueError says what was expected instead."""
    default = DEFAULTS[key]
    if isinstance(value, str) and not isinstance(default, str):
        value = literal(value)
    if isinstance(value, Tag):
        raise ValueError(f"the YAML tag {value.name} is never evaluated; write the value out")
    if key == "LRPC.COMPOSITE" and not (isinstance(value, str) and value[:1] not in "[{"):
        return _composites(value)
    if key in PARSERS:
        return PARSERS[key](value)
    limit = LIMITS.get(key)
    try:
        result = _coerce(value, default, deep=not is_unread(key))
    except ValueError as error:
        expected = limit.expected if limit else error
        raise ValueError(f"expected {expected}, got {show(value)}") from None
    if limit is not None and not limit.holds(result):
        raise ValueError(f"expected {limit.expected}, got {show(value)}")
    return result


def _composites(value: Any) -> Any:
    """Return several composites: a list of names, or a mapping of own names to names or settings.

    What the settings hold is checked with the rules.
    """
    value = _flow(value) if isinstance(value, str) else value
    if isinstance(value, list | tuple) and value:
        return tuple(_composite_name(name) for name in value)
    if not (isinstance(value, Mapping) and value):
        raise ValueError(f"expected a name, a list of names or a mapping, got {show(value)}")
    for name, own in value.items():
        if not isinstance(own, Mapping):
            _composite_name(own)
        elif "rules" in own:
            try:
                parse_rules(own["rules"])
            except ValueError as error:
                raise ValueError(f"{name}: rules: {error}") from None
    return dict(value)


def _composite_name(value: Any) -> Any:
    limit = LIMITS["LRPC.COMPOSITE"]
    if not (isinstance(value, str) and limit.holds(value)):
        raise ValueError(f"expected {limit.expected}, got {show(value)}")
    return value


def literal(text: str) -> Any:
    """Return the literal in `text`, such as "(0.9, 1.1)", "1e-4" or "true", or else the text.

    Lists and mappings may be written as in YAML: "[class_logit, box]". ValueError where the text is
    beyond the limits of a value.
    """
    if text in _YAML_WORDS:
        return _YAML_WORDS[text]
    if len(text) > limits.VALUE:
        raise ValueError(f"a value of {len(text):,} characters; at most {limits.VALUE:,}")
    try:
        value = ast.literal_eval(text)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return _flow(text) if text[:1] in ("[", "{") else text
    return value if _plain(value) else text


def _plain(value: Any, depth: int = 0) -> bool:
    """Whether a value is one that a file could hold."""
    if depth > limits.DEPTH:
        return False
    if isinstance(value, list | tuple):
        return all(_plain(item, depth + 1) for item in value)
    if isinstance(value, dict):
        return all(isinstance(k, str) and _plain(v, depth + 1) for k, v in value.items())
    if isinstance(value, int):
        return abs(value) <= limits.INTEGER
    return is_text(value) if isinstance(value, str) else value is None or isinstance(value, float)


def _flow(text: str) -> Any:
    """The value of a text in YAML, or the text itself where it is none."""
    try:
        document = Document(text)
        return text if document.root is None else document.value(document.root)
    except DocumentError as error:
        if error.invalid:
            return text
        raise ValueError(error.what) from None


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _finite(value: Any) -> bool:
    return (_whole(value) or isinstance(value, float)) and abs(value) < math.inf


#: By the type of a default: what is expected, and what is taken.
TAKEN: dict[type, Limit] = {
    type(None): Limit("a finite number or null", lambda v: v is None or _finite(v)),
    bool: Limit("true or false", lambda v: isinstance(v, bool)),
    int: Limit("an integer", _whole),
    float: Limit("a finite number", _finite),
    str: Limit("text", lambda v: isinstance(v, str)),
}


def _coerce(value: Any, default: Any, deep: bool) -> Any:
    """Return `value` with the type of `default`; ValueError holds the name of that type."""
    limit = TAKEN.get(type(default))
    if limit is None:
        return _coerce_sequence(value, tuple(default), deep)
    if not limit.holds(value):
        raise ValueError(limit.expected)
    return float(value) if isinstance(default, float) else value


def _coerce_sequence(value: Any, default: tuple[Any, ...], deep: bool) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise ValueError("a list")
    if not deep:
        return tuple(value)
    pattern = default[0] if default else ""
    try:
        return tuple(_coerce(item, pattern, deep) for item in value)
    except ValueError as error:
        raise ValueError(f"a list, each item {error}") from None
