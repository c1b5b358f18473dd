"""Small models of transformers, built from their configurations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from tests.support import detectors
from tests.support.transformers_models import hugging_face
from tests.zoo.entry import VOCABULARY, Entry, Made, Model

WIDTHS = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48,
}  # fmt: skip
VIT: dict[str, Any] = {**WIDTHS, "image_size": 32, "patch_size": 8}
TEXT: dict[str, Any] = {
    **WIDTHS, "num_attention_heads": 4, "vocab_size": VOCABULARY, "max_position_embeddings": 24,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
LLAMA: dict[str, Any] = {**TEXT, "num_key_value_heads": 2, "head_dim": 8}
SWIN: dict[str, Any] = {
    "image_size": 32, "patch_size": 2, "embed_dim": 16, "depths": [1, 2], "num_heads": [2, 2],
    "window_size": 4,
}  # fmt: skip
CONVNEXT: dict[str, Any] = {"hidden_sizes": [8, 12, 16, 20], "depths": [1, 1, 2, 1]}
RESNET: dict[str, Any] = {
    "embedding_size": 8, "hidden_sizes": [8, 12, 16, 20], "depths": [1, 1, 1, 1],
    "out_features": ["stage1", "stage2", "stage3", "stage4"],
}  # fmt: skip
BACKBONE = {"backbone_config": ("ResNetConfig", RESNET)}
DETR: dict[str, Any] = {
    "d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 2,
    "decoder_attention_heads": 2, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "num_queries": 5,
    "use_timm_backbone": False, "use_pretrained_backbone": False, "backbone": None,
}  # fmt: skip


def vision(kind: str, config: str, options: Mapping[str, Any], **more: Any) -> Entry:
    return Entry(kind, config, options, **more)


def text(kind: str, config: str, options: Mapping[str, Any], **more: Any) -> Entry:
    return Entry(kind, config, options, **{"given": "ids", "size": (9,), **more})


IMAGES: dict[str, Entry] = {
    "ViT": vision("ViTForImageClassification", "ViTConfig", VIT),
    "DeiT": vision("DeiTForImageClassification", "DeiTConfig", VIT),
    "BEiT": vision("BeitForImageClassification", "BeitConfig",
                   {**VIT, "use_relative_position_bias": True}),
    "Data2Vec vision": vision("Data2VecVisionForImageClassification", "Data2VecVisionConfig", VIT),
    "Swin": vision("SwinForImageClassification", "SwinConfig", SWIN),
    "SwinV2": vision("Swinv2ForImageClassification", "Swinv2Config", SWIN),
    "Swin2SR": vision("Swin2SRForImageSuperResolution", "Swin2SRConfig",
                      {**SWIN, "patch_size": 1, "image_size": 16}, output="reconstruction",
                      size=(3, 16, 16)),
    "ConvNeXt": vision("ConvNextForImageClassification", "ConvNextConfig", CONVNEXT),
    "ConvNeXtV2": vision("ConvNextV2ForImageClassification", "ConvNextV2Config", CONVNEXT),
    "ResNet": vision("ResNetForImageClassification", "ResNetConfig", RESNET),
    "RegNet": vision("RegNetForImageClassification", "RegNetConfig",
                     {**RESNET, "groups_width": 4}),
    "MobileNetV1": vision("MobileNetV1ForImageClassification", "MobileNetV1Config",
                          {"depth_multiplier": 0.25}),
    "MobileNetV2": vision("MobileNetV2ForImageClassification", "MobileNetV2Config",
                          {"depth_multiplier": 0.25}),
    "MobileViT": vision("MobileViTForImageClassification", "MobileViTConfig",
                        {"hidden_sizes": [16, 20, 24], "neck_hidden_sizes": [8, 8, 12, 16, 20, 24,
                         24], "image_size": 64, "num_attention_heads": 2}, size=(3, 64, 64)),
    "EfficientNet": vision("EfficientNetForImageClassification", "EfficientNetConfig",
                           {"width_coefficient": 0.25, "depth_coefficient": 0.25,
                            "hidden_dim": 320}),
    "PoolFormer": vision("PoolFormerForImageClassification", "PoolFormerConfig",
                         {"hidden_sizes": [8, 12, 16, 20], "depths": [1, 1, 1, 1]}),
    "PVT": vision("PvtForImageClassification", "PvtConfig",
                  {"image_size": 32, "hidden_sizes": [8, 16, 20, 24], "depths": [1, 1, 1, 1],
                   "num_attention_heads": [1, 2, 2, 2]}),
    "PVTv2": vision("PvtV2ForImageClassification", "PvtV2Config",
                    {"image_size": 32, "hidden_sizes": [8, 16, 20, 24], "depths": [1, 1, 1, 1],
                     "num_attention_heads": [1, 2, 2, 2]}),
    "LeViT": vision("LevitForImageClassification", "LevitConfig",
                    {"image_size": 64, "hidden_sizes": [16, 24, 32], "depths": [1, 1, 1],
                     "num_attention_heads": [2, 2, 2], "key_dim": [8, 8, 8]}, size=(3, 64, 64)),
    "FocalNet": vision("FocalNetForImageClassification", "FocalNetConfig",
                       {"image_size": 32, "embed_dim": 8, "depths": [1, 1, 1, 1],
                        "hidden_sizes": [8, 16, 32, 64], "patch_size": 2}),
    "Hiera": vision("HieraForImageClassification", "HieraConfig",
                               {"image_size": [32, 32], "embed_dim": 8, "depths": [1, 1, 1, 1],
                                "num_heads": [1, 1, 2, 2], "patch_stride": [4, 4],
                                "masked_unit_size": [8, 8]}),
    "ViT MSN": vision("ViTMSNForImageClassification", "ViTMSNConfig", VIT),
    "DINOv2": vision("Dinov2ForImageClassification", "Dinov2Config", VIT),
    "DINOv2 registers": vision("Dinov2WithRegistersForImageClassification",
                               "Dinov2WithRegistersConfig", VIT),
    "DINOv3 ViT": vision("DINOv3ViTModel", "DINOv3ViTConfig",
                         {**VIT, "num_register_tokens": 2}, output="last_hidden_state"),
    "DINOv3 ConvNeXt": vision("DINOv3ConvNextModel", "DINOv3ConvNextConfig", CONVNEXT,
                              output="last_hidden_state"),
    "I-JEPA": vision("IJepaForImageClassification", "IJepaConfig", VIT),
    "CLIP vision": vision("CLIPVisionModelWithProjection", "CLIPVisionConfig",
                          {**VIT, "projection_dim": 16}, output="image_embeds"),
    "SigLIP vision": vision("SiglipVisionModel", "SiglipVisionConfig", VIT,
                            output="pooler_output"),
    "BiT": vision("BitForImageClassification", "BitConfig",
                  {**RESNET, "hidden_sizes": [8, 16, 24, 32], "num_groups": 4}),
    "ViViT": vision("VivitForVideoClassification", "VivitConfig",
                    {**WIDTHS, "image_size": 16, "num_frames": 4, "tubelet_size": [2, 8, 8]},
                    given="frames", size=(4, 3, 16, 16)),
    "TimeSformer": vision("TimesformerForVideoClassification", "TimesformerConfig",
                          {**WIDTHS, "image_size": 16, "patch_size": 8, "num_frames": 3},
                          given="frames", size=(3, 3, 16, 16),
        refused="getitem picks images out of the batch"),
    "VideoMAE": vision("VideoMAEForVideoClassification", "VideoMAEConfig",
                       {**WIDTHS, "image_size": 16, "patch_size": 8, "num_frames": 4},
                       given="frames", size=(4, 3, 16, 16)),
    "TextNet": vision("TextNetForImageClassification", "TextNetConfig",
                      {"hidden_sizes": [8, 8, 12, 16, 16], "stem_out_channels": 8}),
}  # fmt: skip
DETECTORS: dict[str, Entry] = {
    "YOLOS": vision("YolosForObjectDetection", "YolosConfig",
                    {**VIT, "image_size": [32, 32], "num_detection_tokens": 5}),
    "DETR": vision("DetrForObjectDetection", "DetrConfig", DETR, config_of=BACKBONE),
    "DETR boxes": vision("DetrForObjectDetection", "DetrConfig", DETR, output="pred_boxes",
                         config_of=BACKBONE),
    "DETR segmentation": vision("DetrForSegmentation", "DetrConfig",
                                {**DETR, "d_model": 128, "encoder_attention_heads": 8,
                                 "decoder_attention_heads": 8}, output="pred_masks",
                                config_of=BACKBONE, size=(3, 64, 64)),
    "Table Transformer": vision("TableTransformerForObjectDetection", "TableTransformerConfig",
                                DETR, config_of=BACKBONE),
    "Conditional DETR": vision("ConditionalDetrForObjectDetection", "ConditionalDetrConfig", DETR,
                               config_of=BACKBONE),
}  # fmt: skip
SAMPLING: dict[str, Entry] = {
    name: Entry(
        d.kind, d.config, d.options, d.scores, size=(3, 64, 64),
        config_of={"backbone_config": d.backbone}, fading=True,
    )
    for name, d in detectors.DETECTORS.items()
}  # fmt: skip
SAMPLING["RT-DETRv2, discrete"] = replace(
    SAMPLING["RT-DETRv2"],
    options={**SAMPLING["RT-DETRv2"].options, "decoder_method": "discrete"},
)
SEGMENTERS: dict[str, Entry] = {
    "SegFormer": vision("SegformerForSemanticSegmentation", "SegformerConfig",
                        {"hidden_sizes": [8, 16, 20, 24], "depths": [1, 1, 1, 1],
                         "num_attention_heads": [1, 2, 2, 2], "decoder_hidden_size": 16}),
    "MaskFormer": vision("MaskFormerForInstanceSegmentation", "MaskFormerConfig",
                         {"fpn_feature_size": 32, "mask_feature_size": 32},
                         output="masks_queries_logits", config_of={
                             "backbone_config": ("SwinConfig", {**SWIN, "depths": [1, 1, 1, 1],
                                                 "num_heads": [1, 2, 2, 2], "out_features": [
                                                 "stage1", "stage2", "stage3", "stage4"]}),
                             "decoder_config": ("DetrConfig", DETR)}, size=(3, 64, 64)),
    "EoMT": vision("EomtForUniversalSegmentation", "EomtConfig",
                   {**VIT, "num_blocks": 1, "num_queries": 5, "num_register_tokens": 2},
                   output="masks_queries_logits", attention="eager"),
    "DPT": vision("DPTForDepthEstimation", "DPTConfig",
                  {**VIT, "num_hidden_layers": 4, "backbone_out_indices": [0, 1, 2, 3],
                   "neck_hidden_sizes": [8, 12, 16, 20], "fusion_hidden_size": 16,
                   "is_hybrid": False}, output="predicted_depth"),
    "DPT segmentation": vision("DPTForSemanticSegmentation", "DPTConfig",
                               {**VIT, "num_hidden_layers": 4,
                                "backbone_out_indices": [0, 1, 2, 3],
                                "neck_hidden_sizes": [8, 12, 16, 20], "fusion_hidden_size": 16,
                                "is_hybrid": False}),
    "UperNet": vision("UperNetForSemanticSegmentation", "UperNetConfig",
                      {"hidden_size": 16, "auxiliary_channels": 8, "auxiliary_in_channels": 16},
                      config_of={"backbone_config": ("ConvNextConfig", {
                          **CONVNEXT, "out_features": ["stage1", "stage2", "stage3", "stage4"]})},
                      size=(3, 64, 64)),
    "BEiT segmentation": vision("BeitForSemanticSegmentation", "BeitConfig",
                                {**VIT, "num_hidden_layers": 4, "image_size": 64,
                                 "patch_size": 16, "out_indices": [1, 2, 3, 4],
                                 "use_relative_position_bias": True},
                                size=(3, 64, 64)),
    "GLPN": vision("GLPNForDepthEstimation", "GLPNConfig",
                   {"hidden_sizes": [8, 16, 20, 24], "depths": [1, 1, 1, 1],
                    "num_attention_heads": [1, 2, 2, 2], "decoder_hidden_size": 16},
                   output="predicted_depth", size=(3, 64, 64)),
    "MobileViT segmentation": vision(
        "MobileViTForSemanticSegmentation", "MobileViTConfig",
        {"hidden_sizes": [16, 20, 24], "neck_hidden_sizes": [8, 8, 12, 16, 20, 24, 24],
         "image_size": 64, "num_attention_heads": 2, "aspp_out_channels": 16}, size=(3, 64, 64)),
    "ViTPose": vision("VitPoseForPoseEstimation", "VitPoseConfig", {"num_labels": 3},
                      output="heatmaps", config_of={"backbone_config": ("VitPoseBackboneConfig", {
                          **VIT, "image_size": [32, 32], "patch_size": [8, 8]})}),
}  # fmt: skip
T5: dict[str, Any] = {
    "vocab_size": VOCABULARY, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4,
}  # fmt: skip
TEXTS: dict[str, Entry] = {
    "BERT": text("BertForSequenceClassification", "BertConfig", TEXT),
    "BERT masked": text("BertForMaskedLM", "BertConfig", TEXT),
    "RoBERTa": text("RobertaForSequenceClassification", "RobertaConfig", TEXT),
    "XLM-R": text("XLMRobertaForTokenClassification", "XLMRobertaConfig", TEXT),
    "CamemBERT": text("CamembertForSequenceClassification", "CamembertConfig", TEXT),
    "ELECTRA": text("ElectraForSequenceClassification", "ElectraConfig",
                    {**TEXT, "embedding_size": 16}),
    "ALBERT": text("AlbertForSequenceClassification", "AlbertConfig",
                   {**TEXT, "embedding_size": 16}),
    "DistilBERT": text("DistilBertForSequenceClassification", "DistilBertConfig",
                       {"vocab_size": VOCABULARY, "dim": 32, "n_layers": 2, "n_heads": 4,
                        "hidden_dim": 48, "max_position_embeddings": 24}),
    "MPNet": text("MPNetForSequenceClassification", "MPNetConfig", TEXT),
    "DeBERTa": text("DebertaForSequenceClassification", "DebertaConfig",
                    {**TEXT, "relative_attention": True, "pos_att_type": ["c2p", "p2c"],
                     "position_biased_input": False}, attention="eager"),
    "DeBERTa-v2": text("DebertaV2ForSequenceClassification", "DebertaV2Config",
                       {**TEXT, "relative_attention": True, "pos_att_type": ["c2p", "p2c"],
                        "position_buckets": 8, "norm_rel_ebd": "layer_norm",
                        "share_att_key": True}, attention="eager"),
    "ModernBERT": text("ModernBertForSequenceClassification", "ModernBertConfig",
                       {**TEXT, "cls_token_id": 1, "sep_token_id": 2, "local_attention": 4}),
    "ESM": text("EsmForSequenceClassification", "EsmConfig",
                {**TEXT, "mask_token_id": 3, "position_embedding_type": "rotary"}),
    "FNet": text("FNetForSequenceClassification", "FNetConfig",
                 {**TEXT, "tpu_short_seq_length": 9, "max_position_embeddings": 24}),
    "GPT-2": text("GPT2LMHeadModel", "GPT2Config",
                  {"vocab_size": VOCABULARY, "n_embd": 32, "n_layer": 2, "n_head": 4,
                   "n_positions": 24, "bos_token_id": 1, "eos_token_id": 2}),
    "GPT-Neo": text("GPTNeoForCausalLM", "GPTNeoConfig",
                    {"vocab_size": VOCABULARY, "hidden_size": 32, "num_layers": 2, "num_heads": 4,
                     "attention_types": [[["global", "local"], 1]], "window_size": 4,
                     "max_position_embeddings": 24, "intermediate_size": 48,
                     "bos_token_id": 1, "eos_token_id": 2}, attention="eager"),
    "GPT-NeoX": text("GPTNeoXForCausalLM", "GPTNeoXConfig", TEXT),
    "GPT-J": text("GPTJForCausalLM", "GPTJConfig",
                  {"vocab_size": VOCABULARY, "n_embd": 32, "n_layer": 2, "n_head": 4,
                   "n_positions": 24, "rotary_dim": 4, "bos_token_id": 1, "eos_token_id": 2},
                  attention="eager"),
    "OPT": text("OPTForCausalLM", "OPTConfig",
                {**TEXT, "ffn_dim": 48, "word_embed_proj_dim": 32}),
    "BLOOM": text("BloomForCausalLM", "BloomConfig",
                  {"vocab_size": VOCABULARY, "hidden_size": 32, "n_layer": 2, "n_head": 4},
                  attention="eager"),
    "Llama": text("LlamaForCausalLM", "LlamaConfig", LLAMA),
    "Mistral": text("MistralForCausalLM", "MistralConfig", {**LLAMA, "sliding_window": 4}),
    "Qwen2": text("Qwen2ForCausalLM", "Qwen2Config", LLAMA),
    "Qwen3": text("Qwen3ForCausalLM", "Qwen3Config", LLAMA),
    "Gemma": text("GemmaForCausalLM", "GemmaConfig", LLAMA),
    "Gemma 2": text("Gemma2ForCausalLM", "Gemma2Config", {**LLAMA, "sliding_window": 4},
                    attention="eager"),
    "Gemma 3": text("Gemma3ForCausalLM", "Gemma3TextConfig", {**LLAMA, "sliding_window": 4}),
    "Phi": text("PhiForCausalLM", "PhiConfig", TEXT),
    "Phi-3": text("Phi3ForCausalLM", "Phi3Config", LLAMA),
    "SmolLM3": text("SmolLM3ForCausalLM", "SmolLM3Config", LLAMA),
    "OLMo 2": text("Olmo2ForCausalLM", "Olmo2Config", LLAMA),
    "StableLM": text("StableLmForCausalLM", "StableLmConfig", LLAMA),
    "Granite": text("GraniteForCausalLM", "GraniteConfig", LLAMA),
    "Mixtral": text("MixtralForCausalLM", "MixtralConfig",
                    {**LLAMA, "num_local_experts": 3, "num_experts_per_tok": 2,
                     "experts_implementation": "batched_mm"}),
    "Mamba": text("MambaForCausalLM", "MambaConfig",
                  {"vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 2,
                   "state_size": 4, "use_cache": False}),
    "Mamba 2": text("Mamba2ForCausalLM", "Mamba2Config",
                    {"vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 2,
                     "state_size": 4, "num_heads": 8, "head_dim": 8, "n_groups": 1,
                     "chunk_size": 4}),
    "RWKV": text("RwkvForCausalLM", "RwkvConfig",
                 {"vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 2,
                  "attention_hidden_size": 32, "intermediate_size": 48, "context_length": 24,
                  "use_cache": False}),
    "T5 encoder": text("T5EncoderModel", "T5Config", T5, output="last_hidden_state",
                       attention="eager"),
    "MT5 encoder": text("MT5EncoderModel", "MT5Config", T5, output="last_hidden_state",
                        attention="eager"),
    "CLIP text": text("CLIPTextModelWithProjection", "CLIPTextConfig",
                      {**TEXT, "projection_dim": 16}, output="text_embeds"),
    "SigLIP text": text("SiglipTextModel", "SiglipTextConfig", TEXT, output="pooler_output"),
}  # fmt: skip
WAVES: dict[str, Any] = {
    **WIDTHS, "vocab_size": VOCABULARY, "conv_dim": [8, 8], "conv_stride": [4, 2],
    "conv_kernel": [8, 4], "num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2,
    "classifier_proj_size": 16,
}  # fmt: skip
SOUNDS: dict[str, Entry] = {
    "Whisper encoder": Entry(
        "WhisperForAudioClassification", "WhisperConfig",
        {"vocab_size": VOCABULARY, "d_model": 32, "encoder_layers": 2, "encoder_attention_heads": 2,
         "encoder_ffn_dim": 48, "num_mel_bins": 8, "max_source_positions": 8,
         "decoder_layers": 1, "decoder_attention_heads": 2, "decoder_ffn_dim": 48,
         "classifier_proj_size": 16},
        given="mel", size=(8, 16)),
    "AST": Entry("ASTForAudioClassification", "ASTConfig",
                 {**WIDTHS, "patch_size": 4, "frequency_stride": 4, "time_stride": 4,
                  "max_length": 16, "num_mel_bins": 8}, given="wave", size=(16, 8)),
    "Wav2Vec2": Entry("Wav2Vec2ForSequenceClassification", "Wav2Vec2Config",
                      WAVES,
                      given="wave", size=(160,)),
    "HuBERT": Entry("HubertForSequenceClassification", "HubertConfig",
                    WAVES,
                    given="wave", size=(160,)),
}  # fmt: skip


def made(kind: str, config: str, options: Mapping[str, Any], **inner: Mapping[str, Any]) -> Any:
    """Makes a model whose call needs more than an input."""

    def make() -> nn.Module:
        package = hugging_face()
        parts = {key: getattr(package, NESTED[key])(**value) for key, value in inner.items()}
        config_of = getattr(package, config)
        model: nn.Module = getattr(package, kind)(config_of(**options, **parts))
        return model

    return make


NESTED = {"vision_config": "Pix2StructVisionConfig", "text_config": "Pix2StructTextConfig"}


def begun(x: Tensor) -> Tensor:
    """The first tokens of what a decoder has said, [B, 3]."""
    return torch.tensor([[0, 5, 7]]).expand(x.shape[0], -1)


def translated(model: Any, x: Tensor) -> Tensor:
    found: Tensor = model(input_ids=x, decoder_input_ids=begun(x), use_cache=False).logits
    return found


def transcribed(model: Any, x: Tensor) -> Tensor:
    found: Tensor = model(input_features=x, decoder_input_ids=begun(x), use_cache=False).logits
    return found


def plotted(model: Any, x: Tensor) -> Tensor:
    """Patches [B, 6, 12], with the row and the column of each in front."""
    places = torch.tensor([[[row, column] for row in (1, 2) for column in (1, 2, 3)]]).to(x)
    patches = torch.cat([places.expand(x.shape[0], -1, -1), x], -1)
    mask = torch.ones(x.shape[0], 6)
    found: Tensor = model(
        flattened_patches=patches, attention_mask=mask, decoder_input_ids=begun(x), use_cache=False
    ).logits
    return found


PLOTS_SEEN = {
    "hidden_size": 32, "patch_embed_hidden_size": 12, "d_ff": 48, "d_kv": 8,
    "num_hidden_layers": 2, "num_attention_heads": 4, "seq_len": 8,
}  # fmt: skip
PLOTS_TOLD = {
    "vocab_size": VOCABULARY, "hidden_size": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2,
    "num_heads": 4, "decoder_start_token_id": 0,
}  # fmt: skip
WHISPER = {
    "vocab_size": VOCABULARY, "d_model": 32, "encoder_layers": 2, "encoder_attention_heads": 2,
    "encoder_ffn_dim": 48, "num_mel_bins": 8, "max_source_positions": 8, "decoder_layers": 2,
    "decoder_attention_heads": 2, "decoder_ffn_dim": 48, "max_target_positions": 8,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 0,
}  # fmt: skip
WHOLE: dict[str, Model] = {
    "T5": Made(made("T5ForConditionalGeneration", "T5Config", {**T5, "decoder_start_token_id": 0}),
               (9,), translated, "ids"),
    "BART": Made(
        made("BartForConditionalGeneration", "BartConfig",
             {"vocab_size": VOCABULARY, "d_model": 32, "encoder_layers": 2, "decoder_layers": 2,
              "encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 48,
              "decoder_ffn_dim": 48, "max_position_embeddings": 24}),
        (9,), translated, "ids"),
    "Whisper": Made(made("WhisperForConditionalGeneration", "WhisperConfig", WHISPER),
                    (8, 16), transcribed),
    "DePlot (Pix2Struct)": Made(
        made("Pix2StructForConditionalGeneration", "Pix2StructConfig", {},
             vision_config=PLOTS_SEEN, text_config=PLOTS_TOLD),
        (6, 12), plotted),
}  # fmt: skip
TRANSFORMERS: dict[str, Model] = {
    **IMAGES, **DETECTORS, **SAMPLING, **SEGMENTERS, **TEXTS, **SOUNDS, **WHOLE,
}  # fmt: skip
