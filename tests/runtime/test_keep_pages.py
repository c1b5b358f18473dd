"""A program loaded with `keep_pages` has its process keep the memory that tensors free."""

from __future__ import annotations

import ctypes
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import lrpc
from lrpc.errors import ProgramError

GLIBC = platform.libc_ver()[0] == "glibc"
SIZE = 100_000_000  # bytes, more than glibc keeps of its own accord
SCRIPT = f"""
import os, sys, torch
sys.path.insert(0, sys.argv[1])
import program

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

p = program.load(keep_pages=sys.argv[2] == "kept")
before = resident()
kept = torch.ones({SIZE}, dtype=torch.uint8)
del kept
print(resident() - before)
"""


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU()).eval()
    program: Any = lrpc.compile(model, (torch.ones(1, 4),), composite="epsilon")
    return Path(program.save(tmp_path_factory.mktemp("pages") / "program"))


@pytest.mark.skipif(not GLIBC, reason="the C library is not glibc")
@pytest.mark.parametrize(("way", "least", "most"), [("kept", 0.9, 1.1), ("given back", -0.1, 0.1)])
def test_what_tensors_free_stays_with_the_process(
    directory: Path, way: str, least: float, most: float
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(directory), way], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert least < int(done.stdout) / SIZE < most


def test_another_c_library_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    with pytest.raises(ProgramError, match="keep_pages=True needs glibc; leave it out"):
        lrpc.compile(nn.Linear(2, 2), (torch.ones(1, 2),), composite="epsilon", keep_pages=True)
