"""Files that commands write: whole or not at all, and every refusal of the system in one line."""

from __future__ import annotations

import errno
import os
import re
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lrpc.errors import ProgramError
from lrpc.support.escaping import visible

_HOST = f"{zlib.crc32(os.uname().nodename.encode()):08x}"  # folders may be shared by machines
_PART = re.compile(rf"\..+\.{_HOST}-(\d+)\.part", re.DOTALL)


def shown(path: str | os.PathLike[str]) -> str:
    """A path as one printable line: what is no character, or breaks lines, is escaped."""
    return visible(os.fspath(path))


def reason(error: BaseException) -> str:
    """Why the system, or a library, refused: one line without the file's name."""
    text = getattr(error, "strerror", None) or str(error).strip() or type(error).__name__
    system = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else ""
    text = system if system and system in text else text  # HDF5 puts a paragraph around it
    line = str(text).splitlines()[0]
    return shown(line[:1].lower() + line[1:] if isinstance(error, OSError) else line)


@contextmanager
def refusals(path: Path, what: str = "cannot be written") -> Iterator[None]:
    """Turn what the system says of a path, names that no system takes included, into a
    ProgramError."""
    try:
        yield
    except OSError as error:
        raise ProgramError(f"{shown(path)}: {what} ({reason(error)})") from error
    except UnicodeEncodeError as error:
        raise ProgramError(f"{shown(path)}: {what} (not a name of a file)") from error
    except ValueError as error:
        if "null byte" not in str(error) and "null character" not in str(error):
            raise
        raise ProgramError(f"{shown(path)}: {what} (a NUL in its name)") from error


@contextmanager
def complete(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, renamed to it on success and removed on failure.

    A symbolic link stays one: what it points to is replaced. Raises ProgramError where the system
    refuses, and for what is no regular file, such as a device.
    """
    with refusals(path):
        real = check_file(path)
        part = real.with_name(f".{real.name}.{_HOST}-{os.getpid()}.part")
        try:
            yield part
            part.replace(real)
        finally:
            with suppress(OSError, ValueError):
                part.unlink(missing_ok=True)


def check_file(path: Path) -> Path:
    """The file that a path means, links followed; ProgramError where it cannot be written, as far
    as that shows beforehand."""
    with refusals(path):
        real = Path(os.path.realpath(path))
        if real.is_dir():
            raise ProgramError(f"{shown(path)}: cannot be written (is a folder); name a file")
        if os.path.lexists(real) and not real.is_file():
            what = "a loop of links" if real.is_symlink() else "no regular file"
            raise ProgramError(f"{shown(path)}: cannot be written (is {what})")
        os.stat(f"{real.parent}/.")  # is there, and a folder
    return real


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file whole or not at all; raises ProgramError."""
    with complete(path) as part:
        part.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 whole or not at all; what is no character is escaped. Raises ProgramError."""
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def make_folder(path: Path) -> None:
    """Make a folder for outputs and remove what killed runs left in it; raises ProgramError."""
    with refusals(path, "cannot be made a folder"):
        path.mkdir(parents=True, exist_ok=True)
        for entry in os.scandir(path):
            match = _PART.fullmatch(entry.name)
            if match and not _alive(int(match[1])) and stat.S_ISREG(entry.stat().st_mode):
                with suppress(OSError):  # another run swept it
                    os.unlink(entry.path)


def check_folder(path: Path) -> None:
    """ProgramError where `make_folder` would be refused, as far as that shows without making it."""
    with refusals(path, "cannot be made a folder"):
        here, found = path, None
        while found is None:
            try:
                found = os.stat(here)
            except FileNotFoundError:
                here = here.parent
        if not stat.S_ISDIR(found.st_mode):
            raise OSError(errno.EEXIST, os.strerror(errno.EEXIST))
        if not os.access(here, os.W_OK | os.X_OK):
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))


def _alive(process: int) -> bool:
    """Whether a process of this number runs on this machine."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
