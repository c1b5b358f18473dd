"""What a state dict says of the configuration that it was trained with, key by key."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping

Shapes = Mapping[str, tuple[int, ...]]
Value = int | float | str | bool | list[int]

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
        unsaid = key == _QUERIES or (key.startswith(_SWIN) and _NAME in found)
        if other is not None and own != other and (own is not None or unsaid):
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
    return None if blocks is None else _DEPTHS.get(int(str(blocks)))


def _backbone(shapes: Shapes) -> Value | None:
    if f"{_PATCHES}weight" in shapes:
        return "D2SwinTransformer"
    return "build_resnet_backbone" if "backbone.stem.conv1.weight" in shapes else None


def _depths(shapes: Shapes) -> Value | None:
    found = [_numbered(f"backbone.layers.{i}.blocks.")(shapes) for i in range(4)]
    return [int(str(n)) for n in found] if all(found) else None


def _swin_heads(shapes: Shapes) -> Value | None:
    found = [_extent(f"backbone.layers.{i}.{_TABLE}", 1)(shapes) for i in range(4)]
    return [int(str(n)) for n in found] if all(found) else None


def _window(shapes: Shapes) -> Value | None:
    offsets = _extent(f"backbone.layers.0.{_TABLE}")(shapes)
    return None if offsets is None else (math.isqrt(int(str(offsets))) + 1) // 2


def _mlp_ratio(shapes: Shapes) -> Value | None:
    inner = shapes.get("backbone.layers.0.blocks.0.mlp.fc1.weight", ())
    return inner[0] / inner[1] if len(inner) == 2 and inner[1] else None


def _position_size(shapes: Shapes) -> Value | None:
    cells = _extent("backbone.absolute_pos_embed", 2)(shapes)
    return None if cells is None else 4 * int(str(cells))


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
_SWIN, _NAME = "MODEL.SWIN.", "MODEL.BACKBONE.NAME"
_PATCHES = "backbone.patch_embed.proj."
_TABLE = "blocks.0.attn.relative_position_bias_table"
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
    _NAME: _backbone,
    f"{_SWIN}EMBED_DIM": _extent(f"{_PATCHES}weight"),
    f"{_SWIN}DEPTHS": _depths,
    f"{_SWIN}NUM_HEADS": _swin_heads,
    f"{_SWIN}WINDOW_SIZE": _window,
    f"{_SWIN}MLP_RATIO": _mlp_ratio,
    f"{_SWIN}QKV_BIAS": _present(
        "backbone.layers.0.blocks.0.attn.qkv.bias", "backbone.layers.0.blocks.0.attn.qkv.weight"
    ),
    f"{_SWIN}PATCH_NORM": _present("backbone.patch_embed.norm.weight", f"{_PATCHES}weight"),
    f"{_SWIN}APE": _present("backbone.absolute_pos_embed", f"{_PATCHES}weight"),
    f"{_SWIN}PRETRAIN_IMG_SIZE": _position_size,
    f"{_RESNETS}DEPTH": _depth,
    f"{_RESNETS}STEM_OUT_CHANNELS": _extent("backbone.stem.conv1.weight"),
    f"{_RESNETS}RES2_OUT_CHANNELS": _extent("backbone.res2.0.conv3.weight"),
    f"{_RESNETS}NUM_GROUPS": _groups,
    f"{_RESNETS}WIDTH_PER_GROUP": _extent("backbone.res2.0.conv2.weight", 1),
}
