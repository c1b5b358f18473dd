"""Composes the stages: model → imported graph → annotated graph → the files of a program."""

from __future__ import annotations

import importlib
import json
import shutil
import tempfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lrpc.build import Settings, Variant, annotate, build
from lrpc.config import Config, composite_options
from lrpc.config.checks import parse_budget
from lrpc.config.schema import CHECKPOINTS
from lrpc.directory import dumping, write_files
from lrpc.errors import ConfigError, ProgramError
from lrpc.frontend import given, import_model
from lrpc.frontend.arguments import Arguments, example_tensors, import_call
from lrpc.frontend.modes import without_modes
from lrpc.ir.graph import Module
from lrpc.ir.parser import parse_graph
from lrpc.manifest import Report, own_facts, report_of, stated_targets
from lrpc.marks import startable
from lrpc.mixed import DTYPES, check_precision
from lrpc.models.maskdino.spec import MaskDINOSpec
from lrpc.models.sources import build_model
from lrpc.rules.composite import Composite, listed_rules
from lrpc.rules.plugins import load_plugins, plugins_of
from lrpc.rules.several import Common, Given, composites
from lrpc.rules.stated import check_rules
from lrpc.rules.unmatched import check_chosen
from lrpc.run.devices import check_load
from lrpc.run.program_dir import (
    Owner,
    composite_of_graph,
    composites_of,
    load_program,
    owned,
    under_composite,
)
from lrpc.run.protocol import Program
from lrpc.targets import (
    Places,
    Target,
    asked_places,
    inside,
    maskdino_places,
    maskdino_targets,
    stopping,
)
from lrpc.weights import load_weights
from passes import Pass

# -- from Python -----------------------------------------------------------------------------------


@without_modes()
def compile(
    model: nn.Module,
    args: Arguments,
    kwargs: Mapping[str, Any] | None = None,
    *,
    composite: Given = "attnlrp",
    epsilon: float | None = None,
    rules: Sequence[Mapping[str, object]] = (),
    seeds: int = 8,
    scope: str = "",
    read: Mapping[str, str] | None = None,
    unbatched: Collection[str] = (),
    fold_batch_norm: bool = True,
    checkpoint: str = "none",
    budget: str | int = "",
    precision: str = "",
    device: str = "cpu",
    compile: bool = False,
    capture: bool = False,
    keep_pages: bool = False,
) -> Program:
    """Compile any model that traces; return it as a loaded program.

    `model(*args, **kwargs)` is an example call; `args` may be a mapping by name. Its tensors become
    the program's inputs, batch first but for those named in `unbatched`; B is free in the program.
    Everything else in it stays as it is. `scope` compiles the submodule at that path alone, on what
    the model feeds it. `read` names further places where relevance can be read, as module paths.
    Every floating output is a target, by its name (`output` where there is one).

    `composite` is a name, or what `lrpc.composite` makes of a name and options; a list of them, or
    a mapping of own names to them or to `{"composite": NAME, "epsilon": ..., "rules": [...]}` with
    the composite's options, makes a program of several that share the forward pass. `rules` come
    before the entries of each, and ε is its own unless given. `fold_batch_norm=False` keeps batch
    norms apart from the maps before them. `precision`: fp64 and fp32 are the model's, tf32 and bf16
    are held against float64, and the manifest has the report. `seeds` go through it at once, or
    fewer under a `budget`: bytes for one image beside weights and inputs, or a share ("50%") of
    what it would hold. `checkpoint`, what relevance may compute again instead: `none`, `block`
    (all), `auto` (what the budget asks for). The last three are those of `load`. Raises LrpcError.
    """
    given.check_texts(scope=scope, precision=precision)
    switches = {"compile": compile, "capture": capture, "keep_pages": keep_pages}
    given.check_switches(fold_batch_norm=fold_batch_norm, **switches)
    check_load(device, capture)
    marks, limit = given.places_read(read), _limit(checkpoint, budget)
    count, own_inputs = given.seed_count(seeds), given.names_of_inputs(unbatched)
    chosen = composites(composite, Common(epsilon, listed_rules(rules)))
    how: Any = {"scope": scope, "marks": marks, "unbatched": own_inputs}
    imported, fixed = import_call(model, args, kwargs, **how)
    given.check_places(marks, [value.name for value in imported.module.graph.inputs])
    own = check_precision(precision, imported.module.graph)
    variants = annotate(imported.module, chosen, fold_batch_norm=fold_batch_norm)
    check_chosen(chosen, variants[0].module.graph)
    settings = Settings(
        type(model).__name__,
        imported.structure,
        Places(marks),
        tf32=own in ("tf32", "bf16"),
        chunk=count,
        notes=(*fixed, *imported.notes),
        precision=own,
        facts=_first(chosen, precision or "as the model") | {"fold_batch_norm": fold_batch_norm},
        example={} if scope or own != precision else example_tensors(model, args, kwargs or {}),
        checkpoint=checkpoint,
        budget=limit,
    )
    files = build(variants, startable(variants[0].module.graph), settings)
    return _loaded(files, device, **switches)


def _loaded(files: Mapping[str, bytes], device: str, **options: bool) -> Program:
    """The program of these files, which go with it."""
    folder = Path(tempfile.mkdtemp(prefix="lrpc-"))
    write_files(folder / "program", files)
    program = load_program(folder / "program", device, **options)
    owned(program, Owner(shutil.rmtree, folder, True))
    return program


def _limit(checkpoint: str, budget: str | int) -> str | int:
    """The budget, where both are what a config may hold."""
    if checkpoint not in CHECKPOINTS:
        raise ConfigError(f"checkpoint={checkpoint!r}: choose among {', '.join(CHECKPOINTS)}")
    try:
        return parse_budget(budget)
    except ValueError as error:
        raise ConfigError(f"budget: {error}") from None


def _first(chosen: Sequence[Composite], precision: str) -> dict[str, Any]:
    """What a manifest says of the first composite."""
    first = chosen[0]
    return {"composite": first.name, "epsilon": first.epsilon, "precision": precision}


# -- from a config ---------------------------------------------------------------------------------


def compile_config(
    config: Config, output: Path, dump: bool = False, *, chosen: Sequence[Composite] = ()
) -> Report:
    """Compile what `config` describes into the program directory `output`. Raises LrpcError.

    `dump` adds the graph after every pass, in `passes/`. `chosen` are composites, of different
    names, in place of the config's own.
    """
    options = config.LRPC
    chosen = tuple(chosen) or configured_composites(config)
    shape = _shape(config)
    dtype = DTYPES[options.PRECISION]
    _check_class_names(config)
    extra = [_load_pass(path) for path in options.PASSES]
    model, weights = build_model(config)
    places = _places(config)
    imported = import_model(
        model.to(dtype),
        _example(config, shape, dtype),
        scope=options.SCOPE,
        marks=places.marks if not options.SCOPE else inside(places.marks, options.SCOPE),
    )
    watch, dumped = dumping() if dump else (None, {})
    if watch is not None:
        watch("imported", imported.module)
    variants = annotate(
        imported.module, chosen, extra, watch, fold_batch_norm=options.FOLD_BATCH_NORM
    )
    targets = _targets(config, variants[0].module)
    notes = (*((weights.note,) if weights.note else ()), *imported.notes)
    facts = _first(chosen, options.PRECISION) | {
        "shapes": [list(shape)],
        "config": config.to_dict(portable=True),
        "config_sha256": config.digest(),
        "weights": {
            "random": weights.seeded,
            "sha256": weights.sha256,
            "note": weights.note,
            "file": Path(weights.path).name if weights.path else None,
        },
        "decisions": list(imported.decisions),
    }
    settings = Settings(
        _name(config),
        imported.structure,
        places,
        tuple(options.READ),
        options.PRECISION in ("tf32", "bf16"),
        options.SEEDS,
        notes,
        options.PRECISION,
        options.PRECISION_TOLERANCE,
        facts,
        options.MEMORY.CHECKPOINT,
        options.MEMORY.BUDGET,
    )
    files = build(variants, targets, settings, watch)
    write_files(output, {**files, **dumped})
    said = (*config.notes, *notes)  # a config's notes name its folder: they stay out of the files
    return report_of(
        output, len(variants[0].module.graph.nodes), json.loads(files["manifest.json"]), said
    )


def configured_composites(config: Config) -> tuple[Composite, ...]:
    """What LRPC.COMPOSITE names, under what holds for all of them; loads the plugins first."""
    options = config.LRPC
    load_plugins(options.PLUGINS)
    common = Common(
        options.EPSILON,
        tuple(dict(r) for r in options.RULES),
        options.DETACH == "stop",
        options.POSITION == "split",
        composite_options(config),
    )
    given = options.COMPOSITE
    return composites(given.to_dict() if isinstance(given, Config) else given, common)


def _name(config: Config) -> str:
    _, colon, function = str(config.LRPC.SOURCE).partition(":")
    return function if colon else str(config.MODEL.META_ARCHITECTURE).lower()


def _shape(config: Config) -> tuple[int, int]:
    shapes = [tuple(s) for s in config.LRPC.SHAPES]
    if len(shapes) != 1:
        raise ConfigError(
            f"LRPC.SHAPES holds {len(shapes)} sizes; a program holds one: compile once for each"
        )
    return int(shapes[0][0]), int(shapes[0][1])


def _check_class_names(config: Config) -> None:
    names, count = config.LRPC.CLASS_NAMES, config.MODEL.SEM_SEG_HEAD.NUM_CLASSES
    if names and len(names) != count:
        raise ConfigError(
            f"LRPC.CLASS_NAMES holds {len(names)} names, MODEL.SEM_SEG_HEAD.NUM_CLASSES is {count}"
        )


def _example(config: Config, shape: tuple[int, int], dtype: torch.dtype) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(1, 3, *shape, generator=generator, dtype=torch.float64) * 255
    inputs = {"images": image.to(dtype)}
    if config.LRPC.PADDING_MASK:
        mask = torch.zeros(1, *shape, dtype=torch.bool)
        mask[:, shape[0] - shape[0] // 8 :] = True
        inputs["padding_mask"] = mask
    return inputs


def _places(config: Config) -> Places:
    if config.LRPC.SOURCE not in ("embedded", "detectron2"):
        return stopping(Places(), config.LRPC.STOP)
    spec, options = MaskDINOSpec.from_config(config), config.LRPC
    places = maskdino_places(
        config.MODEL.SEM_SEG_HEAD.TRANSFORMER_ENC_LAYERS,
        config.MODEL.MaskDINO.DEC_LAYERS,
        [*spec.encoder_features, *(f"extra{i}" for i in range(spec.extra_levels))],
        asked_places(options.TARGETS, *options.READ, *options.STOP),
    )
    return stopping(places, options.STOP)


def _targets(config: Config, module: Module) -> list[Target]:
    if config.LRPC.SOURCE in ("embedded", "detectron2") and not config.LRPC.SCOPE:
        return maskdino_targets(list(config.LRPC.TARGETS), module.graph)
    return startable(module.graph)


def _load_pass(path: str) -> Pass:
    module, _, name = path.partition(":")
    try:
        made: Pass = getattr(importlib.import_module(module), name)()
    except (ImportError, AttributeError, TypeError) as error:
        raise ConfigError(f"LRPC.PASSES: {path} cannot be made: {error}") from error
    return made


# -- from an edited graph --------------------------------------------------------------------------


def compile_graph(path: Path, output: Path, dump: bool = False) -> Report:
    """Compile an annotated graph (a program's graph.lrp, edited or not) with the files beside it.

    Of a program with several composites, that is the program of the one that the file is of.
    """
    manifest_path, weights_path = path.parent / "manifest.json", path.parent / "weights.safetensors"
    for needed in (path, manifest_path, weights_path):
        if not needed.is_file():
            raise ProgramError(
                f"{needed} is missing; an .lrp file compiles inside its program directory"
            )
    graph = parse_graph(path.read_text(), str(path))
    whole = json.loads(manifest_path.read_text())
    load_plugins(plugins_of(whole))
    name = composite_of_graph(whole, path.name)
    manifest = under_composite(whole, name)
    settings = Settings.from_json(manifest["settings"], own_facts(manifest))
    module = Module(check_rules(graph), load_weights(weights_path))
    watch, dumped = dumping() if dump else (None, {})
    variant = Variant(name, float(manifest["epsilon"]), module)
    files = build([variant], stated_targets(manifest), settings, watch)
    write_files(output, {**files, **dumped})
    count = len(composites_of(whole))
    alone = (f"of {count} composites, {name} alone",) if count > 1 else ()
    said = (*alone, *settings.notes)
    return report_of(output, len(graph.nodes), json.loads(files["manifest.json"]), said)
