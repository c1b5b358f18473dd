"""Small deformable detectors and segmenters of transformers, from images to class scores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from tests.support.transformers_models import Call, disturbed, hugging_face

STAGES = ["stage2", "stage3", "stage4"]
RESNET: dict[str, Any] = {
    "embedding_size": 8, "hidden_sizes": [8, 16, 32, 64], "depths": [1, 1, 1, 1],
    "layer_type": "basic", "out_features": STAGES,
}  # fmt: skip
SWIN: dict[str, Any] = {
    "embed_dim": 8, "depths": [1, 1, 1, 1], "num_heads": [1, 1, 2, 2], "window_size": 2,
    "image_size": 64, "out_features": ["stage1", *STAGES],
}  # fmt: skip
HGNET: dict[str, Any] = {
    "embedding_size": 8, "depths": [1] * 4, "hidden_sizes": [16, 32, 32, 32],
    "stem_channels": [3, 8, 8], "stage_in_channels": [8, 16, 32, 32],
    "stage_mid_channels": [8] * 4, "stage_out_channels": [16, 32, 32, 32],
    "stage_num_blocks": [1] * 4, "stage_downsample": [False, True, True, True],
    "stage_light_block": [False, False, True, True], "stage_kernel_size": [3, 3, 5, 5],
    "stage_numb_of_layers": [1] * 4, "out_features": STAGES,
}  # fmt: skip
VIT: dict[str, Any] = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 64,
    "pretrain_image_size": 64, "patch_size": 16, "num_windows": 4, "window_block_indices": [0],
    "out_indices": [1, 2],
}  # fmt: skip
DETR: dict[str, Any] = {
    "d_model": 32, "encoder_layers": 1, "decoder_layers": 2, "encoder_attention_heads": 2,
    "decoder_attention_heads": 2, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "num_queries": 5,
    "num_labels": 3, "num_feature_levels": 3, "use_timm_backbone": False,
    "use_pretrained_backbone": False, "backbone": None,
}  # fmt: skip
RT_DETR: dict[str, Any] = {
    "encoder_hidden_dim": 32, "encoder_in_channels": [16, 32, 64], "d_model": 32,
    "decoder_in_channels": [32] * 3, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64,
    "encoder_attention_heads": 2, "decoder_attention_heads": 2, "decoder_layers": 2,
    "num_queries": 5, "num_labels": 3, "anchor_image_size": None,
}  # fmt: skip
D_FINE = RT_DETR | {
    "encoder_in_channels": [32] * 3, "depth_mult": 0.34, "hidden_expansion": 0.5, "max_num_bins": 8,
}  # fmt: skip
LW_DETR: dict[str, Any] = {
    "decoder_ffn_dim": 64, "decoder_layers": 2, "decoder_self_attention_heads": 2,
    "decoder_cross_attention_heads": 4, "num_queries": 5, "group_detr": 2, "d_model": 32,
    "num_labels": 3,
}  # fmt: skip
MASK: dict[str, Any] = {
    "feature_size": 32, "mask_feature_size": 32, "hidden_dim": 32, "encoder_feedforward_dim": 32,
    "encoder_layers": 1, "decoder_layers": 2, "num_attention_heads": 2, "dim_feedforward": 32,
    "num_queries": 5, "num_labels": 3,
}  # fmt: skip


@dataclass(frozen=True)
class Detector:
    """A model by the names of its class and configurations; how many samplings its layers have, and
    of how many the weights hang on the image; how exact its own arithmetic is."""

    kind: str
    config: str
    options: dict[str, Any]
    backbone: tuple[str, dict[str, Any]]
    samplings: int
    weighed: int
    scores: str = "logits"
    exact: float = 1e-8

    def build(self) -> nn.Module:
        """The model in float64, perturbed."""
        package = hugging_face()
        torch.manual_seed(0)
        backbone = getattr(package, self.backbone[0])(**self.backbone[1])
        config = getattr(package, self.config)(backbone_config=backbone, **self.options)
        model = getattr(package, self.kind)(config)
        for layer in model.modules():  # or images would fade behind many of them
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        model = disturbed(model)
        return Call(model, scores_of(self.scores)).eval()


def scores_of(name: str) -> Callable[[nn.Module, Tensor], Tensor]:
    """Calls a model for this entry of its outputs."""
    return lambda model, x: getattr(model(pixel_values=x), name)


def detector(name: str, options: dict[str, Any], backbone: tuple[str, dict[str, Any]],
             samplings: int, weighed: int | None = None) -> Detector:  # fmt: skip
    """An object detector of transformers."""
    config = f"{name}Config"
    weighed = samplings if weighed is None else weighed
    return Detector(f"{name}ForObjectDetection", config, options, backbone, samplings, weighed)


RES, RT_RES, HG = ("ResNetConfig", RESNET), ("RTDetrResNetConfig", RESNET), ("HGNetV2Config", HGNET)
TWO_STAGE = {"two_stage": True, "with_box_refine": True, "two_stage_num_proposals": 5}
FEW_POINTS = {"decoder_n_points": [2, 3, 1]}
#: Encoder layers and decoder layers sample; the weights of a decoder's first layer are constants
#: where its queries are.
DETECTORS = {
    "Deformable DETR": detector("DeformableDetr", DETR, RES, 3, 2),
    "Deformable DETR, two stages": detector("DeformableDetr", DETR | TWO_STAGE, RES, 3),
    "RT-DETR": detector("RTDetr", RT_DETR, RT_RES, 2),
    "RT-DETRv2": detector("RTDetrV2", RT_DETR, RT_RES, 2),
    "D-FINE": detector("DFine", D_FINE, HG, 2),
    "D-FINE, points by level": detector("DFine", D_FINE | FEW_POINTS, HG, 2),
    # its RMSNorm computes in float32
    "DEIMv2": replace(detector("Deimv2", D_FINE, HG, 2), exact=1e-5),
    "LW-DETR": detector(
        "LwDetr", LW_DETR | {"projector_scale_factors": [1.0]}, ("LwDetrViTConfig", VIT), 2
    ),
    "LW-DETR, two levels": detector(
        "LwDetr", LW_DETR | {"projector_scale_factors": [2.0, 0.5]}, ("LwDetrViTConfig", VIT), 2
    ),
    "Mask2Former": Detector(
        "Mask2FormerForUniversalSegmentation", "Mask2FormerConfig", MASK, ("SwinConfig", SWIN), 1,
        1, "class_queries_logits",
    ),
}  # fmt: skip
