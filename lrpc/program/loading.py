"""A program directory becomes a loaded program."""

from __future__ import annotations

import functools
import itertools
import os
import sys
import weakref
import zlib
from collections.abc import Callable, Mapping
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, cast

from lrpc.errors import ProgramError
from lrpc.program.protocol import Program
from lrpc.runtime import results
from lrpc.support.files import shown
from lrpc.support.log import step
from lrpc.support.swap import generation, recover

_LOADED = itertools.count(1)
_TRIES = 20  # loads of a directory that is replaced while it is read
FILES = ("program.py", "weights.safetensors", "graph.lrp", "manifest.json")


class _SourceOnly(SourceFileLoader):
    """Reads the source each time: a cached bytecode file could be of an earlier compilation that
    wrote as many bytes within the same second, and a program directory is not ours to write in."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        return code_of(self.get_data(path), path)


def code_of(source: bytes, path: str) -> CodeType:
    """The code of a program's text in the file `path`; the same text is compiled once."""
    return _in_file(_code(source), path)


@functools.lru_cache(maxsize=4)
def _code(source: bytes) -> CodeType:
    return compile(source, "program.py", "exec", dont_inherit=True)


def _in_file(code: CodeType, path: str) -> CodeType:
    inner = (_in_file(c, path) if isinstance(c, CodeType) else c for c in code.co_consts)
    return code.replace(co_filename=path, co_consts=tuple(inner))


class Owner:
    """Lives as long as a program and its copies. What goes with it is undone by the process that
    made it, not by one forked from it."""

    def __init__(self, undo: Callable[..., object], *given: Any) -> None:
        weakref.finalize(self, _in_process, os.getpid(), undo, *given)


def _in_process(process: int, undo: Callable[..., object], *given: Any) -> None:
    if os.getpid() == process:
        undo(*given)


def owned(program: Any, owner: Owner) -> None:
    """Have a program, and what is copied from it, keep `owner`."""
    program.owners = (*getattr(program, "owners", ()), owner)


def load_program(directory: Path, device: str, **options: bool) -> Program:
    """Import `directory/program.py` under a name of its own and load it on `device`.

    `options` are those of the program's own `load`. `sys.modules` is as before afterwards; with
    `compile` it has the module for as long as the program lives. Hashes, dtypes and the manifest
    are checked by the program itself; what it says is passed on, as the ProgramError of lrpc. The
    program, its states and results can be pickled. A directory that is replaced meanwhile is loaded
    anew: all files are of one compilation. Raises ProgramError with one line where a file is
    missing or the program refuses to load.
    """
    for _ in range(_TRIES):
        recover(directory)
        before = generation(directory)
        try:
            with step(f"load {shown(directory)} on {device}"):
                program = _load(directory, device, **options)
        except ProgramError:
            if generation(directory) == before:
                raise
            continue
        if generation(directory) == before:
            return program
    raise ProgramError(f"{shown(directory)}: is being replaced all the time; run this again")


def check_directory(directory: Path) -> None:
    """Raise ProgramError where this is no directory of a program."""
    if not directory.is_dir():
        raise ProgramError(f"{directory}: not a directory; `lrpc compile -o {directory}` makes one")
    missing = [name for name in FILES if not (directory / name).is_file()]
    if missing:
        raise ProgramError(
            f"{directory}: not a program directory, it lacks {', '.join(missing)}; compile it again"
        )


def _load(directory: Path, device: str, **options: bool) -> Program:
    """Load it once."""
    check_directory(directory)
    source = (directory / "program.py").resolve()
    # No two programs share a module by name, whichever threads load them.
    name = f"_lrpc_program_{zlib.crc32(str(source).encode()):08x}_{next(_LOADED)}"
    loader = _SourceOnly(name, str(source))
    spec = spec_from_loader(name, loader)
    if spec is None:
        raise ProgramError(f"{source}: cannot be imported")
    module = module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and Triton look there while it is being executed
    kept = False
    try:
        loader.exec_module(module)
        _as_of_lrpc(module)
        program = module.load(device=device, **options)
        program.reopen = functools.partial(load_program, directory.absolute(), device, **options)
        if options.get("compile", False):  # torch.compile looks names up there at a first call
            kept = True
            owned(program, Owner(sys.modules.pop, name, None))
        return cast(Program, program)
    except Exception as error:  # whatever generated code raises, the user gets one line
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ProgramError(f"{directory}: {reason}") from error
    finally:
        if not kept:
            del sys.modules[name]


def _as_of_lrpc(module: ModuleType) -> None:
    """Have a program raise and pickle what other processes can import: its own module has no name
    by which they could. A program.py of another make keeps its own."""
    module.ProgramError = ProgramError  # type: ignore[attr-defined]
    for one in (results.State, results.Relevance, results.Ledger):
        if (own := getattr(module, one.__name__, None)) is not None:
            own.__reduce__ = functools.partialmethod(_result, one)


def _result(of_program: Any, kind: type) -> tuple[Any, ...]:
    fields = of_program.__getstate__()
    return object.__new__, (kind,), fields


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
