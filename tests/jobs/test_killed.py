"""A job that is killed with SIGKILL again and again ends with the bytes of an undisturbed one."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import lrpc
from lrpc.results import layout
from tests.support.jobs import content
from tests.support.run_fakes import write_image, write_program

KILLS = 20
SLOW = """\
import time
from tests.support.run_fakes import FakeProgram

class Slow(FakeProgram):
    def forward(self, images, *more):
        time.sleep(0.02)
        return super().forward(images, *more)

def load(device):
    return Slow()
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_killed_twenty_times(tmp_path: Path) -> None:
    (write_program(tmp_path / "DIR") / "program.py").write_text(SLOW)
    for n in range(700):
        size = (32, 48) if n % 3 == 0 else (48, 32)
        write_image(tmp_path / "in" / f"{n:03}.png", 250 if n % 2 else 150, size)
    call = [sys.executable, "-m", "lrpc", "run", str(tmp_path / "DIR")]
    call += ["--data", str(tmp_path / "in"), "--pad", "--device", "cpu", "--batch-size", "3", "-o"]
    chance = random.Random(0)
    done = []
    for _ in range(KILLS):
        run = subprocess.Popen([*call, str(tmp_path / "killed")], stderr=subprocess.DEVNULL)
        deadline, before = time.monotonic() + 60, _done(tmp_path / "killed")
        while _done(tmp_path / "killed") == before and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(chance.uniform(0, 0.4))
        run.kill()
        assert run.wait() == -signal.SIGKILL
        done.append(_done(tmp_path / "killed"))
    assert done == sorted(done)
    assert 0 < done[0] < done[-1] < 700
    for output in ("killed", "whole"):
        subprocess.run([*call, str(tmp_path / output)], check=True, stderr=subprocess.DEVNULL)
    assert content(tmp_path / "killed") == content(tmp_path / "whole")
    names = lrpc.open(tmp_path / "killed").images["name"].to_pylist()
    assert names == [f"{n:03}.png" for n in range(700)]


def _done(output: Path) -> int:
    """Images that are done, in whole parts and beside."""
    for job in layout.jobs_in(output):
        return layout.PART * len(job.parts()) + len(job.images())
    return 0
