"""Programs that several test files share: each is compiled once in a session."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from filelock import FileLock  # which torch brings
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

import lrpc.compiler
from lrpc.commands.evaluate import candidates
from lrpc.config import Config, load_config
from lrpc.frontend import Imported
from lrpc.frontend.calls import ModelCall
from lrpc.models.maskdino.further import further_outputs
from lrpc.models.sources import build_model
from lrpc.program.loading import load_program
from lrpc.program.mixed import DTYPES
from lrpc.program.model_check import Case, ModelCheck

EXAMPLES = Path(__file__).parents[2] / "examples"
DIGITS = EXAMPLES / "maskdino.yaml"
FULL = EXAMPLES / "maskdino_r50_coco.yaml"
ANY_SIZE: dict[str, object] = {"TARGETS": "[class_logit]", "DYNAMIC": True}
"""A program of one target, for images of any size."""
SEVERAL: dict[str, object] = {
    "COMPOSITE": "{cp_lrp: cp_lrp, weak: {composite: gamma, linear_gamma: 0.05, epsilon: 0.1}}",
    "TARGETS": ["class_logit"],
    "DYNAMIC": False,
}
"""A program of two composites."""
Key = tuple[object, ...]


@dataclass
class Checked:
    """The check of all programs of one trace: the first in each precision is held against the
    model."""

    model: ModelCheck
    said: dict[str, dict[str, Any]] = field(default_factory=dict)

    def check(self, text: str, weights: Mapping[str, Tensor], precision: str) -> dict[str, Any]:
        """What was said of the first."""
        if precision not in self.said:
            self.said[precision] = self.model.check(text, weights, precision)
        return self.said[precision]


@dataclass
class Programs:
    """Compiles configurations into `folder`, each once, also where several processes share the
    folder; what differs in rules alone shares a trace, and the check of its first program: the
    others have the same forward pass."""

    folder: Path
    _traces: dict[Key, Any] = field(default_factory=dict)
    _asked: dict[Key, Any] = field(default_factory=dict)
    _checked: dict[int, Checked] = field(default_factory=dict)  # by the id of a trace
    _models: dict[Key, nn.Module] = field(default_factory=dict)
    _loaded: dict[Path, Any] = field(default_factory=dict)

    def digits(self, composite: str = "attnlrp", epsilon: float = 1e-6, **options: object) -> Any:
        """The loaded program of the digits model, of one size unless `options`, keys below LRPC,
        say otherwise: that of any size gives the same (test_any_size_targets.py)."""
        options = {"COMPOSITE": composite, "EPSILON": epsilon, "DYNAMIC": False} | options
        return self.loaded(DIGITS, **options)

    def full(self, composite: str = "attnlrp", epsilon: float = 1e-6, **options: object) -> Any:
        """The loaded program of the released R50 configuration with seeded weights, at 128×160."""
        shapes = options.pop("SHAPES", [[128, 160]])
        return self.loaded(FULL, COMPOSITE=composite, EPSILON=epsilon, SHAPES=shapes, **options)

    def loaded(self, config: Path, **options: object) -> Any:
        """The program of `config` with `options`, which nobody may change."""
        directory = self.directory(config, **options)
        if directory not in self._loaded:
            self._loaded[directory] = load_program(directory, "cpu")
        return self._loaded[directory]

    def directory(self, config: Path, **options: object) -> Path:
        """The directory of the same program; tests that change files work on a copy."""
        wanted = _wanted(config, options)
        output = self.folder / f"{config.stem}-{wanted.digest()[:16]}"
        with FileLock(f"{output}.lock"):
            if not output.exists():
                with self.trace_of(config, **options):
                    lrpc.compiler.compile_config(wanted, output)
        return output

    @contextmanager
    def trace_of(self, config: Path, **options: object) -> Iterator[None]:
        """Compilations inside, whose configurations differ from this in rules alone, share its
        trace with each other and with programs that are compiled here."""
        wanted = _wanted(config, options)
        traced = ("SHAPES", "SCOPE", "PADDING_MASK")  # the rest is rules
        dtype = DTYPES[wanted.LRPC.PRECISION]
        dino = wanted.MODEL.MaskDINO
        more = further_outputs(wanted.LRPC.TARGETS, dino.DEC_LAYERS, dino.TWO_STAGE)
        with self.one_trace(config, str(dtype), *more, *(str(wanted.LRPC[k]) for k in traced)):
            yield

    def model(self, config: Path, dtype: torch.dtype) -> Any:
        """The model of `config`, which nobody may change."""
        key = (config, dtype)
        if key not in self._models:
            self._models[key] = build_model(load_config(config, []))[0].to(dtype)
        return self._models[key]

    def model_names(self) -> dict[str, nn.Module]:
        """The submodules of the digits model by path."""
        return dict(self.model(DIGITS, torch.float64).named_modules())

    @contextmanager
    def each_once(self) -> Iterator[None]:
        """`analyze` and `evaluate` compile what another test has compiled before as a copy."""
        compile_config = lrpc.compiler.compile_config

        def known(config: Config, output: Path, **options: Any) -> None:
            text = f"{config.to_dict()} {options}"
            made = self.folder / f"once-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
            with FileLock(f"{made}.lock"):
                if not made.exists():
                    compile_config(config, made, **options)
            shutil.copytree(made, output)

        with (
            patch.object(lrpc.compiler, "compile_config", known),  # which analyze imports late
            patch.object(candidates, "compile_config", known),
        ):
            yield

    def _once(
        self, key: Key, method: Callable[[ModelCheck, Case], Any]
    ) -> Callable[[ModelCheck, Case], Any]:
        """A part of the check that asks the model alone, once for each case of a model."""

        def known(check: ModelCheck, case: Case) -> Any:
            inputs = tuple(value.type for value in check.imported.module.graph.inputs)
            full = (method.__name__, *key, case.name, inputs)
            if full not in self._asked:
                self._asked[full] = method(check, case)
            return self._asked[full]

        return known

    @contextmanager
    def one_trace(self, *key: str | Path) -> Iterator[None]:
        """Compilations inside share the trace of the first that has the same `key` and places, and
        what the model itself gives where programs are held against it."""
        trace = lrpc.compiler.import_model

        def known(*args: Any, **options: Any) -> Any:
            given = tree_leaves((args[1].args, args[1].kwargs))  # of the example
            shapes = tuple((x.name, x.value.dtype, *x.value.shape) for x in given)
            full = (*key, shapes, tuple(options["places"]), str(options["dynamic"]))
            if full not in self._traces:
                self._traces[full] = trace(*args, **options)
            return self._traces[full]

        def checked(call: ModelCall, imported: Imported, ahead: bool = False) -> Checked:
            if id(imported) not in self._checked:
                self._checked[id(imported)] = Checked(ModelCheck(call, imported, ahead))
            return self._checked[id(imported)]

        with (
            patch.object(lrpc.compiler, "import_model", known),
            patch.object(lrpc.compiler, "ModelCheck", checked),
            patch.object(ModelCheck, "_of_model", self._once(key, ModelCheck._of_model)),
            patch.object(ModelCheck, "_other_calls", self._once(key, ModelCheck._other_calls)),
        ):
            yield


def _wanted(config: Path, options: Mapping[str, object]) -> Config:
    keys = {f"LRPC.{k.replace('__', '.')}": str(v) for k, v in options.items()}
    return load_config(config, [word for pair in keys.items() for word in pair])


def noise(batch: int, height: int, width: int, seed: int = 0) -> Tensor:
    """Smooth random images with values in 0–255, double [B, 3, H, W]."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(batch, 3, height // 8, width // 8, generator=generator, dtype=torch.float64)
    return nn.functional.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 1) * 255


def strongest(logits: Tensor) -> tuple[int, int]:
    """(query, class) of the largest of the logits [Q, C] of one image."""
    query, label = torch.unravel_index(logits.argmax(), logits.shape)
    return int(query), int(label)


def difference(found: Tensor, expected: Tensor) -> float:
    """Largest difference, relative to the largest expected magnitude; nan where one is not
    finite."""
    assert found.shape == expected.shape
    return float((found - expected).abs().max() / expected.abs().max())
