"""The arguments of `lrpc evaluate`, checked, and what they have compiled."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lrpc.commands.evaluate.candidates import (
    Candidate,
    Recipe,
    compiled,
    from_composites,
    from_config,
    read_variants,
)
from lrpc.commands.evaluate.likeness import TARGETS
from lrpc.commands.evaluate.methods import Relevance
from lrpc.commands.evaluate.plot import need_matplotlib
from lrpc.commands.evaluate.settings import BASELINES, STANDARD, TRIVIAL, Settings, grid
from lrpc.commands.session.arguments import split_overrides
from lrpc.commands.session.members import Member
from lrpc.config import Config, load_config
from lrpc.errors import ConfigError
from lrpc.models.pretrained import read_described
from lrpc.program.devices import device_of


@dataclass(frozen=True)
class Job:
    """The arguments, read and checked as far as they can be without a model."""

    args: argparse.Namespace
    settings: Settings
    device: str
    candidates: tuple[Candidate, ...]
    baselines: tuple[str, ...]
    programs: tuple[Path, ...] = ()
    overrides: tuple[str, ...] = ()
    folder: Path = field(default_factory=Path)  # for what is compiled

    def recipe(self, weights: Path | None = None) -> Recipe:
        """What candidates of --config are compiled from."""
        more = ("mask_logit",) if self.settings.sensitivity else ()  # whose pixels are told apart
        return Recipe(self.args.config, self.overrides, weights, (*TARGETS[:1], *more))

    def compile(self, candidates: Sequence[Candidate], weights: Path | None = None) -> list[Member]:
        """Candidates of --config as loaded programs."""
        if not candidates:
            return []
        return compiled(candidates, self.recipe(weights), self.folder, self.device)

    def relevance(self, model: Member, against: str = "") -> Relevance:
        """A program's own maps, of logits or of contrasts."""
        return Relevance(model, self.settings.batch, self.args.seed_chunk, against)

    def config(self) -> Config:
        """--config with its overrides, and what the model that it names says of itself."""
        return read_described(load_config(self.args.config, list(self.overrides)))


def read_job(args: argparse.Namespace, folder: Path) -> Job:
    """The arguments as a job that compiles into `folder`; raises LrpcError for what cannot be."""
    if not args.no_plot:
        need_matplotlib()
    device = device_of(args.device)
    settings = Settings(
        score=args.score,
        iou=args.iou,
        match=args.match,
        limit=args.limit,
        steps=args.steps,
        removed=args.removed,
        protocols=grid(args.order, args.patch, args.fill),
        batch=args.batch_size,
        pad=args.pad,
        seed=args.seed,
        sensitivity=args.sensitivity,
        contrasts=args.contrast,
    )
    programs, overrides = split_overrides([*args.programs, *args.overrides])
    overrides = [*(word for pair in args.set for word in pair), *overrides]
    candidates = _candidates(args, bool(programs), overrides)
    found = (candidates, _baselines(args), tuple(programs), tuple(overrides))
    return Job(args, settings, device, *found, folder)


def _candidates(
    args: argparse.Namespace, programs: bool, overrides: Sequence[str]
) -> tuple[Candidate, ...]:
    """What is compiled from --config; of its own composites where there are no `programs`."""
    if args.config is None:
        needy = {
            "--composites": args.composites,
            "--variants": args.variants,
            "--randomise": args.randomise,
            "KEY VALUE": overrides,
        }
        for option, value in needy.items():
            if value:
                raise ConfigError(f"{option} needs a model to compile: give --config FILE")
        if not programs:
            raise ConfigError("nothing to evaluate: name program directories, or --config FILE")
        return ()
    found = from_composites(split_words(args.composites)) if args.composites else []
    found += read_variants(args.variants) if args.variants else []
    if not found and not programs:
        found = from_config(load_config(args.config, overrides))
    names = [candidate.name for candidate in found]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"two candidates are called '{name}'; rename one")
    return tuple(found)


def _baselines(args: argparse.Namespace) -> tuple[str, ...]:
    if args.baselines is None:
        return (*STANDARD, *TRIVIAL) if args.config else TRIVIAL
    names = split_words(args.baselines) if args.baselines != "none" else []
    for name in names:
        if name not in BASELINES:
            raise ConfigError(f"--baselines: no '{name}'; none, or some of {', '.join(BASELINES)}")
    return tuple(name for name in BASELINES if name in names)


def split_words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]
