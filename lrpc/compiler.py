"""Composes the stages: model → imported graph → annotated graph → the files of a program."""

from __future__ import annotations

import json
import shutil
import tempfile
import warnings
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from torch import nn

from lrpc.config import Config
from lrpc.errors import LrpcWarning
from lrpc.frontend import given, import_model
from lrpc.frontend.arguments import Arguments, example_tensors, import_call
from lrpc.frontend.batch import NotOneProgram
from lrpc.frontend.calls import ModelCall
from lrpc.frontend.capture import model_example
from lrpc.frontend.modes import random_state_kept, without_modes
from lrpc.frontend.sizes import Dynamic, varying
from lrpc.models.pretrained import read_described
from lrpc.models.sources import build_model
from lrpc.program.build import annotate, build
from lrpc.program.configured import (
    check_class_names,
    check_segments,
    dynamic_sizes,
    example_inputs,
    extra_pass,
    of_one_size,
    places_of,
    planned_sizes,
    program_name,
    shapes_of,
    targets_of,
    unused,
)
from lrpc.program.configured_rules import configured_composites, unused_options
from lrpc.program.devices import check_load
from lrpc.program.directory import dumping, write_files
from lrpc.program.inner import inner_targets
from lrpc.program.loading import Owner, load_program, owned
from lrpc.program.manifest import (
    Report,
    check_warnings,
    report_of,
)
from lrpc.program.mixed import DTYPES, check_precision
from lrpc.program.model_check import ModelCheck, warning_of
from lrpc.program.places import chosen_conditions, startable
from lrpc.program.recompile import compile_graph as compile_graph
from lrpc.program.settings import Settings, budget_of
from lrpc.program.targets import Places, inside
from lrpc.program.unused_rules import check_rules, unused_rules
from lrpc.rules.composite import Composite, listed_rules
from lrpc.rules.composite_set import CompositeSpec, SharedOptions, composites
from lrpc.runtime.program import Program
from lrpc.support.garbage import garbage_waits
from lrpc.support.log import step

# -- from Python -----------------------------------------------------------------------------------


@garbage_waits()
@without_modes()
@random_state_kept()
def compile(
    model: nn.Module,
    args: Arguments,
    kwargs: Mapping[str, Any] | None = None,
    *,
    composite: CompositeSpec = "attnlrp",
    epsilon: float | None = None,
    rules: Sequence[Mapping[str, object]] = (),
    seeds: int = 8,
    scope: str = "",
    read: Mapping[str, str] | None = None,
    conditions: Sequence[str] = (),
    starts: Sequence[str] = (),
    unbatched: Collection[str] = (),
    dynamic: Dynamic | None = None,
    fold_batch_norm: bool = True,
    no_grad: str = "detach",
    checkpoint: str = "none",
    budget: str | int = "",
    precision: str = "",
    check: bool = True,
    device: str = "cpu",
    compile: bool = False,
    capture: bool = False,
    keep_pages: bool = False,
) -> Program:
    """Compile a model with an example call; returns the loaded program.

    The program is compared with the model on the example, on other values, on one image and on
    more images than were traced. What the model reads out of tensors with Python is fixed to the
    example, and a warning says so.

    Args:
        model: the model, in evaluation mode.
        args: positional arguments of the example call, or a mapping by name. Tensors in it become
            inputs of the program, with the batch as first axis; everything else is fixed.
        kwargs: keyword arguments of the example call.
        composite: a name, or the result of `lrpc.composite`. A list of them, or a mapping of own
            names to them or to `{"composite": NAME, "epsilon": ..., "rules": [...]}`, gives a
            program of several composites that share the forward pass.
        epsilon: stabiliser ε; by default that of each composite.
        rules: exceptions, which come before the entries of each composite.
        seeds: how many seeds are propagated at once.
        scope: path of a submodule to compile alone, on what the model feeds it.
        read: further places where relevance can be read: name → module path.
        conditions: places where it can be masked by channel, or by position (`name:positions`).
        starts: places it can start from, targets `channel:name`, `position:name`, `unit:name`.
        unbatched: names of inputs without a batch axis.
        dynamic: sizes that vary: input → axis → a name such as "H", or a name and the step that
            the size goes in, by default 32. The example has to be a multiple of it.
        fold_batch_norm: whether batch norms become part of the map before them.
        no_grad: `detach` treats what the model computes under `torch.no_grad()` as detached;
            `ignore` as if gradients were on.
        checkpoint: what relevance may recompute: `none`, `block` (all), or `auto` (what the budget
            requires).
        budget: bytes that one image may take besides weights and inputs, or a share of what it
            takes without recomputation, such as "50%". Where sizes vary it is kept up to those of
            the example.
        precision: `fp64`, `fp32`, `tf32` or `bf16`; by default that of the model. The last two
            are compared with float64, and the manifest has the report.
        check: whether to compare the program with the model.
        device: where the program is loaded.
        compile: run it through `torch.compile`.
        capture: replay it as CUDA graphs.
        keep_pages: keep memory that CPU tensors free (glibc).

    Raises:
        MismatchError: outputs of the program and of the model differ.
        LrpcError: anything else that cannot be compiled, in one line with place and remedy.
    """
    given.check_texts(scope=scope, precision=precision)
    switches = {"compile": compile, "capture": capture, "keep_pages": keep_pages}
    given.check_switches(fold_batch_norm=fold_batch_norm, check=check, **switches)
    check_load(device, capture)
    paths, limit = given.places_read(read), budget_of(checkpoint, budget)
    inner = given.names_of_places(conditions=conditions, starts=starts)
    count, own_inputs = given.seed_count(seeds), given.names_of_inputs(unbatched)
    chosen = composites(composite, SharedOptions(epsilon, listed_rules(rules)))
    how: Any = {"scope": scope, "places": paths, "unbatched": own_inputs}
    how |= {"no_grad": no_grad, "held": check, "dynamic": dynamic}
    imported, call, fixed = import_call(model, args, kwargs, **how)
    given.check_places(paths, [value.name for value in imported.module.graph.inputs])
    special = [warning_of(imported.fixed)] if imported.fixed else []
    _warn(*special, *imported.unfollowed)
    own = check_precision(precision, imported.module.graph)
    variants = annotate(imported.module, chosen, fold_batch_norm=fold_batch_norm)
    graph = variants[0].module.graph
    check_rules(chosen, graph)
    rule_notes = unused_rules(chosen, variants[0].module)
    _warn(*rule_notes)
    settings = Settings(
        type(model).__name__,
        imported.structure,
        Places(paths),
        tf32=own in ("tf32", "bf16"),
        chunk=count,
        notes=(*fixed, *imported.notes, *rule_notes),
        precision=own,
        facts=_first(chosen, precision or "as the model") | {"fold_batch_norm": fold_batch_norm},
        example={} if scope or own != precision else example_tensors(model, args, kwargs or {}),
        checkpoint=checkpoint,
        budget=limit,
        conditions=chosen_conditions(graph, inner["conditions"]),
    )
    held = ModelCheck(call, imported) if check else None
    starting = [*startable(graph), *inner_targets(graph, inner["starts"])]
    files = build(variants, starting, settings, check=held)
    if held is not None:
        _warn(*check_warnings(json.loads(files["manifest.json"])))
    return _loaded(files, device, **switches)


def _warn(*notes: str) -> None:
    for note in notes:
        warnings.warn(note, LrpcWarning, stacklevel=3)


def _loaded(files: Mapping[str, bytes], device: str, **options: bool) -> Program:
    """The program of these files, which go with it."""
    folder = Path(tempfile.mkdtemp(prefix="lrpc-"))
    write_files(folder / "program", files)
    program = cast(Program, load_program(folder / "program", device, **options))
    owned(program, Owner(shutil.rmtree, folder, True))
    return program


def _first(chosen: Sequence[Composite], precision: str) -> dict[str, Any]:
    """What a manifest says of the first composite."""
    first = chosen[0]
    return {"composite": first.name, "epsilon": first.epsilon, "precision": precision}


# -- from a config ---------------------------------------------------------------------------------


@garbage_waits()
def compile_config(
    config: Config,
    output: Path,
    dump: bool = False,
    *,
    chosen: Sequence[Composite] = (),
    check: bool = True,
) -> Report:
    """Compile what `config` describes into the program directory `output`. Raises LrpcError.

    `dump` adds the graph after every pass, in `passes/`. `chosen` are composites, of different
    names, in place of the config's own. `check=False` leaves out holding the program against the
    model.
    """
    config = read_described(config)
    try:
        return _compiled(config, output, dump, chosen, check)
    except NotOneProgram as error:
        return _compiled(of_one_size(config, error), output, dump, chosen, check)


def _compiled(
    config: Config, output: Path, dump: bool, chosen: Sequence[Composite], check: bool
) -> Report:
    options, dtype = config.LRPC, DTYPES[config.LRPC.PRECISION]
    chosen = tuple(chosen) or configured_composites(config)
    shapes, planned, sizes = shapes_of(config), planned_sizes(config), dynamic_sizes(config)
    check_class_names(config)
    check_segments(config)
    extra = [extra_pass(path) for path in options.PASSES]
    with step("build the model"):
        model, weights = build_model(config)
    places = places_of(config, model)
    example = model_example(model.to(dtype), example_inputs(config, shapes[0], dtype), {})
    with step("trace it"):
        imported = import_model(
            model,
            example,
            scope=options.SCOPE,
            places=places.paths if not options.SCOPE else inside(places.paths, options.SCOPE),
            no_grad=options.NO_GRAD,
            held=check,
            dynamic=sizes,
        )
    watch, dumped = dumping() if dump else (None, {})
    if watch is not None:
        watch("imported", imported.module)
    with step(f"choose rules of {', '.join(one.name for one in chosen)}"):
        variants = annotate(
            imported.module, chosen, extra, watch, fold_batch_norm=options.FOLD_BATCH_NORM
        )
    targets = targets_of(config, variants[0].module)
    rule_notes = [*unused_options(config), *unused_rules(chosen, variants[0].module)]
    found = (*unused(config, targets), *imported.notes, *rule_notes)
    notes = (*((weights.note,) if weights.note else ()), *found)
    facts = _first(chosen, options.PRECISION) | {
        "shapes": [list(shape) for shape in shapes],
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
        program_name(config),
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
        planned,
        chosen_conditions(variants[0].module.graph, options.CONDITIONS),
    )
    call = ModelCall(model, example, options.SCOPE, varying=varying(example, sizes))
    held = ModelCheck(call, imported, options.SOURCE == "embedded") if check else None
    with step("plan and write it, compare it with the model" if check else "plan and write it"):
        files = build(variants, targets, settings, watch, held)
    write_files(output, {**files, **dumped})
    own = [note for note in notes if note not in imported.fixed]
    said = (*config.notes, *own)  # a config's notes name its folder: they stay out of the files
    nodes = len(variants[0].module.graph.nodes)
    return report_of(output, nodes, json.loads(files["manifest.json"]), said, imported.fixed)
