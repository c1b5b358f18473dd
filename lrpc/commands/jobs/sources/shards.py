"""Images in tar files, such as the shards of webdataset."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path

from lrpc.commands.jobs.sources.files import photographs
from lrpc.commands.jobs.sources.items import Item, SourceError
from lrpc.results.source import Place
from lrpc.support.files import reason, shown


def in_tar(file: Path) -> Iterator[Item]:
    """The images of a tar file, in its order, as `photographs` knows them; one that is compressed
    has no places to read from and is refused."""
    try:
        with tarfile.open(file, "r:") as shard:
            members = [member for member in shard if member.isreg() and not member.issparse()]
    except tarfile.ReadError as error:
        if file.suffix in (".gz", ".tgz", ".bz2", ".xz", ".zst"):
            raise SourceError(f"{shown(file)}: is compressed; unpack it to a plain tar") from error
        raise SourceError(f"{shown(file)}: not a tar file, or cut short") from error
    except (OSError, tarfile.TarError) as error:
        raise SourceError(f"{shown(file)}: cannot be read ({reason(error)})") from error
    images = set(photographs(member.name for member in members))
    for member in members:
        if member.name in images:
            name = f"{file.name}/{member.name}"
            yield Item(name, Place(file, member.offset_data, member.size))
