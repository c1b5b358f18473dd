"""`lrpc compare` and `lrpc.compare`: the figures, the files, and what is refused."""

from __future__ import annotations

import csv
import json
from itertools import pairwise as neighbours
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn

import lrpc
from lrpc.cli import main
from lrpc.commands.compare.runner import RECORD, ComparisonRunner
from lrpc.commands.drawing import draw
from lrpc.commands.session.labels import labels_of
from lrpc.commands.session.names import identity
from lrpc.commands.session.options import Options
from lrpc.commands.session.targets import parse_targets
from lrpc.commands.session.writing import Outcome
from lrpc.errors import ProgramError
from tests.support.programs import ANY_SIZE, DIGITS, Programs
from tests.support.run_fakes import HEIGHT, MANIFEST, WIDTH, FakeProgram, write_image
from tests.support.tiny import tiny

NAMES = ["maskdino", "attnlrp", "gradient_input"]
SCENE = DIGITS.parent / "digits" / "scenes" / "02.png"

# -- from Python -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def several() -> Any:
    model, example = tiny()
    return lrpc.compile(model, (example,), composite=NAMES)


def test_compare_holds_each_composite_s_relevance(several: Any) -> None:
    example = tiny()[1]
    found = lrpc.compare(several, example, "output", at=[(1,), (3,)])
    assert found.names == tuple(NAMES)
    state = several.forward(example)
    for i, name in enumerate(NAMES):
        own = several.relevance(state, "output", at=[(1,), (3,)], composite=name)
        assert torch.equal(found.relevance[name], own.input)
        torch.testing.assert_close(found.heatmaps[name], own.input.sum(2))
        torch.testing.assert_close(found.sums[name], own.input.sum((2, 3, 4)))
        first = found.heatmaps["maskdino"][1, 0].flatten()
        mine = found.heatmaps[name][1, 0].flatten()
        expected = torch.nn.functional.cosine_similarity(first, mine, dim=0)
        torch.testing.assert_close(found.cosine[0, i, 1, 0], expected)
    torch.testing.assert_close(found.start["attnlrp"], state.outputs[:, [1, 3]].T)
    assert found.spearman.shape == (3, 3, 2, 2)
    assert float(found.spearman[0, 2].max()) < 0.999


def test_programs_by_name_and_chosen_composites(several: Any) -> None:
    model, example = tiny()
    one = lrpc.compile(model, (example,), composite="attnlrp")
    both = {"many": several, "one": one}
    found = lrpc.compare(both, example, "output", at=[(0,)], composites=["attnlrp"])
    assert found.names == ("many: attnlrp", "one")
    assert float((found.cosine - 1).abs().max()) < 1e-12
    assert found.outputs.keys() == both.keys()
    with pytest.raises(ProgramError, match=r"^no composite 'x'; it has: maskdino, attnlrp"):
        lrpc.compare(several, example, "output", at=[(0,)], composites=["x"])


def test_plot_has_a_panel_for_each(several: Any) -> None:
    found = lrpc.compare(several, tiny()[1], "output", at=[(1,)])
    page = found.plot(tiny()[1][0], box=(2, 2, 6, 6), title="one")
    plain = found.plot()
    pixels = np.asarray(page).astype(int)
    columns = (np.abs(pixels - 255).sum(2) > 0).any(0)  # the gaps between tiles are white
    edges = [i for i, (a, b) in enumerate(neighbours(columns)) if b and not a]
    assert len(edges) == 4  # the image and three panels
    assert page.width > plain.width
    assert (255, 208, 0) in {c for _, c in page.getcolors(1 << 20)}  # the box


def test_vectors_compare_but_are_not_drawn() -> None:
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3)).eval(), torch.randn(2, 5)
    program = lrpc.compile(model, (x,), composite=["epsilon", "gradient_input"])
    found = lrpc.compare(program, x, at=[(0,)])
    assert found.heatmaps == {}
    assert bool(torch.isfinite(found.cosine).all())
    with pytest.raises(ProgramError, match=r"only relevance at a batch of images"):
        found.plot()


# -- the command -----------------------------------------------------------------------------------


def test_the_command_on_scenes(
    programs: Programs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = programs.directory(
        DIGITS, COMPOSITE=NAMES, TARGETS=["class_logit", "box"], DYNAMIC=False
    )
    out = tmp_path / "out"
    call = ["compare", str(folder), "--images", str(SCENE), "-o", str(out), "--device", "cpu"]
    assert main(call) == 0
    said = capsys.readouterr().out
    assert "means over 2 targets" in said
    assert_quoted(said)
    told = json.loads((out / "comparison.json").read_text())
    assert list(told["composites"]) == NAMES
    assert told["composites"]["attnlrp"]["composite"] == "attnlrp"
    (image,) = told["images"]
    first = image["targets"][0]
    program = programs.loaded(
        DIGITS, COMPOSITE=NAMES, TARGETS=["class_logit", "box"], DYNAMIC=False
    )
    pixels = np.array(Image.open(SCENE).convert("RGB"))
    images = torch.from_numpy(pixels).permute(2, 0, 1)[None].float()
    expected = lrpc.compare(program, images, "class_logit", at=[tuple(first["index"])])
    for i, name in enumerate(NAMES):
        part = first["composites"][name]
        assert part["sum"] == pytest.approx(float(expected.sums[name]), rel=1e-4)
        assert first["spearman"][0][i] == pytest.approx(float(expected.spearman[0, i]), rel=1e-4)
        assert 0 < part["positive_share_in_box"] < 1
        assert part["ledger"]["closure"] < 1e-4
    with (out / "comparison.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * len(NAMES)
    assert float(rows[1]["cosine with maskdino"]) == first["cosine"][0][1]
    for target in image["targets"]:
        with Image.open(out / target["file"]) as page:
            assert page.width > 1000


def assert_quoted(said: str) -> None:
    """docs/composites.md shows this very table, up to the last digit of a figure."""
    page = (DIGITS.parents[1] / "docs" / "composites.md").read_text()
    quoted = page.split("means over 2 targets, to out/compared")[1].split("```")[0]
    for name in NAMES:
        shown, mine = (row_of(text, name) for text in (quoted, said))
        assert len(shown) == 4
        assert mine == pytest.approx(shown, abs=0.02)


def row_of(table: str, name: str) -> list[float]:
    (row,) = (line for line in table.splitlines() if line.startswith(f"│ {name} "))
    return [float(cell) for cell in row.strip("│").split("│")[1:]]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ([], "there is one composite to compare; compile with LRPC.COMPOSITE '[a, b]'"),
        (["--composite", "x"], "no composite 'x'; it has: attnlrp"),
        (["--target", "mask_logit"], "target 'mask_logit': the program was compiled for"),
    ],
)
def test_refusals_are_one_line_and_write_nothing(
    programs: Programs,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    text: str,
) -> None:
    folder = programs.directory(DIGITS, COMPOSITE="attnlrp", **ANY_SIZE)
    out = tmp_path / "out"
    call = ["compare", str(folder), "--images", str(SCENE), "-o", str(out), "--device", "cpu"]
    assert main([*call, *options]) == 2
    said = capsys.readouterr().err
    assert text in said
    assert said.count("\n") == 1
    assert not out.exists()


def compared(
    tmp_path: Path, programs: dict[Path, FakeProgram], paths: list[Path], **options: Any
) -> tuple[ComparisonRunner, list[Outcome]]:
    runner = ComparisonRunner({**programs}, Options(tmp_path / "out", **options))
    return runner, runner.run(paths, lambda outcome: None)


def test_programs_side_by_side_with_targets_of_the_first(tmp_path: Path) -> None:
    programs = {
        Path("a"): FakeProgram(composite="gamma"),
        Path("b"): FakeProgram(composite="cp_lrp"),
    }
    paths = [write_image(tmp_path / f"{red}.png", red) for red in (250, 50, 150)]
    runner, outcomes = compared(tmp_path, programs, paths, batch_size=3)
    assert [one.name for one in runner.members] == ["gamma", "cp_lrp"]
    assert [program.batches for program in programs.values()] == [[3], [3]]
    assert [(one.targets, one.error) for one in outcomes] == [(2, ""), (0, ""), (1, "")]
    assert "no detection above 0.5" in outcomes[1].note
    two, none, one = (runner.records[path]["targets"] for path in paths)
    assert two[0]["composites"].keys() == {"gamma", "cp_lrp"}
    assert two[0]["spearman"][0][1] is None  # the fake's maps are constant
    assert two[0]["cosine"][0][1] == pytest.approx(1)
    assert (none, len(one)) == ([], 1)
    alone = compared(tmp_path, programs, paths)[0].records
    assert alone == runner.records


def manifest(composites: str | list[str] = "gamma", weights: str = "w.pth", **lrpc: Any) -> Any:
    names = [composites] if isinstance(composites, str) else composites
    node = {"EPSILON": 1e-6, "MEMORY": {"BUDGET": "none"}, "COMPOSITE": composites, **lrpc}
    many = {"composites": {name: {"composite": name} for name in names}} if len(names) > 1 else {}
    about = {"composite": names[0], "weights": {"file": weights}, "config": {"LRPC": node}}
    return about | many


@pytest.mark.parametrize(
    ("programs", "expected"),
    [
        ([manifest()], [""]),
        ([manifest(["gamma", "epsilon"])], [""]),
        ([manifest("gamma"), manifest("epsilon")], ["", ""]),
        ([manifest(["gamma", "epsilon"]), manifest("thesis")], ["", ""]),
        ([manifest(weights="a.pth"), manifest(weights="x/b.pth")], ["a", "b"]),
        ([manifest(), manifest(EPSILON=0.01)], ["EPSILON=1e-06", "EPSILON=0.01"]),
        (
            [manifest(), manifest(MEMORY={"BUDGET": "70%"})],
            ["MEMORY.BUDGET=none", "MEMORY.BUDGET=70%"],
        ),
        (
            [manifest("gamma"), manifest("gamma", EPSILON=0.1), manifest("thesis")],
            ["gamma EPSILON=1e-06", "gamma EPSILON=0.1", "thesis EPSILON=1e-06"],
        ),
        ([manifest(["gamma", "epsilon"]), manifest(weights="v.pth")], ["w", "v"]),
        ([manifest(), manifest()], ["0", "1"]),  # by their folders
        ([manifest(weights="a" * 40), manifest(weights="b" * 40)], ["0", "1"]),
    ],
)  # fmt: skip
def test_programs_are_called_by_what_tells_them_apart(
    programs: list[Any], expected: list[str], tmp_path: Path
) -> None:
    paths = [tmp_path / "build" / str(n) for n in range(len(programs))]
    labels = labels_of(dict(zip(paths, programs, strict=True)))
    assert labels == dict(zip(paths, expected, strict=True))


def test_labels_leave_other_names_alone(tmp_path: Path) -> None:
    two = {tmp_path / "a": manifest("gamma"), tmp_path / "b": manifest("epsilon")}
    assert list(labels_of(two, ["gamma"]).values()) == ["a", "b"]


def test_files_of_an_earlier_comparison_go_and_those_of_another_image_stay(tmp_path: Path) -> None:
    programs = {
        Path("a"): FakeProgram(composite="gamma"),
        Path("b"): FakeProgram(composite="cp_lrp"),
    }
    x, y = (write_image(tmp_path / folder / "0.png", 150) for folder in ("x", "y"))
    out = tmp_path / "out"

    def run(path: Path, *targets: str) -> set[str]:
        asked = parse_targets(targets)
        runner, _ = compared(tmp_path, programs, [path], targets=asked)
        images = list(runner.records.values())
        (out / "comparison.json").write_text(json.dumps({"images": images}))
        return {one.name for one in out.iterdir()} - {"comparison.json"}

    first = run(x)
    assert {name.split(".")[0] for name in first} == {"0"}
    changed = run(x, "box")
    assert changed.isdisjoint(first - {"0.compare.safetensors"})
    marked = f"0-{identity(y)[:8]}"
    assert {name.split(".")[0] for name in run(y) - changed} == {marked}


def test_maps_and_masks_are_kept_at_the_size_on_disk_and_padding_is_drawn(tmp_path: Path) -> None:
    programs = {
        Path("a"): FakeProgram(composite="gamma"),
        Path("b"): FakeProgram(composite="cp_lrp"),
    }
    sizes = {"whole": (2 * WIDTH, 2 * HEIGHT), "padded": (2 * WIDTH, HEIGHT)}
    paths = [write_image(tmp_path / f"{name}.png", 150, size) for name, size in sizes.items()]
    runner, (whole, padded) = compared(tmp_path, programs, paths)
    assert (whole.error, padded.targets) == ("", 0)
    assert "takes 32×48, the model's own inference makes this image 16×48; compile" in padded.error
    assert paths[1] in runner.failed
    runner, outcomes = compared(tmp_path, programs, paths, pad=True)
    assert [one.error for one in outcomes] == ["", ""]
    hatched = {}
    for path, (width, height), visible in zip(paths, sizes.values(), (HEIGHT, 16), strict=True):
        found = load_file(tmp_path / "out" / f"{path.stem}.compare.safetensors")
        names = ("gamma/class_logit-q1-c2/map", "cp_lrp/class_logit-q1-c2/map", "masks/q1-c2")
        assert sorted(found) == sorted(names)
        for name in names:
            assert (found[name].shape[0], found[name].shape[1]) == (height, width)
        assert float(found[names[0]].sum()) == pytest.approx(120 * visible / HEIGHT)
        (target,) = runner.records[path]["targets"]
        with Image.open(tmp_path / "out" / target["file"]) as page:
            rows = (np.asarray(page) == draw.SOFT).all(axis=-1)[:, : page.width // 4].mean(axis=1)
        hatched[path.stem] = bool((rows > 0.02).sum() > 40)  # of the photo
    assert hatched == {"whole": False, "padded": True}
    told = {**runner.about(), "images": list(runner.records.values())}
    (tmp_path / "out" / RECORD).write_text(json.dumps(told))
    (tmp_path / "out" / "padded.compare.safetensors").unlink()
    again = compared(tmp_path, programs, paths, resume=True, pad=True)[1]
    assert [one.note for one in again] == ["compared before", ""]


def test_programs_of_other_sizes_are_refused(tmp_path: Path) -> None:
    other = FakeProgram(inputs={"images": f"f32[B,3,{2 * HEIGHT},{WIDTH}]"})
    with pytest.raises(ProgramError, match=r"^b: takes images of another size than a; compile"):
        compared(tmp_path, {Path("a"): FakeProgram(), Path("b"): other}, [])
    assert "composites" not in MANIFEST


def test_one_bad_image_does_not_stop_the_rest(
    programs: Programs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = programs.directory(
        DIGITS, COMPOSITE=NAMES, TARGETS=["class_logit", "box"], DYNAMIC=False
    )
    (tmp_path / "bad.png").write_text("no image")
    call = ["compare", str(folder), "--images", str(tmp_path / "bad.png"), str(SCENE)]
    assert main([*call, "-o", str(tmp_path / "out"), "--device", "cpu", "--top", "1"]) == 1
    assert "bad.png: not an image that Pillow can read" in capsys.readouterr().err
    assert len(json.loads((tmp_path / "out" / "comparison.json").read_text())["images"]) == 1
