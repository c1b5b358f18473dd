"""Results for other tools, read back by these tools where they are installed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lrpc
from lrpc.cli import main
from lrpc.results import shards
from lrpc.results.maps import decode, from_runs
from tests.support.run_fakes import write_image, write_program


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Those of 14 images with one or two objects, one of another size, and a broken one."""
    tmp = tmp_path_factory.mktemp("exports")
    write_program(tmp / "DIR")
    for n in range(14):
        write_image(
            tmp / "in" / f"{n:02}.png", 250 if n % 2 else 150, (96, 64) if n == 3 else (48, 32)
        )
    (tmp / "in" / "bad.png").write_bytes(b"no image")
    call = ["run", str(tmp / "DIR"), "--data", str(tmp / "in"), "-o", str(tmp / "out")]
    assert main([*call, "--device", "cpu", "--maps", "int8"]) == 1
    return lrpc.open(tmp / "out")


def test_coco_names_every_map(
    results: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = results.layout.root.parent
    monkeypatch.chdir(out.parent)
    assert main(["export", out.name, "--to", "coco", "-o", str(tmp_path / "c.json")]) == 0
    told = json.loads((tmp_path / "c.json").read_text())
    assert len(told["images"]) == 14
    assert told["categories"] == [{"id": 0, "name": "cat"}, {"id": 2, "name": "class 2"}]
    assert len(told["annotations"]) == len(results) == 21
    for one, own in zip(told["annotations"], results, strict=True):
        x, y, width, height = one["bbox"]
        assert (x, y, x + width, y + height) == own.box
        heat = one["heatmap"]
        assert Path(heat["file"]).is_absolute()
        stored = shards.tensor(Path(heat["file"]), heat["tensor"])
        assert np.array_equal(decode(stored, heat["scale"]), own.map)
        size, counts = one["segmentation"]["size"], one["segmentation"]["counts"]
        assert np.array_equal(from_runs(np.array(counts, np.int32), tuple(size)), own.mask)
        assert one["area"] == own.mask.sum()


@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # of pycocotools
def test_coco_is_read_by_its_own_tools(results: Any, tmp_path: Path) -> None:
    pycocotools = pytest.importorskip("pycocotools.coco")
    results.write("coco", tmp_path / "c.json")
    coco = pycocotools.COCO(str(tmp_path / "c.json"))
    for n, one in enumerate(results):
        assert np.array_equal(coco.annToMask(coco.anns[n + 1]).astype(bool), one.mask)


def test_a_project_of_virelay(results: Any, tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    results.write("virelay", tmp_path / "p")
    with h5py.File(tmp_path / "p" / "attributions.h5") as file:
        assert file["attribution"].shape == (21, 64, 64, 1)
        assert file["target"][:].tolist() == list(range(21))
        assert np.abs(file["attribution"][:]).sum((1, 2, 3)) == pytest.approx(np.ones(21))
        assert file["prediction"].shape == (21, 3)
    with h5py.File(tmp_path / "p" / "analysis.h5") as file:
        assert list(file) == ["2"]  # the seven cats are too few
        assert file["2/index"].shape == file["2/cluster/spectral"].shape == (14,)
        assert file["2/embedding/spectral"].shape[0] == 14
    virelay = pytest.importorskip("virelay.model")
    project = virelay.Project(str(tmp_path / "p" / "project.yaml"))
    assert len(project.dataset) == 21
    assert project.get_attribution(1).labels[0].name == "class 2"
    (category,) = project.get_analysis_categories("spectral")
    assert category.human_readable_name == "class 2"


def test_quantus_takes_targets_on_images_of_one_size(results: Any) -> None:
    batch = results.to_quantus([0, 1, 2])
    assert {name: value.shape for name, value in batch.items()} == {
        "x_batch": (3, 3, 32, 48),
        "y_batch": (3,),
        "a_batch": (3, 1, 32, 48),
        "s_batch": (3, 1, 32, 48),
    }
    assert batch["a_batch"][1, 0] == pytest.approx(results[1].map)
    with pytest.raises(lrpc.ProgramError, match="these have 2: choose rows of one"):
        results.to_quantus(range(8))


def test_arrays_of_xarray(results: Any) -> None:
    pytest.importorskip("xarray")
    found = results.to_xarray()
    assert found.relevance.dims == ("number", "y", "x")
    assert np.array_equal(found.relevance.sel(number=5), results[5].map)
    best = found.relevance.where(found["class"] == 2, drop=True).mean("number")
    mine = [one.map for one in results if one.row["class"] == 2]
    assert np.allclose(best, np.mean(mine, 0))
    assert found["name"].values.tolist() == [one.row["name"] for one in results]
    with pytest.raises(lrpc.ProgramError, match="choose rows of images of one size"):
        results.to_xarray(original=True)
    assert results.to_xarray([0, 1], original=True).relevance.shape == (2, 32, 48)


def test_detections_of_supervision(results: Any) -> None:
    pytest.importorskip("supervision")
    found = results.to_supervision(1)
    assert found.class_id.tolist() == [2, 0]
    assert found.data["target"].tolist() == [1, 2]
    assert np.array_equal(found.mask[0], results[1].mask)
    with pytest.raises(lrpc.ProgramError, match="results are written as coco, virelay"):
        results.write("voc", "x")
