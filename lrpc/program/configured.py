"""What a config says of a compilation: composites, sizes, examples, places, targets, passes."""

from __future__ import annotations

import importlib
import math
from collections.abc import Sequence
from pathlib import PurePath

import torch
from torch import Tensor, nn

from lrpc.config import Config, filled
from lrpc.config.checks import SOURCES, TRANSFORMERS, wanted_for_segments
from lrpc.config.target_kinds import KINDS
from lrpc.errors import ConfigError
from lrpc.frontend.sizes import Dynamic
from lrpc.ir.graph import Module
from lrpc.models.maskdino.spec import MaskDINOSpec
from lrpc.models.pretrained import Pretrained
from lrpc.models.resizing import STEP
from lrpc.program.inner import inner_targets
from lrpc.program.places import startable
from lrpc.program.targets import (
    Places,
    Target,
    asked_places,
    maskdino_places,
    maskdino_targets,
    possible,
    with_boundaries,
)
from lrpc.rules.conditions import POSITIONS
from passes import Pass


def program_name(config: Config) -> str:
    """The name of what the config builds."""
    _, colon, function = str(config.LRPC.SOURCE).partition(":")
    function = PurePath(function).name
    return function if colon else str(config.MODEL.META_ARCHITECTURE).lower()


def shapes_of(config: Config) -> list[tuple[int, int]]:
    """The heights and widths of images that a program is planned for; one where none vary."""
    shapes = [(int(height), int(width)) for height, width in config.LRPC.SHAPES]
    if len(shapes) > 1 and not step_of(config):
        raise ConfigError(
            f"LRPC.SHAPES holds {len(shapes)} sizes; a program of one size holds one: set "
            "LRPC.DYNAMIC true, or compile once for each"
        )
    return shapes


def check_class_names(config: Config) -> None:
    """ConfigError where there are not as many names as classes."""
    names, count = config.LRPC.CLASS_NAMES, config.MODEL.SEM_SEG_HEAD.NUM_CLASSES
    if names and len(names) != count:
        raise ConfigError(
            f"LRPC.CLASS_NAMES holds {len(names)} names, MODEL.SEM_SEG_HEAD.NUM_CLASSES is {count}"
        )
    if config.LRPC.THINGS and max(config.LRPC.THINGS) >= count:
        raise ConfigError(
            f"LRPC.THINGS: there is no class {max(config.LRPC.THINGS)}; "
            f"MODEL.SEM_SEG_HEAD.NUM_CLASSES is {count}"
        )


def check_segments(config: Config) -> None:
    """ConfigError for targets of segments that the model's own inference does not make."""
    source, tests = str(config.LRPC.SOURCE), config.MODEL.MaskDINO.TEST
    for kind, on in (("semantic", tests.SEMANTIC_ON), ("panoptic", tests.PANOPTIC_ON)):
        if f"{kind}_segment" not in config.LRPC.TARGETS or config.LRPC.SCOPE:
            continue
        if source not in SOURCES:
            on = source.startswith(TRANSFORMERS) and kind == config.LRPC.TEXT
        if not on:
            raise ConfigError(
                f"{config.where('LRPC.TARGETS')}: LRPC.TARGETS: {kind}_segment: this model makes no"
                f" {kind} results; that wants {wanted_for_segments(source, kind)}"
            )


def step_of(config: Config) -> int:
    """The step that heights and widths go in; 0 where they do not vary."""
    given, least = config.LRPC.DYNAMIC, max(1, config.MODEL.MaskDINO.SIZE_DIVISIBILITY)
    if str(config.LRPC.SOURCE).startswith(TRANSFORMERS):
        varies = config.LRPC.RESIZE == "aspect" and not config.LRPC.SCOPE
        given, least = varies if given == "auto" else given, math.lcm(least, STEP)
    if given == "auto":
        given = config.LRPC.SOURCE in SOURCES and not config.LRPC.SCOPE and least > 1
    if given is False:
        return 0
    step = least if given is True else int(given)
    if step % least:
        raise ConfigError(
            f"LRPC.DYNAMIC: sizes in steps of {step}, but MODEL.MaskDINO.SIZE_DIVISIBILITY is "
            f"{least}; give a multiple of it"
        )
    return step


def of_one_size(config: Config, error: Exception) -> Config:
    """`config` for a program of one size, with a note, where nobody asked for any size; raises the
    `error` of a model that is not the same for all sizes elsewhere."""
    if config.where("LRPC.DYNAMIC") != "defaults" or not dynamic_sizes(config):
        raise error
    if config.LRPC.SOURCE in SOURCES:
        raise error  # of these every size is expected
    height, width = shapes_of(config)[0]
    note = f"one size, {height}×{width} (LRPC.SHAPES): {str(error).partition(';')[0]}"
    made = filled(config, {"LRPC.DYNAMIC": False}, config.LRPC.SOURCE)
    return Config(made.to_dict(), made.origins, (*config.notes, note))


def dynamic_sizes(config: Config) -> Dynamic:
    """The sizes that vary, by input and axis."""
    if not (step := step_of(config)):
        return {}
    names = ("H", step), ("W", step)
    sizes = {"images": dict(enumerate(names, 2))}
    return sizes | ({"padding_mask": dict(enumerate(names, 1))} if config.LRPC.PADDING_MASK else {})


def planned_sizes(config: Config) -> tuple[dict[str, int], ...]:
    """The sizes that a budget is kept for, by name, where they vary."""
    shapes = shapes_of(config)
    if not (step := step_of(config)):
        return ()
    for shape in shapes:
        if any(length % step for length in shape):
            raise ConfigError(f"LRPC.SHAPES: {list(shape)} is in no steps of {step} (LRPC.DYNAMIC)")
    return tuple({"H": height, "W": width} for height, width in shapes)


def example_inputs(config: Config, shape: tuple[int, int], dtype: torch.dtype) -> dict[str, Tensor]:
    """Seeded random images, and a mask of padded pixels where the program takes one."""
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(1, 3, *shape, generator=generator, dtype=torch.float64) * 255
    inputs = {"images": image.to(dtype)}
    if config.LRPC.PADDING_MASK:
        mask = torch.zeros(1, *shape, dtype=torch.bool)
        mask[:, shape[0] - max(1, shape[0] // 4) :] = True  # seen at a stride of 32, too
        inputs["padding_mask"] = mask
    return inputs


def places_of(config: Config, model: nn.Module) -> Places:
    """Where relevance can be read and where it ends."""
    if isinstance(model, Pretrained):
        asked, shape = _asked(config), shapes_of(config)[0]
        try:
            layers = _layers(model, shape, asked)
        except Exception as error:  # its own code, which may raise anything
            reason = str(error).strip().partition("\n")[0]
            raise ConfigError(
                f"{config.where('LRPC.SOURCE')}: LRPC.SOURCE: the model fails on an image of"
                f" {shape[0]}×{shape[1]} alone ({type(error).__name__}: {reason:.200}); set"
                " LRPC.SHAPES to what it takes, or compile it from Python"
            ) from error
        return with_boundaries(layers, config.LRPC.BOUNDARIES)
    if config.LRPC.SOURCE not in SOURCES:
        return with_boundaries(_image_of(config, model), config.LRPC.BOUNDARIES)
    spec, options = MaskDINOSpec.from_config(config), config.LRPC
    places = maskdino_places(
        config.MODEL.SEM_SEG_HEAD.TRANSFORMER_ENC_LAYERS,
        config.MODEL.MaskDINO.DEC_LAYERS,
        [*spec.encoder_features, *(f"extra{i}" for i in range(spec.extra_levels))],
        asked_places(options.TARGETS, *_asked(config)),
        spec.backbone.places,
    )
    return with_boundaries(places, options.BOUNDARIES)


def _asked(config: Config) -> tuple[str, ...]:
    """The names and patterns of places that a config speaks of, targets aside."""
    options = config.LRPC
    masked = (name.removesuffix(POSITIONS) for name in options.CONDITIONS)
    return (*options.READ, *options.BOUNDARIES, *options.STARTS, *masked)


def _image_of(config: Config, model: nn.Module) -> Places:
    """The image of a model of the user's own: what its submodule `normalize` makes of the images,
    where it has one that makes images of the same shape; otherwise the images themselves."""
    normalize = getattr(model, "normalize", None)
    if not isinstance(normalize, nn.Module):
        return Places()
    dtype = next((p.dtype for p in model.parameters()), torch.float32)
    given = example_inputs(config, shapes_of(config)[0], dtype)
    found: list[bool] = []

    def note(_module: nn.Module, args: tuple[object, ...], made: object) -> None:
        image = args[0] if args else None
        same = isinstance(made, Tensor) and made.shape == given["images"].shape
        found.append(same and image is given["images"])

    hook = normalize.register_forward_hook(note)
    try:
        with torch.no_grad():
            model(**given)
    except Exception:  # its own code, which may raise anything; the tracer says what and where
        return Places()
    finally:
        hook.remove()
    if found != [True]:
        return Places()
    return Places({"input": "normalize"}, ("input",), {"input": "images"})


def _layers(model: Pretrained, shape: tuple[int, int], asked: Sequence[str] = ()) -> Places:
    """The layers of a model of transformers, and its image; what enters the first layer of a stack
    where it is `asked` for."""
    paths = {"input": "normalize"}
    for kind, layers in model.layer_places(shape).items():
        paths |= {f"{kind}.layers.{i}": path for i, path in enumerate(layers)}
        if f"{kind}.input" in asked:
            paths[f"{kind}.input"] = f"{model.layers[kind]}.0:in0"
    return Places(paths, ("input",), {"input": "images"})


def targets_of(config: Config, module: Module) -> list[Target]:
    """What relevance can start from."""
    return [*_of_outputs(config, module), *inner_targets(module.graph, config.LRPC.STARTS)]


def _of_outputs(config: Config, module: Module) -> list[Target]:
    """The targets that LRPC.TARGETS names, or those of all outputs."""
    if config.LRPC.SOURCE in SOURCES and not config.LRPC.SCOPE:
        return maskdino_targets(list(config.LRPC.TARGETS), module.graph)
    every = startable(module.graph)
    names = list(config.LRPC.TARGETS if asked(config) else KINDS)
    possible_ones = [name for name in names if possible(name, module.graph)]
    theirs = str(config.LRPC.SOURCE).startswith(TRANSFORMERS)
    if config.LRPC.SCOPE or not (possible_ones or (theirs and asked(config))):
        return every
    if asked(config):
        return maskdino_targets(names, module.graph)
    found = maskdino_targets(possible_ones, module.graph)
    starts = {target.place for target in found}
    return [*found, *(target for target in every if target.place not in starts)]


def asked(config: Config) -> bool:
    """Whether LRPC.TARGETS was set."""
    return config.where("LRPC.TARGETS") != "defaults"


def unused(config: Config, targets: Sequence[Target]) -> list[str]:
    """What is to be said where LRPC.TARGETS was set, and the model has none of those targets."""
    key = "LRPC.TARGETS"
    theirs = config.LRPC.SOURCE in SOURCES and not config.LRPC.SCOPE
    if (
        theirs
        or not asked(config)
        or any(target.name.partition(":")[0] in KINDS for target in targets)
    ):
        return []
    names = ", ".join(target.name for target in targets)
    return [f"{key} names targets of a whole MaskDINO, and is not used here: there are {names}"]


def extra_pass(path: str) -> Pass:
    """The pass of the user's own at `package.module:Class`."""
    module, _, name = path.partition(":")
    try:
        made: Pass = getattr(importlib.import_module(module), name)()
    except (ImportError, AttributeError, TypeError) as error:
        raise ConfigError(f"LRPC.PASSES: {path} cannot be made: {error}") from error
    return made
