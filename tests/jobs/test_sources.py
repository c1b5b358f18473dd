"""What `--data` finds in folders, patterns, lists, tables, annotations and shards."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lrpc.cli import main
from lrpc.commands.jobs.sources.find import Source, find
from lrpc.commands.jobs.sources.items import SourceError
from tests.support.run_fakes import write_image, write_program


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
        ("t.json", b'{"images": [{"id": 1}]}', "not COCO annotations: image 0 has no file_name"),
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


def test_linked_folders_are_followed_and_loops_are_not(folder: Path, tmp_path: Path) -> None:
    write_image(tmp_path / "elsewhere" / "e.png", 150)
    for link, to in (("link", tmp_path / "elsewhere"), ("a", folder / "deep"), ("loop", folder)):
        (folder / link).symlink_to(to)
    (tmp_path / "elsewhere" / "back").symlink_to(folder)
    (folder / "same.png").symlink_to(folder / "b.png")
    assert names(folder) == ["a.jpg", "b.png", "deep/er/c.png", "link/e.png"]
    assert "deep/er/c.png" in names(folder / "**" / "c.png")
    assert len(names(folder / "**" / "c.png")) == 1


def test_what_lrpc_made_of_images_is_no_image(folder: Path, tmp_path: Path) -> None:
    """A second run, on a folder that holds the first one's output, explains the same images."""
    before = names(folder)
    program = write_program(tmp_path / "DIR")
    call = ["run", str(program), "--device", "cpu", "--pad", "-o"]
    assert main([*call, str(folder / "out"), "--data", str(folder)]) == 0
    assert main(["report", str(folder / "out"), "--processes", "1"]) == 0
    assert main([*call, str(folder / "pictures"), "--images", str(folder)]) == 0
    assert names(folder) == before
    out = [name for name in names(folder / "**" / "*.*") if name.startswith("out")]
    assert out == []


def test_names_and_places_do_not_depend_on_the_working_directory(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "list.txt").write_text("b.png")
    for source in ("in", "in/**/*.png", "in/list.txt", "in/b.png"):
        monkeypatch.chdir(folder.parent)
        one = [(item.name, item.place) for item in find(Source((Path(source),)))]
        monkeypatch.chdir(folder)
        assert one == [(item.name, item.place) for item in find(Source((Path("..", source),)))]
        assert all(place.path.is_absolute() for _, place in one)


def test_shards_leave_out_what_folders_do(folder: Path) -> None:
    members = ("x/a.png", "x/._a.png", "__MACOSX/x/._a.png", "x/a.instances.png")
    with tarfile.open(folder / "s.tar", "w") as shard:
        for name in members:
            shard.add(folder / "b.png", name)
    assert names(folder / "s.tar") == ["s.tar/x/a.png"]


def test_tables_as_programs_of_offices_write_them(folder: Path) -> None:
    for text in ("\ufeffPath;id\r\n\r\nb.png;1\r\n", 'id, "path"\n1, "b.png"\n2\n'):
        (folder / "t.csv").write_bytes(text.encode())
        (found,) = find(Source((folder / "t.csv",)))
        assert found.read() == (folder / "b.png").read_bytes()


def test_entries_of_one_file_share_their_objects(folder: Path) -> None:
    """Two COCO images of one file name, and one file that two sources annotate."""
    boxes = ([1, 2, 3, 4], [5, 6, 7, 8], [1, 2, 3, 4])
    told = {
        "images": [{"id": n, "file_name": "a.jpg"} for n in range(3)],
        "annotations": [
            {"image_id": n, "category_id": 5, "bbox": box} for n, box in enumerate(boxes)
        ],
        "categories": [{"id": 5, "name": "cat"}],
    }
    (folder / "coco.json").write_text(json.dumps(told))
    told["categories"] = [{"id": 5, "name": "animal"}]
    (folder / "more.json").write_text(json.dumps(told))
    (one,) = find(Source((folder / "coco.json",)))
    own = [("cat", (1, 2, 4, 6)), ("cat", (5, 6, 12, 14))]
    assert [(o.label, o.box) for o in one.truth or ()] == own
    (one,) = find(Source((folder / "a.jpg", folder / "coco.json", folder / "more.json")))
    assert [(o.label, o.box) for o in one.truth or ()] == [
        *own,
        *(("animal", box) for _, box in own),
    ]


def test_coco_ids_are_numbers_or_texts(folder: Path) -> None:
    told = {
        "images": [{"id": "3", "file_name": "b.png"}],
        "categories": [{"id": "7", "name": "cat"}],
        "annotations": [{"image_id": 3, "category_id": 7, "bbox": [1, 2, 3, 4]}],
    }
    (folder / "c.json").write_text(json.dumps(told))
    (one,) = find(Source((folder / "c.json",)))[0].truth or ()
    assert (one.label, one.box) == ("cat", (1, 2, 4, 6))


@pytest.mark.parametrize(
    ("annotation", "line"),
    [
        ("x", "annotation 0 has no image_id"),
        ({"image_id": 3}, "annotation 0 has no category_id"),
        ({"bbox": [1, 2, 3]}, "annotation 0 has no bbox of four numbers"),
        ({"bbox": [1, 2, 3, float("nan")]}, "annotation 0 has no bbox of four numbers"),
        ({"bbox": "abcd"}, "annotation 0 has no bbox of four numbers"),
    ],
)
def test_annotations_that_cannot_be_used(folder: Path, annotation: object, line: str) -> None:
    whole = {"image_id": 3, "category_id": 7}
    if isinstance(annotation, dict):
        annotation = {
            "bbox": [1, 2, 3, 4],
            **({} if "image_id" in annotation else whole),
        } | annotation
    told = {"images": [{"id": 3, "file_name": "b.png"}], "annotations": [annotation]}
    (folder / "c.json").write_text(json.dumps(told))
    with pytest.raises(SourceError, match=line):
        find(Source((folder / "c.json",)))


@pytest.mark.parametrize(
    ("values", "kind"), [([b"\x89PNG"], "binary"), ([{"path": "b.png"}], "struct"), ([1], "int64")]
)
def test_a_column_that_has_no_paths(folder: Path, values: list[object], kind: str) -> None:
    pq.write_table(pa.table({"image": values}), folder / "t.parquet")
    with pytest.raises(SourceError, match=f"the column 'image' has {kind}.*, not paths; name"):
        find(Source((folder / "t.parquet",)))


def test_a_source_whose_files_are_all_elsewhere(folder: Path) -> None:
    told = {"images": [{"id": 3, "file_name": "train/b.png"}]}
    (folder / "c.json").write_text(json.dumps(told))
    line = r"none of the 1 files that it names is there \(.*train/b.png\); --image-folder says"
    with pytest.raises(SourceError, match=line):
        find(Source((folder / "c.json",)))
