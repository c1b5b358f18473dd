"""A program directory becomes a loaded program."""

from __future__ import annotations

import itertools
import sys
import weakref
import zlib
from collections.abc import Mapping
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import CodeType
from typing import Any, cast

from lrpc.errors import ProgramError
from lrpc.files import shown
from lrpc.run.protocol import Program
from lrpc.swap import generation, recover

_COMPILED = itertools.count(1)
_TRIES = 20  # loads of a directory that is replaced while it is read
FILES = ("program.py", "weights.safetensors", "graph.lrp", "manifest.json")


class _SourceOnly(SourceFileLoader):
    """Reads the source each time: a cached bytecode file could be of an earlier compilation that
    wrote as many bytes within the same second, and a program directory is not ours to write in."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)


def load_program(directory: Path, device: str, **options: bool) -> Program:
    """Import `directory/program.py` under a name of its own and load it on `device`.

    `options` are those of the program's own `load`. `sys.modules` is as before afterwards; with
    `compile` it has the module for as long as the program lives. Hashes, dtypes and the manifest
    are checked by the program itself; what it says is passed on. A directory that is replaced
    meanwhile is loaded anew: all files are of one compilation. Raises ProgramError with one line
    where a file is missing or the program refuses to load.
    """
    for _ in range(_TRIES):
        recover(directory)
        before = generation(directory)
        try:
            program = _load(directory, device, **options)
        except ProgramError:
            if generation(directory) == before:
                raise
            continue
        if generation(directory) == before:
            return program
    raise ProgramError(f"{shown(directory)}: is being replaced all the time; run this again")


def _load(directory: Path, device: str, **options: bool) -> Program:
    """Load it once."""
    if not directory.is_dir():
        raise ProgramError(f"{directory}: not a directory; `lrpc compile -o {directory}` makes one")
    missing = [name for name in FILES if not (directory / name).is_file()]
    if missing:
        raise ProgramError(
            f"{directory}: not a program directory, it lacks {', '.join(missing)}; compile it again"
        )
    source = (directory / "program.py").resolve()
    name = f"_lrpc_program_{zlib.crc32(str(source).encode()):08x}"
    compiled = options.get("compile", False)
    name += f"_{next(_COMPILED)}" if compiled else ""
    loader = _SourceOnly(name, str(source))
    spec = spec_from_loader(name, loader)
    if spec is None:
        raise ProgramError(f"{source}: cannot be imported")
    module = module_from_spec(spec)
    # Dataclasses and Triton look their module up by name while it is being executed.
    before, sys.modules[name] = sys.modules.get(name), module
    try:
        loader.exec_module(module)
        program = module.load(device=device, **{k: True for k, wanted in options.items() if wanted})
        if compiled:  # torch.compile looks names up in it when a function is first called
            before = module
            weakref.finalize(program, sys.modules.pop, name, None)
        return cast(Program, program)
    except ProgramError:
        raise
    except Exception as error:  # whatever generated code raises, the user gets one line
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ProgramError(f"{directory}: {reason}") from error
    finally:
        if before is None:
            del sys.modules[name]
        else:
            sys.modules[name] = before


def composites_of(manifest: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of a program's composites, its first one first."""
    several = manifest.get("composites")
    return tuple(several) if several else (str(manifest.get("composite", "")),)


def under_composite(manifest: Mapping[str, Any], name: str | None) -> Mapping[str, Any]:
    """What a manifest says under one of its composites, by default the first.

    Raises ProgramError for one that the program does not have.
    """
    known = composites_of(manifest)
    name = known[0] if name is None else name
    if name not in known:
        raise ProgramError(
            f"this program has no composite {name!r}; it has: {', '.join(known)}"
            " (compile with LRPC.COMPOSITE for others)"
        )
    own = manifest.get("composites", {}).get(name, {})
    return {**manifest, **own}


def composite_of_graph(manifest: Mapping[str, Any], file: str) -> str:
    """The composite whose annotated graph is in `file`; the first for a name of the user's own."""
    several = manifest.get("composites", {})
    own = (name for name, part in several.items() if part["graph"] == file)
    return next(own, composites_of(manifest)[0])
