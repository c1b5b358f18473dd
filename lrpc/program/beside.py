"""Work that goes on in a thread of its own while a program is made."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from threading import Thread
from typing import Generic, TypeVar

import torch

T = TypeVar("T")
_SWITCH = 1e-4
"""Seconds after which a thread in Python makes room for another that returns from torch."""


class Beside(Generic[T]):
    """Tasks by name, done one after the other, with a core less for torch than there are.

    Nobody has to wait for them: the thread ends with the process.
    """

    def __init__(self, tasks: Mapping[str, Callable[[], T]]) -> None:
        self._results: dict[str, Future[T]] = {name: Future() for name in tasks}
        work = [(task, self._results[name]) for name, task in tasks.items()]
        Thread(target=_done, args=(work, torch.get_num_threads()), daemon=True).start()

    def result(self, name: str) -> T:
        """What a task gave, once it is done; its error is raised here."""
        return self._results.pop(name).result()


def _done(work: Sequence[tuple[Callable[[], T], Future[T]]], cores: int) -> None:
    """Do tasks one after the other, and say what came of each."""
    often = sys.getswitchinterval()
    sys.setswitchinterval(min(often, _SWITCH))
    torch.set_num_threads(max(1, cores - 1))  # of this thread
    try:
        for task, future in work:
            try:
                future.set_result(task())
            except BaseException as error:  # for who asks for the result
                future.set_exception(error)
    finally:
        torch.set_num_threads(cores)  # of threads to come
        sys.setswitchinterval(often)
