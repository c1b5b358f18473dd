"""Programs to compare: compiled from one config with several composites or rule variants."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lrpc.commands.evaluate.likeness import TARGETS
from lrpc.commands.evaluate.model import load_models
from lrpc.commands.session.facts import Facts
from lrpc.commands.session.members import Member
from lrpc.compiler import compile_config
from lrpc.config import Config, limits, load_config, override_words
from lrpc.config.checks import SOURCES
from lrpc.config.document import Document, DocumentError, Tag
from lrpc.errors import ConfigError
from lrpc.ir.graph import Module
from lrpc.ir.parser import read_graph
from lrpc.program.configured_rules import configured_composites
from lrpc.program.unused_rules import unused_rules
from lrpc.rules.composite import Composite, composite
from lrpc.support.untrusted import Unreadable, read_text

#: Keys below LRPC that change rules and nothing else: neither the model, its forward pass and
#: targets, nor which places are read.
RULES_ONLY = ("COMPOSITE", "EPSILON", "RULES", "GAMMA", "BOX", "DETACH", "POSITION")


@dataclass(frozen=True)
class Candidate:
    """A name for the results, and what it changes below the config's LRPC."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    member: str | None = None  # which of the config's composites, where it has several

    def overrides(self, targets: Sequence[str] = TARGETS[:1]) -> list[str]:
        """The changes as `lrpc compile` takes them: KEY VALUE …; `targets` empty leaves those of
        the config."""
        changes = {**({"TARGETS": list(targets)} if targets else {}), **_flat(self.options)}
        return override_words(changes)


def _flat(options: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Keys of sections with their path: GAMMA.CONVOLUTION."""
    flat: dict[str, Any] = {}
    for key, value in options.items():
        flat |= _flat(value, f"{prefix}{key}.") if _is_section(value) else {f"{prefix}{key}": value}
    return flat


def _is_section(value: Any) -> bool:
    return isinstance(value, Mapping) and all(str(key).isupper() for key in value)


def from_composites(names: Sequence[str]) -> list[Candidate]:
    """A candidate for each composite; raises RuleError for one that does not exist."""
    for name in names:
        composite(name)
    return [Candidate(name, {"COMPOSITE": name}) for name in names]


def read_variants(path: Path) -> list[Candidate]:
    """The candidates of a YAML file: `NAME: {COMPOSITE: …, RULES: […], …}`, keys as below LRPC.

    Raises ConfigError in one line.
    """
    try:
        document = Document(read_text(path, limits.FILE))
        content = None if document.root is None else document.value(document.root)
    except Unreadable as error:
        raise ConfigError(f"{path}: {error}; check the path") from error
    except DocumentError as error:
        raise ConfigError(f"{path}{error}") from error
    if isinstance(content, Tag):
        raise ConfigError(
            f"{path}: the YAML tag {content.name} is never evaluated; write the value out"
        )
    if not isinstance(content, dict) or not content:
        raise ConfigError(f"{path}: expected NAME: {{COMPOSITE: …, RULES: […]}} for each variant")
    for name, options in content.items():
        if not isinstance(options, dict):
            raise ConfigError(f"{path}: {name}: expected keys such as COMPOSITE and RULES")
        if not str(name).isprintable() or not str(name).strip():
            raise ConfigError(f"{path}: {str(name)!r}: a name is one printable line; rename it")
    return [Candidate(str(name), options) for name, options in content.items()]


def from_config(config: Config) -> list[Candidate]:
    """The config's own composites, one or several."""
    chosen = configured_composites(config)
    if len(chosen) == 1:
        return [Candidate(chosen[0].name)]
    return [Candidate(one.name, member=one.name) for one in chosen]


@dataclass(frozen=True)
class Recipe:
    """What every candidate is compiled from: a config file, overrides of it, another weights file
    in place of MODEL.WEIGHTS."""

    config: Path
    overrides: tuple[str, ...] = ()
    weights: Path | None = None
    targets: tuple[str, ...] = TARGETS[:1]  # of sources whose targets are known

    def of(self, candidate: Candidate) -> Config:
        """The configuration of one candidate. Raises ConfigError."""
        own = load_config(self.config, list(self.overrides))
        known = own.LRPC.SOURCE in SOURCES  # what others return is not known yet
        words = [*self.overrides, *candidate.overrides(self.targets if known else ())]
        if self.weights is not None:
            words += ["MODEL.WEIGHTS", str(self.weights), "LRPC.WEIGHTS_ENTRY", ""]
        try:
            return load_config(self.config, words)
        except ConfigError as error:  # the command line's own words were read before
            line = str(error).replace("command line", f"variant '{candidate.name}'", 1)
            raise ConfigError(line) from error


def compiled(
    candidates: Sequence[Candidate], recipe: Recipe, folder: Path, device: str
) -> list[Member]:
    """Every candidate as a loaded program, compiled into `folder`. Raises LrpcError.

    Those that differ in rules alone become one program, which traces and computes the forward pass
    once for all of them; any other key takes a program of its own.
    """
    configs = [recipe.of(candidate) for candidate in candidates]
    groups: dict[str, list[int]] = {}
    for number, config in enumerate(configs):
        groups.setdefault(beyond_rules(config), []).append(number)
    made: dict[int, Member] = {}
    for numbers in groups.values():
        directory = folder / f"{len(list(folder.iterdir())):03d}"
        own = {n: _composite(candidates[n], configs[n]) for n in numbers}
        chosen = [replace(one, name=f"candidate{n}") for n, one in own.items()]
        compile_config(configs[numbers[0]], directory, chosen=chosen)
        for n, model in zip(numbers, load_models(directory, device), strict=True):
            facts = _facts(model.facts, own[n], configs[n])
            notes = tuple(unused_rules([own[n]], Module(read_graph(directory / "graph.lrp"), {})))
            made[n] = replace(model, name=candidates[n].name, facts=facts, notes=notes)
    return [made[n] for n in range(len(candidates))]


def beyond_rules(config: Config) -> str:
    """A text that is the same for configs that differ in keys of `RULES_ONLY` alone."""
    values = config.to_dict()
    kept = {key: value for key, value in values["LRPC"].items() if key not in RULES_ONLY}
    return json.dumps({**values, "LRPC": kept}, sort_keys=True)


def _composite(candidate: Candidate, config: Config) -> Composite:
    """The one composite of a candidate's config. Raises ConfigError where there are several."""
    chosen = configured_composites(config)
    if candidate.member is not None:
        return next(one for one in chosen if one.name == candidate.member)
    if len(chosen) > 1:
        names = ", ".join(one.name for one in chosen)
        raise ConfigError(
            f"candidate '{candidate.name}' has several composites ({names}); give it one COMPOSITE"
        )
    return chosen[0]


def _facts(facts: Facts, own: Composite, config: Config) -> Facts:
    """What a program of the candidate alone would say."""
    return replace(
        facts,
        composite=own.name,
        epsilon=own.epsilon,
        settings=config.to_dict(portable=True)["LRPC"],
        config_sha256=config.digest(),
    )
