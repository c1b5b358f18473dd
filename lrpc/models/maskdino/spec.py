"""What a detectron2 configuration says about the embedded MaskDINO, read once and checked."""

from __future__ import annotations

from dataclasses import dataclass

from lrpc.errors import ConfigError
from lrpc.models.maskdino.backbone_specs import BackboneSpec, SwinSpec, read_backbone
from lrpc.models.maskdino.keys import Reader

SINE_WIDTH = 512  # four coordinates, 128 numbers each: the released code fixes this


@dataclass(frozen=True)
class MaskDINOSpec:
    """Everything the embedded model is built from; see `from_config` for the keys."""

    backbone: BackboneSpec
    pixel_mean: tuple[float, float, float]
    pixel_std: tuple[float, float, float]
    classes: int
    class_rows: int
    no_object_weight: float
    encoder_width: int
    encoder_ffn: int
    encoder_layers: int
    encoder_heads: int
    encoder_features: tuple[str, ...]  # in token order, without the extra levels
    levels: int
    low_to_high: bool
    mask_width: int
    mask_norm: bool
    width: int
    decoder_ffn: int
    decoder_layers: int
    queries: int
    two_stage: bool
    learned_content: bool
    initial_prediction: bool
    box_init: str
    project_memory: bool

    @property
    def extra_levels(self) -> int:
        """Number of levels made by strided convolutions from the coarsest backbone map."""
        return self.levels - len(self.encoder_features)

    @classmethod
    def from_config(cls, config: object) -> MaskDINOSpec:
        """Reads `config` (attribute access, as detectron2's); raises ConfigError, one line."""
        reader = Reader(config)
        dino, head = "MODEL.MaskDINO.", "MODEL.SEM_SEG_HEAD."
        reader.choice("INPUT.FORMAT", ("RGB",), "RGB")
        backbone = read_backbone(reader, config)
        order = reader.choice(head + "FEATURE_ORDER", ("high2low", "low2high"))
        classes = reader.integer(head + "NUM_CLASSES")
        # The released decoder ignores PANOPTIC_ON here (it negates it bitwise), checkpoints follow.
        cross_entropy = reader.flag(dino + "TEST.SEMANTIC_ON", False) and reader.flag(
            dino + "SEMANTIC_CE_LOSS", False
        )
        encoder_width, width = (
            reader.integer(head + "CONVS_DIM"),
            reader.integer(dino + "HIDDEN_DIM"),
        )
        spec = cls(
            backbone=backbone,
            pixel_mean=reader.three_numbers("MODEL.PIXEL_MEAN"),
            pixel_std=reader.three_numbers("MODEL.PIXEL_STD"),
            classes=classes,
            class_rows=classes + 1 if cross_entropy else classes,
            no_object_weight=reader.number(dino + "NO_OBJECT_WEIGHT"),
            encoder_width=encoder_width,
            encoder_ffn=reader.integer(head + "DIM_FEEDFORWARD"),
            encoder_layers=reader.integer(head + "TRANSFORMER_ENC_LAYERS"),
            encoder_heads=reader.integer(dino + "NHEADS"),
            encoder_features=_token_order(reader, backbone, order),
            levels=reader.integer(head + "TOTAL_NUM_FEATURE_LEVELS"),
            low_to_high=order == "low2high",
            mask_width=reader.integer(head + "MASK_DIM"),
            mask_norm=reader.choice(head + "NORM", ("GN", "")) == "GN",
            width=width,
            decoder_ffn=reader.integer(dino + "DIM_FEEDFORWARD"),
            decoder_layers=reader.integer(dino + "DEC_LAYERS"),
            queries=reader.integer(dino + "NUM_OBJECT_QUERIES"),
            two_stage=reader.flag(dino + "TWO_STAGE"),
            learned_content=reader.flag(dino + "LEARN_TGT"),
            initial_prediction=reader.flag(dino + "INITIAL_PRED"),
            box_init=reader.choice(dino + "INITIALIZE_BOX_TYPE", ("bitmask", "mask2box", "no")),
            project_memory=reader.flag(dino + "ENFORCE_INPUT_PROJ") or encoder_width != width,
        )
        _check(spec)
        return spec


def _token_order(reader: Reader, backbone: BackboneSpec, order: str) -> tuple[str, ...]:
    """Backbone maps in the order in which their tokens are concatenated."""
    key = "MODEL.SEM_SEG_HEAD.DEFORMABLE_TRANSFORMER_ENCODER_IN_FEATURES"
    wanted = reader.stages(key)
    absent = [stage for stage in wanted if stage not in backbone.out_features]
    if absent:
        raise ConfigError(f"{key}: {absent[0]} is not in {_out_features(backbone)}")
    sign = -1 if order == "low2high" else 1
    chosen = [stage for stage in backbone.out_features if stage in wanted]
    # Sorted the other way round and then reversed, so that equal strides fall as in the released
    # code.
    return tuple(sorted(chosen, key=lambda stage: sign * backbone.stride(stage))[::-1])


def _out_features(backbone: BackboneSpec) -> str:
    return f"MODEL.{'SWIN' if isinstance(backbone, SwinSpec) else 'RESNETS'}.OUT_FEATURES"


def _check(spec: MaskDINOSpec) -> None:
    """Raises ConfigError where single values are fine but do not go together."""
    finest = min(spec.backbone.stride(stage) for stage in spec.encoder_features)
    key = "MODEL.SEM_SEG_HEAD."
    problems = (
        (spec.width * 2 != SINE_WIDTH, f"MODEL.MaskDINO.HIDDEN_DIM: {spec.width}, must be 256"),
        (spec.extra_levels < 0, f"{key}TOTAL_NUM_FEATURE_LEVELS: fewer than the encoder features"),
        (finest > 8, f"{key}DEFORMABLE_TRANSFORMER_ENCODER_IN_FEATURES: needs res2 or res3"),
        (
            "res2" not in spec.backbone.out_features,
            f"{_out_features(spec.backbone)}: needs res2",
        ),
        (spec.encoder_width % 32 != 0, f"{key}CONVS_DIM: must be a multiple of 32 (GroupNorm)"),
        (
            spec.encoder_width % spec.encoder_heads != 0,
            f"MODEL.MaskDINO.NHEADS: {spec.encoder_heads} does not divide {key}CONVS_DIM",
        ),
        (
            spec.box_init != "no" and not (spec.two_stage and spec.initial_prediction),
            f"MODEL.MaskDINO.INITIALIZE_BOX_TYPE: {spec.box_init!r} needs TWO_STAGE and "
            "INITIAL_PRED to be True; use 'no'",
        ),
    )
    for wrong, message in problems:
        if wrong:
            raise ConfigError(message)
