"""Small models of transformers of further families, made as those in `saved_models`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tokenizers
from torch import nn

from tests.support.detectors import HGNET, RT_DETR
from tests.support.saved_models import DETR_SIZES, EDGES, LABELS, NO_HUB, library, resnet

_SMALL: dict[str, Any] = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64,
}  # fmt: skip
_SQUARE = {"height": 64, "width": 64}
_STAGES = ["stage1", "stage2", "stage3", "stage4"]


def _swin() -> Any:
    return library.SwinConfig(
        embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2], window_size=2, image_size=64,
        out_features=_STAGES,
    )  # fmt: skip


def _tokenizer() -> Any:
    """Words, with the numbers that BERT's tokenizer gives what parts phrases."""
    words = {"[PAD]": 0, "[UNK]": 100, "[CLS]": 101, "[SEP]": 102, ".": 1012, "?": 1029}
    names = ("cat", "dog", "traffic", "light", "the", "task", "is", "instance", "semantic")
    words |= {name: 1100 + i for i, name in enumerate(names)}
    core = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="[UNK]"))
    core.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    core.post_processor = tokenizers.processors.BertProcessing(("[SEP]", 102), ("[CLS]", 101))
    return library.PreTrainedTokenizerFast(
        tokenizer_object=core, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]",
        sep_token="[SEP]",
    )  # fmt: skip


class _Both:
    """An image processor and a tokenizer that are saved into one folder."""

    def __init__(self, images: Any, tokenizer: Any) -> None:
        self.image_processor, self.tokenizer = images, tokenizer

    def save_pretrained(self, folder: Path) -> None:
        self.image_processor.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)


def conditional_detr() -> tuple[nn.Module, Any]:
    settings = library.ConditionalDetrConfig(
        backbone_config=resnet(4), **DETR_SIZES, **LABELS, **NO_HUB
    )
    processor = library.ConditionalDetrImageProcessor(size=EDGES)
    return library.ConditionalDetrForObjectDetection(settings), processor


def dab_detr() -> tuple[nn.Module, Any]:
    sizes = {name.replace("d_model", "hidden_size"): size for name, size in DETR_SIZES.items()}
    settings = library.DabDetrConfig(backbone_config=resnet(4), **sizes, **LABELS, **NO_HUB)
    processor = library.ConditionalDetrImageProcessor(size=EDGES)
    return library.DabDetrForObjectDetection(settings), processor


def rt_detr_v2() -> tuple[nn.Module, Any]:
    backbone = library.RTDetrResNetConfig(
        embedding_size=16, hidden_sizes=[16, 32, 64, 128], depths=[1, 1, 1, 1],
        layer_type="basic", out_features=_STAGES[1:],
    )  # fmt: skip
    sizes = RT_DETR | {"encoder_in_channels": [32, 64, 128], "num_queries": 7}
    sizes.pop("num_labels")
    settings = library.RTDetrV2Config(backbone_config=backbone, **sizes, **LABELS)
    processor = library.RTDetrImageProcessor(size={"height": 96, "width": 128})
    return library.RTDetrV2ForObjectDetection(settings), processor


def d_fine() -> tuple[nn.Module, Any]:
    sizes = RT_DETR | {
        "encoder_in_channels": [32] * 3, "depth_mult": 0.34, "hidden_expansion": 0.5,
        "max_num_bins": 8, "num_queries": 7,
    }  # fmt: skip
    sizes.pop("num_labels")
    settings = library.DFineConfig(
        backbone_config=library.HGNetV2Config(**HGNET), **sizes, **LABELS
    )
    processor = library.RTDetrImageProcessor(size={"height": 96, "width": 128})
    return library.DFineForObjectDetection(settings), processor


def rf_detr() -> tuple[nn.Module, Any]:
    backbone = library.RfDetrDinov2Config(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=64, patch_size=16,
        num_windows=2, window_block_indexes=[0], out_features=["stage2"],
    )  # fmt: skip
    settings = library.RfDetrConfig(
        backbone_config=backbone, d_model=32, decoder_ffn_dim=64, decoder_layers=2,
        decoder_self_attention_heads=2, decoder_cross_attention_heads=4, num_queries=7,
        group_detr=2, **LABELS,
    )  # fmt: skip
    processor = library.DeformableDetrImageProcessor(size=_SQUARE)
    return library.RfDetrForObjectDetection(settings), processor


def oneformer() -> tuple[nn.Module, Any]:
    settings = library.OneFormerConfig(
        backbone_config=_swin(), hidden_dim=32, mask_dim=32, conv_dim=32, num_queries=7,
        encoder_feedforward_dim=32, encoder_layers=1, decoder_layers=2, dim_feedforward=32,
        num_attention_heads=2, text_encoder_width=32, text_encoder_num_layers=1,
        text_encoder_vocab_size=60, text_encoder_context_length=8, text_encoder_n_ctx=2,
        task_seq_len=8, is_training=False, **LABELS,
    )  # fmt: skip
    images = library.Mask2FormerImageProcessor(size=EDGES, size_divisor=32)
    # Its own processor wants the names of its classes from the hub.
    return library.OneFormerForUniversalSegmentation(settings), _Both(images, _tokenizer())


def eomt() -> tuple[nn.Module, Any]:
    settings = library.EomtConfig(
        **_SMALL, image_size=64, patch_size=16, num_blocks=1, num_queries=7, num_upscale_blocks=1,
        num_register_tokens=1, **LABELS,
    )  # fmt: skip
    edges = {"shortest_edge": 64, "longest_edge": 64}
    processor = library.EomtImageProcessor(size=edges, do_pad=True)
    return library.EomtForUniversalSegmentation(settings), processor


def segformer() -> tuple[nn.Module, Any]:
    settings = library.SegformerConfig(
        depths=[1, 1, 1, 1], hidden_sizes=[8, 16, 24, 32], num_attention_heads=[1, 1, 2, 2],
        decoder_hidden_size=24, **LABELS,
    )  # fmt: skip
    processor = library.SegformerImageProcessor(size={"height": 64, "width": 96})
    return library.SegformerForSemanticSegmentation(settings), processor


def dpt() -> tuple[nn.Module, Any]:
    settings = library.DPTConfig(
        hidden_size=32, num_hidden_layers=4, num_attention_heads=2, intermediate_size=64,
        image_size=64, patch_size=16, backbone_out_indices=[0, 1, 2, 3],
        neck_hidden_sizes=[8, 16, 24, 32], fusion_hidden_size=16, **LABELS,
    )  # fmt: skip
    processor = library.DPTImageProcessor(size=_SQUARE)
    return library.DPTForSemanticSegmentation(settings), processor


def upernet() -> tuple[nn.Module, Any]:
    backbone = library.ConvNextConfig(
        hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 1, 1], out_features=_STAGES
    )
    settings = library.UperNetConfig(
        backbone_config=backbone, hidden_size=16, auxiliary_channels=8, auxiliary_in_channels=24,
        **LABELS,
    )  # fmt: skip
    processor = library.SegformerImageProcessor(size={"height": 64, "width": 96})
    return library.UperNetForSemanticSegmentation(settings), processor


def grounding_dino() -> tuple[nn.Module, Any]:
    backbone = library.SwinConfig(
        embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2], window_size=2, image_size=64,
        out_features=_STAGES[1:],
    )  # fmt: skip
    text = library.BertConfig(**_SMALL, vocab_size=2000, max_position_embeddings=64)
    settings = library.GroundingDinoConfig(
        backbone_config=backbone, text_config=text, d_model=32, encoder_layers=1, decoder_layers=2,
        encoder_ffn_dim=32, decoder_ffn_dim=32, encoder_attention_heads=2,
        decoder_attention_heads=2, num_queries=7, num_feature_levels=4, max_text_len=16,
    )  # fmt: skip
    images = library.GroundingDinoImageProcessor(size=EDGES)
    processor = library.GroundingDinoProcessor(images, _tokenizer())
    return library.GroundingDinoForObjectDetection(settings), processor


def convnext() -> tuple[nn.Module, Any]:
    settings = library.ConvNextConfig(hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 1, 1], **LABELS)
    processor = library.ConvNextImageProcessor(size={"shortest_edge": 64})
    return library.ConvNextForImageClassification(settings), processor


def deit() -> tuple[nn.Module, Any]:
    settings = library.DeiTConfig(**_SMALL, image_size=64, patch_size=16, **LABELS)
    processor = library.DeiTImageProcessor(size={"height": 80, "width": 80}, crop_size=_SQUARE)
    return library.DeiTForImageClassification(settings), processor


def resnet_classifier() -> tuple[nn.Module, Any]:
    settings = resnet(4)
    settings.id2label, settings.label2id = LABELS["id2label"], LABELS["label2id"]
    processor = library.CLIPImageProcessor(size={"shortest_edge": 80}, crop_size=_SQUARE)
    return library.ResNetForImageClassification(settings), processor


FAMILIES = {
    "conditional": conditional_detr,
    "dab": dab_detr,
    "rtdetr2": rt_detr_v2,
    "dfine": d_fine,
    "rfdetr": rf_detr,
    "oneformer": oneformer,
    "eomt": eomt,
    "segformer": segformer,
    "dpt": dpt,
    "upernet": upernet,
    "gdino": grounding_dino,
    "convnext": convnext,
    "deit": deit,
    "resnet": resnet_classifier,
}
