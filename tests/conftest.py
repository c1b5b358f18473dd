"""Fixtures that test files share."""

from __future__ import annotations

import gc
import os
import signal

import pytest
import torch
from hypothesis import settings

from tests.support.programs import Programs

# Drawn examples are the same in every run; HYPOTHESIS_PROFILE=fresh draws new ones.
settings.register_profile("same", derandomize=True)
settings.register_profile("fresh", derandomize=False)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))

# In the background of a shell SIGINT is ignored, and lrpc leaves it so; tests send it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Without a GPU torch notes each seed for one to come, with the whole stack as text: milliseconds.
for device in (torch.cuda, torch.xpu, torch.mtia):
    if not device.is_available():
        device.manual_seed_all = lambda seed: None

# Test files side by side (pytest -n): one thread each, as threads that wait for others cost most.
if "PYTEST_XDIST_WORKER" in os.environ:
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"


def pytest_collection_finish() -> None:
    """What was imported stays: no search for garbage goes through it again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Programs:
    """Compiled programs, each made when a test of any worker first asks for it."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return Programs(tmp_path_factory.mktemp("programs"))
    folder = tmp_path_factory.getbasetemp().parent / "programs"  # beside those of the workers
    folder.mkdir(exist_ok=True)
    return Programs(folder)
