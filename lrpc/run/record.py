"""What is written beside the pictures: raw tensors and the JSON record, each whole or not at
all."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import save
from torch import Tensor

from lrpc.run.calls import Explained
from lrpc.run.facts import RANDOM_WARNING, Facts
from lrpc.run.images import LoadedImage
from lrpc.run.protocol import Detection


@contextmanager
def complete(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, renamed to it on success and removed on failure."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_json(path: Path, record: Mapping[str, Any]) -> None:
    """Write a record; raises ValueError for a number that JSON does not know."""
    with complete(path) as part:
        text = json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False)
        part.write_text(text + "\n", encoding="utf-8")


def write_tensors(path: Path, image: LoadedImage, results: Sequence[Explained]) -> None:
    """Raw relevance in one file: `SLUG/input` [3, H, W], and `SLUG/LAYER` for each layer read."""
    tensors: dict[str, Tensor] = {}
    for result in results:
        tensors[f"{result.seed.slug}/input"] = result.input.contiguous()
        for name, value in result.layers.items():
            tensors[f"{result.seed.slug}/{name}"] = value.contiguous()
    sizes = {"valid": image.valid, "original": image.original, "frame": image.frame}
    metadata = {name: f"{height},{width}" for name, (height, width) in sizes.items()}
    data = save(tensors, metadata={"image": str(image.path), **metadata})
    with complete(path) as part:
        part.write_bytes(data)  # save_file would make it readable for its owner alone


def program_record(directory: Path, facts: Facts) -> dict[str, Any]:
    """The program and its settings, as the manifest states them."""
    return {
        "directory": str(directory),
        "composite": facts.composite,
        "epsilon": facts.epsilon,
        "precision": facts.precision,
        "settings": dict(facts.settings),
        "versions": dict(facts.versions),
        "config_sha256": facts.config_sha256,
        "random_weights": facts.random_weights,
        "check": dict(facts.check),
        "weights": dict(facts.weights),
        **({"warning": RANDOM_WARNING} if facts.random_weights else {}),
    }


def image_record(image: LoadedImage) -> dict[str, Any]:
    """The image file and its sizes, all (height, width)."""
    return {
        "file": str(image.path),
        "original_size": list(image.original),
        "resized_to": list(image.valid),
        "network_input": list(image.frame),
        "padded": image.valid != image.frame,
    }


def target_record(result: Explained, image: LoadedImage, facts: Facts) -> dict[str, Any]:
    """One target: where it started, the object it is of, and the sums of its relevance."""
    seed, values = result.seed, result.input.double().numpy()
    height, width = image.valid
    visible = values[:, :height, :width].sum(axis=0)
    return {
        "target": seed.kind,
        "layer": seed.layer,
        "index": list(seed.index),
        "value": seed.value,
        "detection": None
        if seed.detection is None
        else _detection(seed.detection, image, facts.class_name(seed.detection.label)),
        "relevance": {
            "sum": float(values.sum()),
            "positive": float(values[values > 0].sum()),
            "negative": float(values[values < 0].sum()),
            "in_padding": float(values[:, height:].sum() + values[:, :height, width:].sum()),
            **_focus(visible, seed.detection),
        },
        "ledger": None if result.ledger is None else asdict(result.ledger),
        "tensors": [f"{seed.slug}/{name}" for name in ("input", *result.layers)],
    }


def _detection(one: Detection, image: LoadedImage, name: str | None) -> dict[str, Any]:
    scale_y, scale_x = (o / v for o, v in zip(image.original, image.valid, strict=True))
    scales = (scale_x, scale_y, scale_x, scale_y)
    return {
        "query": one.query,
        "class": one.label,
        "class_name": name,
        "score": one.score,
        "box_network": list(one.box),
        "box_image": [edge * scale for edge, scale in zip(one.box, scales, strict=True)],
        "mask_pixels_network": int(one.mask.sum()),
    }


def _focus(visible: np.ndarray[Any, np.dtype[np.float64]], one: Detection | None) -> dict[str, Any]:
    """How much of the positive relevance lies in the object's mask, beside the mask's share of the
    image: equal shares are chance."""
    positive = np.clip(visible, 0, None)
    if one is None or not one.mask.any() or positive.sum() == 0:
        return {}
    mask = one.mask[: visible.shape[0], : visible.shape[1]]
    share = float(positive[mask].sum() / positive.sum())
    return {"positive_share_in_mask": share, "mask_share_of_image": float(mask.mean())}
