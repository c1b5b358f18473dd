"""Results that are in no file: what `program.explain` gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

from numpy.typing import NDArray
from PIL import Image

from lrpc.errors import ProgramError
from lrpc.results import schema, source
from lrpc.results.opened import Results
from lrpc.results.target import Target


class Explanations(Results):
    """What was explained in some images, a target under a composite each: `len`, `[n]`, `for`.

    `images` and `targets` are its tables, as those of `lrpc.open`.
    """

    def __init__(
        self,
        records: Sequence[Mapping[str, Any]],
        tensors: Mapping[str, NDArray[Any]],
        photos: Mapping[int, Callable[[], bytes]],
        job: dict[str, Any],
    ) -> None:
        self.job, self.records = job, sorted(records, key=lambda one: one["number"])
        self._tensors, self._photos = tensors, photos

    def __repr__(self) -> str:
        failed = sum(1 for one in self.records if one["error"])
        told = f", {failed} failed" if failed else ""
        return f"<lrpc: {len(self)} explanations of {len(self.records)} images{told}>"

    def _repr_html_(self) -> str:
        return "".join(one._repr_html_() for one in self)

    @property
    def errors(self) -> dict[str, str]:
        """Image → why it failed."""
        return {one["name"]: one["error"] for one in self.records if one["error"]}

    @property
    def notes(self) -> dict[str, str]:
        """Image → why nothing was explained in it."""
        return {one["name"]: one["note"] for one in self.records if one["note"]}

    @cached_property
    def _targets(self) -> list[dict[str, Any]]:
        return [row for record in self.records for row in schema.target_rows(record)]

    def __len__(self) -> int:
        return len(self._targets)

    def __getitem__(self, row: int) -> Target:
        count = len(self)
        if not -count <= row < count:
            raise IndexError(f"target {row} of {count}")
        return Target(self, row % count, self._targets[row])

    def __iter__(self) -> Iterator[Target]:
        return (self[n] for n in range(len(self)))

    def photo(self, image: int) -> Image.Image:
        """An image as it was given, RGB, upright; raises ImageError where its file has changed."""
        about, data = self.image(image), self._photos[image]()
        source.check_same(about["name"], data, about["sha256"])
        return source.photo(about["name"], data)

    def tensor(self, image: int, name: str) -> NDArray[Any]:
        """A tensor by its name in the tables."""
        return self._tensors[name]

    def image(self, number: int) -> dict[str, Any]:
        """The row of an image, by its number."""
        for record in self.records:
            if record["number"] == number:
                return schema.image_row(record)
        raise ProgramError(f"image {number} has no results")

    def _table(self, name: str) -> Any:
        rows = [row for one in self.records for row in schema.rows_of(name, one, one["seconds"])]
        return schema.table(name, rows)
