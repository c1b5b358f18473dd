"""What `lrpc.open` and the commands say of a job's files that are not as they were written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import lrpc
from lrpc.cli import main
from lrpc.commands.jobs import parts
from lrpc.errors import ProgramError
from lrpc.results.layout import REPORT, Layout, jobs_in
from tests.support.run_fakes import write_image, write_program


@pytest.fixture
def job(tmp_path: Path) -> Layout:
    """A finished job of three images, in a folder whose name looks like a partition of a table."""
    write_program(tmp_path / "DIR")
    for n in range(3):
        write_image(tmp_path / "in" / f"{n}.png", 150)
    assert run(tmp_path) == 0
    (layout,) = jobs_in(tmp_path / "eps=0.1")
    return layout


def run(tmp: Path, *more: str) -> int:
    call = ["run", str(tmp / "DIR"), "--data", str(tmp / "in"), "-o", str(tmp / "eps=0.1")]
    return main([*call, "--device", "cpu", *more])


def cut(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[:-9])
    return path


def gone(path: Path) -> Path:
    path.unlink()
    return path


def emptied(path: Path) -> Path:
    path.write_text("{}\n" if path.suffix.startswith(".json") else "")
    return path


def read_all(job: Layout) -> None:
    results = lrpc.open(job.root)
    assert len(results.images) == len([one.map for one in results])


@pytest.mark.parametrize("harm", [cut, gone, emptied])
@pytest.mark.parametrize("name", ["images", "targets", "maps", "listing", "job"])
def test_a_damaged_file_is_named_and_overwritten(
    job: Layout, name: str, harm: Callable[[Path], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    tables = {one: job.table(one, 0) for one in ("images", "targets")}
    files = {**tables, "maps": job.maps(0), "listing": job.listing, "job": job.job}
    path = harm(files[name])
    if harm is gone and name in ("images", "job"):
        return  # a part, or a job, that is not whole
    with pytest.raises(lrpc.ProgramError) as caught:
        read_all(job)
    what = "missing" if harm is gone else "damaged"
    remedy = "the same `lrpc run` with --overwrite begins the job anew"
    assert str(caught.value) == f"{path}: is {what}; {remedy}"
    assert main(["export", str(job.root), "--to", "coco", "-o", str(job.root / "c")]) in (0, 2)
    assert "Traceback" not in capsys.readouterr().err
    assert run(job.root.parents[1], "--overwrite") == 0
    assert len([one.map for one in lrpc.open(job.root)]) == 3


def test_an_image_of_a_whole_part_that_was_left_counts_once(
    job: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after a part is whole and before the images' own files are removed."""
    whole, unlink = lrpc.open(job.root).images.to_pylist(), Path.unlink

    def keep_images(path: Path, missing_ok: bool = False) -> None:
        if path.parent.name != "unfinished":
            unlink(path, missing_ok)

    shutil.rmtree(job.root)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", keep_images)
        assert run(job.root.parents[1]) == 0
    assert len(job.images()) == 3
    assert lrpc.open(job.root).images.to_pylist() == whole
    assert len(lrpc.open(job.root)) == 3


def test_a_job_that_is_opened_while_a_part_becomes_whole(
    job: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No image is missing, whenever between two looks at the folder that happens."""
    whole = lrpc.open(job.root).images.to_pylist()
    shutil.rmtree(job.root)
    with monkeypatch.context() as patch:
        patch.setattr("lrpc.commands.jobs.command.finish", lambda *given: False)
        assert run(job.root.parents[1]) == 0
    assert len(job.images()) == 3

    def finishing(self: Layout) -> list[int]:
        found = images(self)
        parts.finish(self, 0, [0, 1, 2])
        return found

    images = Layout.images
    monkeypatch.setattr(Layout, "images", finishing)
    results = lrpc.open(job.root)
    assert results.images.to_pylist() == whole
    assert [one.row["image"] for one in results] == [0, 1, 2]
    assert [one.map.sum() > 0 for one in results] == [True] * 3


def test_an_image_of_its_own_that_is_damaged(job: Layout) -> None:
    job.table("images", 0).unlink()
    job.unfinished.mkdir(exist_ok=True)
    job.image(1).write_bytes(b"no tensors")
    with pytest.raises(lrpc.ProgramError, match=r"00000001.safetensors: is damaged; the same"):
        lrpc.open(job.root)


def test_files_that_are_no_longer_in_the_source_are_told(
    job: Layout, capsys: pytest.CaptureFixture[str]
) -> None:
    tmp = job.root.parents[1]
    (tmp / "in" / "1.png").unlink()
    capsys.readouterr()
    assert run(tmp) == 0
    assert "1 image no longer in the source; what is done stays" in capsys.readouterr().err
    assert len(lrpc.open(job.root)) == 3
    assert json.loads(job.job.read_text())["id"] in job.root.name


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("contributions.parquet", "tables of `lrpc analyze`, not results of a job; read contri"),
        ("program.py", "a program, not results; lrpc.load opens it"),
        ("metrics.json", "figures of `lrpc evaluate`, not results of a job; read metrics.json"),
        ("comparison.json", "figures of `lrpc compare`, not results of a job; read comparison"),
        (REPORT, "a report, not the results that it shows; lrpc.open takes those"),
        ("notes.txt", "holds no results; `lrpc run DIR --data SOURCE -o "),
    ],
)
def test_a_folder_of_another_command_is_told(tmp_path: Path, name: str, told: str) -> None:
    (tmp_path / name).write_text("")
    with pytest.raises(ProgramError) as caught:
        lrpc.open(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path}: {told}")
    assert "\n" not in str(caught.value)
