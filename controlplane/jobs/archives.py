"""Unpack a foreign tar: member by member, counting real bytes, plain files and folders only."""

from __future__ import annotations

import tarfile
from pathlib import Path, PurePosixPath

MAX_BYTES = 10 * 2**30
MAX_MEMBERS = 10_000
MAX_RATIO = 200
# Small archives of text shrink a lot and harm nobody.
_RATIO_COUNTS_FROM = 50 * 2**20
_CHUNK_BYTES = 1 << 20


class ArchiveRefused(Exception):
    """The archive is damaged or holds what it may not; the message is a sentence."""


def unpack(archive: Path, target: Path) -> int:
    """Unpack into an empty folder and return how many files there are.

    Owner, times and special bits of the archive are ignored; programs stay executable.

    Raises:
        ArchiveRefused: a path leads out, a member is a link or a device, stands twice, or the
            whole is too large.
    """
    limit = min(MAX_BYTES, max(_RATIO_COUNTS_FROM, archive.stat().st_size * MAX_RATIO))
    seen: set[str] = set()
    total = files = 0
    try:
        with tarfile.open(archive, "r|*") as stream:
            for member in stream:
                if len(seen) >= MAX_MEMBERS:
                    raise ArchiveRefused(f"The source has more than {MAX_MEMBERS:,} members.")
                name = _checked_name(member)
                if name == ".":
                    continue
                if name in seen:
                    raise ArchiveRefused(f"The source has {name[:100]!r} twice.")
                seen.add(name)
                if member.isdir():
                    _make_folder(target / name)
                    continue
                total += _write(stream, member, target / name, limit - total)
                files += 1
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:
        raise ArchiveRefused(f"The source cannot be unpacked: {error}.") from error
    return files


def _checked_name(member: tarfile.TarInfo) -> str:
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts or "\0" in member.name:
        raise ArchiveRefused(f"The source has {member.name[:100]!r}, which leads out of it.")
    if not (member.isreg() or member.isdir()):
        raise ArchiveRefused(
            f"The source has {member.name[:100]!r}, which is a link or a device; "
            "only files and folders are allowed."
        )
    return str(path)


def _make_folder(path: Path) -> None:
    if path.exists() and not path.is_dir():
        raise ArchiveRefused(f"The source has {path.name[:100]!r} as a file and as a folder.")
    path.mkdir(parents=True, exist_ok=True)


def _write(stream: tarfile.TarFile, member: tarfile.TarInfo, path: Path, room: int) -> int:
    content = stream.extractfile(member)
    if content is None:
        raise ArchiveRefused(f"The source's {member.name[:100]!r} has no content.")
    path.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    with content, path.open("xb") as file:
        while chunk := content.read(_CHUNK_BYTES):
            written += len(chunk)
            if written > room:
                raise ArchiveRefused("The source is too large once it is unpacked.")
            file.write(chunk)
    path.chmod(0o755 if member.mode & 0o100 else 0o644)
    return written
