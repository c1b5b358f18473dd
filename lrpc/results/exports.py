"""Results for other tools: COCO JSON, projects of ViRelAy, supervision, FiftyOne, Quantus."""

from __future__ import annotations

import importlib
import json
import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from lrpc.errors import ImageError, ProgramError
from lrpc.results.crops import crop_of, resized, window_of
from lrpc.results.groups import LEAST, spectral
from lrpc.results.schema import TARGETS
from lrpc.support.files import complete, make_folder, write_text

if TYPE_CHECKING:
    from lrpc.results.opened import Results

_EDGE = 64  # pixels of a crop in a project of ViRelAy


def write_coco(results: Results, path: Path) -> None:
    """Write detections as COCO annotations: what COCO has, with `score`, `target`, `composite` and
    `heatmap`, the place of the map: the file, the tensor in it and its scale."""
    labels = _labels(results)
    annotations = []
    for one in results:
        row = one.row
        if row["class"] is None or one.box is None:
            continue
        x0, y0, x1, y1 = one.box
        about = {
            "id": one.number + 1,
            "image_id": row["image"],
            "category_id": row["class"],
            "bbox": [x0, y0, x1 - x0, y1 - y0],
            "area": row["mask_pixels"] or (x1 - x0) * (y1 - y0),
            "iscrowd": 0,
            **{name: row[name] for name in ("score", "target", "composite", "value")},
        }
        if row["mask"] is not None:
            image = results.image(row["image"])
            counts = results.tensor(row["image"], row["mask"]).tolist()
            about["segmentation"] = {"size": [image["height"], image["width"]], "counts": counts}
        if row["map"] is not None:
            file = results.file_of(row["image"])
            about["heatmap"] = {
                "file": os.path.abspath(file),
                "tensor": row["map"],
                "scale": row["map_scale"],
            }
        annotations.append(about)
    images = [
        {name: one[key] for name, key in _IMAGE.items()}
        for one in results.images.to_pylist()
        if one["error"] is None
    ]
    categories = [{"id": label, "name": name} for label, name in labels.items()]
    told = {"images": images, "annotations": annotations, "categories": categories}
    write_text(path, json.dumps(told, ensure_ascii=False) + "\n")


_IMAGE = {"id": "image", "file_name": "name", "height": "height", "width": "width"}


def _labels(results: Results) -> dict[int, str]:
    """Number → name of every class that was explained."""
    names = ("class", "class_name")
    rows = results.targets.select(names).group_by(list(names)).aggregate([]).to_pylist()
    found = {row["class"]: row["class_name"] or f"class {row['class']}" for row in rows}
    return {label: found[label] for label in sorted(key for key in found if key is not None)}


def write_virelay(results: Results, folder: Path, crop: str) -> list[str]:
    """Write a project of ViRelAy 0.6 (`project.yaml` and HDF5 files): images and relevance around
    the objects, or all of them (`crop` image), and of each class with enough of them spectral
    clusters. Returns why images are grey in it. Raises ProgramError without h5py."""
    h5py = _module("h5py")
    crops = [(one, found) for one in results if (found := _crop(one, crop)) is not None]
    if not crops:
        stored = any(one.row["map"] for one in results) or not len(results)
        why = "no target has a class and relevance there" if stored else "no map is stored"
        raise ProgramError(f"{why}: there is nothing to crop")
    gone: dict[str, None] = {}
    make_folder(folder)
    labels = _labels(results)
    numbers = np.array([one.row["class"] for one, _ in crops], np.uint16)
    maps = np.stack([crop for _, crop in crops])[..., None]
    with complete(folder / "images.h5") as part, h5py.File(part, "w") as file:
        file["data"] = np.stack([_photo(one, crop, gone) for one, _ in crops])
        file["label"] = numbers
    with complete(folder / "attributions.h5") as part, h5py.File(part, "w") as file:
        file["attribution"], file["label"] = maps, numbers
        scores = np.zeros((len(crops), max(labels) + 1), np.float32)
        scores[np.arange(len(crops)), numbers] = [one.row["score"] or 0.0 for one, _ in crops]
        file["prediction"] = scores
        file["target"] = [one.number for one, _ in crops]  # rows of lrpc's own table
    analysed = dict(_analyses([one.row for one, _ in crops], maps))
    with complete(folder / "analysis.h5") as part, h5py.File(part, "w") as file:
        for label, (index, clusters, embedding) in analysed.items():
            file[f"{label}/index"] = index
            file[f"{label}/embedding/spectral"] = embedding
            file[f"{label}/cluster/spectral"] = clusters
    told = [{"index": n, "word_net_id": str(n), "name": name} for n, name in labels.items()]
    write_text(folder / "labels.json", json.dumps(told, ensure_ascii=False))
    write_text(folder / "project.yaml", yaml.safe_dump(_project(results, bool(analysed))))
    return list(gone)


def _crop(one: Any, crop: str) -> Any:
    if one.row["class"] is None or one.row["map"] is None:
        return None
    about = one.results.image(one.row["image"])
    return crop_of(one.map.astype(np.float64), one.row, about, _EDGE, crop)


def _photo(one: Any, crop: str, gone: dict[str, None]) -> Any:
    """The image around an object, or grey where its file is gone or has changed, as `gone` says."""
    try:
        pixels = np.asarray(one.photo, dtype=np.float64)
    except ImageError as error:
        gone[str(error)] = None
        return np.full((_EDGE, _EDGE, 3), 128, np.uint8)
    edges = window_of(one.row, one.results.image(one.row["image"]), crop)
    channels = [resized(pixels[..., c], edges, _EDGE) for c in range(3)]
    return np.stack(channels, -1).round().clip(0, 255).astype(np.uint8)


def _analyses(rows: list[dict[str, Any]], maps: Any) -> Iterator[tuple[str, tuple[Any, Any, Any]]]:
    """Class, and composite where there are several → the crops' numbers, clusters and embedding,
    where there are enough."""
    several = len({row["composite"] for row in rows}) > 1
    groups: dict[str, list[int]] = defaultdict(list)
    for n, row in enumerate(rows):
        groups[f"{row['class']} {row['composite']}" if several else str(row["class"])].append(n)
    for label, members in sorted(groups.items()):
        if len(members) >= LEAST:
            table = maps[members].reshape(len(members), -1).astype(np.float64)
            found = spectral(table)
            yield label, (np.array(members, np.uint32), found.labels, found.embedding)


def _project(results: Results, analysed: bool) -> dict[str, Any]:
    composites = sorted(set(results.targets["composite"].to_pylist()))
    source = {"name": "objects", "type": "hdf5", "path": "images.h5"}
    size = {"input_width": _EDGE, "input_height": _EDGE}
    analyses = [{"analysis_method": "spectral", "sources": ["analysis.h5"]}]
    return {
        "project": {
            "name": results.layout.root.parent.name,
            "model": str(results.job["program"]["weights"].get("file") or "model"),
            "label_map": "labels.json",
            "dataset": {**source, **size},
            "attributions": {
                "attribution_method": " and ".join(composites),
                "attribution_strategy": "predicted_label",
                "sources": ["attributions.h5"],
            },
            "analyses": analyses if analysed else [],
        }
    }


def to_supervision(results: Results, image: int) -> Any:
    """An image's detections as `supervision.Detections`; `data` has their targets' numbers."""
    sv = _module("supervision")
    found = [one for one in results.of_image(image) if one.box is not None]
    if not found:
        return sv.Detections.empty()
    masks = [mask for one in found if (mask := one.mask) is not None]
    return sv.Detections(
        xyxy=np.array([one.box for one in found]),
        mask=np.stack(masks) if len(masks) == len(found) else None,
        confidence=np.array([one.row["score"] for one in found]),
        class_id=np.array([one.row["class"] for one in found]),
        data={
            "class_name": np.array([one.row["class_name"] or "" for one in found]),
            "target": np.array([one.number for one in found]),
        },
    )


def to_fiftyone(results: Results) -> list[Any]:
    """A `fiftyone.Sample` for each image that was explained, with its detections in `lrpc`, each
    once, and each target's map as a `Heatmap` under the target's slug and composite; where its file
    is gone or has changed, `lrpc_note` says so instead."""
    fo = _module("fiftyone")
    samples = []
    for about in results.images.to_pylist():
        if about["error"] is not None:
            continue
        sample = fo.Sample(filepath=str(results.path_of(about["image"])))
        samples.append(sample)
        try:
            results.check_photo(about["image"])
        except ImageError as error:  # its heat maps are of another picture
            sample["lrpc_note"] = str(error)
            continue
        boxes: dict[tuple[Any, ...], Any] = {}  # an object once, whatever explains it
        for one in results.of_image(about["image"]):
            name = f"{one.row['slug']}_{one.row['composite']}".replace("-", "_").replace(".", "_")
            values = one.original_map
            most = float(np.abs(values).max()) or 1.0
            sample[name] = fo.Heatmap(map=values, range=[-most, most])
            if one.box is not None:
                (x0, y0, x1, y1), wide, high = one.box, about["width"], about["height"]
                box = [x0 / wide, y0 / high, (x1 - x0) / wide, (y1 - y0) / high]
                label = one.row["class_name"] or str(one.row["class"])
                score = one.row["score"]
                found = fo.Detection(label=label, bounding_box=box, confidence=score)
                boxes.setdefault((one.row["query"], one.row["class"]), found)
        sample["lrpc"] = fo.Detections(detections=list(boxes.values()))
    return samples


def to_quantus(results: Results, rows: list[int]) -> dict[str, Any]:
    """Arrays for Quantus of targets on images of one size: `x_batch` [N, 3, h, w] in 0 to 255,
    `y_batch` [N] classes, `a_batch` [N, 1, h, w] and, where all have a mask, `s_batch`."""
    found = [results[n] for n in rows]
    sizes = {one.original_map.shape for one in found}
    if len(sizes) != 1:
        told = f"Quantus takes images of one size, these have {len(sizes)}: choose rows of one"
        raise ProgramError(told)
    pictures = [np.asarray(one.photo, np.float32).transpose(2, 0, 1) for one in found]
    batch = {
        "x_batch": np.stack(pictures),
        "y_batch": np.array([one.row["class"] for one in found]),
        "a_batch": np.stack([one.original_map[None] for one in found]),
    }
    masks = [mask[None] for one in found if (mask := one.mask) is not None]
    if len(masks) == len(found):
        batch["s_batch"] = np.stack(masks)
    return batch


def to_xarray(results: Results, rows: list[int], original: bool) -> Any:
    """An `xarray.Dataset` of targets whose maps have one size: `relevance` [number, y, x], and the
    columns of their table that hold one number or text each."""
    xarray = _module("xarray")
    found = [results[n] for n in rows]
    stack = [one.original_map if original else one.map for one in found]
    if len({values.shape for values in stack}) != 1:
        raise ProgramError("maps of one size make an array: choose rows of images of one size")
    columns: dict[str, Any] = {}
    for name, (kind, _) in TARGETS.items():
        values = [one.row[name] for one in found]
        if kind == "string":
            columns[name] = ("number", [value or "" for value in values])
        elif kind in ("int32", "int64", "double"):
            numbers = [np.nan if value is None else value for value in values]
            columns[name] = ("number", np.array(numbers))
    relevance = (("number", "y", "x"), np.stack(stack))
    return xarray.Dataset({"relevance": relevance}, {"number": rows, **columns})


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ProgramError(f"this needs {name}: pip install {name}") from error
