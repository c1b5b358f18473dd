"""How many residuals, norms, attentions, samplings and positional sums a model has, from the
numbers of its configuration, to hold the roles in its graph against.

Batch norms are folded into convolutions, so none is counted. What is computed from constants alone
has no role: the self-attention of a decoder's first layer, where its queries are learned.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lrpc.ir.graph import Graph
from tests.zoo import of_timm, of_torchvision
from tests.zoo.entry import Entry
from tests.zoo.of_transformers import TRANSFORMERS

NORMS = ("layer_norm", "group_norm", "rms_norm", "batch_norm", "instance_norm")


@dataclass(frozen=True)
class Roles:
    residual: int = 0
    norms: int = 0
    attention: int = 0
    sampling: int = 0
    positional: int = 0


def roles_of(graph: Graph) -> Roles:
    """What the roles of a graph's nodes say; an attention has scores, probabilities and values."""
    found = Counter(node.role for node in graph.nodes)
    attention = found["attention_probabilities"]
    assert found["attention_values"] == attention
    assert found["attention_scores"] >= attention
    return Roles(
        found["residual"], sum(found[norm] for norm in NORMS), attention,
        found["deformable_sampling"], found["positional"],
    )  # fmt: skip


# -- encoders --------------------------------------------------------------------------------------


def encoder(layers: int, norms: int = 1, positional: int = 1, inside: int = 2) -> Roles:
    """Layers of attention and a feed-forward part; `norms` besides those `inside` each."""
    return Roles(2 * layers, inside * layers + norms, layers, 0, positional)


def swin(depths: list[int], norms: int = 1) -> Roles:
    """Patches are normalised, and so are they where four become one; `norms` come last."""
    blocks, stages = sum(depths), len(depths)
    return Roles(2 * blocks, 2 * blocks + stages + norms, blocks)


def convnext(depths: list[int]) -> Roles:
    """A norm in each block, one behind the stem, before each later stage and at the end."""
    return Roles(sum(depths), sum(depths) + len(depths) + 1)


def segformer(o: Mapping[str, Any]) -> Roles:
    """Norms of patches and of each stage; keys and values of fewer rows are normalised too."""
    blocks, stages = sum(o["depths"]), len(o["depths"])
    return Roles(2 * blocks, 2 * blocks + 2 * stages + sum(o["depths"][:3]), blocks)


# -- detectors -------------------------------------------------------------------------------------


def detr(o: Mapping[str, Any], blocks: int, first: bool = False) -> Roles:
    """Positions go to an encoder layer's queries and keys at once, to the keys of cross-attention
    once for all layers, and to both queries of a decoder layer. With norms `first`, there is one
    behind the encoder, too, and the first decoder layer normalises constants twice."""
    e, d = o["encoder_layers"], o["decoder_layers"]
    norms = 2 * e + 3 * d + 1 + (1 - 2 if first else -1)
    return Roles(blocks + 2 * e + 3 * d - 1, norms, e + 2 * d - 1, 0, e + 1 + 2 * (d - 1))


def deformable_detr(o: Mapping[str, Any], blocks: int, two_stage: bool) -> Roles:
    """Each level's features are normalised; with two stages, so are proposals and their positions,
    and no query is constant."""
    e, d = o["encoder_layers"], o["decoder_layers"]
    first, proposals = (0, 2) if two_stage else (1, 0)
    norms = o["num_feature_levels"] + 2 * e + 3 * d - first + proposals
    return Roles(blocks + 2 * e + 3 * d - first, norms, d - first, e + d, e + 2 * (d - first))


def rt_detr(o: Mapping[str, Any], blocks: int, encoders: int = 1) -> Roles:
    """One encoder layer on the coarsest level; the queries are rows of the features."""
    d = o["decoder_layers"]
    return Roles(
        blocks + 2 * encoders + 3 * d, 2 * encoders + 1 + 3 * d, encoders + d, d, encoders + 2 * d
    )


def d_fine(o: Mapping[str, Any]) -> Roles:
    """As RT-DETR; a gate joins the samples to the queries, and the scores of the last layer have a
    term from the box's distribution added."""
    plain, d = rt_detr(o, 0), o["decoder_layers"]
    return Roles(
        plain.residual - d + 1, plain.norms, plain.attention, plain.sampling, plain.positional
    )


def lw_detr(o: Mapping[str, Any], layers: int) -> Roles:
    """Norms behind the projector, of the proposals and of the last layer; the first self-attention
    weighs constants, by positions of the proposals, and is a product."""
    d = o["decoder_layers"]
    return Roles(2 * layers + 3 * d, 2 * layers + 3 * d + 3, layers + d - 1, d, 1 + 2 * d)


def mask2former(o: Mapping[str, Any], depths: list[int], sampled: int = 3) -> Roles:
    """A Swin whose stages are normalised at their ends; convolutions of the `sampled` levels, of
    the finest and behind it have norms. The last of the decoder's layers is not run."""
    e, d, s = o["encoder_layers"], o["decoder_layers"] - 1, swin(depths, len(depths))
    return Roles(
        s.residual + 2 * e + 3 * d, s.norms + 2 * e + 3 * d + 1 + sampled + 2,
        s.attention + 2 * d, e, e + 3 * d - 1,
    )  # fmt: skip


# -- the models ------------------------------------------------------------------------------------

Of = Callable[[Entry], Roles]


def _layers(**more: int) -> Of:
    names = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
    return lambda e: encoder(next(e.options[n] for n in names if n in e.options), **more)


def _depth(e: Entry) -> int:
    """Blocks of a detector's backbone."""
    (_, options), *_ = e.config_of.values()
    return sum(options["depths"])


ROTARY = _layers(positional=0)
OF_TRANSFORMERS: dict[str, Of] = {
    **dict.fromkeys(("ViT", "DeiT", "ViT MSN", "I-JEPA", "DINOv2", "DINOv2 registers"), _layers()),
    **dict.fromkeys(("BERT", "RoBERTa", "GPT-2", "OPT", "ELECTRA", "DistilBERT"), _layers()),
    **dict.fromkeys(("Llama", "Mistral", "Qwen2", "Phi-3", "SmolLM3", "Granite", "Gemma"), ROTARY),
    "Qwen3": _layers(positional=0, inside=4),  # queries and keys are normalised
    "Gemma 2": _layers(positional=0, inside=4),  # before and behind each part
    "OLMo 2": _layers(positional=0, inside=4),
    "CLIP vision": _layers(norms=2),  # before the first layer, too
    "Swin": lambda e: swin(e.options["depths"]),
    "ConvNeXt": lambda e: convnext(e.options["depths"]),
    "ResNet": lambda e: Roles(sum(e.options["depths"])),
    "SegFormer": lambda e: segformer(e.options),
    "YOLOS": lambda e: encoder(e.options["num_hidden_layers"], positional=2),  # in the middle, too
    "DETR": lambda e: detr(e.options, _depth(e)),
    "Table Transformer": lambda e: detr(e.options, _depth(e), True),
    "Deformable DETR": lambda e: deformable_detr(e.options, _depth(e), False),
    "Deformable DETR, two stages": lambda e: deformable_detr(e.options, _depth(e), True),
    "RT-DETR": lambda e: rt_detr(e.options, _depth(e)),
    "RT-DETRv2": lambda e: rt_detr(e.options, _depth(e)),
    "D-FINE": lambda e: d_fine(e.options),
    "LW-DETR": lambda e: lw_detr(e.options, e.config_of["backbone_config"][1]["num_hidden_layers"]),
    "Mask2Former": lambda e: mask2former(e.options, e.config_of["backbone_config"][1]["depths"]),
}
EXPECTED: dict[tuple[str, str], Roles] = {
    **{("transformers", name): of(TRANSFORMERS[name]) for name, of in OF_TRANSFORMERS.items()},  # type: ignore[arg-type]
    ("torchvision", "ViT"): encoder(of_torchvision.VIT["num_layers"]),
    ("torchvision", "Swin"): swin(of_torchvision.SWIN["depths"]),
    ("torchvision", "Swin v2"): swin(of_torchvision.SWIN["depths"]),
    ("torchvision", "Video Swin"): swin(of_torchvision.SWIN["depths"]),
    ("torchvision", "ResNet"): Roles(4),
    ("torchvision", "ResNet, bottlenecks"): Roles(4),
    ("torchvision", "FCN"): Roles(4),
    ("torchvision", "FCOS"): Roles(4, 2 * 4 * 5),  # four norms in either branch, five levels
    ("torchvision", "Mask R-CNN, a region"): Roles(4),
    ("torchvision", "ConvNeXt"): convnext([1, 2, 1]),
    ("torchvision", "MViT"): Roles(4, 2 * 2 + 3 * 2 + 1, 2, 0, 1),
    ("timm", "ViT"): encoder(of_timm.VIT["depth"]),
    ("timm", "DeiT III"): encoder(of_timm.VIT["depth"]),
    ("timm", "ViT, registers, SwiGLU"): encoder(of_timm.VIT["depth"]),
    ("timm", "Swin"): swin(of_timm.SWIN["depths"]),
    ("timm", "Swin v2"): swin(of_timm.SWIN["depths"]),
    ("timm", "ConvNeXt"): convnext(of_timm.NARROW["depths"]),
    ("timm", "SE-ResNet"): Roles(4),
    ("timm", "PVT v2"): Roles(8, 8 + 4 + 4 + 3, 4),  # of patches, stages, and fewer keys
}
