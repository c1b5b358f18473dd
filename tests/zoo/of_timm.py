"""Small models of timm, made by `create_model` with few and narrow layers."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Mapping
from functools import partial
from typing import Any

import pytest
from torch import nn

from tests.support.released import import_torchvision
from tests.zoo.entry import Made, Model


def part(name: str) -> Any:
    """A module of timm, or a skipped test."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import_torchvision()
            return importlib.import_module(name)
        except ImportError as error:
            pytest.skip(f"timm is not installed (pip install --no-deps timm): {error}")


def created(name: str, **options: Any) -> nn.Module:
    """timm's model of this name."""
    model: nn.Module = part("timm").create_model(
        name, pretrained=False, **{"num_classes": 7} | options
    )
    return model


def instance(module: str, kind: str, parts: Mapping[str, Any], **options: Any) -> nn.Module:
    """A class of timm, where its names fix the sizes; `parts` are named in its module."""
    home = part(f"timm.models.{module}")
    found = {key: _named(home, name) for key, name in parts.items()}
    model: nn.Module = getattr(home, kind)(**{"num_classes": 7} | options | found)
    return model


def _named(home: Any, name: str | list[str]) -> Any:
    return getattr(home, name) if isinstance(name, str) else [getattr(home, n) for n in name]


def of(name: str, side: int = 64, **options: Any) -> Model:
    return Made(partial(created, name, **options), (3, side, side))


def sized(name: str, side: int = 64, **options: Any) -> Model:
    """One that is built for a size of images."""
    return of(name, side, img_size=side, **options)


def kind(module: str, name: str, side: int = 64, parts: Any = (), **options: Any) -> Model:
    return Made(partial(instance, module, name, dict(parts), **options), (3, side, side))


VIT: dict[str, Any] = {"embed_dim": 32, "depth": 2, "num_heads": 2}
NARROW: dict[str, Any] = {"depths": (1, 1, 1, 1), "dims": (8, 12, 16, 24)}
EMBEDDED: dict[str, Any] = {"depths": (1, 1, 1, 1), "embed_dims": (8, 16, 24, 32)}
SWIN: dict[str, Any] = {
    "embed_dim": 16, "depths": (2, 2), "num_heads": (2, 2), "window_size": 4,
}  # fmt: skip
MIXER: dict[str, Any] = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "num_blocks": 2}
RESMLP = {"block_layer": "ResBlock", "norm_layer": "Affine"}
GMLP = {"block_layer": "SpatialGatingBlock", "mlp_layer": "GatedMlp"}
CAFORMER = {
    "token_mixers": ["SepConv", "SepConv", "Attention", "Attention"],
    "norm_layers": ["LayerNorm2dNoBias"] * 2 + ["LayerNormNoBias"] * 2,
}
THIN = {"layers": (1, 1, 1, 1), "channels": (8, 16, 24, 32), "stem_width": 8}

TIMM: dict[str, Model] = {
    "ViT": sized("vit_tiny_patch16_224", 32, patch_size=8, **VIT),
    "ViT, registers, SwiGLU": sized("vit_small_patch14_reg4_dinov2", 28, **VIT),
    "ViT, attention pooling": of("test_vit4", 160),
    "ViT, relative positions": of("test_vit_relpos", 160),
    "DeiT III": sized("deit3_small_patch16_224", 32, patch_size=8, **VIT),
    "DeiT, distilled": sized("deit_tiny_distilled_patch16_224", 32, patch_size=8, **VIT),
    "BEiT": sized("beit_base_patch16_224", 32, patch_size=8, **VIT),
    "EVA-02": sized("eva02_tiny_patch14_224", 28, **VIT),
    "CaiT": sized("cait_xxs24_224", 32, patch_size=8, **VIT),
    "XCiT": sized("xcit_nano_12_p8_224", 32, **VIT),
    "ConViT": sized("convit_tiny", 32, patch_size=8, depth=3, local_up_to_layer=2, embed_dim=32,
                    num_heads=2),
    "CrossViT": of("crossvit_tiny_240", 240),
    "PiT": of("pit_ti_224", 224),
    "TNT": sized("tnt_s_patch16_224", 32, embed_dim=32, inner_dim=8, depth=2, num_heads_inner=2,
                 num_heads_outer=2),
    "VOLO": kind("volo", "VOLO", layers=(1, 1, 1, 1), embed_dims=(16, 32, 32, 32),
                 num_heads=(2, 2, 2, 2), img_size=64),
    "Swin": sized("swin_tiny_patch4_window7_224", 32, **SWIN),
    "Swin v2": sized("swinv2_tiny_window8_256", 32, **SWIN),
    "Swin v2, cosine": sized("swinv2_cr_tiny_224", 32, **SWIN),
    "Twins PCPVT": sized("twins_pcpvt_small", 32, depths=(1, 1, 1, 1),
                         embed_dims=(8, 16, 24, 32), num_heads=(1, 2, 2, 2)),
    "Twins SVT": sized("twins_svt_small", 64, depths=(1, 1, 1, 1), embed_dims=(8, 16, 24, 32),
                       num_heads=(1, 2, 2, 2), wss=(2, 2, 2, 2)),
    "PVT v2": of("pvt_v2_b0", num_heads=(1, 2, 2, 2), **EMBEDDED),
    "NesT": kind("nest", "Nest", 32, img_size=32, embed_dims=(8, 16, 24), num_heads=(1, 2, 2),
                 depths=(1, 1, 1), patch_size=2),
    "GC ViT": kind("gcvit", "GlobalContextVit", img_size=64, embed_dim=8, depths=(1, 1, 1, 1),
                   num_heads=(1, 2, 2, 2), window_ratio=(16, 16, 16, 32)),
    "CoAtNet": of("test_coatnet", 160),
    "MaxViT": of("test_maxvit", 160),
    "DaViT": of("davit_tiny", depths=(1, 1, 1, 1), embed_dims=(8, 16, 24, 32),
                num_heads=(1, 2, 2, 2), window_size=2),
    "Hiera": sized("hiera_tiny_224", 64, embed_dim=8, num_heads=1, stages=(1, 1, 1, 1)),
    "SAM ViT": sized("samvit_base_patch16", 64, **VIT, global_attn_indexes=(1,), window_size=2),
    "TinyViT": of("tiny_vit_5m_224", embed_dims=(8, 16, 24, 32), depths=(1, 1, 1, 1),
                  num_heads=(1, 2, 2, 2), window_sizes=(2, 2, 2, 2)),
    "MViT v2": sized("mvitv2_tiny", 64),
    "FocalNet": kind("focalnet", "FocalNet", embed_dim=8, depths=(1, 1, 1, 1)),
    "LeViT": sized("levit_128s", 64, embed_dim=(16, 24, 32), depth=(1, 1, 1), num_heads=(2, 2, 2),
                   key_dim=8),
    "EfficientFormer": of("efficientformer_l1", 224, depths=(1, 1, 1, 1),
                          embed_dims=(8, 16, 24, 32), num_vit=1),
    "EfficientViT, MIT": of("efficientvit_b0", widths=(8, 8, 16, 16, 32), depths=(1, 1, 1, 1, 1)),
    "EfficientViT, MSRA": sized("efficientvit_m0", 64, embed_dim=(16, 24, 32)),
    "MobileViT": of("mobilevit_xxs"),
    "MobileViT v2": of("mobilevitv2_050"),
    "EdgeNeXt": of("edgenext_xx_small", **NARROW),
    "PoolFormer": kind("metaformer", "MetaFormer", **NARROW),
    "CAFormer": kind("metaformer", "MetaFormer", parts=CAFORMER, depths=(1, 1, 1, 1),
                     dims=(8, 16, 32, 32)),
    "ConvNeXt": of("convnext_atto", **NARROW),
    "ConvNeXt v2": of("convnextv2_atto", **NARROW),
    "InceptionNeXt": of("inception_next_atto", **NARROW),
    "MambaOut": of("mambaout_femto", **NARROW),
    "Visformer": sized("visformer_tiny", 64, embed_dim=32, depth=(1, 1, 1), num_heads=2),
    "MLP-Mixer": kind("mlp_mixer", "MlpMixer", 32, **MIXER),
    "ResMLP": kind("mlp_mixer", "MlpMixer", 32, RESMLP, mlp_ratio=4, **MIXER),
    "gMLP": kind("mlp_mixer", "MlpMixer", 32, GMLP, mlp_ratio=4, **MIXER),
    "ConvMixer": kind("convmixer", "ConvMixer", dim=16, depth=2),
    "Sequencer2D": sized("sequencer2d_s", 64, layers=(1, 1, 1, 1), embed_dims=(16, 16, 16, 16),
                         hidden_sizes=(8, 8, 8, 8)),
    "ResNet": of("test_resnet"),
    "ResNet-D with ECA": of("ecaresnet26t", **THIN),
    "SE-ResNet": of("seresnet18", **THIN),
    "SK-ResNet": of("skresnet18", **THIN),
    "Res2Net": of("res2net50_26w_4s", **THIN),
    "ResNeSt": of("resnest14d", **THIN),
    "ResNet v2 (BiT)": kind("resnetv2", "ResNetV2", layers=(1, 1, 1, 1), stem_chs=32,
                            channels=(128, 128, 128, 128)),
    "NFNet": of("test_nfnet"),
    "EfficientNet": of("test_efficientnet"),
    "EfficientNet, EvoNorm": of("test_efficientnet_evos"),
    "MobileNet v3": of("mobilenetv3_small_050"),
    "MobileNet v4": of("mobilenetv4_conv_small_035"),
    "GhostNet": of("ghostnet_050"),
    "HRNet": of("hrnet_w18_small"),
    "DLA": of("dla46x_c"),
    "RepViT": of("repvit_m0_9", embed_dim=(8, 16, 24, 32), depth=(1, 1, 1, 1)),
    "RegNet Y": of("regnety_002"),
    "VovNet": of("ese_vovnet19b_slim_dw"),
    "CSPNet": of("cspresnet50", 64),
    "HGNet v2": of("hgnetv2_b0"),
    "FastViT": of("fastvit_t8", layers=(1, 1, 1, 1), embed_dims=(16, 32, 64, 128)),
    "StarNet": of("starnet_s1", base_dim=8, depths=(1, 1, 1, 1)),
    "VGG": of("vgg11_bn", 32),
    "Xception": of("xception41p"),
}  # fmt: skip
