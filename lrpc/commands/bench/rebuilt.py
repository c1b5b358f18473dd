"""The model behind a program, where its config can build it again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lrpc.commands.bench.tf32 import matmuls
from lrpc.config import stated_config
from lrpc.config.checks import TRANSFORMERS
from lrpc.errors import ConfigError, LrpcError
from lrpc.models.sources import build_model
from lrpc.models.weights import file_sha256
from lrpc.rules.plugins import load_allowed

#: The largest relative difference of outputs, by precision: the median over what may flip.
LIMITS = {"fp64": 1e-9, "tf32": 2e-2, "bf16": 1.5e-1}


@dataclass(frozen=True)
class Original:
    """The model on the program's inputs."""

    model: nn.Module
    inputs: Mapping[str, Tensor]
    tf32: bool

    def forward(self) -> dict[str, Tensor]:
        with torch.no_grad(), matmuls(self.tf32):
            return named(self.model(**self.inputs))

    def gradient(self) -> Tensor:
        """The gradient of one number of the first output in the first input, for each image."""
        first, *_ = self.inputs
        leaf = self.inputs[first].detach().requires_grad_(True)
        with matmuls(self.tf32):
            out = next(iter(named(self.model(**{**self.inputs, first: leaf})).values()))
            return torch.autograd.grad(out.flatten(1)[:, 0].sum(), leaf)[0]


def original(
    manifest: Mapping[str, Any],
    inputs: Mapping[str, Tensor],
    device: str,
    weights: Path | None,
    source: str = "",
    plugins: Sequence[str] = (),
    overrides: Sequence[str] = (),
) -> Original | str:
    """The model, or in one line why it cannot be had. The function and the plugins that a manifest
    names are code: they are run where `source` and `plugins` name the same. `overrides` are KEY
    VALUE … of the manifest's config; a file in place of its weights must hold the same."""
    if "config" not in manifest:
        return "compiled from Python: its directory does not say how to build the model"
    given = [] if weights is None else ["MODEL.WEIGHTS", str(weights)]
    words = [*overrides, *given]
    config = stated_config(manifest["config"], words)
    if config.LRPC.SCOPE:
        return f"the program is a part of its model, {config.LRPC.SCOPE}"
    if "MODEL.WEIGHTS" in words[::2]:
        _check(Path(config.MODEL.WEIGHTS), manifest["weights"]["sha256"])
    elif config.MODEL.WEIGHTS and not manifest["weights"]["random"]:
        file = manifest["config"]["MODEL"]["WEIGHTS"]
        return f"give --weights FILE, the checkpoint {file} of its config"
    named, theirs = str(config.LRPC.SOURCE), source.startswith(TRANSFORMERS)
    if named.startswith(TRANSFORMERS):
        folder = named.removeprefix(TRANSFORMERS)
        if not theirs:
            return f"give --source {TRANSFORMERS}FOLDER, the folder {folder} of its config"
        config = stated_config(manifest["config"], [*words, "LRPC.SOURCE", source])
    elif ":" in named and named != source:
        return f"a function builds it, which is code: allow it with --source {named}"
    load_allowed(manifest, plugins)
    try:
        model, info = build_model(config)
    except LrpcError as error:
        return f"its config builds no model here: {str(error).splitlines()[0]}"
    if theirs and info.sha256 != manifest["weights"]["sha256"]:
        raise ConfigError(f"--source {source}: not the weights that the program was compiled from")
    dtype = next((x.dtype for x in inputs.values() if x.is_floating_point()), torch.float32)
    return Original(model.to(device, dtype), inputs, manifest.get("precision") == "tf32")


def _check(weights: Path, wanted: str | None) -> None:
    try:
        found = file_sha256(str(weights))
    except OSError as error:
        raise ConfigError(f"--weights {weights}: {error.strerror}") from None
    if wanted is not None and found != wanted:
        raise ConfigError(f"--weights {weights}: not the file that the program was compiled from")


def named(outputs: Any) -> dict[str, Tensor]:
    """The floating tensors of a model's outputs, by key or number."""
    if isinstance(outputs, Tensor):
        return {"output": outputs}
    items = outputs.items() if isinstance(outputs, Mapping) else enumerate(outputs)
    return {str(k): v for k, v in items if isinstance(v, Tensor) and v.is_floating_point()}


def apart(found: Any, expected: Mapping[str, Tensor]) -> float:
    """How far outputs differ, relative to the largest of each: of images and rows (queries) the
    median, for a mask pixel at its threshold may flip a box between any two implementations."""
    mine = named(found)
    parts = []
    for name, wanted in expected.items():
        difference = (mine[name].double() - wanted.double()).abs() / wanted.double().abs().max()
        rows = difference.flatten(2) if difference.dim() > 2 else difference[..., None]
        parts.append(rows.amax(-1).flatten())
    return max(float(part.median()) for part in parts)
