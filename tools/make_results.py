"""Write docs/results.md: the files and the columns of a job's results.

tools/make_results.py [--check]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from lrpc.results import layout, maps, schema

PAGE = Path(__file__).resolve().parents[1] / "docs" / "results.md"
_HEAD = """\
# Results of a data set

What [`lrpc run --data`](tutorials/explain-a-data-set.md) writes, and `lrpc.open` reads. Written by
`tools/make_results.py`.

```text
{files}
```

An output folder may hold several jobs; `lrpc.open(OUT)` opens the newest,
`lrpc.open("OUT/job-ID")` that one. A part has {part} images. The tables are Parquet, the maps
safetensors: any reader of these opens them without lrpc. Relevance hardly compresses: of 300 maps
of 480×640, Zarr with zstd saved 6 % of the bytes and took longer to read one.

Maps are stored as `--maps` says, at the size that the network sees, without its padding and summed
over channels: {precisions}.
A stored number times `map_scale` is relevance. A mask is stored as COCO's run lengths of the image
on disk: the numbers of pixels 0, 1, 0, … down its columns.
"""
_TITLES = {
    "images": "`images`: a row for each image",
    "targets": "`targets`: a row for each target under each composite",
    "seconds": "`seconds`: how long each image took",
}


def page() -> str:
    """The page's text."""
    lines = (layout.__doc__ or "").splitlines()
    files = "\n".join(line for line in lines if line.startswith("OUT/"))
    precisions = "; ".join(f"`{name}`, {told}" for name, told in maps.PRECISIONS.items())
    text = _HEAD.format(files=files, part=layout.PART, precisions=precisions)
    for name, columns in schema.TABLES.items():
        text += f"\n## {_TITLES[name]}\n\n| column | type | is |\n|---|---|---|\n"
        for column, (kind, told) in columns.items():
            text += f"| `{column}` | {kind} | {told} |\n"
    return text


def main() -> int:
    """Write the page, or with `--check` compare it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    if parser.parse_args().check:
        return int(PAGE.read_text("utf-8") != page())
    PAGE.write_text(page(), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
