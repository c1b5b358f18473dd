"""What `--data` finds in folders, patterns, lists, tables, annotations and shards."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lrpc.commands.jobs.sources.find import Source, find
from lrpc.commands.jobs.sources.items import SourceError
from tests.support.run_fakes import write_image


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Images in two folders, with annotations, a hidden one and a text beside them."""
    for name in ("b.png", "a.jpg", "deep/er/c.png", ".hidden.png", ".git/d.png"):
        write_image(tmp_path / "in" / name, 150)
    for name in ("b.instances.png", "b.5-0.mask.png"):
        write_image(tmp_path / "in" / name, 150)
    (tmp_path / "in" / "notes.txt").write_text("no image")
    return tmp_path / "in"


def names(*paths: Path, **options: object) -> list[str]:
    return [one.name for one in find(Source(paths, **options))]  # type: ignore[arg-type]


def test_folders_are_searched_to_their_ends(folder: Path) -> None:
    assert names(folder) == ["a.jpg", "b.png", "deep/er/c.png"]
    assert names(folder, folder / "b.png") == ["in/a.jpg", "in/b.png", "in/deep/er/c.png"]


def test_a_pattern(folder: Path) -> None:
    found = names(folder / "**" / "*.png")
    wanted = ["b.5-0.mask.png", "b.instances.png", "b.png", "c.png"]
    assert [Path(name).name for name in found] == wanted


def test_lists_and_tables_count_from_their_own_folder(folder: Path) -> None:
    wanted = ["b.png", "deep/er/c.png"]
    (folder / "list.txt").write_text("# two\nb.png\n\n  deep/er/c.png \nb.png\n")
    (folder / "t.csv").write_text("id,file_name\n1,b.png\n2,deep/er/c.png\n")
    (folder / "t.tsv").write_text("where\tid\nb.png\t1\ndeep/er/c.png\t2\n")
    pq.write_table(pa.table({"n": [1, 2], "path": wanted}), folder / "t.parquet")
    assert names(folder / "list.txt") == wanted
    assert names(folder / "t.csv") == wanted
    assert names(folder / "t.tsv", column="where") == wanted
    assert names(folder / "t.parquet") == wanted
    images = find(Source((folder / "t.parquet",)))
    assert images[1].read() == (folder / "deep/er/c.png").read_bytes()


def test_coco_has_objects(folder: Path) -> None:
    box = {"category_id": 7, "bbox": [1, 2, 3, 4]}
    told = {
        "images": [{"id": 3, "file_name": "b.png"}, {"id": 5, "file_name": "a.jpg"}],
        "categories": [{"id": 7, "name": "cat"}],
        "annotations": [box | {"image_id": 3}, box | {"image_id": 5, "iscrowd": 1}],
    }
    (folder / "coco.json").write_text(json.dumps(told))
    first, second = find(Source((folder / "coco.json",)))
    assert first.truth is not None
    (one,) = first.truth
    assert (one.label, one.box, second.truth) == ("cat", (1, 2, 4, 6), ())
    moved = folder.parent / "coco.json"
    (folder / "coco.json").rename(moved)
    assert find(Source((moved,), folder=folder))[0].read() == (folder / "b.png").read_bytes()


def test_shards_are_read_from_their_places(folder: Path) -> None:
    wanted = {name: (folder / name).read_bytes() for name in ("b.png", "a.jpg")}
    with tarfile.open(folder / "s.tar", "w") as shard:
        for name, data in wanted.items():
            for member, content in ((name, data), (f"{name}.json", b"{}")):
                about = tarfile.TarInfo(f"x/{member}")
                about.size = len(content)
                shard.addfile(about, io.BytesIO(content))
    found = find(Source((folder / "s.tar",)))
    assert {one.name: one.read() for one in found} == {
        f"s.tar/x/{name}": data for name, data in wanted.items()
    }
    assert found[0].read(10) == wanted["b.png"][:10]


def test_names_are_of_one_image_each(folder: Path, tmp_path: Path) -> None:
    write_image(tmp_path / "other/in/b.png", 150)
    found = names(folder, tmp_path / "other" / "in", folder / "b.png")
    assert len(found) == len(set(found)) == 4


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("gone", None, "no such file or folder; --data takes a folder"),
        ("none*.png", None, "no image in it"),
        (
            "t.csv",
            b"a,b\n1,2\n",
            "Name it with --column; it has: a, b",
        ),
        ("t.csv", b"\xff\xfe\x00", "cannot be read"),
        ("t.parquet", b"PAR1", "cannot be read"),
        ("t.json", b"[1]", "not COCO annotations: it has no list of images"),
        ("t.json", b'{"images": [{"id": 1}]}', 'not COCO annotations ("file_name")'),
        ("t.json", b"{", "not JSON"),
        ("t.tar", b"no tar" * 200, "not a tar file, or cut short"),
        ("t.tar.gz", b"\x1f\x8b", "is compressed; unpack it to a plain tar"),
        ("t.txt", b"\xff", "not UTF-8 text"),
        ("t.txt", b"# nothing\n", "no image in it"),
    ],
)
def test_what_is_no_source(tmp_path: Path, name: str, content: bytes | None, line: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError) as caught:
        find(Source((tmp_path / name,)))
    assert line in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / name))
    assert "\n" not in str(caught.value)
