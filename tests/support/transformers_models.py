"""Small transformers of torchvision and transformers, as modules that take and return tensors.

Weights are random and perturbed: a zero-initialised head would make every relevance 0.
"""

from __future__ import annotations

import contextlib
import importlib
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.support.released import import_torchvision

TOKENS, PAD = 9, 2
VISION = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48,
    "image_size": 32, "patch_size": 8,
}  # fmt: skip
TEXT = {
    "vocab_size": 40, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
    "intermediate_size": 48, "max_position_embeddings": 16,
}  # fmt: skip


def disturbed(model: nn.Module, dtype: torch.dtype = torch.float64) -> nn.Module:
    """`model` for inference, every parameter moved a little and constant from now on."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model.eval().to(dtype).requires_grad_(False)


class Call(nn.Module):
    """A model called by `call(model, x, …)`, so that it takes and returns plain tensors."""

    def __init__(self, model: nn.Module, call: Callable[..., Tensor]) -> None:
        super().__init__()
        self.model, self.call = model, call

    def forward(self, x: Tensor) -> Tensor:
        return self.call(self.model, x)


class Masked(Call):
    """The same with an attention mask."""

    def forward(self, x: Tensor, attention_mask: Tensor) -> Tensor:  # type: ignore[override]
        return self.call(self.model, x, attention_mask)


def hugging_face() -> Any:
    """The package, or a skipped test."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with contextlib.suppress(ImportError):
            import_torchvision()  # transformers imports it where it is there
        try:
            package = importlib.import_module("transformers")
            importlib.import_module("transformers.modeling_utils")
        except ImportError as error:
            pytest.skip(f"transformers is not installed ({error})")
    return package


def made(kind: str, config: str, attention: str = "sdpa", **options: Any) -> nn.Module:
    """A model of transformers by the names of its class and configuration, with seeded weights."""
    package = hugging_face()
    torch.manual_seed(0)
    settings = getattr(package, config)(attn_implementation=attention, **options)
    model: nn.Module = getattr(package, kind)(settings)
    return model


def torchvision_vit(**options: Any) -> nn.Module:
    """torchvision's vision transformer: a small one, or what `options` say."""
    try:
        import_torchvision()
        module = importlib.import_module("torchvision.models.vision_transformer")
    except ImportError as error:
        pytest.skip(f"torchvision is not installed ({error})")
    small = {
        "image_size": 32, "patch_size": 8, "num_layers": 2, "num_heads": 2, "hidden_dim": 32,
        "mlp_dim": 48, "num_classes": 10,
    }  # fmt: skip
    torch.manual_seed(0)
    model: nn.Module = module.VisionTransformer(**(small | options))
    return disturbed(model)


def vit(attention: str, kind: str = "ViTForImageClassification") -> nn.Module:
    def call(model: Any, x: Tensor) -> Tensor:
        found: Tensor = model(pixel_values=x)[0]
        return found

    return Call(disturbed(made(kind, "ViTConfig", attention, **VISION)), call)


def _bert(kind: str, attention: str) -> nn.Module:
    return disturbed(made(kind, "BertConfig", attention, **TEXT))


def bert_of_rows(attention: str, kind: str = "BertForSequenceClassification") -> nn.Module:
    """BERT of embedded tokens [B, T, 32] and a mask [B, T]."""

    def call(model: Any, x: Tensor, mask: Tensor) -> Tensor:
        found: Tensor = model(inputs_embeds=x, attention_mask=mask)[0]
        return found

    return Masked(_bert(kind, attention), call)


def bert_of_ids(attention: str, kind: str = "BertForSequenceClassification") -> nn.Module:
    """BERT of tokens [B, T] and a mask [B, T]."""

    def call(model: Any, x: Tensor, mask: Tensor) -> Tensor:
        found: Tensor = model(input_ids=x, attention_mask=mask)[0]
        return found

    return Masked(_bert(kind, attention), call)


class SpelledRMSNorm(nn.Module):
    """RMSNorm as LLaMA's code spells it, without its cast to float32."""

    def __init__(self, weight: Tensor, eps: float) -> None:
        super().__init__()
        self.weight, self.eps = nn.Parameter(weight.clone(), requires_grad=False), eps

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps))


def llama(
    attention: str,
    norm: str = "spelled",
    dtype: torch.dtype = torch.float64,
    masked: bool = True,
) -> nn.Module:
    """LLaMA with grouped keys and tied embeddings, of embedded tokens and, if so, a mask.

    `norm`: `spelled` and `torch` replace its norms, which compute in float32, by ones that keep to
    `dtype`; `own` leaves them.
    """
    options = {**TEXT, "num_key_value_heads": 2, "tie_word_embeddings": True}
    model: Any = disturbed(made("LlamaForCausalLM", "LlamaConfig", attention, **options), dtype)
    layers = model.model.layers
    homes = [(model.model, "norm")]
    homes += [(x, k) for x in layers for k in ("input_layernorm", "post_attention_layernorm")]
    for home, name in homes if norm != "own" else ():
        old = getattr(home, name)
        new: nn.Module = SpelledRMSNorm(old.weight, old.variance_epsilon)
        if norm == "torch":
            new = nn.RMSNorm(old.weight.shape[0], old.variance_epsilon, dtype=dtype)
            new.load_state_dict(old.state_dict())
        setattr(home, name, new)

    def call(model: Any, x: Tensor, mask: Tensor | None = None) -> Tensor:
        found: Tensor = model(inputs_embeds=x, attention_mask=mask, use_cache=False)[0]
        return found[:, -1]

    return Masked(model, call) if masked else Call(model, call)


def gpt2(attention: str, activation: str = "gelu_pytorch_tanh") -> nn.Module:
    """GPT-2, whose linear maps fold tokens into the batch; of embedded tokens and a mask."""
    options = {
        "vocab_size": 40, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 16,
        "activation_function": activation, "bos_token_id": 0, "eos_token_id": 0,
    }  # fmt: skip

    def call(model: Any, x: Tensor, mask: Tensor) -> Tensor:
        found: Tensor = model(inputs_embeds=x, attention_mask=mask, use_cache=False)[0]
        return found[:, -1]

    return Masked(disturbed(made("GPT2LMHeadModel", "GPT2Config", attention, **options)), call)


def pixels(count: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(count, 3, 32, 32, generator=generator, dtype=torch.float64)


def rows() -> Tensor:
    generator = torch.Generator().manual_seed(4)
    return torch.randn(2, TOKENS, 32, generator=generator, dtype=torch.float64)


def ids() -> Tensor:
    return torch.randint(40, (2, TOKENS), generator=torch.Generator().manual_seed(5))


def mask(left: bool = False) -> Tensor:
    """The first image's last (or first) tokens are padding."""
    hidden = slice(0, PAD) if left else slice(TOKENS - PAD, TOKENS)
    found = torch.ones(2, TOKENS, dtype=torch.long)
    found[0, hidden] = 0
    return found
