"""Tasks beside the making of a program: their results, errors and settings of torch."""

from __future__ import annotations

import sys
import threading
from functools import partial

import pytest
import torch

from lrpc.program.beside import Beside


def fails() -> int:
    raise KeyError("no")


def test_results_come_by_name_and_errors_where_they_are_asked_for() -> None:
    threads, often = torch.get_num_threads(), sys.getswitchinterval()
    gate = threading.Event()
    work = Beside({"bad": fails, "waits": gate.wait, "good": partial(int, "3")})
    with pytest.raises(KeyError):
        work.result("bad")
    gate.set()
    assert (work.result("good"), work.result("waits")) == (3, True)
    last = Beside({"one": torch.get_num_threads})
    assert last.result("one") == max(1, threads - 1)
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and thread.daemon:
            thread.join(10)
    assert torch.get_num_threads() == threads
    assert sys.getswitchinterval() == often
