"""What tests of jobs have in common."""

from __future__ import annotations

from pathlib import Path

from lrpc.results import layout

REPRODUCED = ("images", "targets", "maps")


def content(output: Path) -> dict[str, bytes]:
    """The files of an output's one job that every run has to reproduce."""
    (root,) = [one.root for one in layout.jobs_in(output)]
    found = (path for name in REPRODUCED for path in sorted((root / name).iterdir()))
    return {str(path.relative_to(root)): path.read_bytes() for path in found}
