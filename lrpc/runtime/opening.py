"""How a program is loaded: what its `load` was given, and its directory, are what they must be."""

from __future__ import annotations

from typing import Any

from lrpc.runtime.arguments import check_switch
from lrpc.runtime.copies import check_import, check_source
from lrpc.runtime.interface import Interface
from lrpc.runtime.loading import ProgramError, program_directory, usable_device
from lrpc.runtime.pages import keep_freed_memory
from lrpc.runtime.program import Program


def opened(
    interface: Interface,
    own: tuple[str, str, str],
    path: Any,
    device: Any,
    compile: Any,
    capture: Any,
    keep_pages: Any,
) -> Program:
    """What a program's `load` returns; `own` are its module's name, file and checksum."""
    name, file, checksum = own
    for switch, value in (("compile", compile), ("capture", capture), ("keep_pages", keep_pages)):
        check_switch(switch, value)
    if path is None:
        check_import(name, file)
    directory, place = program_directory(path, file), usable_device(device)
    if keep_pages and not keep_freed_memory():
        raise ProgramError("keep_pages=True needs glibc; leave it out")
    made = Program(interface, directory, place, compile, capture)
    check_source(checksum, directory, made.manifest)
    return made
