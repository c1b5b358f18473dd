"""The commands of the pages run one after the other, as somebody who follows them types them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.test_docs import ROOT, blocks

PAGES = [
    "README.md", "docs/tutorials/compare-rules.md", "docs/tutorials/evaluate-a-data-set.md",
    "docs/tutorials/read-a-program.md", "docs/tutorials/write-a-rule.md", "docs/analyze.md",
]  # fmt: skip
#: What a reader puts something of their own in place of, and what other tests do or a reader ends.
OWN = re.compile(
    r"\b(FOLDER|val2017|mine|build/(other|a|b)|model\.pth|pytest|bench|pip|demo|A|B)\b"
)


def lines(page: Path) -> Iterator[str]:
    """The commands of a page that are run, without those with a name of the reader's own; folders
    of images are the example's."""
    for block in blocks("bash", page):
        text = re.sub(r"(--images|--data) FOLDER", r"\1 examples/digits/scenes", block)
        for line in text.replace("\\\n", " ").splitlines():
            if line.startswith(("lrpc", "PYTHONPATH")) and not OWN.search(line.split("#")[0]):
                yield line.replace("PYTHONPATH=. ", "")


def follow(page: Path, folder: Path, given: Mapping[str, str]) -> None:
    """Run the commands of a page in a folder, one after the other."""
    for line in lines(page):
        done = subprocess.run(
            line, shell=True, cwd=folder, env=given, text=True, capture_output=True
        )
        right = (0, 1) if "--diff" in line else (0,)  # as diff, 1 where there are some
        assert done.returncode in right, f"{page}: {line}\n{done.stderr[-3000:]}"


@pytest.mark.slow  # minutes: test_commands_parse parses all of them
def test_commands_of_the_pages_run(tmp_path: Path) -> None:
    for name in ("examples", "tests"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin" / "lrpc"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m lrpc "$@"\n')
    command.chmod(0o755)
    path = os.pathsep.join([str(command.parent), os.environ["PATH"]])
    given = {**os.environ, "PATH": path, "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"}
    for page in PAGES:
        follow(ROOT / page, tmp_path, given)
