"""Where a model comes from: the embedded one, the released one, or a function of the user's."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lrpc.config import Config
from lrpc.config.checks import TRANSFORMERS
from lrpc.errors import ConfigError, LrpcError, WeightsError
from lrpc.models.fitting import fill
from lrpc.models.maskdino import WHAT, construct_maskdino, seeded_weights
from lrpc.models.pretrained import build_pretrained
from lrpc.models.records import WeightsInfo
from lrpc.models.released import build_released
from lrpc.models.weights import file_sha256, read_weights, weights_sha256

_KEY = "MODEL.WEIGHTS"
#: The model of each source that has a name, empty of weights, and what errors call it.
BUILDERS: dict[str, tuple[Callable[[Config], nn.Module], str]] = {
    "embedded": (construct_maskdino, WHAT),
    "detectron2": (build_released, "this model"),
}
_INITIALISATION = "detectron2://ImageNetPretrained/"


def build_model(config: Config) -> tuple[nn.Module, WeightsInfo]:
    """Return the model that `config` describes, in evaluation mode without gradients, on the CPU.

    The embedded and the released MaskDINO map images [B, 3, H, W] (RGB, 0–255, H and W multiples of
    32) to `pred_logits`, `pred_boxes` and `pred_masks`; their submodule `normalize` yields the
    image at which pixel relevance is read. A function of the user's is called with `config`, and
    loads MODEL.WEIGHTS itself. Raises ConfigError or WeightsError, in one line.
    """
    source: str = config.LRPC.SOURCE
    if source.startswith(TRANSFORMERS):
        pretrained, info = build_pretrained(config)
        return pretrained.eval().requires_grad_(False), info
    if ":" in source:
        return _call(config, source).eval().requires_grad_(False), _own_weights(config)
    _check_architecture(config)
    weights, info = _weights(config)
    build, what = BUILDERS[source]
    model = build(config)
    if weights is None:
        fill(model, seeded_weights(model, config.LRPC.INIT_SEED))
    elif note := fill(model, weights, what):
        info = replace(info, note=f"{info.note}; {note}")
    return model.eval().requires_grad_(False), info


def _check_architecture(config: Config) -> None:
    key = "MODEL.META_ARCHITECTURE"
    if config.MODEL.META_ARCHITECTURE != "MaskDINO":
        raise ConfigError(
            f"{config.where(key)}: {key}: expected MaskDINO, got "
            f"{config.MODEL.META_ARCHITECTURE}; correct it, or name your own model in LRPC.SOURCE"
        )


def _weights(config: Config) -> tuple[dict[str, Tensor] | None, WeightsInfo]:
    path: str = config.MODEL.WEIGHTS
    if not path or path.startswith(_INITIALISATION):
        # A released YAML names the backbone that training starts from: that is no trained model.
        what = f"{path} starts a training" if path else "is empty"
        note = (
            f"MODEL.WEIGHTS {what}: the weights are RANDOM (seed {config.LRPC.INIT_SEED}), "
            "outputs and relevance mean nothing; set it to a trained checkpoint"
        )
        return None, WeightsInfo(None, None, True, note)
    try:
        loaded = read_weights(path, config.LRPC.WEIGHTS_ENTRY)
    except WeightsError as error:
        raise WeightsError(f"{config.where(_KEY)}: {_KEY}: {error}") from error
    note = f"weights from {Path(path).name}" + (f": {loaded.note}" if loaded.note else "")
    return loaded.tensors, WeightsInfo(path, weights_sha256(path), False, note)


def _own_weights(config: Config) -> WeightsInfo:
    """What is known of the weights of a model that loads them itself."""
    path: str = config.MODEL.WEIGHTS
    note = f"{config.LRPC.SOURCE} takes care of its own weights"
    try:
        return WeightsInfo(path or None, file_sha256(path) if path else None, False, note)
    except OSError as error:
        raise WeightsError(
            f"{config.where(_KEY)}: {_KEY}: {path}: {(error.strerror or str(error)).lower()}; "
            "check the path"
        ) from error


def _call(config: Config, source: str) -> nn.Module:
    place = f"{config.where('LRPC.SOURCE')}: LRPC.SOURCE: {source}"
    module_name, _, function_name = source.partition(":")
    try:
        function: Any = getattr(importlib.import_module(module_name), function_name)
    except ImportError as error:
        raise ConfigError(
            f"{place}: cannot be imported ({error}); install it or add its folder to PYTHONPATH"
        ) from error
    except AttributeError as error:
        raise ConfigError(
            f"{place}: {module_name} has no {function_name}; name a function in it"
        ) from error
    if not callable(function):
        raise ConfigError(f"{place}: is not callable; name a function of the configuration")
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.LRPC.INIT_SEED)
            model = function(config)
    except LrpcError:
        raise
    except Exception as error:
        raise ConfigError(f"{place}: raised {type(error).__name__}: {error}; correct it") from error
    if not isinstance(model, nn.Module):
        raise ConfigError(
            f"{place}: returned {type(model).__name__}; return a torch.nn.Module from it"
        )
    return model
