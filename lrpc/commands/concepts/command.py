"""The command `lrpc concepts`."""

from __future__ import annotations

import argparse
import time

from rich.console import Console

from lrpc.commands.concepts.gather import PlaceAxes, gather, places_of
from lrpc.commands.concepts.maps import concept_maps
from lrpc.commands.concepts.prototypes import prototypes
from lrpc.commands.concepts.ranking import ClassRanking, rankings
from lrpc.commands.concepts.rows import BY, Findings
from lrpc.commands.concepts.site import write_site
from lrpc.commands.concepts.store import Pair, Store, opened
from lrpc.commands.jobs.sources.find import Source, find
from lrpc.commands.jobs.sources.items import Item
from lrpc.commands.jobs.spec import Spec
from lrpc.commands.session.calls import Request
from lrpc.commands.session.options import Options, make_output
from lrpc.commands.session.session import Session
from lrpc.commands.session.targets import parse_targets
from lrpc.commands.session.terminal import progress, stopped, warn_random
from lrpc.commands.session.units import count
from lrpc.commands.session.wanted import Wanted
from lrpc.config.target_kinds import KINDS
from lrpc.errors import ProgramError
from lrpc.program.devices import device_of
from lrpc.results.schema import arrow
from lrpc.support.files import shown
from lrpc.support.signals import Stopped
from lrpc.support.terminal import Terminal, say


def main(args: argparse.Namespace, console: Console) -> int:
    """Rank the concepts of a program over a data set, or go on with it; the exit code is 1 where
    images failed. Raises LrpcError where there is nothing to rank."""
    arrow()
    errors = Terminal(stderr=True)
    source = Source(tuple(args.data), args.column, args.image_folder)
    items = find(source)
    spec = _spec(args)
    session = Session(spec.members(spec.load()), spec.options)
    warn_random(errors, [session.facts])
    places = places_of(session.members[0].program, _target(session), args.place)
    identity = spec.identity([session.facts], source.record())
    identity["places"] = [place.name for place in places]
    make_output(args.output, args.data)
    try:
        with opened(args.output, identity, args.overwrite) as store:
            return _run(args, session, items, places, store, errors, console)
    except Stopped as stop:
        return stopped(errors, stop, "", "the same command goes on")


def _run(
    args: argparse.Namespace,
    session: Session,
    items: list[Item],
    places: list[PlaceAxes],
    store: Store,
    errors: Console,
    console: Console,
) -> int:
    begun = time.monotonic()
    with progress("detections", len(items), errors) as tell:
        found, failed = gather(session, items, places, store, tell)
    if not found:
        store.drop()
        first = next((f"; {name}: {why}" for name, why in failed.items()), "")
        raise ProgramError(f"nothing was detected in any image; lower --score{first}")
    ranked = rankings(found, [place.name for place in places])
    pairs = _pairs(ranked, args.concepts, args.references)
    with progress("concept maps", len(pairs), errors) as tell:
        maps = concept_maps(session, items, pairs, places, store, tell)
    mixtures = {(r.label, r.place): prototypes(r.samples, r.place, args.prototypes) for r in ranked}
    findings = Findings(ranked, maps, mixtures, [p.name for p in places], session.facts.classes)
    write_site(store, findings, items, args.concepts, args.references)
    for name, why in failed.items():
        say(errors, why if why.startswith(name) else f"{name}: {why}", "red")
    took = f"{count(len(found), 'detection')}, {count(len(maps), 'concept map')}"
    took += f", {time.monotonic() - begun:.0f} s"
    say(console, f"{shown(args.output / 'index.html')}: {took}")
    return 1 if failed else 0


def _spec(args: argparse.Namespace) -> Spec:
    options = Options(
        output=args.output,
        device=device_of(args.device),
        targets=parse_targets(args.target),
        score=args.score,
        top=args.top,
        wanted=Wanted(tuple(args.classes), tuple(args.at), args.missed),
        batch_size=args.batch_size,
        pad=args.pad,
        request=Request(ledger=False, chunk=args.seed_chunk),
    )
    return Spec(args.program, options)


def _target(session: Session) -> str:
    """The program's name for what the first target starts from."""
    spec = session.options.targets[0]
    return KINDS[spec.kind].weighs or spec.name


def _pairs(ranked: list[ClassRanking], concepts: int, references: int) -> list[Pair]:
    """The references of the first concepts of every class and place, by relevance and by
    activation."""
    pairs: dict[Pair, None] = {}
    for one in ranked:
        for by in BY:
            for channel in one.by_relevance[:concepts]:
                for sample in one.references(channel, references, by):
                    pairs[Pair(sample, one.place, channel)] = None
    return list(pairs)
