"""`lrpc.open`: the results of a job as tables, maps, masks and images."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lrpc.errors import LrpcWarning, ProgramError
from lrpc.results import exports, layout, maps, resample, schema, shards, source
from lrpc.results.crops import CROPS
from lrpc.results.target import Target

if TYPE_CHECKING:
    from pandas import DataFrame
    from pyarrow import Table

FORMS = ("coco", "virelay")
_Record = tuple[dict[str, Any], float]  # of an image, and the seconds that it took


def open(output: str | Path) -> Results:
    """The results of a job: of an output folder its newest, or that of a job's own folder.

    A job that is still running is opened with what it has so far. Raises ProgramError where there
    are no results, and where pyarrow is not installed.
    """
    return Results(layout.current(Path(output)))


class Results:
    """The results of one job. Its targets are numbered by the rows of `targets`.

    `job` says what it is: the program, what was asked, and the source.
    """

    def __init__(self, where: layout.Layout) -> None:
        self.layout, self.job = where, layout.read_job(where)
        # In this order, since a running job makes parts whole of the images that are done.
        own = {number: self._record(number) for number in where.images()}
        self._parts = where.parts()
        self._listed = source.read_listing(where)
        self._own = self._beside(own)

    def __repr__(self) -> str:
        failed = self.failures.num_rows
        return (
            f"<lrpc results {self.layout.root.name}: {self.images.num_rows} of"
            f" {len(self._listed)} images, {len(self)} targets, {failed} failed>"
        )

    @cached_property
    def images(self) -> Table:
        """The images that are done, a pyarrow table; `lrpc.results.schema.IMAGES` are its
        columns."""
        return self._table("images")

    @cached_property
    def targets(self) -> Table:
        """What was explained, a row for each target under each composite, a pyarrow table;
        `lrpc.results.schema.TARGETS` are its columns."""
        return self._table("targets")

    @property
    def failures(self) -> Table:
        """The images that failed, with the reason in `error`."""
        return self.images.filter(self.images["error"].is_valid())

    @cached_property
    def seconds(self) -> Table:
        """How long each image took, its share of its batch; not part of what is reproduced."""
        return self._table("seconds")

    def frame(self, table: str = "targets") -> DataFrame:
        """One of the tables as a pandas data frame."""
        found: DataFrame = getattr(self, table).to_pandas()
        return found

    def __len__(self) -> int:
        return int(self.targets.num_rows)

    def __getitem__(self, row: int) -> Target:
        count = len(self)
        if not -count <= row < count:
            raise IndexError(f"target {row} of {count}")
        return Target(self, row % count, self.targets.slice(row % count, 1).to_pylist()[0])

    def __iter__(self) -> Iterator[Target]:
        rows = (row for batch in self.targets.to_batches(1024) for row in batch.to_pylist())
        for number, row in enumerate(rows):
            yield Target(self, number, row)

    def photo(self, image: int) -> Image.Image:
        """An image of the source, RGB, upright; raises ImageError where it is gone, and where it is
        not the one that was explained, by its checksum."""
        one = self._entry(image)
        return source.photo(one.name, self._bytes(image))

    def check_photo(self, image: int) -> None:
        """Raise ImageError where the file of an image is gone, or not the one that was
        explained."""
        self._bytes(image)

    def _bytes(self, image: int) -> bytes:
        one = self._entry(image)
        data = one.place.read(one.name)
        if image in self._rows:
            source.check_same(one.name, data, self.image(image)["sha256"])
        return data

    def _record(self, number: int) -> _Record | None:
        """What the own file of an image that is done has, None where a running job has put it into
        a part meanwhile."""
        try:
            return shards.record(self.layout.image(number))
        except ProgramError:
            if self.layout.image(number).exists():
                raise
            return None

    def _beside(self, own: Mapping[int, _Record | None]) -> list[_Record]:
        """The images that are done and in no whole part; a killed job may leave some in both."""
        found = ((self._entry(number), record) for number, record in own.items())
        whole = set(self._parts)
        return [told for one, told in found if told is not None and one.part not in whole]

    def _entry(self, image: int) -> source.Listed:
        if not image < len(self._listed):
            raise layout.damaged(self.layout.listing)
        return self._listed[image]

    def path_of(self, image: int) -> Path:
        """The file of an image of the source."""
        return self._entry(image).place.path

    def of_image(self, image: int) -> list[Target]:
        """The targets of an image."""
        return [self[n] for n in self._of_image.get(image, ())]

    @cached_property
    def _of_image(self) -> dict[int, list[int]]:
        found: dict[int, list[int]] = {}
        for n, image in enumerate(self.targets["image"].to_pylist()):
            found.setdefault(image, []).append(n)
        return found

    def file_of(self, image: int) -> Path:
        """The file that has an image's tensors."""
        own = self.layout.image(image)
        return own if own.is_file() else self.layout.maps(self._entry(image).part)

    def tensor(self, image: int, name: str) -> NDArray[Any]:
        """A stored tensor of an image, by its name in the tables."""
        return shards.tensor(self.file_of(image), name)

    def write(self, form: str, path: str | Path, crop: str = CROPS[0]) -> None:
        """Write them for another tool: `coco`, a JSON file of annotations with the places of their
        maps; `virelay`, a folder with a project, of what lies around each object or with `crop`
        image of whole images. Warns where images are not those that were explained. Raises
        ProgramError."""
        if form not in FORMS:
            raise ProgramError(f"{form}: results are written as {', '.join(FORMS)}")
        if crop not in CROPS:
            raise ProgramError(f"crop {crop!r}: is one of {', '.join(CROPS)}")
        if form == "coco":
            exports.write_coco(self, Path(path))
        elif gone := exports.write_virelay(self, Path(path), crop):
            more = f", and {len(gone) - 1} more" if len(gone) > 1 else ""
            warnings.warn(f"shown in grey: {gone[0]}{more}", LrpcWarning, stacklevel=2)

    def to_supervision(self, image: int) -> Any:
        """An image's detections as `supervision.Detections`."""
        return exports.to_supervision(self, image)

    def to_fiftyone(self) -> list[Any]:
        """A `fiftyone.Sample` with heat maps for each image."""
        return exports.to_fiftyone(self)

    def to_quantus(self, rows: Sequence[int]) -> dict[str, Any]:
        """`x_batch`, `y_batch`, `a_batch` and `s_batch` of some targets, on images of one size."""
        return exports.to_quantus(self, list(rows))

    def to_xarray(self, rows: Sequence[int] | None = None, original: bool = False) -> Any:
        """Maps of one size as an `xarray.Dataset`, of some targets (default: all), at the size that
        the network sees, or at that of the `original` images."""
        chosen = range(len(self)) if rows is None else rows
        return exports.to_xarray(self, list(chosen), original)

    def map(self, row: dict[str, Any], original: bool = False) -> maps.Map:
        """The relevance map of a target, given as its row: float32 [h, w], summed over channels, at
        the size that the network sees, or at that of the `original` image on disk (its sum kept).
        Raises ProgramError where the job stored none."""
        if row["map"] is None:
            raise ProgramError(f"{row['slug']}: its map is not stored (--maps none)")
        values = maps.decode(self.tensor(row["image"], row["map"]), row["map_scale"])
        if not original:
            return values
        image = self.image(row["image"])
        seen = None if image["seen"] is None else tuple(image["seen"])
        size = (image["height"], image["width"])
        return resample.spread(values.astype(np.float64), size, seen).astype(np.float32)

    def layers(self, row: dict[str, Any]) -> dict[str, NDArray[Any]]:
        """Relevance at the places that were read for a target, summed over channels: maps [h, w] of
        the network's input; tokens of several maps map by map, as `PLACE, h×w`; queries [N]."""
        found: dict[str, NDArray[Any]] = {}
        levels = self.image(row["image"])["levels"] or ()
        for key in row["layers"] or ():
            values, place = self.tensor(row["image"], key), key.removeprefix(f"{row['map']}/")
            ends = np.cumsum([0, *(height * width for height, width in levels)])
            if values.ndim == 1 and len(levels) and len(values) == ends[-1]:
                for n, (height, width) in enumerate(levels):
                    part = values[ends[n] : ends[n + 1]].reshape(height, width)
                    found[f"{place}, {height}×{width}"] = part
            else:
                found[place] = values
        return found

    def mask(self, row: dict[str, Any]) -> NDArray[np.bool_] | None:
        """The mask of a target's object, bool [h, w] of the image on disk; None without one."""
        if row["mask"] is None:
            return None
        image = self.image(row["image"])
        lengths = self.tensor(row["image"], row["mask"])
        return maps.from_runs(lengths, (image["height"], image["width"]))

    def image(self, number: int) -> dict[str, Any]:
        """The row of an image, by its number."""
        found = self._rows.get(number)
        if found is None:
            raise ProgramError(f"image {number} has no results")
        row: dict[str, Any] = self.images.slice(found, 1).to_pylist()[0]
        return row

    @cached_property
    def _rows(self) -> dict[int, int]:
        return {number: row for row, number in enumerate(self.images["image"].to_pylist())}

    def _table(self, name: str) -> Table:
        """The parts that are whole, then the images that are done beside, in their order."""
        pa = schema.arrow()
        tables = [schema.read_table(self.layout.table(name, part)) for part in self._parts]
        rows = [row for record in self._own for row in schema.rows_of(name, *record)]
        tables.append(schema.table(name, rows))
        # What another release has written may lack columns, or have more: these are null, or kept.
        found = pa.concat_tables(tables, promote_options="default")
        return found.sort_by("image") if rows else found
