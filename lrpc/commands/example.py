"""`lrpc example`: a small project that compiles and runs as it stands."""

from __future__ import annotations

import argparse
import errno
import json
import os
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

from lrpc.errors import ProgramError
from lrpc.support.files import make_folder, refusals, shown, write_bytes
from lrpc.support.terminal import say

SOURCE = Path(__file__).resolve().parents[1] / "example"  # of the checkout's examples/, by links
SCENES = ("02", "05")
FILES = (
    "maskdino.yaml",
    "digits/maskdino_digits.safetensors",
    "digits/ATTRIBUTION.md",
    *(f"digits/scenes/{scene}.png" for scene in SCENES),
    *(f"digits/scenes/{scene}.instances.png" for scene in SCENES),
)
INDEX = "digits/scenes/scenes.json"
README = """\
A small trained MaskDINO that detects handwritten digits. Run in this folder:

    lrpc compile --config maskdino.yaml -o build/digits
    lrpc run build/digits --images digits/scenes -o out
    lrpc evaluate build/digits --scenes digits/scenes --no-plot
"""


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments of `lrpc example` to its parser."""
    command.add_argument("folder", type=Path, metavar="DIR", help="a new or an empty folder")


def main(args: argparse.Namespace, console: Console) -> int:
    """Write the project; the exit code is 0. Raises ProgramError for a folder with other files."""
    files = content()
    folder: Path = args.folder
    with refusals(folder, "cannot be read"):
        other = first_other(folder, files)
    if other is not None:
        raise ProgramError(
            f"{shown(folder)}: holds {shown(other)}, which is not of this example; "
            "name a new or an empty folder"
        )
    for name, data in files.items():
        make_folder((folder / name).parent)
        write_bytes(folder / name, data)
    lines = f"{shown(folder)}: config, weights, {len(SCENES)} images. Next, in this folder:"
    commands = README.split("\n\n")[1].rstrip()
    say(console, f"{lines}\n{commands}")
    return 0


def content() -> Mapping[str, bytes]:
    """The project's files: relative path → content. Raises ProgramError where one is missing."""
    with refusals(SOURCE, "this installation lacks the example"):
        files = {name: (SOURCE / name).read_bytes() for name in FILES}
        scenes = json.loads((SOURCE / INDEX).read_bytes())
    kept = [scene for scene in scenes if Path(scene["file"]).stem in SCENES]
    files[INDEX] = f"{json.dumps(kept, indent=1)}\n".encode()
    files["README.md"] = README.encode()
    return files


def first_other(folder: Path, files: Mapping[str, bytes]) -> str | None:
    """The first thing in `folder` that is not one of `files`, unchanged; None where all are.

    So what a stopped run left can be completed, and no file of the user is overwritten.
    """
    folders = {str(parent) for name in files for parent in Path(name).parents}
    if os.path.lexists(folder) and not folder.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "not a folder", str(folder))
    for root, inner, leaves in os.walk(folder):
        for name in sorted((*inner, *leaves)):
            path = Path(root, name)
            key = path.relative_to(folder).as_posix()
            expected = not path.is_symlink() and (
                key in folders if name in inner else files.get(key) == path.read_bytes()
            )
            if not expected:
                return key
    return None
