"""The model of a config, as `lrpc verify` holds a program against it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from lrpc.config import Config
from lrpc.errors import ConfigError
from lrpc.frontend.calls import ModelCall
from lrpc.frontend.capture import model_example
from lrpc.models.sources import build_model
from lrpc.program.configured import example_inputs
from lrpc.program.mixed import DTYPES


class ConfiguredModel:
    """The model that a config builds, in the precision of a program with this manifest.

    Raises ConfigError where the program was not compiled from a config.
    """

    def __init__(self, config: Config, manifest: Mapping[str, Any]) -> None:
        if "config" not in manifest:
            raise ConfigError("--config: the program was compiled from Python, not from a config")
        self.config, self.shape = config, manifest["shapes"][0]
        self.dtype = DTYPES[str(manifest["settings"]["precision"])]
        self.model = build_model(config)[0].to(self.dtype)
        self.scope = str(manifest["config"]["LRPC"]["SCOPE"])

    def run(self, point: Mapping[str, int]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """What goes into the traced part at images of some size, and what comes out, by name."""
        shape = (point.get("H", self.shape[0]), point.get("W", self.shape[1]))
        inputs = example_inputs(self.config, shape, self.dtype)
        example = model_example(self.model, inputs, {})
        given, _, wanted = ModelCall(self.model, example, self.scope).run(example)
        return given, wanted
