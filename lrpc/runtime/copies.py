"""A program's own directory: which one was imported, and how it is written elsewhere."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from lrpc.runtime.loading import ProgramError, own_file


def source_checksum(file: str | None) -> str:
    """sha256 of the text that is being imported; "" where it comes from no file."""
    try:
        return "" if file is None else hashlib.sha256(Path(file).read_bytes()).hexdigest()
    except OSError:
        return ""


def check_source(own: str, directory: Path, manifest: Mapping[str, Any]) -> None:
    """Refuse a directory whose program.py is not the one that was imported."""
    wanted = manifest["sha256"].get("program.py")
    if own and own != wanted:
        raise ProgramError(
            f"{directory} holds another program than the one imported, or was compiled again since;"
            " import program.py of that directory anew"
        )


def check_import(name: str, file: str) -> None:
    """Refuse a module that was imported earlier where its name now stands for another program:
    `import program` gives the first one again, whatever sys.path says by then."""
    module = sys.modules.get(name)
    if "." in name or getattr(module, "__file__", None) != file:
        return
    spec = PathFinder.find_spec(name)
    other = Path(spec.origin) if spec is not None and spec.origin else None
    if other is None or not (other.parent / "manifest.json").is_file():
        return
    if other.resolve() != Path(file).resolve():
        raise ProgramError(
            f"module {name!r} is {Path(file).parent}, imported first, and sys.path now has"
            f" {other.parent} in front; import several programs by their directories' names, as in"
            f" `from {other.parent.name} import {name}` with {other.parent.parent} on sys.path"
        )


def reopening(program: Any) -> Callable[[], Any]:
    """What a pickle of this program calls to have it again: `load` of its module, by name."""
    own = type(program)
    module: Any = sys.modules.get(own.__module__)
    if getattr(module, own.__name__, None) is not own:
        raise ProgramError(
            f"a pickle finds programs by the module's name, and {own.__module__!r} is not the"
            f" module of {program.directory}; import it by its name, with its folder on sys.path"
        )
    directory, device = str(program.directory.absolute()), str(program.device)
    return functools.partial(module.load, directory, device, **program.options)


def copied(directory: Path, manifest: Mapping[str, Any], to: Any) -> Path:
    """Write a program's files, which are those it was loaded from, to a directory that does not
    exist or is empty: whole or not at all."""
    try:
        path = Path(to)
        taken = path.exists() and (not path.is_dir() or any(path.iterdir()))
    except (TypeError, ValueError):
        raise ProgramError(f"save takes the path of a new directory, got {to!r}") from None
    except OSError as error:
        raise ProgramError(f"{to}: {error.strerror}; choose another directory") from error
    if taken:
        raise ProgramError(f"{path}: exists and is not empty; choose another directory")
    if not directory.is_dir():
        raise ProgramError(f"{directory} is gone since this program was loaded from it")
    files = {name: own_file(directory, name, manifest) for name in manifest["sha256"]}
    said = (directory / "manifest.json").read_bytes()
    if json.loads(said) != manifest:
        raise ProgramError(f"{directory}/manifest.json was changed since this program was loaded")
    try:
        write_whole(path.absolute(), {**files, "manifest.json": said})
    except OSError as error:
        raise ProgramError(f"{path}: {error.strerror}; choose another directory") from error
    return path


def write_whole(path: Path, files: Mapping[str, bytes]) -> None:
    """Write files under a temporary name beside `path`, then rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        for name, data in files.items():
            (partial / name).write_bytes(data)
        partial.chmod(0o755)
        os.replace(partial, path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
