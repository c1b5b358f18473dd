"""What a configuration says about the backbone: MODEL.RESNETS or MODEL.SWIN."""

from __future__ import annotations

from dataclasses import dataclass

from lrpc.errors import ConfigError
from lrpc.models.maskdino.keys import STAGES, Reader, read

BLOCKS_PER_STAGE = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


@dataclass(frozen=True)
class ResNetSpec:
    """A bottleneck ResNet: widths in channels, `dilation` that of the last stage."""

    depth: int
    stem_width: int
    bottleneck_width: int
    res2_width: int
    groups: int
    stride_in_1x1: bool
    dilation: int
    out_features: tuple[str, ...]

    def channels(self, stage: str) -> int:
        """Number of channels that `stage` puts out."""
        return int(self.res2_width * 2 ** STAGES.index(stage))

    def stride(self, stage: str) -> int:
        """Pixels of the image per cell of the stage's map."""
        stride = int(4 * 2 ** STAGES.index(stage))
        return stride // 2 if stage == "res5" and self.dilation == 2 else stride

    @property
    def places(self) -> tuple[str, ...]:
        """Where its maps are, by module."""
        return tuple(f"backbone.{stage}" for stage in STAGES)


@dataclass(frozen=True)
class SwinSpec:
    """A Swin transformer: blocks and heads by stage, `window` in cells, `scale` of queries."""

    width: int
    depths: tuple[int, ...]
    heads: tuple[int, ...]
    window: int
    mlp_ratio: float
    patch: int
    qkv_bias: bool
    scale: float | None
    patch_norm: bool
    position_cells: int | None  # side of the map of absolute positions, where there are any
    out_features: tuple[str, ...]

    def channels(self, stage: str) -> int:
        """Number of channels that `stage` puts out."""
        return int(self.width * 2 ** STAGES.index(stage))

    def stride(self, stage: str) -> int:
        """Pixels of the image per cell of the stage's map."""
        return int(4 * 2 ** STAGES.index(stage))

    @property
    def places(self) -> tuple[str, ...]:
        """Where its maps are: by name in what the backbone returns."""
        return tuple(f"backbone:out.{stage}" for stage in self.out_features)


BackboneSpec = ResNetSpec | SwinSpec


def read_backbone(reader: Reader, config: object) -> BackboneSpec:
    """The backbone that MODEL.BACKBONE.NAME names."""
    names = ("build_resnet_backbone", "D2SwinTransformer")
    swin = reader.choice("MODEL.BACKBONE.NAME", names) == names[1]
    return _swin(reader, config) if swin else _resnet(reader, config)


def _resnet(reader: Reader, config: object) -> ResNetSpec:
    """MODEL.RESNETS."""
    resnets = "MODEL.RESNETS."
    reader.choice(resnets + "NORM", ("FrozenBN", "BN", "SyncBN"))
    depth = reader.integer(resnets + "DEPTH")
    if depth not in BLOCKS_PER_STAGE:
        raise ConfigError(f"{resnets}DEPTH: {depth} is not supported; supported: 50, 101, 152")
    dilation = reader.integer(resnets + "RES5_DILATION")
    if dilation not in (1, 2):
        raise ConfigError(f"{resnets}RES5_DILATION: {dilation} is not supported; supported: 1, 2")
    deform = read(config, resnets + "DEFORM_ON_PER_STAGE", ())
    if isinstance(deform, list | tuple) and any(deform):
        raise ConfigError(f"{resnets}DEFORM_ON_PER_STAGE: deformable stages are not supported")
    groups = reader.integer(resnets + "NUM_GROUPS")
    return ResNetSpec(
        depth=depth,
        stem_width=reader.integer(resnets + "STEM_OUT_CHANNELS"),
        bottleneck_width=groups * reader.integer(resnets + "WIDTH_PER_GROUP"),
        res2_width=reader.integer(resnets + "RES2_OUT_CHANNELS"),
        groups=groups,
        stride_in_1x1=reader.flag(resnets + "STRIDE_IN_1X1"),
        dilation=dilation,
        out_features=reader.stages(resnets + "OUT_FEATURES"),
    )


def _swin(reader: Reader, config: object) -> SwinSpec:
    """MODEL.SWIN."""
    swin = "MODEL.SWIN."
    width, heads = reader.integer(swin + "EMBED_DIM"), reader.integers(swin + "NUM_HEADS")
    patch = reader.integer(swin + "PATCH_SIZE")
    if patch != 4:
        raise ConfigError(f"{swin}PATCH_SIZE: {patch} is not supported; supported: 4")
    for stage, count in enumerate(heads):
        if (width * 2**stage) % count:
            raise ConfigError(
                f"{swin}NUM_HEADS: {count} heads do not divide the {width * 2**stage} channels of "
                f"{STAGES[stage]} ({swin}EMBED_DIM)"
            )
    ratio = reader.number(swin + "MLP_RATIO")
    if int(width * ratio) < 1:
        raise ConfigError(f"{swin}MLP_RATIO: {ratio} leaves no channels")
    scaled = read(config, swin + "QK_SCALE", None) is not None
    placed = reader.flag(swin + "APE")
    return SwinSpec(
        width=width,
        depths=reader.integers(swin + "DEPTHS"),
        heads=heads,
        window=reader.integer(swin + "WINDOW_SIZE"),
        mlp_ratio=ratio,
        patch=patch,
        qkv_bias=reader.flag(swin + "QKV_BIAS"),
        scale=reader.number(swin + "QK_SCALE") or None if scaled else None,
        patch_norm=reader.flag(swin + "PATCH_NORM"),
        position_cells=reader.integer(swin + "PRETRAIN_IMG_SIZE") // patch if placed else None,
        out_features=reader.stages(swin + "OUT_FEATURES"),
    )
