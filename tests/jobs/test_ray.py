"""`lrpc run --data --ray`: the same bytes from actors, one of which is killed in the middle."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import lrpc
from lrpc.cli import main
from tests.support.jobs import content
from tests.support.run_fakes import write_image, write_program

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning"),  # Ray's
]
pytest.importorskip("ray", reason="pip install 'lrpc[ray]'")

SLOW = """\
import os, time
from tests.support.run_fakes import FakeProgram

class Slow(FakeProgram):
    def forward(self, images, *more):
        with open(os.environ["PIDS"], "a") as file:
            print(os.getpid(), file=file)
        time.sleep(0.3)
        return super().forward(images, *more)

def load(device):
    return Slow()
"""


def test_an_actor_that_is_killed_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first actor to have explained four images is killed with SIGKILL."""
    pids = tmp_path / "pids"
    monkeypatch.setenv("PIDS", str(pids))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["", str(Path.cwd())]))
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    (write_program(tmp_path / "DIR") / "program.py").write_text(SLOW)
    for n in range(40):
        size = (32, 48) if n % 3 == 0 else (48, 32)
        write_image(tmp_path / "in" / f"{n:02}.png", 250 if n % 2 else 150, size)
    (tmp_path / "in" / "bad.png").write_bytes(b"no image")
    call = ["run", str(tmp_path / "DIR"), "--data", str(tmp_path / "in"), "--pad"]
    call += ["--device", "cpu", "--batch-size", "2", "--threads", "1"]
    killed: list[int] = []

    def kill() -> None:
        while not killed:
            time.sleep(0.05)
            seen = pids.read_text().split() if pids.exists() else []
            ready = [one for one in set(seen) if seen.count(one) == 4]
            if ready:
                os.kill(int(ready[0]), signal.SIGKILL)
                killed.append(int(ready[0]))

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    assert main([*call, "-o", str(tmp_path / "ray"), "--ray", "--workers", "2"]) == 1
    thread.join(1)
    assert killed
    assert killed[0] != os.getpid()
    workers = set(pids.read_text().split())
    assert len(workers) > 2  # the killed one was replaced
    assert main([*call, "-o", str(tmp_path / "here")]) == 1
    assert content(tmp_path / "ray") == content(tmp_path / "here")
    results = lrpc.open(tmp_path / "ray")
    assert results.images["name"].to_pylist() == [f"{n:02}.png" for n in range(40)] + ["bad.png"]
    assert results.failures["name"].to_pylist() == ["bad.png"]


def test_sigterm_ends_with_a_summary_and_the_rest_follows(tmp_path: Path) -> None:
    """Ray's own handler of SIGTERM does not replace that of the command."""
    (write_program(tmp_path / "DIR") / "program.py").write_text(SLOW)
    for n in range(30):
        write_image(tmp_path / "in" / f"{n:02}.png", 150)
    pids, out = tmp_path / "pids", tmp_path / "out"
    here = os.pathsep.join([str(Path.cwd()), os.environ.get("PYTHONPATH", "")])
    where = {**os.environ, "PIDS": str(pids), "PYTHONPATH": here, "RAY_AUTH_MODE": "disabled"}
    call = [sys.executable, "-m", "lrpc", "run", str(tmp_path / "DIR"), "--device", "cpu"]
    call += ["--data", str(tmp_path / "in"), "-o", str(out), "--ray", "--workers", "1"]
    run = subprocess.Popen(
        call, env=where, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    while run.poll() is None and not (pids.exists() and len(pids.read_text().split()) >= 5):
        time.sleep(0.05)
    run.send_signal(signal.SIGTERM)
    said, errors = run.communicate(timeout=120)
    assert run.returncode == 128 + signal.SIGTERM, errors
    assert "images/s" in said  # the closing table
    (line,) = [one for one in errors.splitlines() if one.startswith("stopped by SIGTERM: ")]
    done, left = (int(one) for one in re.findall(r"(\d+) (?:images? done|left)", line))
    assert done + left == 30
    assert 3 <= done < 30
    assert lrpc.open(out).images.num_rows == done
    again = subprocess.run(call, env=where, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert f"{left} in this run, {done} before" in again.stdout
    assert lrpc.open(out).images["name"].to_pylist() == [f"{n:02}.png" for n in range(30)]
