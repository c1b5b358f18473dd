"""What all commands share: batches by size, one image's failure, forward passes of several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch

from lrpc.commands.evaluate.objects import find
from lrpc.commands.evaluate.outlines import BoxOutline
from lrpc.commands.evaluate.settings import Settings
from lrpc.commands.evaluate.truth import Annotated, Truth
from lrpc.commands.session.batches import process
from lrpc.commands.session.calls import Request
from lrpc.commands.session.images import LoadedImage
from lrpc.commands.session.members import Member, member
from lrpc.commands.session.seeds import Seed
from lrpc.commands.session.sizing import Sizing
from lrpc.commands.session.targets import TargetError
from lrpc.errors import AnalysisError, ImageError, LrpcError, ProgramError
from tests.support.run_fakes import HEIGHT, WIDTH, FakeProgram, write_image

SIZES = ((HEIGHT, WIDTH), (2 * HEIGHT, WIDTH))
SIZING = Sizing(SIZES, 0, 0, (0.0, 0.0, 0.0))


@dataclass
class Counting:
    """Notes what it is asked for; images whose name begins with a word fail at that step."""

    batches: list[list[str]] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    error: Exception = field(default_factory=lambda: RuntimeError("no\nreason"))

    def explain(self, images: Sequence[LoadedImage], items: Sequence[str]) -> list[str]:
        self.batches.append(list(items))
        assert len({image.frame for image in images}) == 1
        if any(item.startswith("explain") for item in items):
            raise self.error
        return [f"{item}!" for item in items]

    def keep(self, image: LoadedImage, item: str, result: str) -> None:
        if item.startswith("keep"):
            raise self.error
        self.kept.append(result)

    def fail(self, item: str, path: Path, error: str) -> None:
        self.failed[item] = error


def run(tmp_path: Path, work: Counting, *names: str, debug: bool = False) -> Counting:
    """Images that are `tall` by name are of the other size, those that are `bad` are none."""
    jobs = []
    for name in names:
        path = tmp_path / f"{name}.png"
        write_image(path, 150, (WIDTH, 2 * HEIGHT if "tall" in name else HEIGHT))
        if name.startswith("bad"):
            path.write_text("no image")
        jobs.append((path, name))
    process(jobs, work, SIZING, 2, debug=debug)
    return work


def test_images_of_one_size_go_together_in_their_order(tmp_path: Path) -> None:
    work = run(tmp_path, Counting(), "a", "tall-b", "c", "bad", "d", "tall-e", "tall-f", "g")
    assert work.batches == [["a", "c"], ["tall-b", "tall-e"], ["d", "g"], ["tall-f"]]
    assert sorted(work.kept) == ["a!", "c!", "d!", "g!", "tall-b!", "tall-e!", "tall-f!"]
    assert list(work.failed) == ["bad"]
    assert work.failed["bad"].endswith("bad.png: not an image that Pillow can read")


def test_what_fails_together_is_tried_alone(tmp_path: Path) -> None:
    work = run(tmp_path, Counting(), "a", "explain-b", "keep-c", "d")
    assert work.batches == [["a", "explain-b"], ["a"], ["explain-b"], ["keep-c", "d"]]
    assert work.kept == ["a!", "d!"]
    assert work.failed == dict.fromkeys(("explain-b", "keep-c"), "RuntimeError: no")


@pytest.mark.parametrize("error", [TargetError("asked"), AnalysisError("asked"), TypeError("bug")])
def test_errors_of_the_request_and_of_the_code_are_no_image_s(
    tmp_path: Path, error: Exception
) -> None:
    for name in ("explain-a", "keep-a"):
        work = Counting(error=error)
        if name == "keep-a" and isinstance(error, LrpcError):
            continue  # what is asked is known before anything is kept
        with pytest.raises(type(error)):
            run(tmp_path, work, name, "b")
        assert work.failed == {}


def test_debug_raises_the_first_error(tmp_path: Path) -> None:
    for name, kind in (("bad", ImageError), ("explain-a", RuntimeError), ("keep-a", RuntimeError)):
        with pytest.raises(kind):
            run(tmp_path, Counting(), name, "b", debug=True)


def fake(name: str = "fake", program: FakeProgram | None = None) -> Member:
    return member(name, program or FakeProgram(), "cpu", None, Path())


def test_objects_are_found_beside_an_image_that_the_program_fails_on(tmp_path: Path) -> None:
    box = (12.0, 8.0, 36.0, 24.0)
    truths = (Truth("it", 2, BoxOutline(box), box), Truth("other", 1, BoxOutline(box), box))
    reds = {"seen": 150, "cursed": 7, "empty": 50, "again": 150}
    scenes = [
        Annotated(write_image(tmp_path / f"{name}.png", red), truths) for name, red in reds.items()
    ]
    found = find(fake(), scenes, Settings(match="box", batch=3))
    assert [picture.image.path.stem for picture in found.pictures] == ["seen", "again"]
    assert found.failed == (f"{tmp_path}/cursed.png: a pixel it cannot stand",)
    assert found.unmatched == ("other", "it", "other", "other")
    limited = find(fake(), scenes, Settings(match="box", batch=1, limit=1))
    assert [picture.image.path.stem for picture in limited.pictures] == ["seen"]
    assert limited.failed == ()  # the rest is not even read
    with pytest.raises(ProgramError, match="a pixel it cannot stand"):
        find(fake(), scenes, Settings(match="box", batch=3), debug=True)


def test_seeds_come_in_chunks_and_in_their_order() -> None:
    program = FakeProgram()
    one = fake(program=program)
    size = (HEIGHT, WIDTH)
    image = LoadedImage(Path("i.png"), torch.zeros(3, *size), size, size)
    seeds = [[Seed("class_logit", None, (q, 1)) for q in range(n)] for n in (3, 1)]
    state = one.forward_of([image, image])
    whole, chunked = (one.relevance(state, seeds, Request(chunk=n)) for n in (0, 2))
    assert [at.tolist() for _, at, _ in program.calls] == [
        [[[0, 1], [0, 1]], [[1, 1], [0, 1]], [[2, 1], [0, 1]]],
        [[[0, 1], [0, 1]], [[1, 1], [0, 1]]],
        [[[2, 1], [0, 1]]],
    ]
    for some in (whole, chunked):
        sums = [[round(float(k.input.sum())) for k in image] for image in some]
        assert sums == [[10, 110, 210], [10]]
