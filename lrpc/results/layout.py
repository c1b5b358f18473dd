"""Where the files of a job lie in its folder.

OUT/current.json                  which job is the newest
OUT/job-ID/job.json               the program, what was asked for, and the source
OUT/job-ID/listing.jsonl          the images, numbered by their lines
OUT/job-ID/images/N.parquet       an image a row, of part N
OUT/job-ID/targets/N.parquet      a target under a composite a row
OUT/job-ID/maps/N.safetensors     their maps and masks
OUT/job-ID/seconds/N.parquet      how long each image took
OUT/job-ID/unfinished/M.safetensors   all of image M, until its part is whole
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lrpc.errors import ProgramError
from lrpc.support.files import shown, write_text
from lrpc.support.untrusted import Unreadable, read_json

#: Images of a part. A number, so that what a part holds is known before any image is explained.
PART = 64
CURRENT = "current.json"
REPORT = "lrpc-report.json"  # what tells that a folder is a report
#: What else commands write: a file that tells such a folder, and how it is read.
OTHERS = {
    "contributions.parquet": "tables of `lrpc analyze`, not results of a job; read"
    " contributions.parquet and images.parquet with pandas.read_parquet",
    "program.py": "a program, not results; lrpc.load opens it",
    "metrics.json": "figures of `lrpc evaluate`, not results of a job; read metrics.json or"
    " metrics.csv",
    "comparison.json": "figures of `lrpc compare`, not results of a job; read comparison.json or"
    " comparison.csv",
    REPORT: "a report, not the results that it shows; lrpc.open takes those",
}
_LARGEST = 2**24  # bytes of one of the JSON files


@dataclass(frozen=True)
class Layout:
    """The paths of one job; `root` is its folder."""

    root: Path

    @property
    def job(self) -> Path:
        """What the job is."""
        return self.root / "job.json"

    @property
    def listing(self) -> Path:
        """Its images."""
        return self.root / "listing.jsonl"

    @property
    def lock(self) -> Path:
        """Held by the process that works on it."""
        return self.root / ".lock"

    def table(self, name: str, part: int) -> Path:
        """A part of the table `images`, `targets` or `seconds`."""
        return self.root / name / f"{part:05d}.parquet"

    def maps(self, part: int) -> Path:
        """The maps of a part."""
        return self.root / "maps" / f"{part:05d}.safetensors"

    @property
    def unfinished(self) -> Path:
        """The folder of images whose part is not whole yet."""
        return self.root / "unfinished"

    def image(self, number: int) -> Path:
        """All of one image, until its part is whole."""
        return self.unfinished / f"{number:08d}.safetensors"

    def parts(self) -> list[int]:
        """The parts that are whole: the table of images is written last."""
        return _numbers(self.root / "images", ".parquet")

    def images(self) -> list[int]:
        """The numbers of the images that have a file of their own."""
        return _numbers(self.unfinished, ".safetensors")


def _numbers(folder: Path, suffix: str) -> list[int]:
    """The numbers that name files of a folder, in order."""
    if not folder.is_dir():
        return []
    stems = (path.stem for path in folder.iterdir() if path.suffix == suffix)
    return sorted(int(stem) for stem in stems if stem.isdecimal())


def jobs_in(output: Path) -> Iterator[Layout]:
    """The jobs of an output folder, by name."""
    if output.is_dir():
        for path in sorted(output.glob("job-*")):
            if (path / "job.json").is_file():
                yield Layout(path)


def current(output: Path) -> Layout:
    """The job that an output folder is opened at: the newest, or the folder itself where it is that
    of a job. Raises ProgramError where there is none."""
    if (output / "job.json").is_file():
        return Layout(output)
    if (output / CURRENT).is_file():
        layout = Layout(output / str(read(output / CURRENT).get("job")))
        if layout.job.is_file():
            return layout
    raise ProgramError(f"{shown(output)}: {_instead(output)}")


def _instead(output: Path) -> str:
    """What a folder without results of a job is."""
    for name, told in OTHERS.items():
        if (output / name).is_file():
            return told
    return f"holds no results; `lrpc run DIR --data SOURCE -o {shown(output)}` writes them"


def damaged(path: Path) -> ProgramError:
    """The error for a file of a job that is not as it was written."""
    what = "is damaged" if path.exists() else "is missing"
    return ProgramError(
        f"{shown(path)}: {what}; the same `lrpc run` with --overwrite begins the job anew"
    )


def read(path: Path) -> dict[str, Any]:
    """A JSON file of a job, as a mapping; raises ProgramError."""
    try:
        told = read_json(path, _LARGEST)
    except Unreadable as error:
        raise damaged(path) from error
    if not isinstance(told, dict):
        raise damaged(path)
    return told


def read_job(where: Layout) -> dict[str, Any]:
    """What a job is; raises ProgramError."""
    told = read(where.job)
    program = told.get("program")
    if not isinstance(program, dict) or not isinstance(program.get("weights"), dict):
        raise damaged(where.job)
    return told


def write(path: Path, record: Mapping[str, Any]) -> None:
    """Write a JSON file of a job, whole or not at all."""
    text = json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False, sort_keys=True)
    write_text(path, text + "\n")
