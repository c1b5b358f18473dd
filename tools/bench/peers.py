"""Other implementations, where they are installed: a compiled MSDeformAttn, LXT, zennit."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from lrpc.models.maskdino.layers import MSDeformAttn, Shapes, sampling_locations
from tools.bench.torchvision_ops import declare
from tools.bench.vit import Sizes, ViT, own_kinds

EXTENSION = "MultiScaleDeformableAttention"
STEP = 64  # images that the extension takes at once
#: Names that LXT imports from transformers and never calls; version 5 dropped them.
GONE = ("find_pruneable_heads_and_indices", "prune_linear_layer", "apply_chunking_to_forward")


def importable(*names: str) -> str | None:
    """Why one of these modules cannot be imported, in one line; None where all can."""
    for name in names:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                importlib.import_module(name)
        except Exception as error:  # a broken installation raises whatever it likes
            reason = " ".join(str(error).split())[:90]
            return f"{name} cannot be imported ({type(error).__name__}: {reason})"
    return None


# -- the compiled sampling of Deformable DETR ------------------------------------------------------


class _Sampling(torch.autograd.Function):
    """The extension's sampling with its own backward pass."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, places: Tensor, weights: Tensor, shapes: Shapes) -> Tensor:
        extension = importlib.import_module(EXTENSION)
        sizes = torch.tensor(shapes, device=value.device)
        starts = torch.cat((sizes.new_zeros(1), sizes.prod(1).cumsum(0)[:-1]))
        ctx.save_for_backward(value, sizes, starts, places, weights)
        ctx.step = min(STEP, value.shape[0])
        made: Tensor = extension.ms_deform_attn_forward(
            value, sizes, starts, places, weights, ctx.step
        )
        return made

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        extension = importlib.import_module(EXTENSION)
        value, places, weights = extension.ms_deform_attn_backward(
            *ctx.saved_tensors, grads[0].contiguous(), ctx.step
        )
        return value, places, weights, None


_sampling: Any = _Sampling.apply


class ExtensionAttention(MSDeformAttn):
    """Deformable attention whose sampling is the compiled extension's."""

    def forward(
        self,
        query: Tensor,
        reference_points: Tensor,
        input_flatten: Tensor,
        input_spatial_shapes: Shapes,
        input_level_start_index: Tensor | None = None,
        input_padding_mask: Tensor | None = None,
    ) -> Tensor:
        value = self.value_proj(input_flatten).unflatten(-1, (self.n_heads, -1))
        split = (self.n_heads, self.n_levels, self.n_points)
        offsets = self.sampling_offsets(query).unflatten(-1, (*split, 2))
        weights = self.attention_weights(query).unflatten(-1, (self.n_heads, -1)).softmax(-1)
        places = sampling_locations(reference_points, offsets, input_spatial_shapes)
        sampled = _sampling(
            value.contiguous(),
            places.contiguous(),
            weights.unflatten(-1, split[1:]).contiguous(),
            input_spatial_shapes,
        )
        made: Tensor = self.output_proj(sampled)
        return made


# -- LXT's patches, on classes of their own --------------------------------------------------------


def import_lxt() -> str | None:
    """Import LXT's efficient patches; why not, where that fails."""
    declare()
    if (reason := importable("transformers.pytorch_utils")) is not None:
        return reason
    utils = importlib.import_module("transformers.pytorch_utils")
    for name in GONE:
        if not hasattr(utils, name):
            setattr(utils, name, None)
    return importable("lxt.efficient.patches", "lxt.efficient.rules")


def lxt_vit(sizes: Sizes) -> ViT:
    """The transformer under LXT's rules for vision (its AttnLRP there is CP-LRP in attention)."""
    patches: Any = importlib.import_module("lxt.efficient.patches")
    kinds: SimpleNamespace = own_kinds()
    patches.patch_method(patches.non_linear_forward, kinds.GELU, keep_original=True)
    patches.patch_method(patches.layer_norm_forward, kinds.LayerNorm)
    patches.patch_method(
        patches.cp_multi_head_attention_forward, kinds.MultiheadAttention, keep_original=True
    )
    return ViT(sizes, kinds)


def gamma_hooks(model: nn.Module, conv: float, linear: float) -> Callable[[], None]:
    """Register zennit's γ on a model of `lxt_vit`; gives what removes it.

    Hooks see modules: an attention's own maps keep the epsilon rule.
    """
    zennit: Any = importlib.import_module("lxt.efficient.zennit_patches")
    core: Any = importlib.import_module("zennit.core")
    rules: Any = importlib.import_module("zennit.rules")
    composites: Any = importlib.import_module("zennit.composites")
    if core.BasicHook.backward.__module__ != zennit.__name__:
        zennit.monkey_patch_zennit()
    layers = [(nn.Conv2d, rules.Gamma(conv)), (nn.Linear, rules.Gamma(linear))]
    hooks = composites.LayerMapComposite(layers)
    hooks.register(model)
    remove: Callable[[], None] = hooks.remove
    return remove
