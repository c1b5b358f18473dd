"""A session that writes files of each image, whose trouble is not another's."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lrpc.commands.session.batches import process
from lrpc.commands.session.changes import Change
from lrpc.commands.session.images import LoadedImage
from lrpc.commands.session.names import output_stems
from lrpc.commands.session.session import Result, Session


@dataclass(frozen=True)
class Outcome:
    """What became of one image: targets explained, a note, or the error's one line."""

    path: Path
    targets: int = 0
    note: str = ""
    error: str = ""
    closure: float | None = None  # the worst of its ledgers
    change: Change | None = None
    amplification: float = 0.0  # the largest of its targets


class WritingSession(Session, ABC):
    """A session to `run` on images; a command says in a subclass what becomes of each."""

    doing, does, did = "explaining", "explains", "explained"  # what is said of images

    def run(self, paths: Sequence[Path], report: Callable[[Outcome], None]) -> list[Outcome]:
        """Explain every image and write its files; `report` hears of each as it is done.

        A trouble with one image ends as its outcome's error, and the rest go on. Raises
        TargetError for a target outside the model, and everything where `debug` is set.
        """
        outcomes: list[Outcome] = []

        def tell(outcome: Outcome) -> None:
            outcomes.append(outcome)
            report(outcome)

        stems = output_stems(paths, self.owner)

        def jobs() -> Iterator[tuple[Path, Path]]:
            for path, stem in zip(paths, stems, strict=True):
                whole = self.options.output / stem
                if self.options.resume and self.explained_before(path, whole):
                    tell(Outcome(path, note=f"{self.did} before"))
                else:
                    yield path, whole

        work = _Explaining(self, tell)
        sizing = replace(self.facts.sizing, pad=self.options.pad)
        size, debug = self.options.batch_size, self.options.debug
        process(jobs(), work, sizing, size, debug=debug)
        return outcomes

    @abstractmethod
    def owner(self, stem: str) -> str | None:
        """Which image (`identity`) the output folder has results of under a stem; None for none."""

    @abstractmethod
    def explained_before(self, path: Path, stem: Path) -> bool:
        """Whether an image's results of the same call are there already."""

    @abstractmethod
    def write(self, image: LoadedImage, stem: Path, result: Result) -> Outcome:
        """Write all of one image, to names that begin with `stem`."""

    @abstractmethod
    def write_failure(self, path: Path, stem: Path, error: str) -> str:
        """Record that an image failed, and why; what is said of it."""


@dataclass(frozen=True)
class _Explaining:
    """A session's images, as `process` takes them; the items are stems of outputs."""

    session: WritingSession
    tell: Callable[[Outcome], None]

    def explain(self, images: Sequence[LoadedImage], stems: Sequence[Path]) -> list[Result]:
        return self.session.explain(images)

    def keep(self, image: LoadedImage, stem: Path, result: Result) -> None:
        self.tell(self.session.write(image, stem, result))

    def fail(self, stem: Path, path: Path, error: str) -> None:
        self.tell(Outcome(path, error=self.session.write_failure(path, stem, error)))
