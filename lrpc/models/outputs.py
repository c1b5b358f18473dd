"""The outputs of models of transformers under the names that targets have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

#: What models call their outputs, and what they are called here, best first.
NAMES = {
    "class_queries_logits": "pred_logits",
    "masks_queries_logits": "pred_masks",
    "logits": "pred_logits",
    "pred_boxes": "pred_boxes",
    "pred_masks": "pred_masks",
}


def named(outputs: Mapping[str, Any]) -> dict[str, Tensor]:
    """The outputs of a model under the names that targets have; the hidden states are left out."""
    found: dict[str, Tensor] = {}
    for name, own in NAMES.items():
        value = outputs.get(name)
        if isinstance(value, Tensor):
            found.setdefault(own, value)
    if "pred_boxes" in found or "pred_masks" in found:
        return found
    logits = outputs.get("logits")
    if isinstance(logits, Tensor):
        return semantic(logits) if logits.dim() == 4 else {"logits": logits}
    return {
        name: x for name, x in outputs.items() if isinstance(x, Tensor) and x.is_floating_point()
    }


def semantic(logits: Tensor) -> dict[str, Tensor]:
    """Logits of classes at pixels [B, C, h, w], and the mean logit of each class over the pixels
    where it is the largest, 0 where there are none: [B, C]."""
    own = logits == logits.amax(1, keepdim=True)
    count = own.sum((2, 3)).clamp(min=1)
    total = torch.where(own, logits, 0).sum((2, 3))
    return {"region_logits": total / count, "pixel_logits": logits}


def of_phrases(logits: Tensor, spans: Tensor) -> dict[str, Tensor]:
    """Logits of tokens [B, Q, T], and of each phrase, which is that of its best token: [B, Q, C].

    `spans` [C, T] says which tokens a phrase has. Of the logits, those beyond the text are left
    out.
    """
    tokens = logits[..., : spans.shape[1]]
    best = [tokens[..., span].amax(-1) for span in spans]
    return {"pred_logits": torch.stack(best, -1), "token_logits": tokens}
