"""All maps of several methods; the composites of one program share its forward pass."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lrpc.commands.evaluate.methods import Maps, Method, Relevance, forward
from lrpc.commands.evaluate.model import Picture, in_batches
from lrpc.errors import LrpcError


@dataclass(frozen=True, eq=False)
class Explained:
    """One method's maps, or the error that it stopped with; `seconds` is what it would take alone,
    its forward passes included."""

    method: Method
    maps: Maps
    seconds: float
    error: LrpcError | None = None


def explained(methods: Sequence[Method], pictures: Sequence[Picture]) -> Iterator[Explained]:
    """Every method's maps, in the order of the methods."""
    for group in grouped(methods):
        relevances = [method for method in group if isinstance(method, Relevance)]
        if relevances:
            yield from _together(relevances, pictures)
        else:
            yield from (_alone(method, pictures) for method in group)


def grouped(methods: Sequence[Method]) -> list[list[Method]]:
    """Neighbours that are composites of one program together, any other method by itself."""
    groups: list[list[Method]] = []
    for method in methods:
        if groups and _shares(groups[-1][-1], method):
            groups[-1].append(method)
        else:
            groups.append([method])
    return groups


def _shares(one: Method, other: Method) -> bool:
    if not (isinstance(one, Relevance) and isinstance(other, Relevance)):
        return False
    return one.model.program is other.model.program and one.batch == other.batch


def _alone(method: Method, pictures: Sequence[Picture]) -> Explained:
    began = time.perf_counter()
    try:
        maps, error = method.maps(pictures), None
    except LrpcError as raised:
        maps, error = [], raised
    return Explained(method, maps, time.perf_counter() - began, error)


def _together(methods: Sequence[Relevance], pictures: Sequence[Picture]) -> list[Explained]:
    """Batch by batch: one forward pass, then the relevance of each composite."""
    maps: list[Maps] = [[] for _ in methods]
    seconds = [0.0] * len(methods)
    errors: dict[int, LrpcError] = {}
    for some in in_batches(pictures, methods[0].batch):
        began = time.perf_counter()
        state = forward(methods[0].model, some)
        shared = time.perf_counter() - began
        for n, method in enumerate(methods):
            if n in errors:
                continue
            began = time.perf_counter()
            try:
                maps[n] += method.of(state, some)
            except LrpcError as raised:
                errors[n] = raised
            seconds[n] += shared + time.perf_counter() - began
    return [Explained(m, maps[n], seconds[n], errors.get(n)) for n, m in enumerate(methods)]
