"""Small models of torchvision: classifiers, segmenters, video, and detectors without their boxes.

Its detectors choose boxes by thresholds and suppression, which no relevance flows through: what
compiles is the backbone with a head. The heads of regions get a region of fixed place.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.support.released import import_torchvision
from tests.zoo.entry import Made, Model

CLASSES = 7


def part(name: str) -> Any:
    """A module of torchvision, or a skipped test."""
    try:
        import_torchvision()
        return importlib.import_module(f"torchvision.{name}")
    except ImportError as error:
        pytest.skip(f"torchvision is not installed ({error})")


def models(name: str) -> Any:
    return part(f"models.{name}")


def plain(name: str, build: str, **options: Any) -> Callable[[], nn.Module]:
    """What `build` of a module of models makes of these options."""

    def make() -> nn.Module:
        model: nn.Module = getattr(models(name), build)(**{"num_classes": CLASSES, **options})
        return model

    return make


def alexnet() -> nn.Module:
    model: Any = models("alexnet").AlexNet(num_classes=CLASSES)
    model.classifier = narrow(256 * 6 * 6)
    return model  # type: ignore[no-any-return]


def vgg(norm: bool) -> nn.Module:
    module = models("vgg")
    layers = module.make_layers([8, "M", 16, "M", 24, 24, "M"], batch_norm=norm)
    model: Any = module.VGG(layers, num_classes=CLASSES)
    model.classifier = narrow(24 * 7 * 7)
    return model  # type: ignore[no-any-return]


def narrow(width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(width, 32), nn.ReLU(), nn.Dropout(), nn.Linear(32, CLASSES))


def resnet(block: str = "BasicBlock", **options: Any) -> Any:
    module = models("resnet")
    return module.ResNet(
        getattr(module, block), [1, 1, 1, 1], **{"num_classes": CLASSES, **options}
    )


def bottlenecks(**options: Any) -> Any:
    return resnet("Bottleneck", **options)


def mobilenet_v3(arch: str) -> nn.Module:
    module = models("mobilenetv3")
    setting, last = module._mobilenet_v3_conf(arch, width_mult=0.25)
    model: nn.Module = module.MobileNetV3(setting, last, num_classes=CLASSES)
    return model


def regnet(se: float | None) -> nn.Module:
    module = models("regnet")
    found: nn.Module = module.RegNet(
        module.BlockParams.from_init_params(
            depth=4, w_0=8, w_a=8.0, w_m=2.0, group_width=8, se_ratio=se
        ),
        num_classes=CLASSES,
    )
    return found


def efficientnet(version: int) -> nn.Module:
    module = models("efficientnet")
    if version == 1:
        setting, last = module._efficientnet_conf(
            "efficientnet_b0", width_mult=0.25, depth_mult=0.4
        )
    else:
        setting = [
            module.FusedMBConvConfig(1, 3, 1, 8, 8, 1), module.FusedMBConvConfig(4, 3, 2, 8, 16, 2),
            module.MBConvConfig(4, 3, 2, 16, 24, 2), module.MBConvConfig(6, 3, 1, 24, 32, 1),
        ]  # fmt: skip
        last = 48
    model: nn.Module = module.EfficientNet(setting, 0.2, num_classes=CLASSES, last_channel=last)
    return model


def convnext() -> nn.Module:
    module = models("convnext")
    block = module.CNBlockConfig
    model: nn.Module = module.ConvNeXt(
        [block(8, 12, 1), block(12, 16, 2), block(16, None, 1)], layer_scale=0.5,
        num_classes=CLASSES,
    )  # fmt: skip
    return model


SWIN: dict[str, Any] = {
    "embed_dim": 16, "depths": [2, 2], "num_heads": [2, 2], "num_classes": CLASSES,
}  # fmt: skip


def swin(version: int) -> nn.Module:
    module = models("swin_transformer")
    more = {} if version == 1 else {
        "block": module.SwinTransformerBlockV2, "downsample_layer": module.PatchMergingV2,
    }  # fmt: skip
    model: nn.Module = module.SwinTransformer([4, 4], window_size=[4, 4], **SWIN, **more)
    return model


def fully_convolutional() -> nn.Module:
    model: nn.Module = models("segmentation.fcn")._fcn_resnet(_dilated(), CLASSES, None)
    return model


def deeplab() -> nn.Module:
    model: nn.Module = models("segmentation.deeplabv3")._deeplabv3_resnet(_dilated(), CLASSES, None)
    return model


def _dilated() -> nn.Module:
    return bottlenecks(replace_stride_with_dilation=[False, True, True])  # type: ignore[no-any-return]


def lraspp() -> nn.Module:
    module = models("mobilenetv3")
    setting, last = module._mobilenet_v3_conf("mobilenet_v3_large", width_mult=0.25, dilated=True)
    backbone = module.MobileNetV3(setting, last)
    model: nn.Module = models("segmentation.lraspp")._lraspp_mobilenetv3(backbone, CLASSES)
    return model


def video_resnet(convolution: str, stem: str = "BasicStem") -> nn.Module:
    module = models("video.resnet")
    kind, plainly = getattr(module, convolution), module.Conv3DSimple
    mixed = convolution == "Conv3DNoTemporal"
    makers = [plainly, kind, kind, kind] if mixed else [kind] * 4
    model: nn.Module = module.VideoResNet(
        module.BasicBlock, makers, [1, 1, 1, 1], getattr(module, stem), num_classes=CLASSES
    )
    return model


def separable_3d() -> nn.Module:
    model: Any = models("video.s3d").S3D(num_classes=CLASSES)
    model.avgpool = nn.AvgPool3d((2, 2, 2), stride=1)  # its own is for 224 pixels
    return model  # type: ignore[no-any-return]


def mvit(version: int) -> nn.Module:
    module = models("video.mvit")
    shared = {"kernel_q": [3, 3, 3], "kernel_kv": [3, 3, 3]}
    blocks = [
        module.MSBlockConfig(2, 16, 16, stride_q=[1, 1, 1], stride_kv=[1, 2, 2], **shared),
        module.MSBlockConfig(2, 16, 32, stride_q=[1, 2, 2], stride_kv=[1, 1, 1], **shared),
    ]
    second = version == 2
    model: nn.Module = module.MViT(
        (32, 32), 4, blocks, residual_pool=second, residual_with_cls_embed=not second,
        rel_pos_embed=second, proj_after_attn=second, num_classes=CLASSES,
    )  # fmt: skip
    return model


def swin_3d() -> nn.Module:
    module = models("video.swin_transformer")
    model: nn.Module = module.SwinTransformer3d([2, 4, 4], window_size=[2, 4, 4], **SWIN)
    return model


def pyramid(levels: int = 3) -> Any:
    """A ResNet with a feature pyramid of three levels, and one above."""
    from_backbone = models("detection.backbone_utils")._resnet_fpn_extractor
    p6p7 = part("ops.feature_pyramid_network").LastLevelP6P7
    return from_backbone(
        bottlenecks(), 5, returned_layers=[2, 3, 4][:levels], extra_blocks=p6p7(256, 256)
    )


def detector(name: str, build: str) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        model: nn.Module = getattr(models(f"detection.{name}"), build)(
            pyramid(), num_classes=CLASSES
        )
        return model

    return make


def single_shot() -> nn.Module:
    """SSD's head on the same pyramid, as its own backbone takes images of 300 pixels and more."""
    boxes = part("models.detection.anchor_utils").DefaultBoxGenerator([[2]] * 5)
    module = models("detection.ssd")
    head = module.SSDHead([256] * 5, boxes.num_anchors_per_location(), CLASSES)
    model: nn.Module = module.SSD(pyramid(), boxes, (64, 64), CLASSES, head=head)
    return model


def single_shot_lite() -> nn.Module:
    model: nn.Module = models("detection.ssdlite").ssdlite320_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=CLASSES
    )
    return model


def regions(name: str, build: str) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        pyramid_of = models("detection.backbone_utils")._resnet_fpn_extractor
        model: nn.Module = getattr(models(f"detection.{name}"), build)(
            pyramid_of(bottlenecks(), 5), num_classes=CLASSES
        )
        return model

    return make


def dense(model: Any, x: Tensor) -> Tensor:
    """What the head says of every place: classes, boxes, and how central it is."""
    found = model.head(list(model.backbone(x).values()))
    return torch.cat([value for _, value in sorted(found.items())], -1)


def proposals(model: Any, x: Tensor) -> Tensor:
    scores, boxes = model.rpn.head(list(model.backbone(x).values()))
    return torch.cat([value.flatten(1) for value in (*scores, *boxes)], -1)


def boxes_of_region(model: Any, x: Tensor) -> Tensor:
    found = model.roi_heads.box_predictor(model.roi_heads.box_head(_region(model, x, 7)))
    return torch.cat(list(found), -1)


def masks_of_region(model: Any, x: Tensor) -> Tensor:
    found: Tensor = model.roi_heads.mask_predictor(model.roi_heads.mask_head(_region(model, x, 14)))
    return found


def keypoints_of_region(model: Any, x: Tensor) -> Tensor:
    head = model.roi_heads.keypoint_head(_region(model, x, 14))
    found: Tensor = model.roi_heads.keypoint_predictor(head)
    return found


def _region(model: Any, x: Tensor, size: int) -> Tensor:
    """[B, C, size, size] of the finest level, in place of what a box cuts out."""
    return model.backbone(x)["0"][:, :, 1 : size + 1, 1 : size + 1]  # type: ignore[no-any-return]


def out(model: Any, x: Tensor) -> Tensor:
    return model(x)["out"]  # type: ignore[no-any-return]


VIDEO = (3, 4, 32, 32)
VIT = {"image_size": 32, "patch_size": 8, "num_layers": 2, "num_heads": 2, "hidden_dim": 32,
       "mlp_dim": 48}  # fmt: skip
DENSENET = {"growth_rate": 8, "block_config": (2, 2, 2, 2), "num_init_features": 16}
SHUFFLES = {"stages_repeats": [1, 1, 1], "stages_out_channels": [8, 16, 24, 32, 48]}
MAXVIT = {
    "input_size": (64, 64), "stem_channels": 8, "partition_size": 4, "block_channels": [8, 16],
    "block_layers": [1, 1], "head_dim": 4, "stochastic_depth_prob": 0.0,
}  # fmt: skip
GOOGLENET = {"aux_logits": False, "init_weights": False, "transform_input": True}

TORCHVISION: dict[str, Model] = {
    "AlexNet": Made(alexnet),
    "VGG": Made(partial(vgg, False)),
    "VGG with batch norm": Made(partial(vgg, True)),
    "ResNet": Made(resnet),
    "ResNet, bottlenecks": Made(bottlenecks),
    "ResNeXt": Made(partial(bottlenecks, groups=4, width_per_group=8)),
    "Wide ResNet": Made(partial(bottlenecks, width_per_group=96)),
    "DenseNet": Made(plain("densenet", "DenseNet", **DENSENET)),
    "SqueezeNet 1.0": Made(plain("squeezenet", "SqueezeNet", version="1_0")),
    "SqueezeNet 1.1": Made(plain("squeezenet", "SqueezeNet", version="1_1")),
    "GoogLeNet": Made(plain("googlenet", "GoogLeNet", **GOOGLENET)),
    "Inception v3": Made(plain("inception", "Inception3", **GOOGLENET), (3, 80, 80)),
    "MNASNet": Made(plain("mnasnet", "MNASNet", alpha=0.25)),
    "MobileNet v2": Made(plain("mobilenetv2", "MobileNetV2", width_mult=0.25)),
    "MobileNet v3, small": Made(partial(mobilenet_v3, "mobilenet_v3_small")),
    "MobileNet v3, large": Made(partial(mobilenet_v3, "mobilenet_v3_large")),
    "ShuffleNet v2": Made(plain("shufflenetv2", "ShuffleNetV2", **SHUFFLES)),
    "RegNet X": Made(partial(regnet, None)),
    "RegNet Y": Made(partial(regnet, 0.25)),
    "EfficientNet": Made(partial(efficientnet, 1)),
    "EfficientNet v2": Made(partial(efficientnet, 2)),
    "ConvNeXt": Made(convnext),
    "ViT": Made(plain("vision_transformer", "VisionTransformer", **VIT), (3, 32, 32)),
    "Swin": Made(partial(swin, 1)),
    "Swin v2": Made(partial(swin, 2)),
    "MaxViT": Made(plain("maxvit", "MaxVit", **MAXVIT)),
    "FCN": Made(fully_convolutional, calls=out),
    "DeepLab v3": Made(deeplab, calls=out),
    "LR-ASPP": Made(lraspp, calls=out),
    "R3D": Made(partial(video_resnet, "Conv3DSimple"), VIDEO),
    "MC3": Made(partial(video_resnet, "Conv3DNoTemporal"), VIDEO),
    "R(2+1)D": Made(partial(video_resnet, "Conv2Plus1D", "R2Plus1dStem"), VIDEO),
    "S3D": Made(separable_3d, (3, 16, 64, 64)),
    "MViT": Made(partial(mvit, 1), VIDEO),
    "MViT v2": Made(partial(mvit, 2), VIDEO),
    "Video Swin": Made(swin_3d, VIDEO),
    "FCOS": Made(detector("fcos", "FCOS"), calls=dense),
    "RetinaNet": Made(detector("retinanet", "RetinaNet"), calls=dense),
    "SSD": Made(single_shot, calls=dense),
    "SSDlite": Made(single_shot_lite, (3, 160, 160), dense),
    "Faster R-CNN, proposals": Made(regions("faster_rcnn", "FasterRCNN"), calls=proposals),
    "Faster R-CNN, a region": Made(regions("faster_rcnn", "FasterRCNN"), calls=boxes_of_region),
    "Mask R-CNN, a region": Made(regions("mask_rcnn", "MaskRCNN"), calls=masks_of_region),
    "Keypoint R-CNN, a region": Made(
        regions("keypoint_rcnn", "KeypointRCNN"), calls=keypoints_of_region
    ),
}
