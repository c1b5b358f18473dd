"""What a manifest says that images and records need; the only place that knows its keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from lrpc.errors import ProgramError
from lrpc.run.images import Sizing
from lrpc.run.protocol import Size

Inputs = Mapping[str, tuple[str, tuple[int | str, ...]]]  # name → dtype, shape

RANDOM_WARNING = "RANDOM WEIGHTS: seeded, not trained; this relevance explains no real model"
_MEAN = (123.675, 116.28, 103.53)  # detectron2's default


@dataclass(frozen=True)
class Facts:
    """One program's settings, as its manifest states them."""

    sizing: Sizing
    composite: str
    precision: str
    dtype: torch.dtype  # of the images
    epsilon: float | None
    settings: Mapping[str, Any]  # the LRPC node of the config
    versions: Mapping[str, Any]
    config_sha256: str | None
    random_weights: bool
    classes: tuple[str, ...]
    targets: tuple[str, ...]  # what the program can start from; () where it does not say
    score_masks: bool  # whether a detection's score counts its mask
    padding_mask: bool  # whether `forward` takes a mask of padded pixels

    def class_name(self, label: int) -> str | None:
        """The class's name where the config gives one."""
        return self.classes[label] if label < len(self.classes) else None


def read_facts(manifest: Mapping[str, Any], inputs: Inputs | None = None) -> Facts:
    """Read a manifest, and the inputs that the program itself declares where it does.

    Raises ProgramError where neither states an image shape.
    """
    inputs = inputs or {}
    config = _mapping(manifest.get("config"))
    lrpc = _mapping(config.get("LRPC"))
    names = manifest.get("class_names") or lrpc.get("CLASS_NAMES") or ()
    tests = _mapping(_mapping(_mapping(config.get("MODEL")).get("MaskDINO")).get("TEST"))
    epsilon = manifest.get("epsilon", lrpc.get("EPSILON"))
    precision = str(manifest.get("precision") or lrpc.get("PRECISION") or "fp32")
    declared = list(inputs.values())[:1]  # the images come first
    double = declared[0][0] == "torch.float64" if declared else precision == "fp64"
    shapes = [declared[0][1]] if declared else manifest.get("shapes") or lrpc.get("SHAPES")
    return Facts(
        sizing=_sizing(shapes, config),
        composite=str(manifest.get("composite") or lrpc.get("COMPOSITE") or "unknown"),
        precision=precision,
        dtype=torch.float64 if double else torch.float32,
        epsilon=None if epsilon is None else float(epsilon),
        settings=lrpc,
        versions=_mapping(manifest.get("versions")),
        config_sha256=manifest.get("config_sha256"),
        random_weights=_random(manifest, config, lrpc),
        classes=tuple(str(name) for name in names),
        targets=tuple(str(name) for name in lrpc.get("TARGETS") or ()),
        score_masks=not tests.get("TEST_FOUCUS_ON_BOX", False),
        padding_mask=len(inputs) > 1 if inputs else bool(lrpc.get("PADDING_MASK")),
    )


def _random(
    manifest: Mapping[str, Any], config: Mapping[str, Any], lrpc: Mapping[str, Any]
) -> bool:
    """Whether the weights were seeded: as the manifest says, else where the config names none."""
    stated = _mapping(manifest.get("weights")).get("random", manifest.get("random_weights"))
    if stated is not None:
        return bool(stated)
    model = _mapping(config.get("MODEL"))
    return "WEIGHTS" in model and not model["WEIGHTS"] and lrpc.get("SOURCE") == "embedded"


def _sizing(stated: Any, config: Mapping[str, Any]) -> Sizing:
    given = _mapping(config.get("INPUT"))
    mean = _mapping(config.get("MODEL")).get("PIXEL_MEAN", _MEAN)
    shortest = given.get("MIN_SIZE_TEST", 0)
    shapes = _shapes(stated)
    if not shapes:
        raise ProgramError("the manifest states no image shapes; compile the program again")
    r, g, b = (float(v) for v in mean)
    return Sizing(shapes, int(shortest), int(given.get("MAX_SIZE_TEST", 0)), (r, g, b))


def _shapes(entries: Any) -> tuple[Size, ...]:
    """Image sizes from [[H, W], ...] or [[B, 3, H, W], ...], in the order given."""
    if not isinstance(entries, list | tuple):
        return ()
    if entries and isinstance(entries[0], int):
        entries = [entries]
    return tuple((int(e[-2]), int(e[-1])) for e in entries)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
