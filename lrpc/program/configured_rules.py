"""The composites that a config names, and what it sets that none of them has."""

from __future__ import annotations

from lrpc.config import Config, composite_options
from lrpc.rules.composite import Composite
from lrpc.rules.composite_set import CompositeSpec, SharedOptions, composites, options_in
from lrpc.rules.entries import KEYS
from lrpc.rules.plugins import load_plugins


def configured_composites(config: Config) -> tuple[Composite, ...]:
    """What LRPC.COMPOSITE names, under what holds for all of them; loads the plugins first."""
    options, named = config.LRPC, _named(config)
    load_plugins(options.PLUGINS)
    known = options_in(named)
    common = SharedOptions(
        options.EPSILON,
        tuple(dict(r) for r in options.RULES),
        options.DETACH == "stop",
        options.POSITION == "split",
        {name: value for name, value in composite_options(config).items() if name in known},
    )
    return composites(named, common)


def unused_options(config: Config) -> list[str]:
    """What is to be said of options of composites that are set, and that none here has."""
    known = options_in(_named(config))
    return [
        f"{KEYS[name]} is not used: no composite here has the option {name}"
        for name in composite_options(config)
        if name not in known
    ]


def _named(config: Config) -> CompositeSpec:
    given = config.LRPC.COMPOSITE
    found: CompositeSpec = given.to_dict() if isinstance(given, Config) else given
    return found
