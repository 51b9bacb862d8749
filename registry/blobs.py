"""Content-addressed bytes: ``<root>/<workspace>/sha256/ab/cd/<digest>``.

A blob is written to a temporary file while it is hashed, synced, and renamed into place, so that
what lies under a digest is always whole. Nothing here knows Django's models.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

from django.conf import settings

from controlplane.core.errors import Invalid, NotFound, TooLarge

CHUNK_BYTES = 1 << 20
_DIGEST = re.compile(r"[0-9a-f]{64}\Z")


@dataclass(frozen=True, slots=True)
class StoredBlob:
    sha256: str
    size: int


def path(workspace_key: str, sha256: str) -> Path:
    """Return where the blob lies, whether or not it is there.

    Raises:
        Invalid: the digest is not 64 hexadecimal digits.
    """
    if not _DIGEST.match(sha256):
        raise Invalid(f"{sha256[:80]!r} is not a SHA-256 digest.")
    root = Path(settings.BLOB_DIR) / workspace_key / "sha256"
    return root / sha256[:2] / sha256[2:4] / sha256


def put(
    workspace_key: str,
    chunks: Iterable[bytes],
    *,
    limit_bytes: int,
    announced_bytes: int | None = None,
) -> StoredBlob:
    """Store what ``chunks`` yield; the same content is stored once.

    Raises:
        TooLarge: more than ``limit_bytes`` arrived.
        Invalid: fewer or more bytes arrived than ``announced_bytes``.
    """
    root = Path(settings.BLOB_DIR) / workspace_key / "incoming"
    root.mkdir(parents=True, exist_ok=True)
    hasher = hashlib.sha256()
    size = 0
    with tempfile.NamedTemporaryFile(dir=root, delete=False) as incoming:
        try:
            for chunk in chunks:
                size += len(chunk)
                if size > limit_bytes:
                    raise TooLarge(f"The upload is larger than {limit_bytes:,} bytes.")
                hasher.update(chunk)
                incoming.write(chunk)
            if announced_bytes is not None and size != announced_bytes:
                raise Invalid(
                    f"The upload broke off: {announced_bytes:,} bytes were announced and "
                    f"{size:,} arrived. Send it again."
                )
            incoming.flush()
            os.fsync(incoming.fileno())
        except BaseException:
            Path(incoming.name).unlink(missing_ok=True)
            raise
    target = path(workspace_key, hasher.hexdigest())
    target.parent.mkdir(parents=True, exist_ok=True)
    Path(incoming.name).chmod(0o440)
    Path(incoming.name).rename(target)
    return StoredBlob(hasher.hexdigest(), size)


def put_bytes(workspace_key: str, content: bytes) -> StoredBlob:
    """Store a small value that is already in memory."""
    return put(workspace_key, [content], limit_bytes=len(content))


def open_blob(workspace_key: str, sha256: str) -> BufferedReader:
    """Open a blob for reading.

    Raises:
        NotFound: there is no such blob.
    """
    try:
        return path(workspace_key, sha256).open("rb")
    except FileNotFoundError:
        raise NotFound(f"The bytes with the digest {sha256[:12]}… are not stored here.") from None


def read_bytes(workspace_key: str, sha256: str) -> bytes:
    with open_blob(workspace_key, sha256) as blob:
        return blob.read()


def iterate(
    workspace_key: str, sha256: str, *, start: int = 0, stop: int | None = None
) -> Iterator[bytes]:
    """Yield the bytes from ``start`` up to ``stop`` (exclusive), in chunks."""
    with open_blob(workspace_key, sha256) as blob:
        blob.seek(start)
        left = None if stop is None else stop - start
        while left is None or left > 0:
            chunk = blob.read(CHUNK_BYTES if left is None else min(CHUNK_BYTES, left))
            if not chunk:
                return
            if left is not None:
                left -= len(chunk)
            yield chunk


def is_intact(workspace_key: str, sha256: str) -> bool:
    """Hash the stored bytes again and say whether they still have their digest."""
    try:
        with open_blob(workspace_key, sha256) as blob:
            return hashlib.file_digest(blob, "sha256").hexdigest() == sha256
    except NotFound:
        return False
