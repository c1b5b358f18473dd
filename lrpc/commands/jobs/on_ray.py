"""A job on Ray Data: actors that each hold the loaded program."""

from __future__ import annotations

import importlib
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lrpc.commands.jobs.job import Job
from lrpc.commands.jobs.sources.items import Item, Truth
from lrpc.commands.jobs.spec import Spec
from lrpc.commands.jobs.units import Unit
from lrpc.commands.jobs.worker import Note, Worker
from lrpc.commands.session.room import Room, on_cores, on_gpu
from lrpc.errors import ProgramError
from lrpc.results.layout import Layout
from lrpc.results.source import Place
from lrpc.support.files import reason
from lrpc.support.signals import handlers_kept

LOCAL = "local"  # an address: a cluster of this machine alone, made for the job
_UNITS = 4  # of a task: what an actor that dies has to begin again


@dataclass(frozen=True)
class Cluster:
    """Where workers run: Ray's address, and how many there are (0: as many as fit by the plan)."""

    address: str = LOCAL
    workers: int = 0
    seeds: int = 1


class Actor:
    """A worker in a process of its own; Ray makes and calls it."""

    def __init__(self, spec: Spec, root: str) -> None:
        self.worker, self.layout = Worker(spec), Layout(Path(root))

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[str]]:
        """Explain the units of a batch, as texts; notes on the images that were not done, too."""
        notes: list[Note] = []
        for text in batch["unit"]:
            images = [(number, _item(told)) for number, told in json.loads(text)]
            done = self.worker.explain([self.worker.read(*image) for image in images])
            notes += [one.note for one in done if one.write_new(self.layout)]
        return {"note": [json.dumps(tuple(note)) for note in notes]}


def work(
    job: Job, spec: Spec, cluster: Cluster, units: Sequence[Unit], tell: Callable[..., None]
) -> None:
    """Every unit through the actors of a cluster; `tell` hears of what is written, in whatever
    order. An actor that dies is replaced, and its units are explained by others. Raises
    ProgramError where Ray is not installed or not reached."""
    rows = [{"unit": _text(job, unit)} for unit in units]
    with _connected(cluster) as ray:
        count, shares = _workers(spec, cluster, ray)
        blocks = max(1, -(-len(rows) // _UNITS))
        data = ray.data.from_items(rows, override_num_blocks=blocks).map_batches(
            Actor,
            batch_size=None,
            compute=ray.data.ActorPoolStrategy(size=min(count, blocks)),
            fn_constructor_args=(spec, str(job.layout.root.absolute())),
            **shares,
        )
        for row in data.iter_rows():
            tell([Note(*json.loads(row["note"]))])


def _workers(spec: Spec, cluster: Cluster, ray: Any) -> tuple[int, dict[str, float]]:
    """How many actors there are, and what of the cluster each takes."""
    has, threads = ray.cluster_resources(), max(1, spec.threads)
    if cluster.workers:
        count = cluster.workers
        share = min(1.0, has.get("GPU", 0.0) / count)
    else:
        options = spec.options
        room = Room(spec.directory, {one.name for one in options.targets})
        needs = room.peak(options.batch_size, cluster.seeds, options.request.ledger)
        fits = on_gpu(needs)
        count = int(has.get("GPU", 0)) * fits
        share = 1.0 / fits
        if spec.options.device == "cpu":
            memory = int(has.get("memory", 0)) or None
            count = on_cores(needs, int(has.get("CPU", 1)), threads, memory)
    if spec.options.device == "cpu":
        cores = min(float(threads), has.get("CPU", 1.0) / count)
        return count, {"num_cpus": cores}
    if not count:
        raise ProgramError("this Ray cluster has no GPU; --device cpu uses its cores")
    return count, {"num_gpus": share}


@contextmanager
def _connected(cluster: Cluster) -> Iterator[Any]:
    """Ray, joined at an address for as long as the block lasts."""
    try:
        ray = importlib.import_module("ray")
        importlib.import_module("ray.data")
    except ImportError as error:
        raise ProgramError("--ray needs Ray Data: pip install 'lrpc[ray]'") from error
    address = None if cluster.address == LOCAL else cluster.address
    quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if address is None:
        quiet["include_dashboard"] = False
    try:
        with handlers_kept():  # Ray's own would end the command without a summary
            ray.init(address or "local", configure_logging=False, **quiet)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        told = f"--ray {cluster.address}: cannot be reached ({reason(error)})"
        raise ProgramError(told) from error
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    try:
        yield ray
    finally:
        ray.shutdown()


def _text(job: Job, unit: Unit) -> str:
    """A unit as text: the number of each image, and the image."""
    told = []
    for number in unit:
        item = job.item(number)
        where = item.place
        truth = None if item.truth is None else [asdict(one) for one in item.truth]
        place = [str(where.path.absolute()), where.start, where.size]
        told.append((number, {"name": item.name, "place": place, "truth": truth}))
    return json.dumps(told)


def _item(told: dict[str, Any]) -> Item:
    path, start, size = told["place"]
    truth = told["truth"]
    if truth is not None:
        truth = tuple(Truth(one["label"], tuple(one["box"])) for one in truth)
    return Item(told["name"], Place(Path(path), start, size), truth)
