"""The command `lrpc concepts`."""

from __future__ import annotations

import argparse
import time

from rich.console import Console

from lrpc.commands.concepts.gather import PlaceAxes, Sample, places_of, samples
from lrpc.commands.concepts.maps import ConceptMap, Pair, concept_maps
from lrpc.commands.concepts.prototypes import prototypes
from lrpc.commands.concepts.ranking import ClassRanking, rankings
from lrpc.commands.concepts.rows import Findings
from lrpc.commands.concepts.site import write_site
from lrpc.commands.jobs.sources.find import Source, find
from lrpc.commands.jobs.sources.items import Item
from lrpc.commands.jobs.spec import Spec
from lrpc.commands.session.calls import Request
from lrpc.commands.session.options import Options, make_output
from lrpc.commands.session.session import Session
from lrpc.commands.session.targets import parse_targets
from lrpc.commands.session.terminal import progress, warn_random
from lrpc.commands.session.units import count
from lrpc.commands.session.wanted import Wanted
from lrpc.config.target_kinds import KINDS
from lrpc.errors import ProgramError
from lrpc.program.devices import device_of
from lrpc.results.schema import arrow
from lrpc.support.files import shown
from lrpc.support.log import LOG
from lrpc.support.terminal import Terminal, say

BY = ("relmax", "actmax")


def main(args: argparse.Namespace, console: Console) -> int:
    """Rank the concepts of a program over a data set; the exit code is 1 where images failed.
    Raises LrpcError where there is nothing to rank."""
    arrow()
    begun = time.monotonic()
    errors = Terminal(stderr=True)
    if args.output.exists() and any(args.output.iterdir()):
        raise ProgramError(f"{shown(args.output)}: is there and not empty; name a new folder")
    items = find(Source(tuple(args.data), args.column, args.image_folder))
    session = _session(args)
    warn_random(errors, [session.facts])
    target = _target(session)
    places = places_of(session.members[0].program, target, args.place)
    failed: dict[str, str] = {}
    found = _samples(session, items, places, failed, errors)
    if not found:
        raise ProgramError("nothing was detected in any image; lower --score")
    ranked = rankings(found, [place.name for place in places])
    pairs = _pairs(ranked, args.concepts, args.references)
    make_output(args.output, args.data)
    maps = _maps(session, items, pairs, places, errors)
    mixtures = {(r.label, r.place): prototypes(r.samples, r.place, args.prototypes) for r in ranked}
    findings = Findings(ranked, maps, mixtures, [p.name for p in places], session.facts.classes)
    write_site(args.output, findings, items, args.concepts, args.references)
    for name, why in failed.items():
        say(errors, f"{name}: {why}", "red")
    took = f"{count(len(found), 'detection')}, {count(len(maps), 'concept map')}"
    took += f", {time.monotonic() - begun:.0f} s"
    say(console, f"{shown(args.output / 'index.html')}: {took}")
    return 1 if failed else 0


def _session(args: argparse.Namespace) -> Session:
    options = Options(
        output=args.output,
        device=device_of(args.device),
        targets=parse_targets(args.target),
        score=args.score,
        top=args.top,
        wanted=Wanted(tuple(args.classes), tuple(args.at), args.missed),
        pad=args.pad,
        request=Request(ledger=False, chunk=args.seed_chunk),
    )
    spec = Spec(args.program, options)
    return Session(spec.members(spec.load()), options)


def _target(session: Session) -> str:
    """The program's name for what the first target starts from."""
    spec = session.options.targets[0]
    return KINDS[spec.kind].weighs or spec.name


def _samples(
    session: Session,
    items: list[Item],
    places: list[PlaceAxes],
    failed: dict[str, str],
    errors: Console,
) -> list[Sample]:
    found: list[Sample] = []
    with progress("detections", len(items), errors) as advance:
        for number, some in samples(session, items, places, failed):
            found += some
            name = items[number].name
            if name not in failed:
                LOG.info("%s: %s", shown(name), count(len(some), "detection"))
            advance(1, name)
    return found


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


def _maps(
    session: Session,
    items: list[Item],
    pairs: list[Pair],
    places: list[PlaceAxes],
    errors: Console,
) -> dict[Pair, ConceptMap]:
    found: dict[Pair, ConceptMap] = {}
    with progress("concept maps", len(pairs), errors) as advance:
        for one in concept_maps(session, items, pairs, places):
            found[one.pair] = one
            advance(1, one.pair.sample.name)
    return found
