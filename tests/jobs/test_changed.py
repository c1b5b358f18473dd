"""An image whose file has changed since it was explained is not shown under its old relevance."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import lrpc
from lrpc.cli import main
from tests.support.run_fakes import write_image, write_program

CHANGED = "a.png: its file has changed since it was explained; explain it again"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """The results of two images, one of which is another picture of the same size now."""
    write_program(tmp_path / "DIR")
    for name in ("a", "b"):
        write_image(tmp_path / "in" / f"{name}.png", 150)
    call = ["run", str(tmp_path / "DIR"), "--data", str(tmp_path / "in"), "--device", "cpu"]
    call += ["--target", "class_logit", "--target", "mask_logit"]
    assert main([*call, "-o", str(tmp_path / "out")]) == 0
    write_image(tmp_path / "in" / "a.png", 151)
    return tmp_path / "out"


def test_pictures_of_it_are_refused(out: Path, tmp_path: Path) -> None:
    changed, _, same, _ = lrpc.open(out)
    assert changed.map.shape == same.map.shape
    calls: list[Any] = [
        lambda one: one.photo,
        lambda one: one.picture(),
        lambda one: one.plot(),
        lambda one: one.save(tmp_path / "figure.png"),
    ]
    for call in calls:
        with pytest.raises(lrpc.ImageError, match=CHANGED):
            call(changed)
        call(same)


def test_the_report_says_so(out: Path) -> None:
    assert main(["report", str(out), "--processes", "1"]) == 0
    pages = [(out / "report" / "targets" / f"00000{n}.html").read_text() for n in (0, 2)]
    why = "The image is not shown: its file has changed since it was explained; explain it again."
    assert (why in pages[0], why in pages[1]) == (True, False)
    photos = [Image.open(out / "report" / "photos" / f"00000{n}.webp") for n in (0, 1)]
    first, second = (np.asarray(one.convert("RGB"), int) for one in photos)
    assert np.ptp(first[-1], axis=-1).max() <= 4  # grey
    assert second[..., 0].mean() == pytest.approx(150, abs=4)


def test_exports_say_so(
    out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    h5py = pytest.importorskip("h5py")
    assert main(["export", str(out), "--to", "virelay", "-o", str(tmp_path / "v")]) == 0
    assert f"warning: shown in grey: {CHANGED}" in " ".join(capsys.readouterr().err.split())
    with h5py.File(tmp_path / "v" / "images.h5") as file:
        assert (file["data"][0] == 128).all()
        assert not (file["data"][2] == 128).all()
    monkeypatch.setattr("lrpc.results.exports._module", lambda name: _FiftyOne)
    first, second = lrpc.open(out).to_fiftyone()
    assert first == {"lrpc_note": CHANGED}
    maps = {"class_logit_q1_c2_attnlrp", "mask_logit_q1_y4_x5_attnlrp"}
    assert set(second) == {*maps, "lrpc"}
    assert len(second["lrpc"]["detections"]) == 1  # the object that both targets are of


def test_explanations_in_memory_know_it_too(out: Path, tmp_path: Path) -> None:
    program: Any = lrpc.load(tmp_path / "DIR")
    (one,) = program.explain(tmp_path / "in" / "b.png")
    one.plot()
    write_image(tmp_path / "in" / "b.png", 200)
    with pytest.raises(lrpc.ImageError, match=r"b\.png: its file has changed"):
        one.plot()


class _FiftyOne:
    """What is used of FiftyOne, as plain values."""

    Sample = staticmethod(lambda filepath: {})
    Heatmap = staticmethod(lambda map, range: map)
    Detection = dict
    Detections = dict
