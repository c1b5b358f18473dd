"""Default values of the keys that reach a model: detectron2's, MaskDINO's and the compiler's own.

The values are those in force after detectron2, its DeepLab project and MaskDINO have each added
their keys. They are not those of the released YAML files, which override many of them.
"""

from __future__ import annotations

from typing import Any

#: `MODEL` and `INPUT` as far as they concern MaskDINO.
MODEL_AND_INPUT: dict[str, Any] = {
    "INPUT": {
        "COLOR_AUG_SSD": False,
        "DATASET_MAPPER_NAME": "MaskDINO_semantic",
        "FORMAT": "BGR",
        "IMAGE_SIZE": 1024,
        "MASK_FORMAT": "polygon",
        "MAX_SCALE": 2.0,
        "MAX_SIZE_TEST": 1333,
        "MAX_SIZE_TRAIN": 1333,
        "MIN_SCALE": 0.1,
        "MIN_SIZE_TEST": 800,
        "MIN_SIZE_TRAIN": (800,),
        "MIN_SIZE_TRAIN_SAMPLING": "choice",
        "RANDOM_FLIP": "horizontal",
        "SIZE_DIVISIBILITY": -1,
        "CROP": {
            "ENABLED": False,
            "SINGLE_CATEGORY_MAX_AREA": 1.0,
            "SIZE": [0.9, 0.9],
            "TYPE": "relative_range",
        },
    },
    "MODEL": {
        "DEVICE": "cuda",
        "KEYPOINT_ON": False,
        "LOAD_PROPOSALS": False,
        "MASK_ON": False,
        "META_ARCHITECTURE": "GeneralizedRCNN",
        "PIXEL_MEAN": [103.53, 116.28, 123.675],
        "PIXEL_STD": [1.0, 1.0, 1.0],
        "WEIGHTS": "",
        "BACKBONE": {"FREEZE_AT": 2, "NAME": "build_resnet_backbone"},
        "MaskDINO": {
            "BOX_LOSS": True,
            "BOX_WEIGHT": 5.0,
            "CLASS_WEIGHT": 4.0,
            "COST_BOX_WEIGHT": 5.0,
            "COST_CLASS_WEIGHT": 4.0,
            "COST_DICE_WEIGHT": 5.0,
            "COST_GIOU_WEIGHT": 2.0,
            "COST_MASK_WEIGHT": 5.0,
            "DEC_LAYERS": 6,
            "DEEP_SUPERVISION": True,
            "DICE_WEIGHT": 5.0,
            "DIM_FEEDFORWARD": 2048,
            "DN": "seg",
            "DN_NOISE_SCALE": 0.4,
            "DN_NUM": 100,
            "DROPOUT": 0.1,
            "ENC_LAYERS": 0,
            "ENFORCE_INPUT_PROJ": False,
            "EVAL_FLAG": 1,
            "GIOU_WEIGHT": 2.0,
            "HIDDEN_DIM": 256,
            "IMPORTANCE_SAMPLE_RATIO": 0.75,
            "INITIALIZE_BOX_TYPE": "no",
            "INITIAL_PRED": True,
            "LEARN_TGT": False,
            "MASK_WEIGHT": 5.0,
            "NHEADS": 8,
            "NO_OBJECT_WEIGHT": 0.1,
            "NUM_OBJECT_QUERIES": 100,
            "OVERSAMPLE_RATIO": 3.0,
            "PANO_BOX_LOSS": False,
            "PRED_CONV": False,
            "PRE_NORM": False,
            "SEMANTIC_CE_LOSS": False,
            "SIZE_DIVISIBILITY": 32,
            "TRAIN_NUM_POINTS": 12544,
            "TRANSFORMER_DECODER_NAME": "MaskDINODecoder",
            "TWO_STAGE": True,
            "TEST": {
                "INSTANCE_ON": False,
                "OBJECT_MASK_THRESHOLD": 0.0,
                "OVERLAP_THRESHOLD": 0.0,
                "PANOPTIC_ON": False,
                "PANO_TEMPERATURE": 0.06,
                "PANO_TRANSFORM_EVAL": True,
                "SEMANTIC_ON": True,
                "SEM_SEG_POSTPROCESSING_BEFORE_INFERENCE": False,
                "TEST_FOUCUS_ON_BOX": False,
            },
        },
        "RESNETS": {
            "DEFORM_MODULATED": False,
            "DEFORM_NUM_GROUPS": 1,
            "DEFORM_ON_PER_STAGE": [False, False, False, False],
            "DEPTH": 50,
            "NORM": "FrozenBN",
            "NUM_GROUPS": 1,
            "OUT_FEATURES": ["res4"],
            "RES2_OUT_CHANNELS": 256,
            "RES4_DILATION": 1,
            "RES5_DILATION": 1,
            "RES5_MULTI_GRID": [1, 2, 4],
            "STEM_OUT_CHANNELS": 64,
            "STEM_TYPE": "deeplab",
            "STRIDE_IN_1X1": True,
            "WIDTH_PER_GROUP": 64,
        },
        "SEM_SEG_HEAD": {
            "ASPP_CHANNELS": 256,
            "ASPP_DILATIONS": [6, 12, 18],
            "ASPP_DROPOUT": 0.1,
            "COMMON_STRIDE": 4,
            "CONVS_DIM": 128,
            "DEFORMABLE_TRANSFORMER_ENCODER_IN_FEATURES": ["res3", "res4", "res5"],
            "DEFORMABLE_TRANSFORMER_ENCODER_N_HEADS": 8,
            "DEFORMABLE_TRANSFORMER_ENCODER_N_POINTS": 4,
            "DIM_FEEDFORWARD": 1024,
            "FEATURE_ORDER": "high2low",
            "IGNORE_VALUE": 255,
            "IN_FEATURES": ["p2", "p3", "p4", "p5"],
            "LOSS_TYPE": "hard_pixel_mining",
            "LOSS_WEIGHT": 1.0,
            "MASK_DIM": 256,
            "NAME": "SemSegFPNHead",
            "NORM": "GN",
            "NUM_CLASSES": 54,
            "NUM_FEATURE_LEVELS": 3,
            "PIXEL_DECODER_NAME": "MaskDINOEncoder",
            "PROJECT_CHANNELS": [48],
            "PROJECT_FEATURES": ["res2"],
            "TOTAL_NUM_FEATURE_LEVELS": 4,
            "TRANSFORMER_ENC_LAYERS": 0,
            "USE_DEPTHWISE_SEPARABLE_CONV": False,
        },
        "SWIN": {
            "APE": False,
            "ATTN_DROP_RATE": 0.0,
            "DEPTHS": [2, 2, 6, 2],
            "DROP_PATH_RATE": 0.3,
            "DROP_RATE": 0.0,
            "EMBED_DIM": 96,
            "MLP_RATIO": 4.0,
            "NUM_HEADS": [3, 6, 12, 24],
            "OUT_FEATURES": ["res2", "res3", "res4", "res5"],
            "PATCH_NORM": True,
            "PATCH_SIZE": 4,
            "PRETRAIN_IMG_SIZE": 224,
            "QKV_BIAS": True,
            "QK_SCALE": None,
            "USE_CHECKPOINT": False,
            "WINDOW_SIZE": 7,
        },
    },
}

#: The compiler's own node. Every key, its meaning and the values it takes:
LRPC: dict[str, Any] = {
    # Where the model comes from: "embedded", "detectron2" or "package.module:function".
    "SOURCE": "embedded",
    # Which of several sets of weights in MODEL.WEIGHTS: a key such as "ema_state", nested keys
    # joined by dots, or a prefix of names; "" is the model's own.
    "WEIGHTS_ENTRY": "",
    # Path of the module to propagate relevance in; "" is the whole model.
    "SCOPE": "",
    # Where relevance can start; the last two take ":LAYER", such as 2, 2.self_attn or "*".
    "TARGETS": ("class_logit", "mask_logit", "box", "encoder_feature", "decoder_query"),
    # Name of a composite, see `lrpc rules`. Several, as a list or as a mapping
    # `own name: {composite, epsilon, rules, conv_gamma}`, share a forward pass.
    "COMPOSITE": "maskdino",
    # Stabiliser ε of every division.
    "EPSILON": 1e-6,
    # How much more positive parts count where the composite has a γ; null is the composite's own.
    "GAMMA": {
        # γ of convolutions, in maskdino, gamma and epsilon_gamma_box.
        "CONVOLUTION": None,
        # γ of linear maps, in gamma.
        "LINEAR": None,
    },
    # Range of the normalised image in epsilon_gamma_box; null is that of pixels from 0 to 255.
    "BOX": {
        # Smallest value of the normalised image: one number, or a list with one per channel.
        "LOW": None,
        # Largest value of the normalised image, likewise.
        "HIGH": None,
    },
    # Exceptions to the composite: mappings {role | op, module, layers, first, rule, parameters}.
    "RULES": (),
    # How many seeds are propagated at once; a call with more runs several passes.
    "SEEDS": 8,
    # Arithmetic of the program: fp64, fp32, tf32 or bf16.
    "PRECISION": "fp32",
    # Largest error of relevance in tf32 or bf16: Σ|R − R64| / Σ|R64| at the input.
    "PRECISION_TOLERANCE": 0.25,
    "MEMORY": {
        # Memory of forward and one relevance call, results included, without weights and inputs:
        # bytes, a share of what one image and SEEDS seeds take without recomputation ("50%"), or ""
        # for no limit. Calls that would exceed it are refused.
        "BUDGET": "",
        # What relevance recomputes instead of saving it: none, block (all blocks) or auto (as much
        # as the budget requires).
        "CHECKPOINT": "none",
    },
    # Image sizes [H, W] to compile for, multiples of MODEL.MaskDINO.SIZE_DIVISIBILITY.
    "SHAPES": ((480, 640),),
    # Whether the program takes a mask of padded pixels.
    "PADDING_MASK": False,
    # Whether relevance follows two-stage query content through its detach (copy) or not (stop).
    "DETACH": "copy",
    # Values computed under torch.no_grad(): as if detached (detach), or as if gradients were on
    # (ignore).
    "NO_GRAD": "detach",
    # Whether position encodings absorb their share (sink) or propagate it like a summand (split).
    "POSITION": "sink",
    # Whether batch norms become part of the convolution or linear map before them.
    "FOLD_BATCH_NORM": True,
    # Names or globs of places whose relevance is returned; () is all of them.
    "READ": (),
    # Names or globs of places where relevance ends, besides the image.
    "BOUNDARIES": (),
    # Names of the classes in the order of their logits, for pictures and records; () shows numbers.
    "CLASS_NAMES": (),
    # Import paths "package.module:Class" of passes that run before rules are assigned.
    "PASSES": (),
    # Modules "package.module" that register further rules when they are imported.
    "PLUGINS": (),
    # Seed of the random weights used where MODEL.WEIGHTS is empty.
    "INIT_SEED": 0,
}
