"""A job in this process: reading ahead in one thread, writing behind in another."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from lrpc.commands.jobs.job import Job
from lrpc.commands.jobs.units import Unit
from lrpc.commands.jobs.worker import Done, Note, Read, Worker
from lrpc.support.signals import finishing

_AHEAD = 2  # units that are read while one is explained, and that may wait to be written


def work(
    job: Job, worker: Worker, units: Iterable[Unit], tell: Callable[[Sequence[Note]], None]
) -> None:
    """Every unit through the worker; `tell` hears of what is written. A signal waits until the unit
    at hand is explained and written, and ends this with Stopped; a second one does not wait."""
    with ThreadPoolExecutor(1) as readers, ThreadPoolExecutor(1) as writers:
        written: deque[Future[Sequence[Note]]] = deque()

        def settle(most: int) -> None:
            while len(written) > most:
                tell(written.popleft().result())

        def keep(done: Sequence[Done]) -> Sequence[Note]:
            return [one.note for one in done if one.write_new(job.layout)]

        try:
            for read in _ahead(job, worker, units, readers):
                with finishing():
                    done = worker.explain(read)
                    written.append(writers.submit(keep, done))
                    settle(_AHEAD)
        finally:
            settle(0)


def _ahead(
    job: Job, worker: Worker, units: Iterable[Unit], readers: ThreadPoolExecutor
) -> Iterator[list[Read]]:
    """The images of each unit, read while those before are explained."""

    def read(unit: Unit) -> list[Read]:
        return [worker.read(number, job.item(number)) for number in unit]

    waiting: deque[Future[list[Read]]] = deque()
    try:
        for unit in units:
            waiting.append(readers.submit(read, unit))
            if len(waiting) > _AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for one in waiting:
            one.cancel()
