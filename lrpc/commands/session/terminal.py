"""What commands say while they go through images, and at their end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from lrpc.commands.session.changes import Change, notices
from lrpc.commands.session.facts import RANDOM_WARNING, Facts
from lrpc.commands.session.units import count
from lrpc.commands.session.writing import Outcome, WritingSession
from lrpc.program.verify_sizes import AMPLIFIED
from lrpc.support.files import shown
from lrpc.support.log import LOG
from lrpc.support.signals import Stopped
from lrpc.support.terminal import say


@dataclass
class Ended:
    """What became of the images so far, of all there are, and the signal that ended the command
    before its time; `does` is what the command does with images."""

    total: int
    does: str
    outcomes: list[Outcome] = field(default_factory=list)
    stop: Stopped | None = None

    @property
    def failed(self) -> list[Outcome]:
        """The images that failed."""
        return [one for one in self.outcomes if one.error]

    @property
    def left(self) -> int:
        """Images that nothing was done with."""
        return self.total - len(self.outcomes)

    def code(self, errors: Console) -> int:
        """The exit code: 0, 1 where an image failed, a signal's own, which a line tells of."""
        if self.stop is None:
            return 1 if self.failed else 0
        done = len(self.outcomes)
        how_far = f": {count(done, 'image')} done, {self.left} left"
        how_far = how_far if done else " before any image was done"
        resume = f"the same command with --resume {self.does} the rest"
        return stopped(errors, self.stop, how_far, resume)


def watch(session: WritingSession, paths: Sequence[Path], errors: Console) -> Ended:
    """Run a session on images with a bar on a terminal, elsewhere with one line per image; a signal
    ends it with what is done. Warnings about weights and images come before and after."""
    ended = Ended(len(paths), session.does)
    warn_random(errors, [one.facts for one in session.members])
    try:
        with progress(session.doing, len(paths), errors) as advance:

            def report(outcome: Outcome) -> None:
                ended.outcomes.append(outcome)
                if outcome.error or outcome.note or not errors.is_terminal:
                    say(errors, line(outcome), "red" if outcome.error else "")
                else:
                    LOG.info("%s", line(outcome))
                advance(1, outcome.path.name)

            session.run(paths, report)
    except Stopped as stop:
        ended.stop = stop
    order = {path: number for number, path in enumerate(paths)}  # not that of their sizes
    ended.outcomes.sort(key=lambda one: order[one.path])
    changes = [one.change for one in ended.outcomes]
    warn_changes(errors, changes, len(changes))
    warn_amplified(errors, max((one.amplification for one in ended.outcomes), default=0.0))
    return ended


@contextmanager
def progress(what: str, total: int, errors: Console) -> Iterator[Callable[[int, str], None]]:
    """A bar on a terminal, nothing elsewhere; call with how many are done, and the last's name."""
    columns = (
        TextColumn(what),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[name]}", markup=False),
    )
    with Progress(*columns, console=errors, disable=not errors.is_terminal) as bar:
        task = bar.add_task(what, total=total, name="")
        yield lambda done, name: bar.update(task, advance=done, name=name)


def stopped(errors: Console, stop: Stopped, how_far: str, next_step: str) -> int:
    """Say how far a command came that a signal ended, and what to do; its exit code."""
    say(errors, f"stopped by {stop}{how_far}; {next_step}", "red")
    return stop.code


def line(outcome: Outcome) -> str:
    """One image in one line."""
    name = shown(outcome.path)
    if outcome.error:
        return outcome.error if outcome.error.startswith(name) else f"{name}: {outcome.error}"
    return f"{name}: {outcome.note or count(outcome.targets, 'target')}"


def warn_random(errors: Console, facts: Sequence[Facts]) -> None:
    """Say loudly where the weights of some program are not trained."""
    if any(one.random_weights for one in facts):
        say(errors, f"warning: {RANDOM_WARNING}", "bold red")


def warn_amplified(errors: Console, worst: float, what: str = "relevance of the image") -> None:
    """Say where contributions of both signs have grown far beyond the start."""
    if worst > AMPLIFIED:
        told = (
            f"warning: {what} is up to {worst:.2g} times what it starts from, in contributions of"
            " both signs that cancel: such maps show noise; choose other rules (gamma, maskdino)"
        )
        say(errors, told, "yellow")


def warn_changes(errors: Console, changes: Sequence[Change | None], total: int) -> None:
    """Say in a line each which images were changed to fit the program, and which are padded as the
    model's own inference pads them, where any was."""
    warning, note = notices([one for one in changes if one is not None], total)
    if warning:
        say(errors, warning, "yellow")
    if note:
        say(errors, note)
