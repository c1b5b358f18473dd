"""Sizes of images: what programs take, what is masked, batches, maps at another resolution."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from lrpc.commands.compare.runner import ComparisonRunner
from lrpc.commands.evaluate.model import in_batches
from lrpc.commands.session import batches
from lrpc.commands.session.facts import read_facts
from lrpc.commands.session.images import load_image
from lrpc.commands.session.options import Options
from lrpc.commands.session.original import original_box, spread
from lrpc.commands.session.sizing import Sizing, fit
from lrpc.errors import ProgramError
from lrpc.program.protocol import Size
from tests.support.run_fakes import MANIFEST, FakeProgram


def test_batches_are_of_neighbours_of_one_frame() -> None:
    @dataclass(frozen=True)
    class Item:
        name: str
        frame: Size

    def names(found: Iterable[list[Item]]) -> list[str]:
        return ["".join(item.name for item in some) for some in found]

    items = [Item(n, (32, 32 if n < "d" else 64)) for n in "abcdeab"]
    assert names(in_batches(items, 2)) == ["ab", "c", "de", "ab"]
    assert names(in_batches(iter(items), 9)) == ["abc", "de", "ab"]


def _step(step: int) -> dict[str, int]:
    return {"step": step, "example": 2 * step}


def varying(**changes: Any) -> dict[str, Any]:
    known = {"inputs": {"images": "f32[B,3,H,W]"}, "sizes": {"H": _step(32), "W": _step(64)}}
    return MANIFEST | known | changes


def test_larger_steps_pad_further() -> None:
    sizing = read_facts(varying()).sizing
    assert (sizing.steps, sizing.shapes) == ((32, 64), ())
    assert fit((64, 96), sizing) == ((32, 64), (32, 48))  # INPUT says 32 / 48
    assert fit((96, 64), sizing) == ((64, 64), (48, 32))


@pytest.mark.parametrize(
    ("edges", "steps"),
    [("H,H", {"H": _step(32)}), ("H,640", {"H": _step(32)}), ("H,W", {"H": _step(32)})],
)
def test_height_and_width_vary_each_on_its_own(edges: str, steps: dict[str, Any]) -> None:
    manifest = varying(inputs={"images": f"f32[B,3,{edges}]"}, sizes=steps)
    with pytest.raises(
        ProgramError, match=f"^images of this program are {'×'.join(edges.split(','))}; let"
    ):
        read_facts(manifest)


def test_programs_of_one_size_and_of_any_are_not_compared(tmp_path: Path) -> None:
    known = {Path("a"): FakeProgram(), Path("b"): FakeProgram(**varying())}
    message = "^b: takes images of another size than a; compile both with the same INPUT"
    with pytest.raises(ProgramError, match=message):
        ComparisonRunner(known, Options(tmp_path))
    twice = {Path("a"): FakeProgram(**varying()), Path("b"): FakeProgram(**varying())}
    assert len(ComparisonRunner(twice, Options(tmp_path)).members) == 2


def test_images_that_wait_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[list[str]] = []

    @dataclass(frozen=True)
    class Fake:
        path: Path
        frame: Size
        pixels: Tensor

    class Noting:
        def explain(self, images: Sequence[Any], items: Sequence[str]) -> list[str]:
            done.append(list(items))
            return list(items)

        def keep(self, image: Any, item: str, result: str) -> None: ...
        def fail(self, item: str, path: Path, error: str) -> None: ...

    def load(path: Path, _: Any, data: bytes | None) -> Any:
        return Fake(path, (1, int(path.name[1:])), torch.zeros(10, dtype=torch.uint8))

    monkeypatch.setattr(batches, "load_image", load)
    monkeypatch.setattr(batches, "WAITING", 30)
    names = ["a1", "b2", "c3", "d2", "e4", "f1"]
    sizing = read_facts(MANIFEST).sizing
    batches.process([(Path(name), name) for name in names], Noting(), sizing, 3)
    assert done == [["a1"], ["b2", "d2"], ["c3"], ["e4"], ["f1"]]


@pytest.mark.parametrize(
    ("before", "after"), [((3, 5), (7, 4)), ((4, 4), (4, 8)), ((6, 2), (1, 3))]
)
def test_maps_at_another_resolution_keep_what_each_part_holds(before: Size, after: Size) -> None:
    """Held against the least common grid, on which both resolutions are blocks."""
    values = torch.rand(before, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    fine = values.repeat_interleave(after[0], 0).repeat_interleave(after[1], 1)
    fine = fine / (after[0] * after[1])
    blocks = fine.unflatten(1, (after[1], before[1])).unflatten(0, (after[0], before[0]))
    torch.testing.assert_close(spread(values, after), blocks.sum((1, 3)))


def test_boxes_in_pixels_of_the_image_on_disk(tmp_path: Path) -> None:
    Image.new("RGB", (480, 330)).save(tmp_path / "a.png")
    sizing = Sizing((), 160, 160, (1.0, 2.0, 3.0), 32, steps=(32, 32))
    image = load_image(tmp_path / "a.png", sizing)
    assert (image.valid, image.frame) == ((110, 160), (128, 160))
    assert original_box((16.0, 11.0, 160.0, 110.0), image) == (48.0, 33.0, 480.0, 330.0)


@pytest.mark.parametrize(
    ("shape", "masks", "left"),
    [
        ((32, 48), False, (32, 48)),  # the model's own padding, of 20 rows to 32
        ((64, 48), False, (32, 48)),  # and that of the program
        ((64, 48), True, (20, 48)),
        ((16, 48), False, (16, 38)),  # at another scale there is nothing of the model's own
    ],
)
def test_masks_leave_what_the_model_itself_does_not_mask(
    tmp_path: Path, shape: Size, masks: bool, left: Size
) -> None:
    Image.new("RGB", (48, 20)).save(tmp_path / "a.png")
    sizing = Sizing((shape,), 20, 0, (1.0, 2.0, 3.0), 16, masks=masks, pad=True)
    assert load_image(tmp_path / "a.png", sizing).attended == left


def test_a_released_model_s_padding_is_not_masked() -> None:
    assert not read_facts(MANIFEST).sizing.masks
    own = MANIFEST["config"] | {"LRPC": {"SOURCE": "my.models:detector"}}
    assert read_facts(MANIFEST | {"config": own}).sizing.masks
