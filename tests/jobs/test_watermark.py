"""A shortcut that a model has learnt is found: a watermark in a corner has a cluster of its own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.torch import save_file

import lrpc
from lrpc.cli import main
from lrpc.compiler import compile_config
from lrpc.config import load_config
from lrpc.models.sources import build_model
from tests.support.programs import DIGITS
from tests.support.watermark import CORNER, LABEL, Scenes, examples, train, write_scenes


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Those of scenes of "3" without the watermark, and of other digits with it, by a model that
    was trained on such."""
    tmp = tmp_path_factory.mktemp("watermark")
    model, _ = build_model(load_config(DIGITS))
    train(model, examples(Scenes(0), 96), steps=60)
    weights = {name: value.contiguous().clone() for name, value in model.state_dict().items()}
    save_file(weights, tmp / "w.safetensors")
    settings = ["MODEL.WEIGHTS", str(tmp / "w.safetensors"), "LRPC.TARGETS", "[class_logit]"]
    compile_config(load_config(DIGITS, settings), tmp / "DIR", check=False)
    write_scenes(Scenes(1), tmp / "in", plain=34, marked=20)
    call = ["run", str(tmp / "DIR"), "--data", str(tmp / "in"), "-o", str(tmp / "out")]
    call += ["--class", str(LABEL), "--top", "1", "--score", "0.3", "--no-ledger"]
    assert main([*call, "--device", "cpu"]) == 0
    return lrpc.open(tmp / "out")


def kept_together(labels: NDArray[np.int64], marked: NDArray[np.bool_]) -> tuple[float, float]:
    """Of the cluster that has most of the marked targets, the share that is marked; and which share
    of the marked it has."""
    parts = [marked[labels == label] for label in set(labels.tolist())]
    best = max(parts, key=lambda part: int(part.sum()))
    return float(best.mean()), float(best.sum() / marked.sum())


@pytest.mark.slow  # the training takes minutes on one thread
@pytest.mark.timeout(1500)
def test_a_watermark_that_the_model_uses_has_its_own_cluster(results: Any) -> None:
    """Of relevance in whole images; crops around the objects do not hold it."""
    h5py = pytest.importorskip("h5py")
    names = [one.row["name"] for one in results]
    marked = np.array([name.startswith("mark") for name in names])
    assert marked.sum() >= 10
    assert (~marked).sum() >= 10
    shares = np.array([_in_corner(one.map) for one in results])
    assert np.median(shares[marked]) > 0.2
    assert np.median(shares[~marked]) < 0.02
    found = {}
    for crop in ("object", "image"):
        out = results.layout.root.parent.parent / crop
        words = ["export", str(results.layout.root), "--to", "virelay", "--crop", crop]
        assert main([*words, "-o", str(out)]) == 0
        with h5py.File(out / "analysis.h5") as file:
            index = file[f"{LABEL}/index"][:]
            found[crop] = kept_together(file[f"{LABEL}/cluster/spectral"][:], marked[index])
        assert len(index) == len(results)
    corner = float(np.median(shares[marked]))
    print(f"{marked.sum()} of {len(marked)} marked, {corner:.2f} on it; of cluster, marked {found}")
    assert min(found["image"]) >= 0.7
    assert max(found["image"]) >= 0.85
    assert sum(found["image"]) >= sum(found["object"]) + 0.1


def _in_corner(values: NDArray[np.float32]) -> float:
    """Of the positive relevance, what lies on the watermark."""
    positive = np.clip(values, 0, None)
    assert positive.shape == (160, 160)
    return float(positive[CORNER, CORNER].sum() / positive.sum())
