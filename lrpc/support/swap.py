"""Replaces a program directory in one step, for readers and for a kill at any instant.

A new program is built in a hidden folder beside the old one, `.NAME.lrpc`, and the two change
places at once (Linux, `renameat2` with `RENAME_EXCHANGE`). Where the file system cannot do that,
two renames follow each other; what a kill between them leaves is put back by the next command that
reads or writes the directory (`recover`).
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from lrpc.errors import ProgramError
from lrpc.support.files import refusals, shown

_EXCHANGE, _HERE = 2, -100  # RENAME_EXCHANGE and AT_FDCWD of Linux
_CANNOT = {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP}  # this system has no exchange
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}
_OURS = re.compile(r"program\.py|manifest\.json|passes/\d+-[^/]+\.lrp|__pycache__/program\.[^/]*")
_BUSY = "another lrpc writes it at this moment; run this again when that has ended"


def replace_directory(real: Path, build: Callable[[Path], None]) -> None:
    """Put what `build` makes in an empty folder in the place of the directory `real`, or where
    there is none. Files of the old directory that lrpc did not write come along.

    Raises OSError, and ProgramError where another process writes it.
    """
    with _workspace(real) as space:
        building, ready = space / "building", space / "ready"
        building.mkdir()
        build(building)
        if real.is_dir():
            if not os.access(real, os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            building.chmod(real.stat().st_mode & 0o7777)
            with suppress(OSError):  # no hard links here: they are moved once it is replaced
                _keep(real, building, partial(os.link, follow_symlinks=False))
        building.rename(ready)
        _put(ready, real, space / "old")


def real_directory(path: Path) -> Path:
    """Where a directory is, links followed. Raises OSError, and ProgramError for what has no
    place of its own in a folder."""
    real = Path(os.path.realpath(path))
    if real.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    if not real.name or os.path.ismount(real):
        raise ProgramError(f"{shown(path)}: cannot be replaced as a whole; name a folder in it")
    return real


def recover(directory: Path) -> None:
    """Put back a program that a killed writer had moved out of the way; nothing where it stands.

    Only file systems without an exchange of names can need this. Raises ProgramError.
    """
    with refusals(directory, "cannot be read"):
        real = Path(os.path.realpath(directory))
        missing = bool(real.name) and not os.path.lexists(real)
        if missing and (_space(real) / "old").is_dir():
            with _workspace(real):
                pass


def generation(directory: Path) -> tuple[int, int] | None:
    """What changes whenever the directory is replaced; None where there is no program."""
    try:
        found = os.stat(directory / "manifest.json")
    except (OSError, ValueError):
        return None
    return found.st_ino, found.st_mtime_ns


# -- taking turns ----------------------------------------------------------------------------------


def _space(real: Path) -> Path:
    return real.with_name(f".{real.name}.lrpc")


@contextmanager
def _workspace(real: Path) -> Iterator[Path]:
    """The folder beside `real` in which it is built, for this process alone, swept before and
    removed after. The kernel gives the lock back when a process is killed."""
    space, held = _locked(real)
    try:
        _clean(space, real)
        yield space
    finally:
        with suppress(OSError):  # the next writer removes what cannot be removed now
            _clean(space, real)
            (space / "lock").unlink(missing_ok=True)
        os.close(held)
        with suppress(OSError):  # another writer waits for its turn in it
            space.rmdir()


def _locked(real: Path) -> tuple[Path, int]:
    """The workspace and the open lock in it; ProgramError where another process has it."""
    space = _space(real)
    for _ in range(100):  # a writer that ends removes both, perhaps between two of these steps
        space.mkdir(exist_ok=True)
        try:
            held = os.open(space / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o666)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(held), os.stat(space / "lock")):
                return space, held
        except BlockingIOError:
            os.close(held)
            raise ProgramError(f"{shown(real)}: {_BUSY}") from None
        except FileNotFoundError:
            pass
        except OSError as error:
            os.close(held)
            if error.errno not in _NO_LOCKS:
                raise
            raise ProgramError(
                f"{shown(real)}: this file system has no locks, so that two writers could meet;"
                " write elsewhere and move the directory here"
            ) from error
        os.close(held)
    raise ProgramError(f"{shown(real)}: {_BUSY}")


def _clean(space: Path, real: Path) -> None:
    """End what a killed writer began, and remove what it left; `real` stands afterwards, old or
    new, where one of them ever did."""
    if not os.path.lexists(real) and (space / "old").is_dir():
        (space / "old").rename(real)
    shutil.rmtree(space / "building", ignore_errors=True)
    for name in ("old", "ready"):
        if (space / name).is_dir():
            if real.is_dir():
                _keep(space / name, real, os.rename)
            shutil.rmtree(space / name)


def _put(ready: Path, real: Path, old: Path) -> None:
    """Let the complete program and what stands at `real` change places; the old one's remains are
    removed when the workspace is left."""
    if not real.is_dir():
        ready.rename(real)
    elif not _exchanged(ready, real):
        real.rename(old)
        ready.rename(real)


def _exchanged(one: Path, other: Path) -> bool:
    """Exchange two names in one step; False where this system cannot."""
    try:
        call = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):
        return False
    if call(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number not in _CANNOT:
        raise OSError(number, os.strerror(number))
    return False


# -- whose files -----------------------------------------------------------------------------------


def _keep(source: Path, target: Path, act: Callable[[Path, Path], None]) -> None:
    """Link or move to `target` what is in `source`, is not lrpc's and is not there yet."""
    stated = _stated(source)
    for folder, folders, names in os.walk(source):
        here = Path(folder)
        links = [name for name in folders if (here / name).is_symlink()]
        for name in (*names, *links):
            path = here / name
            inside = str(path.relative_to(source))
            new = target / inside
            if os.path.lexists(new) or _written(path, inside, stated):
                continue
            new.parent.mkdir(parents=True, exist_ok=True)
            act(path, new)
        if not (names or folders):
            (target / here.relative_to(source)).mkdir(parents=True, exist_ok=True)


def _stated(directory: Path) -> Mapping[str, object]:
    """File → sha256, as the manifest says; nothing where it cannot be read."""
    try:
        found = json.loads((directory / "manifest.json").read_bytes())["sha256"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _written(path: Path, inside: str, stated: Mapping[str, object]) -> bool:
    """Whether lrpc wrote this file: by its name, or by what the manifest says of its content."""
    if _OURS.fullmatch(inside):
        return True
    if inside not in stated or not path.is_file():
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == stated[inside]
