"""Configuration: detectron2-style YAML, with one node `LRPC` for the compiler."""

from lrpc.config.load import default_config, filled, load_config, override_words, stated_config
from lrpc.config.node import Config
from lrpc.config.options import composite_options

__all__ = [
    "Config", "composite_options", "default_config", "filled", "load_config", "override_words",
    "stated_config",
]  # fmt: skip
