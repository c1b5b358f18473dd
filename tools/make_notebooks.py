#!/usr/bin/env python3
"""Writes examples/notebooks/ from the tutorials: the same words, commands and Python, as cells."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
TUTORIALS, NOTEBOOKS = ROOT / "docs" / "tutorials", ROOT / "examples" / "notebooks"
#: Tutorials whose commands and Python run from top to bottom on the example in minutes.
NAMES = ("explain-a-detector", "compare-rules", "explain-a-data-set", "concepts")
_WITH_PROGRAM = ("explain-a-data-set",)  # of the example, which another tutorial compiles
_BLOCK = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```\n?", re.M | re.S)
_LINK = re.compile(r"(\]\()(?!https?:|#)([^)\s]+)")
_HEAD = (
    "Made from [docs/tutorials/{name}.md](../../docs/tutorials/{name}.md) by"
    " `tools/make_notebooks.py`: change that page, then run it. The notebook works in the project's"
    " folder and writes to `build/` and `out/`."
)
_START = """\
import os
from pathlib import Path

while not Path("examples/maskdino.yaml").is_file():  # the project's folder
    if Path.cwd() == Path("/"):
        raise SystemExit("start Jupyter inside the project's folder")
    os.chdir("..")
"""
#: What is left to the reader: to install, to serve, what needs data or machines of one's own.
_LEFT = re.compile(
    r"^(pip |python |lrpc (demo|evaluate|tune)|.*(photos|FOLDER|my_maskdino|10\.0\.0\.7|--ray))"
)


def notebook(name: str) -> str:
    """The notebook of a tutorial, as JSON."""
    page = (TUTORIALS / f"{name}.md").read_text()
    cells = [_markdown(_HEAD.format(name=name)), _code(_START)]
    if name in _WITH_PROGRAM:
        cells.append(_code("!lrpc compile --config examples/maskdino.yaml -o build/digits"))
    at = 0
    for found in _BLOCK.finditer(page):
        cells += _words(page[at : found.start()])
        made = list(_block(found[1], found[2], found[0]))
        cells += [cell for cell in made if not _again(cell, cells)]
        at = found.end()
    cells += _words(page[at:])
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    told = {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(told, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def _words(text: str) -> list[dict[str, Any]]:
    """A page's text as a cell, with its links as they are from the notebook."""
    text = _LINK.sub(lambda m: m[1] + _from_notebook(m[2]), text.strip())
    return [_markdown(text)] if text else []


def _from_notebook(target: str) -> str:
    path, _, mark = target.partition("#")
    real = (TUTORIALS / path).resolve().relative_to(ROOT)
    return f"../../{real}" + (f"#{mark}" if mark else "")


def _block(language: str, body: str, whole: str) -> Iterator[dict[str, Any]]:
    """A block of Python as a cell; of a shell its commands of lrpc, others as text."""
    if language == "python":
        yield _code(body)
        return
    if language != "bash":
        yield _markdown(whole.strip())
        return
    commands = [one for one in re.split(r"(?<!\\)\n", body) if one.strip()]
    run = [one for one in commands if re.match("lrpc |cd ", one) and not _LEFT.match(one)]
    if run:
        yield _code("\n".join(f"%{one}" if one[:2] == "cd" else f"!{one}" for one in run))
    if len(run) < len(commands):
        left = "\n".join(one for one in commands if one not in run)
        yield _markdown(f"```bash\n{left}\n```")


def _again(cell: Mapping[str, Any], cells: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a cell has the commands of an earlier one."""
    words = [_command(one) for one in cells if one["cell_type"] == "code"]
    return cell["cell_type"] == "code" and any(_command(cell) in one for one in words)


def _command(cell: Mapping[str, Any]) -> str:
    return " ".join("".join(cell["source"]).replace("\\\n", " ").split())


def _markdown(text: str) -> dict[str, Any]:
    return {"cell_type": "markdown", "metadata": {}, "source": text.splitlines(keepends=True)}


def _code(text: str) -> dict[str, Any]:
    empty: dict[str, Any] = {"execution_count": None, "metadata": {}, "outputs": []}
    return {"cell_type": "code", **empty, "source": text.strip().splitlines(keepends=True)}


def main(argv: Sequence[str] | None = None) -> int:
    """Write the notebooks; with `--check`, 1 where one is not what the tutorial would give."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, compare")
    args = parser.parse_args(argv)
    old = []
    for name in NAMES:
        path, text = NOTEBOOKS / f"{name}.ipynb", notebook(name)
        if not path.is_file() or path.read_text() != text:
            old.append(path.name)
            if not args.check:
                path.parent.mkdir(exist_ok=True)
                path.write_text(text)
    if args.check and old:
        print(f"not as the tutorials are: {', '.join(old)}; run tools/make_notebooks.py")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
