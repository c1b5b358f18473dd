"""Configuration: detectron2-style YAML, with one node `LRPC` for the compiler."""

from lrpc.config.load import default_config, load_config
from lrpc.config.node import Config

__all__ = ["Config", "default_config", "load_config"]
