"""What is written beside the pictures: raw tensors and the JSON record, each whole or not at
all."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeGuard

import torch
from safetensors.torch import save
from torch import Tensor

from lrpc.commands.session.calls import Explained
from lrpc.commands.session.changes import change_of
from lrpc.commands.session.facts import RANDOM_WARNING, Facts
from lrpc.commands.session.images import LoadedImage
from lrpc.commands.session.metrics import box_mask, share
from lrpc.commands.session.names import identity
from lrpc.commands.session.original import original_box, original_map
from lrpc.commands.session.segments import RESULTS, Segmentation
from lrpc.config.target_kinds import KINDS
from lrpc.program.protocol import Detection
from lrpc.support.files import shown, write_bytes, write_text


def write_json(path: Path, record: Mapping[str, Any]) -> None:
    """Write a record; raises ValueError for a number that JSON does not know, and ProgramError."""
    text = json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


def write_tensors(
    path: Path,
    image: LoadedImage,
    results: Sequence[Explained],
    segmentations: Sequence[Segmentation] = (),
) -> None:
    """All tensors of an image in one file: `SLUG/input` [3, H, W], `SLUG/LAYER` for each layer
    read; at the image's size on disk [h, w] relevance as `SLUG/map`, masks as `masks/qQ-cC`, and
    the numbers of segments as `semantic` and `panoptic`."""
    tensors: dict[str, Tensor] = {one.kind: one.numbers for one in segmentations}
    for result in results:
        tensors[f"{result.seed.slug}/input"] = result.input.contiguous()
        for name, value in result.layers.items():
            tensors[f"{result.seed.slug}/{name}"] = value.contiguous()
        tensors[f"{result.seed.slug}/map"] = original_map(result.input, image)
        one = result.seed.detection
        if one is not None and one.original_mask is not None:
            tensors[_mask_of(one)] = torch.from_numpy(one.original_mask)
    _write(path, image, tensors)


def write_maps(
    path: Path,
    image: LoadedImage,
    found: Mapping[str, Sequence[Explained]],
    segmentations: Sequence[Segmentation] = (),
) -> None:
    """Relevance of an image at its size on disk [h, w], `COMPOSITE/SLUG/map`, masks, and the
    numbers of segments, in one file."""
    tensors: dict[str, Tensor] = {one.kind: one.numbers for one in segmentations}
    for name, results in found.items():
        for result in results:
            tensors[f"{name}/{result.seed.slug}/map"] = original_map(result.input, image)
            one = result.seed.detection
            if one is not None and one.original_mask is not None:
                tensors[_mask_of(one)] = torch.from_numpy(one.original_mask)
    _write(path, image, tensors)


def _write(path: Path, image: LoadedImage, tensors: Mapping[str, Tensor]) -> None:
    sizes = {"valid": image.valid, "original": image.original, "frame": image.frame}
    metadata = {name: f"{height},{width}" for name, (height, width) in sizes.items()}
    data = save(dict(tensors), metadata={"image": shown(image.path), **metadata})
    write_bytes(path, data)  # save_file would make it readable for its owner alone


def program_record(directory: Path, facts: Facts) -> dict[str, Any]:
    """The program and its settings, as the manifest states them."""
    return {
        "directory": shown(directory),
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
    """The image file and its sizes, all (height, width); `scale` is that of both edges from the
    original, `own_input` the network's input in the model's own inference, `changed` what is
    otherwise here; `seen` is (top, left, height, width) of what is not cropped; of the `frames` of
    an animation, or pages, the first is explained."""
    change = change_of(image)
    return {
        "file": shown(image.path),
        "original_size": list(image.original),
        "resized_to": list(image.valid),
        "scale": [v / o for v, o in zip(image.valid, image.seen[2:], strict=True)],
        **({"seen": list(image.seen)} if image.window else {}),
        "frames": image.frames,
        "network_input": list(image.frame),
        "padded": image.valid != image.frame,
        "own_input": list(image.own or image.frame),
        "changed": change.words if change is not None and change.differs else None,
    }


def failure_record(path: Path, error: str) -> dict[str, Any]:
    """An image that could not be explained, and why."""
    return {"image": {"file": shown(path)}, "error": error, "targets": []}


def owner_of(told: Any) -> str | None:
    """Which image (`identity`) a record is of; None for what is no record of ours. Those of before
    have the path alone."""
    try:
        return str(told.get("path_id") or identity(Path(told["image"]["file"])))
    except _NOT_OURS:
        return None


def read_owner(stem: Path) -> str | None:
    """Which image the record under a stem is of; None where there is none."""
    try:
        return owner_of(json.loads(stem.with_name(f"{stem.name}.json").read_bytes()))
    except _NOT_OURS:
        return None


def finished(stem: Path, about: Mapping[str, Any]) -> bool:
    """Whether an image has its record, by the same program asked the same, and all its files."""
    try:
        told = json.loads(stem.with_name(f"{stem.name}.json").read_bytes())
        if told["error"] is not None or _asked(told) != _asked(json.loads(json.dumps(about))):
            return False
        return all((stem.parent / name).is_file() for name in _files(told))
    except _NOT_OURS:
        return False  # no record, or not one of ours


_NOT_OURS = (OSError, ValueError, KeyError, TypeError, AttributeError)


def _files(told: Mapping[str, Any]) -> list[str]:
    """The names of the files that a record tells of."""
    files = [name for target in told["targets"] for name in target["files"].values()]
    files += [told["tensors"]] if told["tensors"] else []
    files += [told[kind]["file"] for kind in RESULTS if kind in told]
    looks = told.get("attention")
    return files + ([looks["tensors"], *(one["file"] for one in looks["queries"])] if looks else [])


def remove_earlier(stem: Path) -> None:
    """Remove the record of an earlier call for an image, and the files that it tells of: none of
    them stays beside those of another target."""
    record = stem.with_name(f"{stem.name}.json")
    try:
        files = _files(json.loads(record.read_bytes()))
    except _NOT_OURS:
        return
    record.unlink(missing_ok=True)
    for name in files:
        if Path(name).name == name and name.startswith(f"{stem.name}."):
            (stem.parent / name).unlink(missing_ok=True)


def _asked(record: Mapping[str, Any]) -> Any:
    """Program and request, without what does not change results."""
    return record["program"] | {"directory": None}, request_of(record)


def request_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """What was asked for, without what does not change results."""
    return {key: v for key, v in record["run"].items() if key not in ("batch_size", "device")}


def target_record(result: Explained, image: LoadedImage, facts: Facts) -> dict[str, Any]:
    """One target: where it started, the object it is of, and the sums of its relevance."""
    seed, values = result.seed, result.input.double().numpy()
    height, width = image.valid
    visible = torch.from_numpy(values[:, :height, :width].sum(axis=0))
    return {
        "target": seed.kind,
        "layer": seed.layer,
        "index": list(seed.index),
        "against": None if seed.against is None else seed.against.words(KINDS[seed.kind]),
        "value": seed.value,
        "detection": None
        if seed.detection is None
        else _detection(seed.detection, image, facts.class_name(seed.detection.label)),
        "relevance": {
            "sum": float(values.sum()),
            "positive": float(values[values > 0].sum()),
            "negative": float(values[values < 0].sum()),
            "amplification": amplification(result),
            "in_padding": float(values[:, height:].sum() + values[:, :height, width:].sum()),
            **_focus(visible, seed.detection),
        },
        "ledger": None if result.ledger is None else asdict(result.ledger),
        "tensors": [f"{seed.slug}/{name}" for name in ("input", *result.layers, "map")]
        + ([_mask_of(seed.detection)] if _has_mask(seed.detection) else []),
    }


def amplification(result: Explained) -> float | None:
    """Σ |R| of the input over Σ |relevance| that it started from; None where that is not known or
    0. What starts from many entries, as a contrast, may sum to 0."""
    start = value = result.seed.value
    if result.ledger is not None:
        start = result.ledger.start
    if result.seed.start is not None:
        size = float(result.seed.start.abs().sum(dtype=torch.float64))
        scalable = value is not None and abs(value) > 1e-6 * size  # what sums to 0 is never scaled
        start = size * (start / value if scalable and start and value else 1.0)
    if not start:
        return None
    return float(result.input.abs().sum(dtype=torch.float64)) / abs(start)


def _has_mask(one: Detection | None) -> TypeGuard[Detection]:
    """Whether a detection's mask on disk is kept."""
    return one is not None and one.original_mask is not None


def _mask_of(one: Detection) -> str:
    """The name of the tensor that holds a detection's mask."""
    return f"masks/q{one.query}-c{one.label}"


def _detection(one: Detection, image: LoadedImage, name: str | None) -> dict[str, Any]:
    return {
        "query": one.query,
        "class": one.label,
        "class_name": name,
        "score": one.score,
        "box_network": None if one.whole else list(one.box),
        "box_image": None if one.whole else list(original_box(one.box, image)),
        "mask_pixels_network": None if one.mask is None else int(one.mask.sum()),
        "mask_pixels_image": None if one.original_mask is None else int(one.original_mask.sum()),
    }


def _focus(visible: Tensor, one: Detection | None) -> dict[str, Any]:
    """How much of the positive relevance [h, w] lies in the object's mask, or in its box where it
    has no mask, beside that one's share of the image: equal shares are chance. Nothing where there
    is no object."""
    if one is None or one.whole or (one.mask is not None and not one.mask.any()):
        return {}
    height, width = visible.shape
    name, inside = "box", box_mask(one.box, (height, width))
    if one.mask is not None:
        name, inside = "mask", torch.from_numpy(one.mask[:height, :width])
    found = share(visible.clamp(min=0), inside)
    if found is None:
        return {}
    area = float(inside.double().mean())
    return {f"positive_share_in_{name}": found, f"{name}_share_of_image": area}
