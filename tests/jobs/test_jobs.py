"""`lrpc run --data`: what is done stays done, wherever a run ends, to the byte."""

from __future__ import annotations

import fcntl
import itertools
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import lrpc
from lrpc.cli import main
from lrpc.commands.jobs import job as jobs
from lrpc.commands.jobs.spec import differences
from lrpc.results import layout
from lrpc.support import files
from tests.support.jobs import content as reproduced
from tests.support.maskdino_cases import EXAMPLE
from tests.support.programs import DIGITS, Programs
from tests.support.run_fakes import FakeProgram, write_image, write_program
from tools import make_results


class Killed(BaseException):
    """The process ends here."""


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Ten images, two of them turned, one without an object and one that is none; parts of four."""
    for module in (layout, jobs):
        monkeypatch.setattr(module, "PART", 4)
    write_program(tmp_path / "DIR")
    for n in range(8):
        size = (32, 48) if n in (2, 5) else (48, 32)
        write_image(tmp_path / "in" / f"{n}.png", 250 if n % 2 else 150, size)
    write_image(tmp_path / "in" / "8.png", 20)
    (tmp_path / "in" / "9.png").write_bytes(b"no image")
    return tmp_path


def run(tmp: Path, output: str = "out", *more: str) -> int:
    where = ["--data", str(tmp / "in"), "-o", str(tmp / output), "--pad", "--device", "cpu"]
    return main(["run", str(tmp / "DIR"), *where, *more])


def content(tmp: Path, output: str = "out") -> dict[str, bytes]:
    """The files of an output that a run has to reproduce."""
    return reproduced(tmp / output)


def test_a_row_for_each_target_and_a_record_of_what_failed(data: Path) -> None:
    assert run(data) == 1
    results = lrpc.open(data / "out")
    images = results.images.to_pylist()
    assert [one["name"] for one in images] == [f"{n}.png" for n in range(10)]
    assert [one["targets"] for one in images] == [1, 2, 1, 2, 1, 2, 1, 2, 0, 0]
    assert images[8]["note"].startswith("no detection above 0.5")
    (failed,) = results.failures.to_pylist()
    assert failed["error"] == "9.png: not an image that Pillow can read"
    assert len(results) == 12
    one = results[1]
    assert (one.row["name"], one.row["slug"]) == ("1.png", "class_logit-q1-c2")
    assert one.map.shape == (32, 48)
    assert one.map.sum() == pytest.approx(120)
    assert one.row["sinks"] == [("bias", 0.5), ("epsilon", 0.5)]
    assert one.row["nodes"] == [("head: bias", 0.5), ("norm: epsilon", 0.5)]
    assert one.original_map.sum() == pytest.approx(120)
    assert one.mask is not None
    assert one.mask.shape == (32, 48)
    assert one.mask.sum() == one.row["mask_pixels"]
    assert "data:image/png;base64," in one._repr_html_()
    assert results.frame()["name"].tolist() == [target.row["name"] for target in results]


def test_a_second_run_does_nothing(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(data)
    before = content(data)
    monkeypatch.setattr("lrpc.commands.jobs.worker.Worker.explain", None)
    assert run(data) == 0
    assert content(data) == before


@pytest.mark.parametrize("batch", ["1", "3"])
def test_killed_anywhere_it_ends_with_the_same_bytes(
    data: Path, batch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run is ended at each file that it renames, before and after, until none is left."""
    run(data, "whole", "--batch-size", batch)
    for when, at in itertools.product(("before", "after"), range(2, 40, 3)):
        dying = Dying(at, when)
        output = f"{when}{at}"
        with monkeypatch.context() as patch:
            patch.setattr(files, "complete", dying.complete(files.complete))
            for module in list(sys.modules.values()):
                if hasattr(module, "complete") and module.__name__.startswith("lrpc.results"):
                    patch.setattr(module, "complete", files.complete)
            try:
                run(data, output, "--batch-size", batch)
            except Killed:
                pass
            else:
                assert not dying.died
        if not dying.died:
            return
        run(data, output, "--batch-size", batch)
        assert content(data, output) == content(data, "whole"), (when, at)


class Dying:
    """Ends the process at the `at`-th file that is written."""

    def __init__(self, at: int, when: str) -> None:
        self.left, self.when, self.died = at, when, False

    def complete(self, real: Callable[[Path], object]) -> Callable[[Path], object]:
        @contextmanager
        def dying(path: Path) -> Iterator[Path]:
            self.left -= 1
            if self.left == 0 and self.when == "before":
                self.died = True
                raise Killed
            with real(path) as part:  # type: ignore[attr-defined]
                yield part
            if self.left == 0:
                self.died = True
                raise Killed

        return dying


def test_signals_end_it_after_the_image_at_hand(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(data, "whole")
    forward, calls = FakeProgram.forward, itertools.count()

    def stopping(self: FakeProgram, *inputs: object) -> object:
        if next(calls) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return forward(self, *inputs)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(FakeProgram, "forward", stopping)
        assert run(data) == 143
    assert "SIGTERM: 4 images done, 6 left; the same command explains the rest" in " ".join(
        capsys.readouterr().err.split()
    )
    assert len(lrpc.open(data / "out").images) == 4
    assert run(data) == 1
    assert content(data) == content(data, "whole")


def test_new_images_come_last_and_changed_ones_are_done_again(data: Path) -> None:
    run(data)
    before = content(data)
    write_image(data / "in" / "0a.png", 250)
    write_image(data / "in" / "5.png", 250)  # was turned
    assert run(data) == 0
    results = lrpc.open(data / "out")
    assert results.images["name"].to_pylist() == [f"{n}.png" for n in range(10)] + ["0a.png"]
    assert results.image(5)["width"] == 48
    after = content(data)
    same = {name for name in before if before[name] == after[name]}
    assert same == {name for name in before if "00001." not in name}


def test_failed_images_are_tried_again_where_that_is_asked(data: Path) -> None:
    assert run(data) == 1
    os.utime(data / "in" / "9.png", ns=(1, 1))
    stamp = os.stat(data / "in" / "9.png")
    write_image(data / "in" / "9.png", 150)
    data_of = (data / "in" / "9.png").read_bytes()
    assert len(data_of) != stamp.st_size
    assert run(data, "out", "--retry") == 0
    assert not len(lrpc.open(data / "out").failures)


def test_another_option_is_another_job_and_says_why(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(data)
    (first,) = layout.jobs_in(data / "out")
    capsys.readouterr()
    run(data, "out", "--score", "0.99")
    said = " ".join(capsys.readouterr().err.split())
    stay = f"the results so far stay in {first.root.name}"
    assert f"a new job: score is 0.99, was 0.5; {stay}" in said
    assert len(lrpc.open(data / "out")) == 0
    assert len(lrpc.open(first.root)) == 12
    run(data)  # goes on with the first
    assert len(lrpc.open(data / "out")) == 12


def test_overwrite_begins_anew(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(data)
    before = content(data)
    with monkeypatch.context() as patch:
        patch.setattr(FakeProgram, "forward", lambda *given: 1 / 0)
        assert run(data, "out", "--overwrite") == 1
    assert len(lrpc.open(data / "out").failures) == 10
    assert run(data, "out", "--retry") == 1
    assert content(data) == before


def test_one_process_at_a_time(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(data)
    (job,) = layout.jobs_in(data / "out")
    with open(job.lock, "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert run(data) == 2
    assert "another process is at work on this job" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(("kind", "off"), [("float16", 2**-11), ("int8", 1 / 254)])
def test_fewer_bits_cost_what_is_said(data: Path, kind: str, off: float) -> None:
    run(data)
    run(data, kind, "--maps", kind)
    exact, coarse = lrpc.open(data / "out"), lrpc.open(data / kind)
    for one, other in zip(exact, coarse, strict=True):
        assert abs(one.map - other.map).max() <= off * abs(one.map).max() * (1 + 1e-6)
    run(data, "none", "--maps", "none")
    with pytest.raises(lrpc.ProgramError, match="its map is not stored"):
        print(lrpc.open(data / "none")[0].map)


def test_the_page_of_columns_is_as_it_is_written() -> None:
    assert make_results.PAGE.read_text("utf-8") == make_results.page()
    assert "OUT/job-ID/maps/N.safetensors" in make_results.page()


def test_a_dry_run_writes_nothing_and_names_the_job(
    tmp_path: Path, programs: Programs, capsys: pytest.CaptureFixture[str]
) -> None:
    program = programs.directory(DIGITS)
    call = ["run", str(program), "--data", str(EXAMPLE / "scenes"), "-o", str(tmp_path / "o")]
    assert main([*call, "--dry-run", "--preset", "low-memory"]) == 0
    told = capsys.readouterr()
    assert "low-memory: 1 image and 1 seed at once" in told.err
    said = " ".join(told.out.replace("│", " ").split())
    assert "images 6, about 0 of them done" in said
    assert "(1 image of 160×160, 1 seeds)" in said
    assert not (tmp_path / "o").exists()


def test_options_that_do_not_go_together(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(data, "out", "--attention", "*") == 2
    assert "--attention draws pictures: it goes with --images" in capsys.readouterr().err
    call = ["run", str(data / "DIR"), "--images", str(data / "in"), "-o", str(data / "out")]
    assert main([*call, "--maps", "int8"]) == 2
    assert "--maps goes with --data" in capsys.readouterr().err
    assert not (data / "out").exists()


def test_of_long_values_the_part_that_differs_is_told() -> None:
    paths = [f"/a/folder/with/a/long/name/of/its/own/{n}.png" for n in "abc"]
    old, new = {"paths": paths[:2]}, {"paths": [paths[0], paths[2]]}
    (told,) = differences(old, new)
    assert "c.png" in told.partition(", was ")[0]
    assert "b.png" in told.partition(", was ")[2]
    assert len(told) < 120
    assert differences({"paths": paths[:1]}, {"paths": paths})[0].endswith('its/own/a.png"]')
    assert differences({"score": 0.5}, {"score": None}) == ["score is null, was 0.5"]
