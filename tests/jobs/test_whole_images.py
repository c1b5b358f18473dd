"""Classes of whole images: they are of no object, and are compared by whole maps."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import lrpc
from lrpc.cli import main
from lrpc.compiler import compile_config
from lrpc.config import default_config
from tests.support.saved_models import save


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier, its job over 14 images with COCO annotations, and the report of that."""
    tmp = tmp_path_factory.mktemp("whole")
    source = f"transformers:{save('vit', tmp)}"
    settings = ["LRPC.SOURCE", source, "LRPC.COMPOSITE", "[attnlrp, epsilon]"]
    compile_config(default_config(settings), tmp / "DIR", check=False)
    random = np.random.default_rng(0)
    (tmp / "in").mkdir()
    told: dict[str, Any] = {"images": [], "annotations": [], "categories": []}
    for n in range(14):
        pixels = random.integers(0, 255, (50, 70, 3), np.uint8)
        Image.fromarray(pixels).save(tmp / "in" / f"{n:02}.png")
        told["images"].append({"id": n, "file_name": f"{n:02}.png"})
        told["annotations"].append({"image_id": n, "category_id": 0, "bbox": [5, 5, 9, 9]})
    (tmp / "coco.json").write_text(json.dumps(told))
    call = ["run", str(tmp / "DIR"), "--data", str(tmp / "coco.json"), "--device", "cpu"]
    call += ["--image-folder", str(tmp / "in"), "--score", "0", "--top", "3"]
    assert main([*call, "-o", str(tmp / "out")]) == 0
    assert main(["report", str(tmp / "out"), "--processes", "1"]) == 0
    return tmp


def test_they_have_no_place_and_no_share(folder: Path) -> None:
    results = lrpc.open(folder / "out")
    assert len(results) == 14 * 3
    for one in results:
        for name in ("x0", "y1", "inside", "positive_share", "area_share", "truth_iou"):
            assert one.row[name] is None, name
        assert one.row["class_name"] in ("cat", "dog", "bird")
        assert one.box is None
    one.plot()
    results.write("coco", folder / "c.json")
    assert json.loads((folder / "c.json").read_text())["annotations"] == []


def test_their_report_has_whole_maps_by_class(folder: Path) -> None:
    report = folder / "out" / "report"
    texts = [path.read_text() for path in sorted(report.rglob("*.html"))]
    assert not any(re.search(r"\d on object", text) for text in texts)
    assert not any('class="box"' in text for text in texts)
    classes = (report / "classes.html").read_text()
    assert classes.count('alt="mean relevance"') == 3
    pytest.importorskip("h5py")
    assert main(["export", str(folder / "out"), "--to", "virelay", "-o", str(folder / "v")]) == 0


def test_pictures_and_comparisons_have_none(folder: Path) -> None:
    image = str(folder / "in" / "00.png")
    call = [str(folder / "DIR"), "--images", image, "--device", "cpu"]
    assert main(["run", *call, "--composite", "epsilon", "-o", str(folder / "run")]) == 0
    (target,) = json.loads((folder / "run" / "00.json").read_text())["targets"]
    assert target["detection"]["box_image"] is None
    assert not [key for key in target["relevance"] if "share" in key]
    assert main(["compare", *call, "-o", str(folder / "compare")]) == 0
    told = json.loads((folder / "compare" / "comparison.json").read_text())
    (target,) = told["images"][0]["targets"]
    assert {part["positive_share_in_box"] for part in target["composites"].values()} == {None}
