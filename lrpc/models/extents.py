"""What a state dict says of the configuration that it was trained with, key by key."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

Shapes = Mapping[str, tuple[int, ...]]
Value = int | str | bool

_DECODER = "sem_seg_head.pixel_decoder."
_PREDICTOR = "sem_seg_head.predictor."
_ENCODER = f"{_DECODER}transformer.encoder.layers."
_LAYERS = f"{_PREDICTOR}decoder.layers."
_LEVELS = f"{_DECODER}transformer.level_embed"
_POINTS = 4  # sampling points per head and level
_DEPTHS = {6: 50, 23: 101, 36: 152}  # blocks in res4 → depth


def differing_keys(model: Shapes, file: Shapes) -> dict[str, tuple[Value | None, Value]]:
    """Config key → (the model's value, the file's), where names and shapes tell that they differ.

    Both are names → shapes of a state dict. A key that one of them says nothing about is left out;
    but for the number of queries, of which a model says nothing (None) that selects all of them.
    """
    found: dict[str, tuple[Value | None, Value]] = {}
    for key, measure in _MEASURES.items():
        own, other = measure(model), measure(file)
        if other is not None and own != other and (own is not None or key == _QUERIES):
            found[key] = (own, other)
    return found


def _extent(name: str, axis: int = 0) -> Callable[[Shapes], Value | None]:
    def measure(shapes: Shapes) -> Value | None:
        shape = shapes.get(name, ())
        return shape[axis] if axis < len(shape) else None

    return measure


def _numbered(prefix: str) -> Callable[[Shapes], Value | None]:
    """How many modules `prefix` has, counted from 0."""
    pattern = re.compile(re.escape(prefix) + r"(\d{1,4})\.")

    def measure(shapes: Shapes) -> Value | None:
        found = [int(match[1]) for match in map(pattern.match, shapes) if match]
        return max(found) + 1 if found else None

    return measure


def _present(name: str, beside: str) -> Callable[[Shapes], Value | None]:
    """Whether there is `name`, in a file that has `beside`."""

    def measure(shapes: Shapes) -> Value | None:
        return name in shapes if beside in shapes else None

    return measure


def _depth(shapes: Shapes) -> Value | None:
    blocks = _numbered("backbone.res4.")(shapes)
    return None if blocks is None else _DEPTHS.get(int(blocks))


def _groups(shapes: Shapes) -> Value | None:
    shape = shapes.get("backbone.res2.0.conv2.weight", ())
    return shape[0] // shape[1] if len(shape) == 4 and shape[1] else None


def _heads(shapes: Shapes) -> Value | None:
    rows = shapes.get(f"{_ENCODER}0.self_attn.attention_weights.bias", ())
    levels = shapes.get(_LEVELS, ())
    return rows[0] // (levels[0] * _POINTS) if rows and levels and levels[0] else None


def _queries(shapes: Shapes) -> Value | None:
    own, fixed = (
        _extent(f"{_PREDICTOR}{name}.weight")(shapes) for name in ("query_feat", "query_embed")
    )
    return own if own is not None else fixed


def _norm(shapes: Shapes) -> Value | None:
    found = _present(f"{_DECODER}adapter_1.norm.weight", f"{_DECODER}adapter_1.weight")(shapes)
    return None if found is None else ("GN" if found else "''")


_HEAD, _DINO, _RESNETS = "MODEL.SEM_SEG_HEAD.", "MODEL.MaskDINO.", "MODEL.RESNETS."
_QUERIES = f"{_DINO}NUM_OBJECT_QUERIES"
_CLASSES = f"{_PREDICTOR}class_embed.weight"
_MEASURES: dict[str, Callable[[Shapes], Value | None]] = {
    f"{_HEAD}NUM_CLASSES": _extent(f"{_PREDICTOR}label_enc.weight"),
    _QUERIES: _queries,
    f"{_DINO}DEC_LAYERS": _numbered(_LAYERS),
    f"{_DINO}DIM_FEEDFORWARD": _extent(f"{_LAYERS}0.linear1.weight"),
    f"{_DINO}NHEADS": _heads,
    f"{_DINO}TWO_STAGE": _present(f"{_PREDICTOR}enc_output.weight", _CLASSES),
    f"{_DINO}LEARN_TGT": _present(
        f"{_PREDICTOR}query_feat.weight", f"{_PREDICTOR}enc_output.weight"
    ),
    f"{_DINO}ENFORCE_INPUT_PROJ": _present(f"{_PREDICTOR}input_proj.0.weight", _CLASSES),
    f"{_HEAD}TRANSFORMER_ENC_LAYERS": _numbered(_ENCODER),
    f"{_HEAD}DIM_FEEDFORWARD": _extent(f"{_ENCODER}0.linear1.weight"),
    f"{_HEAD}TOTAL_NUM_FEATURE_LEVELS": _extent(_LEVELS),
    f"{_HEAD}CONVS_DIM": _extent(_LEVELS, 1),
    f"{_HEAD}MASK_DIM": _extent(f"{_DECODER}mask_features.weight"),
    f"{_HEAD}NORM": _norm,
    f"{_RESNETS}DEPTH": _depth,
    f"{_RESNETS}STEM_OUT_CHANNELS": _extent("backbone.stem.conv1.weight"),
    f"{_RESNETS}RES2_OUT_CHANNELS": _extent("backbone.res2.0.conv3.weight"),
    f"{_RESNETS}NUM_GROUPS": _groups,
    f"{_RESNETS}WIDTH_PER_GROUP": _extent("backbone.res2.0.conv2.weight", 1),
}
