"""Annotations as masks, and objects matched with detections."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from lrpc.commands.evaluate.match import match
from lrpc.commands.evaluate.outlines import (
    MaskFile,
    Polygons,
    RunLength,
    ScenesError,
    bounding_box,
    fill_polygon,
    parse_counts,
)
from lrpc.commands.evaluate.scenes import read_scenes
from lrpc.commands.evaluate.truth import Framed, Truth, frame_truth
from lrpc.commands.session.images import LoadedImage
from lrpc.program.protocol import Detection
from tests.support.maskdino_cases import ALL_SCENES

# -- outlines --------------------------------------------------------------------------------------


def picture(*rows: str) -> np.ndarray[Any, np.dtype[np.bool_]]:
    return np.array([[c == "#" for c in row] for row in rows])


BLOB = picture(
    "......",
    "..##..",
    ".####.",
    "..##..",
)  # its columns: 4 off; 2 off 1 on 1 off; 1 off 3 on; 1 off 3 on; 2 off 1 on 1 off; 4 off
RUNS = (6, 1, 2, 3, 1, 3, 2, 1, 5)


def test_run_lengths_go_down_the_columns() -> None:
    assert np.array_equal(RunLength((4, 6), RUNS).mask((4, 6)), BLOB)


def test_compressed_run_lengths_by_hand() -> None:
    assert parse_counts("529") == (5, 2, 9)  # small numbers are their own digits
    assert parse_counts("`0") == (16,)  # 16 = 10000: without a further 0 the sign would be set
    # differences from the fourth on: 6, 1, 2, 3 − 1, 1 − 2, 3 − 3, 2 − 1, 1 − 3, 5 − 2
    assert parse_counts("6122O01N3") == RUNS
    with pytest.raises(ScenesError, match="cut short"):
        parse_counts("`")
    with pytest.raises(ScenesError, match="does not belong"):
        parse_counts("6 1")


def encode(counts: list[int]) -> str:
    """COCO's compression, from its description."""
    text = ""
    for i, count in enumerate(counts):
        value = count - counts[i - 2] if i > 2 else count
        while True:
            bits = value & 31
            value >>= 5
            done = value == (-1 if bits & 16 else 0)
            text += chr(48 + bits + (0 if done else 32))
            if done:
                break
    return text


def test_compressed_run_lengths_of_random_masks() -> None:
    generator = np.random.default_rng(0)
    for _ in range(20):
        size = tuple(generator.integers(1, 90, 2).tolist())
        mask = generator.random(size) < generator.choice([0.002, 0.1, 0.9])
        flat = np.concatenate([[False], mask.flatten(order="F"), [True]])
        edges = np.flatnonzero(flat[1:] != flat[:-1])
        counts = np.diff(np.concatenate([[0], edges, [mask.size]])).tolist()
        counts = counts if counts[-1] else counts[:-1]
        assert np.array_equal(RunLength(size, parse_counts(encode(counts))).mask(size), mask)


def test_run_lengths_that_do_not_fit() -> None:
    with pytest.raises(ScenesError, match="add up to 3 pixels, not 4"):
        RunLength((2, 2), (1, 2)).mask((2, 2))
    with pytest.raises(ScenesError, match=r"of \(2, 2\) \(H, W\) in an image of \(2, 3\)"):
        RunLength((2, 2), (4,)).mask((2, 3))


def test_polygons_cover_the_pixels_whose_centre_is_inside() -> None:
    square = fill_polygon((1, 1, 4, 1, 4, 3, 1, 3), (4, 6))
    assert np.array_equal(square, picture("......", ".###..", ".###..", "......"))
    triangle = fill_polygon((0, 0, 4, 0, 0, 4), (4, 4))
    assert np.array_equal(triangle, picture("###.", "##..", "#...", "...."))
    beyond = fill_polygon((-9, -9, 3, -9, 3, 2.4, -9, 2.4), (4, 4))
    assert np.array_equal(beyond, picture("###.", "###.", "....", "...."))
    two = Polygons(((0, 0, 1, 0, 1, 1, 0, 1), (2, 0, 3, 0, 3, 4, 2, 4))).mask((2, 4))
    assert np.array_equal(two, picture("#.#.", "..#."))


def test_polygons_of_many_corners_against_angles() -> None:
    """A point is inside where the corners' angles around it add up to a full turn."""
    generator = np.random.default_rng(1)
    corners = generator.uniform(-3, 23, (9, 2))
    angle = np.arctan2(*(corners - corners.mean(0)).T)
    corners = corners[np.argsort(angle)]  # a star around its middle: it does not cross itself
    ys, xs = np.mgrid[:20, :20] + 0.5
    vectors = corners[:, :, None, None] - np.stack([xs, ys])
    turns = np.arctan2(vectors[:, 1], vectors[:, 0])
    steps = (np.roll(turns, -1, 0) - turns + np.pi) % (2 * np.pi) - np.pi
    inside = np.abs(steps.sum(0)) > np.pi
    assert np.array_equal(fill_polygon(corners.flatten().tolist(), (20, 20)), inside)
    assert 20 < inside.sum() < 380


def test_boxes_of_masks() -> None:
    assert bounding_box(BLOB) == (1.0, 1.0, 5.0, 4.0)
    with pytest.raises(ScenesError, match="empty"):
        bounding_box(BLOB & False)


# -- scenes ----------------------------------------------------------------------------------------


def save(path: Path, values: np.ndarray[Any, Any]) -> Path:
    Image.fromarray(values).save(path)
    return path


def photo(path: Path, size: tuple[int, int] = (4, 6)) -> Path:
    return save(path, np.zeros((*size, 3), np.uint8))


def test_the_digits() -> None:
    scenes = read_scenes(ALL_SCENES)
    assert len(scenes) == 24
    first = scenes[2].objects[0]
    mask = first.outline.mask((160, 160))
    assert (first.name, first.label, first.box) == ("02.png#1", 5, (14.0, 111.0, 40.0, 151.0))
    assert bounding_box(mask) == first.box
    assert 100 < mask.sum() < 26 * 40


def test_a_folder_of_masks(tmp_path: Path) -> None:
    photo(tmp_path / "street.jpg")
    photo(tmp_path / "empty.png")
    save(tmp_path / "street.car-1.mask.png", BLOB.astype(np.uint8) * 255)
    save(tmp_path / "street.0-2.mask.png", np.stack([~BLOB] * 3, -1).astype(np.uint8) * 9)
    scenes = read_scenes(tmp_path, names=["dog", "car"])
    assert [(s.path.name, len(s.objects)) for s in scenes] == [("empty.png", 0), ("street.jpg", 2)]
    by_label = {t.label: t.outline.mask((4, 6)) for t in scenes[1].objects}
    assert np.array_equal(by_label[1], BLOB)
    assert np.array_equal(by_label[0], ~BLOB)


def coco(**changes: Any) -> dict[str, Any]:
    one = {"id": 8, "image_id": 3, "category_id": 17, "bbox": [1, 1, 4, 3], "iscrowd": 0}
    flat = {"size": [4, 6], "counts": list(RUNS)}
    return {
        "images": [{"id": 3, "file_name": "a.png"}],
        "categories": [{"id": 90, "name": "cat"}, {"id": 17, "name": "dog"}],
        "annotations": [
            {**one, "segmentation": {"size": [4, 6], "counts": "6122O01N3"}},
            {**one, "id": 9, "category_id": 90, "segmentation": [[1, 1, 4, 1, 4, 3, 1, 3]]},
            {**one, "id": 10, "iscrowd": 1, "segmentation": flat},
            {**one, "id": 11, "segmentation": flat},
        ],
    } | changes


def test_coco(tmp_path: Path) -> None:
    photo(tmp_path / "a.png")
    file = tmp_path / "instances.json"
    file.write_text(json.dumps(coco()))
    (scene,) = read_scenes(tmp_path, file)
    assert [t.name for t in scene.objects] == ["3#8", "3#9", "3#11"]  # no crowd
    assert [t.label for t in scene.objects] == [0, 1, 0]  # by the order of ids
    assert scene.objects[0].box == (1.0, 1.0, 5.0, 4.0)
    masks = [t.outline.mask((4, 6)) for t in scene.objects]
    assert np.array_equal(masks[0], BLOB)
    assert np.array_equal(masks[2], BLOB)
    assert masks[1].sum() == 6
    (named,) = read_scenes(tmp_path, None, ["bird", "cat", "dog"])  # found in the folder, too
    assert [t.label for t in named.objects] == [2, 1, 2]


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ({"images": []}, "not COCO annotations: images, annotations, categories"),
        (coco(annotations=[{"id": 1, "image_id": 3}]), "annotation 1: lacks category_id"),
        (
            coco(
                annotations=[
                    {"id": 1, "image_id": 3, "category_id": 17, "bbox": [0, 0, 1, 1],
                     "segmentation": [[1, 2]]}
                ]
            ),
            "annotation 1: a polygon needs three points or more, x and y of each",
        ),
    ],
)  # fmt: skip
def test_coco_that_is_none(tmp_path: Path, content: Any, line: str) -> None:
    photo(tmp_path / "a.png")
    file = tmp_path / "instances.json"
    file.write_text(json.dumps(content))
    with pytest.raises(ScenesError) as caught:
        read_scenes(tmp_path, file)
    assert str(caught.value).startswith(f"{file}: {line}")


def told(tmp_path: Path, content: Any, *names: str, **options: Any) -> tuple[Any, list[str]]:
    """The objects of an annotation file, as (name, label), and the notes, without the path."""
    photo(tmp_path / "a.png")
    file = tmp_path / "instances.json"
    file.write_text(json.dumps(content), encoding="utf-8-sig")  # as tools on Windows write it
    notes: list[str] = []
    (scene,) = read_scenes(tmp_path, file, names, tell=notes.append, **options)
    found = [(truth.name, truth.label) for truth in scene.objects]
    return found, [note.removeprefix(f"{file}: ") for note in notes]


def refused(tmp_path: Path, content: Any, *names: str, **options: Any) -> str:
    with pytest.raises(ScenesError) as caught:
        told(tmp_path, content, *names, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(f"{tmp_path / 'instances.json'}: ")


SQUARE = [1, 1, 4, 1, 4, 3, 1, 3]


def objects(*categories: Any, **changes: Any) -> list[dict[str, Any]]:
    """One object of each of these category ids, numbered from 1."""
    one = {"image_id": 3, "bbox": [1, 1, 3, 2], "segmentation": [SQUARE]} | changes
    return [{"id": i, "category_id": c} | one for i, c in enumerate(categories, start=1)]


def categories(**names: Any) -> list[dict[str, Any]]:
    """Categories by name → id."""
    return [{"id": number, "name": name} for name, number in names.items()]


def test_categories_by_name(tmp_path: Path) -> None:
    given = coco(categories=categories(Background=0, cat=7, dog=2), annotations=objects(2, 7))
    # Background has no annotations: left out. Ids say nothing where names do.
    assert told(tmp_path, given, "cat", "dog") == ([("3#1", 1), ("3#2", 0)], [])
    assert told(tmp_path, given, "Dog ", "CAT") == ([("3#1", 0), ("3#2", 1)], [])
    given["categories"][2]["name"] = "dogs"
    assert refused(tmp_path, given, "cat", "dog") == (
        "category 'dogs' is no class of the program (cat, dog), though others are; "
        "rename it in the file, to 'dog' perhaps, or correct LRPC.CLASS_NAMES"
    )


def test_categories_by_order_are_told(tmp_path: Path) -> None:
    given = coco(categories=categories(Background=0, Katze=7, Hund=2), annotations=objects(2, 7))
    line = "categories are classes by the order of their ids, since "
    assert told(tmp_path, given, "dog", "cat") == (
        [("3#1", 0), ("3#2", 1)],
        [f"{line}none of their names is a class: 'Hund' is 0 'dog', 'Katze' is 1 'cat'"],
    )
    assert told(tmp_path, given, count=3) == (
        [("3#1", 1), ("3#2", 2)],
        [
            f"{line}the program names no classes: 'Background' is 0, 'Hund' is 1, 'Katze' is 2",
        ],
    )
    assert refused(tmp_path, given, "a", "b", "c", "d") == (
        "none of their names is a class, and 3 categories (Background, Hund, Katze) are not the "
        "program's 4 classes (a, b, c, d); rename them in the file, or set LRPC.CLASS_NAMES"
    )
    assert refused(tmp_path, given, count=80).startswith("the program names no classes, and 3 cat")


def test_objects_without_an_outline(tmp_path: Path) -> None:
    given = coco(annotations=[*objects(17), *objects(17, id=5, segmentation=[])])
    found, notes = told(tmp_path, given, count=2)
    assert found == [("3#1", 0)]
    assert notes[1:] == ["objects without an outline: 1, left out; --match box takes their boxes"]
    found, notes = told(tmp_path, given, count=2, boxes=True)
    assert found == [("3#1", 0), ("3#5", 0)]
    assert notes[1:] == ["objects without an outline: 1, whose boxes serve as one"]
    assert refused(tmp_path, coco(annotations=objects(17, segmentation=[])), count=2) == (
        "none of its objects has an outline; --match box takes their boxes"
    )
    told(tmp_path, given, count=2, boxes=True)
    (scene,) = read_scenes(tmp_path, tmp_path / "instances.json", boxes=True)
    outlined, boxed = (truth.outline.mask((4, 6)) for truth in scene.objects)
    assert np.array_equal(outlined, boxed)


def test_what_annotation_tools_write(tmp_path: Path) -> None:
    """Ids as text and floats, flat polygons, paths of another machine, annotations twice."""
    (one,) = objects("17", id=8, image_id="3", segmentation=SQUARE, iscrowd=None)
    again = one | {"category_id": 17.0, "image_id": 3.0}
    lost = one | {"image_id": 99}
    given = coco(annotations=[one, again, lost, one | {"iscrowd": "1"}])
    for name in ("a.png", "train/a.png", "C:\\data\\a.png", "/elsewhere/a.png"):
        given["images"] = [{"id": 3, "file_name": name}]
        found, notes = told(tmp_path, given, "dog", "cat")
        assert found == [("3#8", 0), ("3#8/2", 0)]
        assert notes == ["annotations of images that the file does not list: 1, left out"]


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"bbox": [1, 1, -3, 2]}, "its bbox has a negative width or height; [x, y, width, height]"),
        ({"bbox": [1, 1, 3]}, "its bbox is not [x, y, width, height] in pixels"),
        ({"bbox": [1, 1, 3, float("nan")]}, "its bbox is not [x, y, width, height] in pixels"),
        ({"bbox": [1, 1, 3, 10**400]}, "its bbox is not [x, y, width, height] in pixels"),
        ({"segmentation": [SQUARE[:7]]}, "a polygon needs three points or more, x and y of each"),
        ({"segmentation": [[[1, 1], [2, 2]]]}, "a polygon is not a list of numbers x, y, x, y, …"),
        ({"segmentation": "mask.png"}, "its segmentation is neither polygons nor run lengths"),
        ({"segmentation": {"counts": [24]}}, "its run lengths are not {size: [height, width], cou"),
        (
            {"segmentation": {"size": [4, 6], "counts": [1, 2]}},
            "its run lengths add up to 3 pixels, not 24",
        ),
        (
            {"segmentation": {"size": [4, 6], "counts": "o" * 100}},
            "a number in a compressed run-length string is too large",
        ),
        ({"category_id": 4}, "unknown category 4"),
        ({"category_id": [4]}, "category_id: an id is neither a whole number nor text"),
    ],
)
def test_annotations_that_are_wrong(tmp_path: Path, changes: Any, line: str) -> None:
    given = coco(annotations=objects(17, **changes))
    assert refused(tmp_path, given, count=2).startswith(f"annotation 1: {line}")


def test_files_that_contradict_themselves(tmp_path: Path) -> None:
    twice = [{"id": 3, "file_name": "a.png"}, {"id": "3", "file_name": "b.png"}]
    assert refused(tmp_path, coco(images=twice)) == "two images have the id 3; give each its own"
    same = [{"id": 17, "name": "dog"}, {"id": 17, "name": "cat"}]
    assert refused(tmp_path, coco(categories=same)) == "categories 'dog' and 'cat' have one id, 17"
    assert refused(tmp_path, coco(images=[{"id": 3}])) == "image 1 of the list has no file_name"
    lacking = coco()
    del lacking["categories"]
    assert refused(tmp_path, lacking) == (
        "not COCO annotations: images, annotations, categories (it lacks categories)"
    )
    deep = tmp_path / "deep.json"
    deep.write_text("[" * 100_000)
    with pytest.raises(ScenesError, match=r"^\S+deep.json: not JSON \(maximum recursion depth"):
        read_scenes(tmp_path, deep)


def test_folders_that_hold_no_scenes(tmp_path: Path) -> None:
    def line(folder: Path = tmp_path) -> str:
        with pytest.raises(ScenesError) as caught:
            read_scenes(folder, names=["dog"])
        return str(caught.value)

    assert line(tmp_path / "no").startswith(f"{tmp_path / 'no'}: no such folder; --scenes takes")
    photo(tmp_path / "a.png")
    assert line().startswith(f"{tmp_path}: nothing is annotated here; --scenes takes a folder")
    mask = save(tmp_path / "b.dog-1.mask.png", BLOB)
    assert [scene.path.name for scene in read_scenes(tmp_path, names=["dog"])] == ["a.png", "b.png"]
    mask.rename(tmp_path / "a.cat-1.mask.png")
    assert (
        line() == f"{tmp_path / 'a.cat-1.mask.png'}: 'cat' is no class of the program; known: dog"
    )
    (tmp_path / "scenes.json").write_text('[{"file": "a.png", "instances": [{}]}]')
    assert line() == f"{tmp_path / 'scenes.json'}: not an index of scenes (KeyError: " + (
        "'label_in_instances_png')"
    )
    (tmp_path / "scenes.json").write_text('[{"file": "c.png", "instances": []}]')
    assert line() == (
        f"{tmp_path / 'c.png'}: no such image, nor any of the annotated ones; --scenes is their"
        " folder"
    )


def test_masks_that_do_not_fit_their_image(tmp_path: Path) -> None:
    path = save(tmp_path / "a.dog-1.mask.png", BLOB)
    with pytest.raises(ScenesError, match=r"the mask is 6×4 pixels, its image 6×5"):
        MaskFile(path).mask((5, 6))
    (tmp_path / "bad.png").write_text("no image")
    with pytest.raises(ScenesError, match="not a mask that Pillow can read"):
        MaskFile(tmp_path / "bad.png").mask((5, 6))


# -- in the network's input, and matched -----------------------------------------------------------


def test_masks_and_boxes_are_resized_with_their_image(tmp_path: Path) -> None:
    image = LoadedImage(tmp_path, torch.zeros(3, 32, 32), (8, 12), (4, 6))
    mask = MaskFile(save(tmp_path / "m.png", BLOB))
    framed = frame_truth(Truth("a", 1, mask, (1.0, 1.0, 5.0, 4.0)), image)
    assert framed is not None
    assert framed.box == (2.0, 2.0, 10.0, 8.0)
    assert np.array_equal(framed.mask.numpy(), BLOB.repeat(2, 0).repeat(2, 1))
    beyond = frame_truth(Truth("a", 1, mask, (-3.0, 1.0, 50.0, 4.0)), image)
    assert beyond is not None
    assert beyond.box == (0.0, 2.0, 12.0, 8.0)  # what lies outside of the image is left out
    derived = frame_truth(Truth("a", 1, mask), image)
    assert derived is not None
    assert derived.box == framed.box
    empty = MaskFile(save(tmp_path / "e.png", BLOB & False))
    assert frame_truth(Truth("a", 1, empty), image) is None


def detection(query: int, label: int, mask: np.ndarray[Any, Any]) -> Detection:
    return Detection(query, label, 0.9, bounding_box(mask), mask)


def test_objects_get_the_detection_of_their_class_that_overlaps_most() -> None:
    left, right = picture("##..", "##.."), picture("..##", "..##")
    column = picture("#...", "#...")
    truths = [
        Framed("l", 0, torch.from_numpy(left), bounding_box(left)),
        Framed("r", 1, torch.from_numpy(right), bounding_box(right)),
        Framed("c", 0, torch.from_numpy(column), bounding_box(column)),
    ]
    found = [detection(7, 0, column), detection(8, 1, left), detection(9, 0, left)]
    queries = [one and one.query for one in match(truths, found, 0.5)]
    assert queries == [9, None, 7]
    # one query is one object: the larger overlap has it
    queries = [one and one.query for one in match(truths, found[:1], 0.5)]
    assert queries == [None, None, 7]
    assert match(truths[:1], found[:1], 0.51) == [None]
    by_box = match(truths[:1], [detection(7, 0, picture("#...", "...#"))], 0.5, "box")
    assert [one and one.query for one in by_box] == [7]


def vps(**changes: Any) -> dict[str, Any]:
    return {"file_name": "a.png", "category": "dog", "bbox": [1, 0.5, 4, 3], "id": 7} | changes


def test_cases_of_the_vps_benchmark(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        photo(tmp_path / name)
    file, told = tmp_path / "correct.json", []
    cases = [vps(), vps(file_name="b.png"), vps(category="cat", bbox=[0, 0, 1, 1])]
    file.write_text(json.dumps({"case1": cases, "case2": []}))
    names = ["cat", "dog"]
    a, b = read_scenes(tmp_path, file, names, boxes=True, tell=told.append)
    assert [(one.label, one.box) for one in a.objects] == [
        (1, (1.0, 0.5, 4.0, 3.0)),
        (0, (0.0, 0.0, 1.0, 1.0)),
    ]
    assert [(one.name, one.label) for one in b.objects] == [("1#2", 1)]
    assert told == [f"{file}: objects without an outline: 3, whose boxes serve as one"]


@pytest.mark.parametrize(
    ("case", "line"),
    [
        (3, "entry 2: is no mapping; expected file_name, category, bbox"),
        ({"file_name": "a.png"}, "entry 2: lacks category; expected file_name, category, bbox"),
        (vps(category=3), "entry 2: its category is no text"),
        (vps(bbox=[3, 0, 1, 1]), "entry 2: its bbox is not [x0, y0, x1, y1] in pixels"),
        (vps(bbox=[0, 0, 1, float("nan")]), "entry 2: its bbox is not [x0, y0, x1, y1] in pixels"),
        (vps(bbox=[0, 0, True, 1]), "entry 2: its bbox is not [x0, y0, x1, y1] in pixels"),
    ],
)
def test_a_case_of_the_vps_benchmark_that_is_none(tmp_path: Path, case: Any, line: str) -> None:
    photo(tmp_path / "a.png")
    file = tmp_path / "correct.json"
    file.write_text(json.dumps({"case1": [vps(), case]}))
    with pytest.raises(ScenesError) as caught:
        read_scenes(tmp_path, file, boxes=True)
    assert str(caught.value) == f"{file}: case1, {line}"
