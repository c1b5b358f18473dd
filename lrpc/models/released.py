"""The released MaskDINO as detectron2 builds it, from the user's own installation."""

from __future__ import annotations

import importlib
import io
from collections.abc import Sequence
from contextlib import redirect_stdout
from typing import Any

import torch
from torch import Tensor, nn

from lrpc.config import Config
from lrpc.config.schema import DEFAULTS, flatten
from lrpc.errors import ConfigError
from lrpc.models.maskdino.further import PROPOSALS, further_outputs
from lrpc.models.maskdino.normalize import Normalize

_OUTPUTS = ("pred_logits", "pred_boxes", "pred_masks")


class ReleasedMaskDINO(nn.Module):
    """Inference of a released model without its image lists; module paths are the released ones."""

    def __init__(self, released: nn.Module, further: Sequence[str] = ()) -> None:
        super().__init__()
        parts: Any = released
        self.further = tuple(further)
        self.normalize = Normalize(parts.pixel_mean, parts.pixel_std)
        self.backbone = parts.backbone
        self.sem_seg_head = parts.sem_seg_head
        self.criterion = parts.criterion  # never called: its state belongs to checkpoints

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Images [B, 3, H, W] (RGB, 0–255) → what the last decoder layer predicts.

        H and W are multiples of 32. Returns `pred_logits` [B, Q, K], `pred_boxes` (cx, cy, w, h in
        [0, 1]) [B, Q, 4] and `pred_masks` [B, Q, H/4, W/4].
        """
        outputs, _ = self.sem_seg_head(self.backbone(self.normalize(images)))
        found = {name: outputs[name] for name in _OUTPUTS}
        return found | {name: self._further(name, outputs) for name in self.further}

    def _further(self, name: str, outputs: Any) -> Tensor:
        """An output beside the last layer's, where the released code keeps it."""
        if name == PROPOSALS:
            return outputs["interm_outputs"]["pred_logits"]  # type: ignore[no-any-return]
        kind, _, layer = name.partition(".")
        head: Any = self.sem_seg_head
        layers = [*outputs["aux_outputs"], outputs][int(head.predictor.initial_pred) :]
        found: Tensor = layers[int(layer)][kind.replace("layer_", "pred_")]
        return found


def build_released(config: Config) -> ReleasedMaskDINO:
    """Return the installed MaskDINO for `config`, on the CPU, its weights not loaded yet.

    Raises ConfigError where detectron2 or MaskDINO is missing, or does not know what `config` sets.
    """
    if config.INPUT.FORMAT != "RGB":
        raise ConfigError(
            f"{config.where('INPUT.FORMAT')}: INPUT.FORMAT: expected RGB, got "
            f"{config.INPUT.FORMAT}; images are given as RGB"
        )
    settings = _import(config, "detectron2.config").get_cfg()
    _import(config, "detectron2.projects.deeplab").add_deeplab_config(settings)
    _import(config, "maskdino").add_maskdino_config(settings)
    _transfer(config, settings)
    build: Any = _import(config, "detectron2.modeling").build_model
    # Construction draws numbers that nobody will see, and prints the weights of the losses.
    dino = config.MODEL.MaskDINO
    further = further_outputs(config.LRPC.TARGETS, dino.DEC_LAYERS, dino.TWO_STAGE)
    if beside := {"box_logits", "box_refinements"} & set(further):
        raise ConfigError(
            f"{config.where('LRPC.TARGETS')}: LRPC.TARGETS: {min(beside)}: the released code does"
            " not return them; set LRPC.SOURCE embedded"
        )
    last = f"layer_masks.{dino.DEC_LAYERS - 1}"
    if any(name.startswith("layer_masks.") and name != last for name in further):
        raise ConfigError(
            f"{config.where('LRPC.TARGETS')}: LRPC.TARGETS: layer_mask_logit: at inference the"
            " released code makes masks of the last layer alone; set LRPC.SOURCE embedded"
        )
    with torch.random.fork_rng(devices=[]), redirect_stdout(io.StringIO()):
        return ReleasedMaskDINO(build(settings), further)


def _import(config: Config, name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(
            f"{config.where('LRPC.SOURCE')}: LRPC.SOURCE: {name} cannot be imported ({error}); "
            "install detectron2 and MaskDINO from their sources, or use embedded"
        ) from error


def _transfer(config: Config, settings: Any) -> None:
    """Set every value of `config` in detectron2's own configuration `settings`."""
    known = dict(flatten(settings))
    for key, value in flatten(config.to_dict()):
        if key.startswith("LRPC."):
            continue
        if key in known:
            settings.merge_from_list([key, value])
        elif value != DEFAULTS[key]:
            raise ConfigError(
                f"{config.where(key)}: {key}: the installed detectron2 does not know it; remove it"
            )
    settings.MODEL.DEVICE = "cpu"
    settings.MODEL.WEIGHTS = ""
    # The released model looks up the metadata of its first data set even where it has none.
    settings.DATASETS.TRAIN = settings.DATASETS.TRAIN or ("none",)
