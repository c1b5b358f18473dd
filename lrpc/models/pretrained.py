"""Models of transformers: from a local directory, under the names that MaskDINO's parts have."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from lrpc.config import Config, filled
from lrpc.config.checks import TRANSFORMERS
from lrpc.errors import ConfigError, WeightsError
from lrpc.models.maskdino.normalize import Normalize
from lrpc.models.outputs import named, of_phrases
from lrpc.models.processor import PROCESSORS, as_described
from lrpc.models.records import WeightsInfo
from lrpc.models.texts import Text, phrases_of, read_text, takes_phrases
from lrpc.models.weights import file_sha256

_BACKBONE = re.compile(r"backbone|pixel_level_module\.encoder|text")
NONE = Text()
_LISTS = ("layers", "layer", "block")


class Pretrained(nn.Module):
    """A model of transformers that takes images as MaskDINO does; its own modules are in `model`.

    `layers` has the module paths of the encoder's and the decoder's list of layers, as far as there
    are any. A `text` that it takes is fixed.
    """

    def __init__(self, model: nn.Module, mean: Tensor, std: Tensor, text: Text = NONE) -> None:
        super().__init__()
        self.text = tuple(text.inputs)
        for name, tokens in text.inputs.items():
            self.register_buffer(name, tokens, persistent=False)
        self.spans = text.spans
        self.normalize = Normalize(mean, std)
        self.model = model
        self.layers = {kind: f"model.{path}" for kind, path in layer_lists(model).items()}

    def forward(self, images: Tensor, padding_mask: Tensor | None = None) -> dict[str, Tensor]:
        """Images [B, 3, H, W] (RGB, 0–255), padding [B, H, W] (true) → outputs by name.

        Detectors and segmenters return `pred_logits` [B, Q, C], and `pred_boxes` (cx, cy, w, h in
        [0, 1]) [B, Q, 4], `pred_masks` [B, Q, h, w] or both; other models what they return.
        """
        given = {} if padding_mask is None else {"pixel_mask": (~padding_mask).long()}
        for name in self.text:
            given[name] = self.get_buffer(name).expand(len(images), -1)
        with _uncached():
            made = self.model(pixel_values=self.normalize(images), return_dict=True, **given)
        if self.spans is None:
            return named(made)
        return {**of_phrases(made["logits"], self.spans), "pred_boxes": made["pred_boxes"]}

    @torch.no_grad()
    def layer_places(self, shape: tuple[int, int]) -> dict[str, list[str]]:
        """Where the layers of encoder and decoder hand on what they computed: of several results
        the first. The model is run on an image of this size."""
        parts: dict[str, str] = {}
        lists = {
            kind: cast(nn.ModuleList, self.get_submodule(p)) for kind, p in self.layers.items()
        }
        hooks = [
            layers[0].register_forward_hook(partial(_note_part, parts, kind))
            for kind, layers in lists.items()
        ]
        try:
            self(self.normalize.mean.new_zeros(1, 3, *shape))
        finally:
            for hook in hooks:
                hook.remove()
        return {
            kind: [f"{self.layers[kind]}.{i}{parts[kind]}" for i in range(len(own))]
            for kind, own in lists.items()
        }


@contextmanager
def _uncached() -> Iterator[None]:
    """While active, models compute what they otherwise keep for images of the same size, such as
    anchors: a trace must see it."""
    tools: Any = importlib.import_module("transformers.pytorch_utils")
    asked = tools.is_torchdynamo_compiling
    tools.is_torchdynamo_compiling = lambda: True
    try:
        yield
    finally:
        tools.is_torchdynamo_compiling = asked


def _note_part(
    found: dict[str, str], kind: str, _module: nn.Module, _given: Any, made: Any
) -> None:
    """Which part of what a layer gives is its first tensor, as places name parts."""
    depth = 0
    while not isinstance(made, Tensor):
        made, depth = made[0], depth + 1
    found[kind] = f":out{'.'.join('0' * depth)}" if depth else ""


def layer_lists(model: nn.Module) -> dict[str, str]:
    """The module paths of the lists of encoder and decoder layers, backbones left out; the layers
    of a model that has one stack and no name for it are an encoder's."""
    found: dict[str, str] = {}
    others: list[str] = []
    for path, module in model.named_modules():
        parts = path.split(".")
        if not isinstance(module, nn.ModuleList) or parts[-1] not in _LISTS:
            continue
        kinds = [k for part in parts[-2::-1] for k in ("encoder", "decoder") if k in part]
        if kinds and not _BACKBONE.search(path):
            found.setdefault(kinds[0], path)
        elif not kinds and not _BACKBONE.search(path):
            others.append(path)
    if not found and len(others) == 1:
        found["encoder"] = others[0]
    return found


def read_described(config: Config) -> Config:
    """`config` with what the files of the model of transformers that it names say, if it names one.
    Raises ConfigError."""
    if not config.LRPC.SOURCE.startswith(TRANSFORMERS):
        return config
    place = config.LRPC.SOURCE.removeprefix(TRANSFORMERS)
    library = _library(config)
    settings = _loaded(config, library.AutoConfig.from_pretrained, place)
    takes = _takes(config, _class(config, library, settings))
    path = next((path for name in PROCESSORS if (path := Path(place, name)).is_file()), None)
    if path is None:
        path = Path(_loaded(config, _cached, place))
    if takes_phrases(takes):
        names = phrases_of(config)
        found = {"LRPC.CLASS_NAMES": names, "MODEL.SEM_SEG_HEAD.NUM_CLASSES": len(names)}
        config = filled(config, found, "LRPC.TEXT")
    made = as_described(config, settings, path)
    masked = "pixel_mask" in takes
    by_step = made.LRPC.RESIZE == "aspect" and made.MODEL.MaskDINO.SIZE_DIVISIBILITY == 1
    if masked and by_step and made.LRPC.DYNAMIC is not False:
        made = filled(made, {"LRPC.PADDING_MASK": True}, str(path))
    return made


def build_pretrained(config: Config) -> tuple[Pretrained, WeightsInfo]:
    """The model in the folder that LRPC.SOURCE names, with its weights, and what is known of them.

    Raises ConfigError and WeightsError, in one line.
    """
    place, library = config.LRPC.SOURCE.removeprefix(TRANSFORMERS), _library(config)
    settings = _loaded(config, library.AutoConfig.from_pretrained, place)
    kind = _class(config, library, settings)
    load, tokenizer = kind.from_pretrained, library.AutoTokenizer.from_pretrained
    takes = _takes(config, kind)
    text = read_text(config, settings, takes, lambda: _loaded(config, tokenizer, place))
    with torch.random.fork_rng(devices=[]):
        model, loading = _loaded(config, load, place, dtype=torch.float32, output_loading_info=True)
    if missing := sorted(loading["missing_keys"]):
        raise WeightsError(
            f"{place}: lacks {len(missing)} weights of {type(model).__name__}, such as"
            f" {missing[0]}; name a checkpoint of this model with its head"
        )
    pixels = (config.MODEL.PIXEL_MEAN, config.MODEL.PIXEL_STD)
    mean, std = (torch.tensor(values)[:, None, None] for values in pixels)
    return Pretrained(model, mean, std, text), _known(place, type(model).__name__)


def _known(place: str, architecture: str) -> WeightsInfo:
    """What is known of the weights in a folder; the checksum is that of all its files of weights,
    one after the other."""
    files = sorted(Path(place).glob("*.safetensors")) or sorted(Path(place).glob("*.bin"))
    found = hashlib.sha256("".join(map(file_sha256, files)).encode()).hexdigest()
    digest = file_sha256(files[0]) if len(files) == 1 else found if files else None
    note = f"weights of {architecture} from {Path(place).name}"
    return WeightsInfo(str(files[0]) if files else None, digest, False, note)


def _library(config: Config) -> Any:
    try:
        return importlib.import_module("transformers")
    except ImportError as error:
        raise ConfigError(
            f"{config.where('LRPC.SOURCE')}: LRPC.SOURCE: transformers cannot be imported"
            f" ({error}); pip install 'lrpc[transformers]'"
        ) from error


def _cached(place: str, **_: Any) -> str:
    from transformers.utils.hub import cached_file

    return str(cached_file(place, PROCESSORS[0], local_files_only=True))


def _loaded(config: Config, load: Any, place: str, **options: Any) -> Any:
    """What transformers loads from a place on this machine; ConfigError in one line."""
    try:
        with _quiet():
            return load(place, local_files_only=True, **options)
    except Exception as error:  # its own code, which may raise anything on a damaged file
        raise ConfigError(
            f"{config.where('LRPC.SOURCE')}: LRPC.SOURCE: {place}: {_reason(error):.200}; name a"
            " folder that save_pretrained wrote, or a model that is in the cache"
        ) from error


def _reason(error: Exception) -> str:
    """What an error of transformers says, in one line that can be read alone."""
    if "ignore_mismatched_sizes" in str(error):
        return (
            "the shapes of its weights are not those that its config.json asks for, as where"
            " id2label has another number of classes"
        )
    lines = [line.strip() for line in str(error).strip().splitlines()] or [""]
    text = " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]
    plain = isinstance(error, (OSError, ValueError, ImportError, RuntimeError, SafetensorError))
    return text if plain and text else f"{type(error).__name__}: {text}"


@contextmanager
def _quiet() -> Iterator[None]:
    """While active, transformers neither draws progress nor reports weights in tables of its own:
    an error says what matters."""
    log: Any = importlib.import_module("transformers.utils.logging")
    drawn, level = log.is_progress_bar_enabled(), log.get_verbosity()
    log.disable_progress_bar()
    log.set_verbosity(log.CRITICAL)
    try:
        yield
    finally:
        log.set_verbosity(level)
        if drawn:
            log.enable_progress_bar()


def _class(config: Config, library: Any, settings: Any) -> Any:
    """The class of the model that its settings name; ConfigError where that is none."""
    names = [str(name) for name in settings.architectures or []]
    try:
        kind = getattr(library, names[0], None) if names else None
    except ImportError as error:  # of a package that the model wants, such as torchvision
        cause = str(error.__cause__ or error).strip().partition("\n")[0]
        raise ConfigError(
            f"{config.where('LRPC.SOURCE')}: LRPC.SOURCE: transformers cannot import {names[0]}"
            f" ({cause:.200}); install what it wants"
        ) from error
    if not (isinstance(kind, type) and issubclass(kind, nn.Module)):
        raise ConfigError(
            f"{config.where('LRPC.SOURCE')}: LRPC.SOURCE: its config.json names no architecture"
            f" of this transformers ({', '.join(names) or 'none'}); save the whole model"
        )
    return kind


def _takes(config: Config, kind: Any) -> Mapping[str, inspect.Parameter]:
    """The arguments of a class of models, by name; ConfigError where images are none."""
    takes = inspect.signature(kind.forward).parameters
    if "pixel_values" not in takes:
        raise ConfigError(
            f"{config.where('LRPC.SOURCE')}: LRPC.SOURCE: {kind.__name__} takes no images; compile"
            " it from Python, with lrpc.compile(model, inputs)"
        )
    return takes
