"""What a node remembers, so that it can start when everything else is gone.

snapshots/<epoch>-<revision>.json   the last five, each with its digest
sockets.json                        where the workers listen
"""

import contextlib
import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from deployments import snapshot

log = logging.getLogger("gatehouse.node")

KEPT = 5


@dataclass(frozen=True, slots=True)
class Stored:
    """A verified snapshot as text, with its digest and its place in the order."""

    body: str
    sha256: str
    order: tuple[int, int]


class NodeDisk:
    """The folder of one node. Agents write it, agents and gateways read it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._snapshots = root / "snapshots"
        self._sockets = root / "sockets.json"

    def save(self, stored: Stored) -> None:
        """Keep the snapshot; after this a crash at any moment leaves it or the one before."""
        self._snapshots.mkdir(parents=True, exist_ok=True)
        epoch, revision = stored.order
        path = self._snapshots / f"{epoch:010}-{revision:020}.json"
        write_durably(path, json.dumps({"sha256": stored.sha256, "body": stored.body}))
        for old in sorted(self._snapshots.glob("*.json"))[:-KEPT]:
            old.unlink(missing_ok=True)

    def latest(self) -> Stored | None:
        """Return the newest snapshot that verifies, passing over damaged ones."""
        for path in sorted(self._snapshots.glob("*.json"), reverse=True):
            with contextlib.suppress(FileNotFoundError):
                try:
                    kept = json.loads(path.read_text(encoding="utf-8"))
                    return verified(kept["body"], kept["sha256"])
                except (ValueError, KeyError, TypeError) as error:
                    log.error("snapshot_damaged path=%s error=%s", path.name, error)
        return None

    def save_sockets(self, sockets: Mapping[str, list[str]]) -> None:
        write_durably(self._sockets, json.dumps(sockets))

    def sockets(self) -> dict[str, list[str]]:
        """Return the sockets of each worker key as they were last."""
        try:
            known: dict[str, list[str]] = json.loads(self._sockets.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return known


def verified(body: str, sha256: str) -> Stored:
    """Return the snapshot after checking its digest and that it can be read.

    Raises:
        SnapshotInvalid: it is not what was published.
    """
    return Stored(body, sha256, snapshot.loads(body, expected_sha256=sha256).order)


def write_durably(path: Path, text: str) -> None:
    """Replace the file in one step; its new content has reached the disk before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(f".{os.getpid()}.tmp")
    with fresh.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
