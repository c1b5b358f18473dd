"""Small models of transformers, saved as their users save them: weights, settings, processor."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import nn

from tools.bench.torchvision_ops import declare

declare()  # transformers imports torchvision
import transformers as library  # noqa: E402
from transformers.image_transforms import get_size_with_aspect_ratio  # noqa: E402, F401

LABELS: dict[str, Any] = {
    "id2label": {0: "cat", 1: "dog", 2: "bird"},
    "label2id": {"cat": 0, "dog": 1, "bird": 2},
}
NO_HUB: dict[str, Any] = {
    "use_timm_backbone": False,
    "use_pretrained_backbone": False,
    "backbone": None,
}
DETR_SIZES: dict[str, Any] = {
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "num_queries": 7,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
}
EDGES = {"shortest_edge": 96, "longest_edge": 160}


def resnet(*stages: int) -> Any:
    return library.ResNetConfig(
        embedding_size=16,
        hidden_sizes=[16, 32, 64, 128],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        out_features=[f"stage{i}" for i in stages],
    )


def detr() -> tuple[nn.Module, Any]:
    settings = library.DetrConfig(backbone_config=resnet(4), **DETR_SIZES, **LABELS, **NO_HUB)
    return library.DetrForObjectDetection(settings), library.DetrImageProcessor(size=EDGES)


def deformable_detr() -> tuple[nn.Module, Any]:
    settings = library.DeformableDetrConfig(
        backbone_config=resnet(2, 3, 4), num_feature_levels=3, **DETR_SIZES, **LABELS, **NO_HUB
    )
    processor = library.DeformableDetrImageProcessor(size=EDGES)
    return library.DeformableDetrForObjectDetection(settings), processor


def rtdetr() -> tuple[nn.Module, Any]:
    backbone = library.RTDetrResNetConfig(
        embedding_size=16, hidden_sizes=[16, 32, 64, 128], depths=[1, 1, 1, 1],
        layer_type="basic", out_features=["stage2", "stage3", "stage4"],
    )  # fmt: skip
    settings = library.RTDetrConfig(
        backbone_config=backbone, encoder_hidden_dim=32, encoder_in_channels=[32, 64, 128],
        d_model=32, decoder_in_channels=[32, 32, 32], encoder_ffn_dim=64, decoder_ffn_dim=64,
        encoder_attention_heads=2, decoder_attention_heads=2, decoder_layers=2, num_queries=7,
        anchor_image_size=None, **LABELS,
    )  # fmt: skip
    processor = library.RTDetrImageProcessor(size={"height": 96, "width": 128})
    return library.RTDetrForObjectDetection(settings), processor


def mask2former() -> tuple[nn.Module, Any]:
    backbone = library.SwinConfig(
        embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2], window_size=2, image_size=64,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )  # fmt: skip
    settings = library.Mask2FormerConfig(
        backbone_config=backbone, feature_size=32, mask_feature_size=32, hidden_dim=32,
        encoder_feedforward_dim=32, encoder_layers=2, decoder_layers=3, num_attention_heads=2,
        dim_feedforward=32, num_queries=7, **LABELS,
    )  # fmt: skip
    processor = library.Mask2FormerImageProcessor(size=EDGES, size_divisor=32)
    return library.Mask2FormerForUniversalSegmentation(settings), processor


def yolos() -> tuple[nn.Module, Any]:
    settings = library.YolosConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        image_size=[96, 96], patch_size=16, num_detection_tokens=7, **LABELS,
    )  # fmt: skip
    return library.YolosForObjectDetection(settings), library.YolosImageProcessor(size=EDGES)


def maskformer() -> tuple[nn.Module, Any]:
    settings = library.MaskFormerConfig(
        fpn_feature_size=32, mask_feature_size=32, backbone_config=resnet(1, 2, 3, 4),
        decoder_config=library.DetrConfig(**DETR_SIZES), **LABELS,
    )  # fmt: skip
    processor = library.MaskFormerImageProcessor(size=EDGES, size_divisor=32)
    return library.MaskFormerForInstanceSegmentation(settings), processor


def vit() -> tuple[nn.Module, Any]:
    settings = library.ViTConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        image_size=64, patch_size=16, **LABELS,
    )  # fmt: skip
    processor = library.ViTImageProcessor(size={"height": 64, "width": 64})
    return library.ViTForImageClassification(settings), processor


MODELS: dict[str, Any] = {
    "detr": detr,
    "deformable": deformable_detr,
    "rtdetr": rtdetr,
    "yolos": yolos,
    "maskformer": maskformer,
    "mask2former": mask2former,
    "vit": vit,
}


def save(name: str, folder: Path, models: Mapping[str, Any] = MODELS) -> Path:
    """The folder of a model whose weights are random, none of them 0."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model, processor = models[name]()
        for parameter in model.parameters():
            parameter.data += 0.05 * torch.randn(parameter.shape)
    model.eval().save_pretrained(folder / name)
    processor.save_pretrained(folder / name)
    return folder / name


def expected(folder: Path, image: Path, models: Mapping[str, Any] = MODELS, text: str = "") -> Any:
    """The model in a folder, its processor, the inputs that this makes of an image (and a text),
    and the model's outputs."""
    model, processor = models[folder.name]()
    model = type(model).from_pretrained(folder).eval()
    if hasattr(type(processor), "from_pretrained"):
        processor = type(processor).from_pretrained(folder)
    more = {"text": text} if text else {}
    with Image.open(image) as opened, torch.no_grad():
        inputs = processor(images=opened.convert("RGB"), return_tensors="pt", **more)
        given = {name: value for name, value in inputs.items() if name != "pixel_mask"}
        return model, processor, inputs, model(**given)
