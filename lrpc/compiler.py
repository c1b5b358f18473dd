"""Composes the stages: model → imported graph → annotated graph → the files of a program."""

from __future__ import annotations

import importlib
import inspect
import json
import shutil
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lrpc.build import Settings, annotate, build, with_input_marks
from lrpc.config import Config
from lrpc.directory import dumping, write_files
from lrpc.errors import ConfigError, ProgramError
from lrpc.frontend import import_model
from lrpc.ir.graph import Module
from lrpc.ir.parser import parse_graph
from lrpc.models.maskdino.spec import MaskDINOSpec
from lrpc.models.sources import build_model
from lrpc.rules.composite import Composite, composite
from lrpc.run.program_dir import load_program
from lrpc.run.protocol import Program
from lrpc.targets import Places, Target, maskdino_places, maskdino_targets, output_targets
from lrpc.weights import load_weights
from passes import Pass

DTYPES = {"fp64": torch.float64, "fp32": torch.float32, "tf32": torch.float32}


@dataclass(frozen=True)
class Report:
    """What a compilation did: where the program lies, what it can do, what to know about it."""

    directory: Path
    nodes: int
    targets: tuple[str, ...]
    places: tuple[str, ...]
    notes: tuple[str, ...]


# -- from Python -----------------------------------------------------------------------------------


def compile(
    model: nn.Module,
    args: Sequence[Tensor],
    *,
    composite: str | Composite = "attnlrp",
    epsilon: float = 1e-6,
    rules: Sequence[Mapping[str, object]] = (),
    seeds: int = 8,
    scope: str = "",
    read: Mapping[str, str] | None = None,
    device: str = "cpu",
) -> Program:
    """Compile any model that traces; return it as a loaded program.

    `args` are example inputs of `model`, batch first; B is free in the program. `scope` compiles
    the submodule at that path alone, on what the model feeds it. `read` names further places where
    relevance can be read, as module paths. Every floating output is a target, by its name
    (`output` where there is one). Raises LrpcError.
    """
    names = _signature(model, len(args))
    marks = dict(read or {})
    imported = import_model(model, dict(zip(names, args, strict=True)), scope=scope, marks=marks)
    rule_map = _composite(composite, epsilon, rules)
    annotated = with_input_marks(annotate(imported.module, rule_map))
    settings = Settings(
        type(model).__name__,
        imported.structure,
        Places(marks),
        chunk=seeds,
        notes=_decided(imported.decisions),
        facts={
            "composite": rule_map.name,
            "epsilon": rule_map.epsilon,
            "precision": "as the model",
        },
    )
    files = build(annotated, output_targets(annotated.graph), settings)
    folder = Path(tempfile.mkdtemp(prefix="lrpc-"))
    write_files(folder / "program", files)
    program = load_program(folder / "program", device)
    weakref.finalize(program, shutil.rmtree, folder, ignore_errors=True)
    return program


def _composite(
    given: str | Composite, epsilon: float, rules: Sequence[Mapping[str, object]]
) -> Composite:
    return composite(given, epsilon, rules) if isinstance(given, str) else given


def _signature(module: nn.Module, count: int) -> list[str]:
    names = list(inspect.signature(module.forward).parameters)
    if len(names) < count:
        raise ConfigError(f"{type(module).__name__}.forward takes {len(names)} inputs, got {count}")
    return names[:count]


def _decided(decisions: Sequence[str]) -> tuple[str, ...]:
    return tuple(f"special to the example: {decision}" for decision in decisions)


# -- from a config ---------------------------------------------------------------------------------


def compile_config(config: Config, output: Path, dump: bool = False) -> Report:
    """Compile what `config` describes into the program directory `output`. Raises LrpcError.

    `dump` adds the graph after every pass, in `passes/`.
    """
    options = config.LRPC
    rule_map = composite(
        options.COMPOSITE,
        options.EPSILON,
        [dict(r) for r in options.RULES],
        options.DETACH == "stop",
        options.POSITION == "split",
    )
    shape = _shape(config)
    dtype = _dtype(options.PRECISION)
    _check_memory(options)
    _check_class_names(config)
    extra = [_load_pass(path) for path in options.PASSES]
    model, weights = build_model(config)
    places = _places(config)
    imported = import_model(
        model.to(dtype),
        _example(config, shape, dtype),
        scope=options.SCOPE,
        marks=places.marks if not options.SCOPE else _inside(places.marks, options.SCOPE),
    )
    watch, dumped = dumping() if dump else (None, {})
    if watch is not None:
        watch("imported", imported.module)
    annotated = with_input_marks(annotate(imported.module, rule_map, extra, watch))
    targets = _targets(config, annotated)
    notes = (*((weights.note,) if weights.note else ()), *_decided(imported.decisions))
    facts = {
        "composite": rule_map.name,
        "epsilon": rule_map.epsilon,
        "precision": options.PRECISION,
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
        options.PRECISION == "tf32",
        options.SEEDS,
        notes,
        facts,
    )
    files = build(annotated, targets, settings, watch)
    write_files(output, {**files, **dumped})
    said = (*config.notes, *notes)  # a config's notes name its folder: they stay out of the files
    return _report(output, annotated, json.loads(files["manifest.json"]), said)


def _report(
    output: Path, module: Module, manifest: Mapping[str, Any], notes: Sequence[str]
) -> Report:
    places = sorted({place for target in manifest["targets"] for place in target["reads"]})
    names = tuple(target["name"] for target in manifest["targets"])
    return Report(output, len(module.graph.nodes), names, tuple(places), tuple(notes))


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


def _dtype(precision: str) -> torch.dtype:
    if precision not in DTYPES:
        raise ConfigError(
            f"LRPC.PRECISION {precision} is not available yet; choose among {', '.join(DTYPES)}"
        )
    return DTYPES[precision]


def _check_class_names(config: Config) -> None:
    names, count = config.LRPC.CLASS_NAMES, config.MODEL.SEM_SEG_HEAD.NUM_CLASSES
    if names and len(names) != count:
        raise ConfigError(
            f"LRPC.CLASS_NAMES holds {len(names)} names, MODEL.SEM_SEG_HEAD.NUM_CLASSES is {count}"
        )


def _check_memory(options: Config) -> None:
    if options.MEMORY.BUDGET or options.MEMORY.CHECKPOINT != "none":
        raise ConfigError(
            "LRPC.MEMORY: budgets and checkpointing are not available yet; leave BUDGET empty and"
            " CHECKPOINT none, and lower LRPC.SEEDS to save memory"
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
        return Places()
    spec = MaskDINOSpec.from_config(config)
    return maskdino_places(
        config.MODEL.SEM_SEG_HEAD.TRANSFORMER_ENC_LAYERS,
        config.MODEL.MaskDINO.DEC_LAYERS,
        [*spec.encoder_features, *(f"extra{i}" for i in range(spec.extra_levels))],
    )


def _inside(marks: Mapping[str, str], scope: str) -> dict[str, str]:
    """The marks that lie inside `scope`, with paths relative to it."""
    return {
        name: path[len(scope) + 1 :] for name, path in marks.items() if path.startswith(f"{scope}.")
    }


def _targets(config: Config, module: Module) -> list[Target]:
    if config.LRPC.SOURCE in ("embedded", "detectron2") and not config.LRPC.SCOPE:
        return maskdino_targets(list(config.LRPC.TARGETS), module.graph)
    return output_targets(module.graph)


def _load_pass(path: str) -> Pass:
    module, _, name = path.partition(":")
    try:
        made: Pass = getattr(importlib.import_module(module), name)()
    except (ImportError, AttributeError, TypeError) as error:
        raise ConfigError(f"LRPC.PASSES: {path} cannot be made: {error}") from error
    return made


# -- from an edited graph --------------------------------------------------------------------------


def compile_graph(path: Path, output: Path, dump: bool = False) -> Report:
    """Compile an annotated graph (a program's graph.lrp, edited or not) with the files beside
    it."""
    manifest_path, weights_path = path.parent / "manifest.json", path.parent / "weights.safetensors"
    for needed in (path, manifest_path, weights_path):
        if not needed.is_file():
            raise ProgramError(
                f"{needed} is missing; an .lrp file compiles inside its program directory"
            )
    graph = parse_graph(path.read_text(), str(path))
    manifest = json.loads(manifest_path.read_text())
    facts_out = {f.name for f in fields(Settings)} | {
        "lrpc",
        "versions",
        "sha256",
        "inputs",
        "outputs",
        "targets",
        "rules",
        "plan",
        "settings",
        "ledger",
        "saved",
    }
    facts = {k: v for k, v in manifest.items() if k not in facts_out}
    settings = Settings.from_json(manifest["settings"], facts)
    targets = [
        Target(t["name"], t["mark"], tuple(t["axes"]), tuple(t["index_names"]), t["token"])
        for t in manifest["targets"]
    ]
    module = Module(graph, load_weights(weights_path))
    watch, dumped = dumping() if dump else (None, {})
    files = build(module, targets, settings, watch)
    write_files(output, {**files, **dumped})
    return _report(output, module, json.loads(files["manifest.json"]), settings.notes)
