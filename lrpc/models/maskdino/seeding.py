"""Weights from names alone: the same on every machine, and nowhere zero."""

from __future__ import annotations

import math
import re
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

# One module under several names must get one value: names are mapped to the first of them.
_ALIASES = (
    (re.compile(r"predictor\.(decoder\.)?bbox_embed\.\d+\."), "predictor._bbox_embed."),
    (re.compile(r"predictor\.decoder_norm\."), "predictor.decoder.norm."),
)

_DRAWING = frozenset({
    *(nn.init.uniform_, nn.init.normal_, nn.init.kaiming_uniform_, nn.init.kaiming_normal_),
    *(Tensor.uniform_, Tensor.normal_),
})  # fmt: skip


class Undrawn(TorchFunctionMode):
    """While active, tensors that are filled at random keep what lies in their memory."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in _DRAWING:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


def seeded_weights(model: nn.Module, seed: int = 0) -> dict[str, Tensor]:
    """A state dict for `model`, each tensor drawn from a generator seeded by its own name.

    Offsets, attention weights and box refinements, which training starts from zero, are not zero:
    every path of the model carries something. `criterion.*` and integers (index tables) keep what
    the model has.
    """
    own = model.state_dict()
    names = {key: _drawn_as(key) for key in own if own[key].is_floating_point()}
    shapes = {names[key]: tuple(own[key].shape) for key in reversed(names)}  # of the first
    shapes = {name: shape for name, shape in shapes.items() if not name.startswith("criterion.")}
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        values = pool.map(lambda name: _draw(name, shapes[name], seed), shapes)
        drawn = dict(zip(shapes, map(torch.from_numpy, values), strict=True))
    return {key: drawn.get(names.get(key, ""), tensor) for key, tensor in own.items()}


def _drawn_as(key: str) -> str:
    """The name that a tensor is drawn by."""
    for pattern, replacement in _ALIASES:
        key = pattern.sub(replacement, key)
    return key


def _draw(name: str, shape: tuple[int, ...], seed: int) -> NDArray[np.float32]:
    """Values of one tensor, scaled by what it is for so that activations keep their size."""
    crc = zlib.crc32(name.encode())
    generator = np.random.Generator(np.random.PCG64(crc if seed == 0 else [crc, seed]))
    values: NDArray[np.floating] = generator.standard_normal(shape).astype(np.float32)
    last = name.rsplit(".", 1)[-1]
    if last == "running_var":
        values = 1 + 0.1 * np.abs(values)
    elif last in ("running_mean", "bias", "in_proj_bias"):
        values = 0.1 * values
    elif len(shape) == 1:
        values = 1 + 0.1 * values
    else:
        values = values / math.sqrt(math.prod(shape[1:]))
    if name.endswith("sampling_offsets.bias"):
        values = values * 10
    if name.endswith("class_embed.weight"):
        values = values * 4
    if "_bbox_embed.layers.2." in name:
        values = values * 0.1
    return values.astype(np.float32, copy=False)
