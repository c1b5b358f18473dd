"""`lrpc concepts`: rankings, references, context, edges and prototypes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lrpc.cli import main
from lrpc.commands.concepts.graph import BARE, drawn
from lrpc.commands.concepts.maps import centre_of
from lrpc.commands.concepts.prototypes import prototypes
from lrpc.commands.concepts.ranking import rankings
from lrpc.commands.concepts.store import Sample, Store
from lrpc.support.signals import Stopped
from tests.support.maskdino_cases import EXAMPLE, digits_image
from tests.support.programs import Programs

pytest.importorskip("jinja2")
pytest.importorskip("sklearn")
parquet = pytest.importorskip("pyarrow.parquet")

SCENES = Path(__file__).parents[1] / "data" / "digits_scenes"
PLACES = ["encoder.layers.0", "encoder.layers.1"]


def made(image: int, label: int, relevance: list[float], activation: list[float]) -> Sample:
    """A sample at one place, `p`."""
    given = [{"p": np.array(values)} for values in (relevance, activation)]
    return Sample(image, f"{image}.png", f"class_logit-q{image}-c{label}", label, *given)


def test_channels_are_ranked_by_relevance_and_activation() -> None:
    found = [
        made(0, 1, [3.0, 1.0, 0.0], [0.0, 5.0, 1.0]),
        made(1, 1, [1.0, 1.0, -2.0], [1.0, 2.0, 9.0]),
        made(1, 1, [2.0, 0.0, 0.0], [1.0, 2.0, 9.0]),
        made(2, 4, [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]),
    ]
    first, second = rankings(found, ["p"])
    assert (first.label, second.label) == (1, 4)
    assert first.relevance.tolist() == pytest.approx([2 / 3, 1 / 6, -1 / 6])
    assert (first.by_relevance, first.by_activation) == ([0, 1, 2], [2, 1, 0])
    assert [one.image for one in first.references(0, 5, "relmax")] == [1, 0]  # once an image
    assert [one.image for one in first.references(2, 1, "actmax")] == [1]


def test_a_mixture_finds_two_ways_and_an_outlier() -> None:
    """Two groups of vectors are two prototypes, each shown by members of its own; what lies between
    them is an outlier."""
    rng = np.random.default_rng(0)
    middles = np.array([[1.0, 0.0, 0.0, 0.2], [0.0, 1.0, 0.2, 0.0]])
    table = [middles[i % 2] + 0.02 * rng.standard_normal(4) for i in range(24)]
    table.append(np.array([-1.0, -1.0, 1.0, 1.0]))
    samples = [made(i, 0, row.tolist(), [0.0] * 4) for i, row in enumerate(table)]
    found = prototypes(samples, "p", 2)
    assert found is not None
    groups = [{one.image % 2 for one in p.samples if one.image < 24} for p in found.found]
    assert sorted(map(sorted, groups)) == [[0], [1]]
    assert found.outliers[0][0].image == 24
    assert prototypes(samples[:5], "p", 2) is None


def test_a_crop_is_where_positive_relevance_is() -> None:
    values = np.zeros((20, 30))
    values[12:15, 21:24] = 1.0
    values[2:5, 2:5] = -9.0
    top, left = centre_of(values, 5)
    assert (10 <= top <= 12, 19 <= left <= 21) == (True, True)


@pytest.fixture(scope="module")
def tables(programs: Programs, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path, Any]:
    """A program, the folder that the command wrote, and its tables by name."""
    program = programs.digits(TARGETS="[class_logit]", CONDITIONS=PLACES, STARTS=PLACES)
    folder = tmp_path_factory.mktemp("concepts") / "out"
    scenes = [str(SCENES / f"{n}.png") for n in ("00", "01")]
    sizes = ["--concepts", "3", "--references", "2"]
    given = ["concepts", str(program.directory), "--data", *scenes, "-o", str(folder), *sizes]
    assert main(given) == 0
    read = {p.stem: parquet.read_table(p).to_pylist() for p in folder.glob("*.parquet")}
    return program, folder, read


def test_vectors_are_those_of_the_program(tables: tuple[Any, Path, Any]) -> None:
    program, _, read = tables
    row = next(one for one in read["vectors"] if one["place"] == PLACES[1])
    query, label = (int(part[1:]) for part in row["slug"].split("-")[1:])
    state = program.forward(digits_image(Path(row["name"]).stem))
    found = program.relevance(state, "class_logit", at=[(query, label)])
    wanted = found.layers[PLACES[1]][0, 0].double().sum(0)
    assert torch.allclose(torch.tensor(row["relevance"]).double(), wanted, atol=1e-4)
    part, name = program.interface.targets[f"channel:{PLACES[1]}"].value
    highest = state.saved[part][name][0].double().amax(0)
    assert torch.allclose(torch.tensor(row["activation"]).double(), highest, atol=1e-5)


def test_maps_and_edges_are_conditional_relevance(tables: tuple[Any, Path, Any]) -> None:
    program, folder, read = tables
    row = next(r for r in read["references"] if r["place"] == PLACES[1] and r["by"] == "relmax")
    assert (folder / row["crop"]).is_file()
    assert 0 <= row["context"] <= 1
    query, label = (int(part[1:]) for part in row["slug"].split("-")[1:])
    state = program.forward(digits_image(Path(row["name"]).stem))
    condition = {PLACES[1]: [row["channel"]]}
    found = program.relevance(state, "class_logit", at=[(query, label)], condition=condition)
    lower = found.layers[PLACES[0]][0, 0].double().sum(0)
    own = [r for r in read["references"] if r["channel"] == row["channel"]]
    own = [r for r in own if r["class"] == row["class"] and r["place"] == row["place"]]
    edges = [
        e["share"] for e in read["edges"]
        if (e["class"], e["place"], e["channel"]) == (row["class"], PLACES[1], row["channel"])
    ]  # fmt: skip
    assert len(edges) == 256
    if len({r["image"] for r in own}) == 1:  # the mean is over one reference
        assert np.allclose(edges, (lower / lower.abs().sum()).numpy(), atol=1e-5)
    assert np.abs(edges).sum() <= 1 + 1e-9


def test_ranks_follow_the_shares(tables: tuple[Any, Path, Any]) -> None:
    _, folder, read = tables
    own = [one for one in read["concepts"] if one["place"] == PLACES[0]]
    own = [one for one in own if one["class"] == own[0]["class"]]
    order = sorted(own, key=lambda one: one["relevance_rank"])
    shares = [one["relevance"] for one in order]
    assert len(order) == 256
    assert shares == sorted(shares, reverse=True)
    assert "encoder.layers.1" in (folder / "index.html").read_text()
    assert "channel" in (folder / f"class-{own[0]['class']}.html").read_text()


def rows() -> list[dict[str, Any]]:
    """Edges of two channels of `a`, to channels of `b`."""
    return [
        {"place": "a", "channel": 0, "below": "b", "channel_below": c, "share": share}
        for c, share in enumerate([0.02, -0.5, 0.0, 0.3, 0.2])
    ] + [{"place": "a", "channel": 7, "below": "b", "channel_below": 1, "share": 0.9}]


def test_a_graph_has_the_strongest_edges_of_the_first_channels() -> None:
    """Channels that only edges lead to stand below those that were ranked, the strongest first; a
    share is as wide as it is large."""
    found = drawn(rows(), {"a": [0], "b": [4]}, {("a", 0): "crops/x.webp"})
    assert found is not None
    edges = [(e.upper.channel, e.lower.channel, e.share) for e in found.edges]
    assert edges == [(0, 4, 0.2), (0, 3, 0.3), (0, 1, -0.5)]
    assert found.edges[2].width > found.edges[1].width
    column = [(n.channel, n.crop) for n in found.nodes if n.place == "b"]
    assert column == [(4, None), (1, None), (3, None)]
    tops = [n.y for n in found.nodes if n.place == "b"]
    assert tops == sorted(set(tops))
    assert found.height >= tops[-1] + BARE
    assert [n.crop for n in found.nodes if n.place == "a"] == ["crops/x.webp"]
    assert drawn([], {"a": [0], "b": [4]}, {}) is None


def contents(folder: Path) -> dict[str, bytes]:
    """The files that a run shows, by name; stores have times in them."""
    found = [p for p in folder.rglob("*") if p.is_file() and p.suffix != ".safetensors"]
    return {str(p.relative_to(folder)): p.read_bytes() for p in found if p.name != ".lock"}


def test_a_stopped_run_goes_on(
    tables: tuple[Any, Path, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """What was known is not computed again, and the files are those of an undisturbed run; another
    question is refused, and with --overwrite begins anew."""
    program, folder, _ = tables
    scenes = [str(SCENES / f"{n}.png") for n in ("00", "01")]
    given = ["concepts", str(program.directory), "--data", *scenes, "-o", str(tmp_path / "out")]
    given += ["--concepts", "3", "--references", "2"]
    kept = Store.keep_maps

    def stop(self: Store, number: int, item: Any, found: Any) -> None:
        kept(self, number, item, found)
        raise Stopped(15)

    monkeypatch.setattr(Store, "keep_maps", stop)
    assert main(given) == 143
    assert "the same command goes on" in capsys.readouterr().err
    monkeypatch.undo()
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "out" / "samples").glob("*")}
    assert len(before) == 2
    assert main(given) == 0
    assert {p: p.stat().st_mtime_ns for p in before} == before
    assert contents(tmp_path / "out") == contents(folder)
    capsys.readouterr()
    assert main([*given, "--score", "0.4"]) == 2
    assert "another question (score is 0.4, was 0.5)" in " ".join(capsys.readouterr().err.split())
    assert main([*given, "--score", "0.4", "--overwrite"]) == 0


def test_images_go_together(tables: tuple[Any, Path, Any], tmp_path: Path) -> None:
    """Two images in a batch have the vectors and the maps that each has alone."""
    program, _, read = tables
    scenes = [str(SCENES / f"{n}.png") for n in ("00", "01")]
    given = ["concepts", str(program.directory), "--data", *scenes, "-o", str(tmp_path / "out")]
    assert main([*given, "--concepts", "3", "--references", "2", "--batch-size", "2"]) == 0
    for table, column in (("vectors", "relevance"), ("edges", "share"), ("references", "context")):
        found = parquet.read_table(tmp_path / "out" / f"{table}.parquet").to_pylist()
        one, other = ([row[column] for row in some] for some in (found, read[table]))
        assert len(one) == len(other)
        assert np.allclose(np.array(one, float), np.array(other, float), atol=1e-4)


def test_errors(programs: Programs, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    alone = programs.digits(TARGETS="[class_logit]").directory
    given = ["--data", str(EXAMPLE), "-o", str(tmp_path / "out")]
    assert main(["concepts", str(alone), *given]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "compile with places in LRPC.CONDITIONS and LRPC.STARTS" in said
    assert not (tmp_path / "out").exists()
