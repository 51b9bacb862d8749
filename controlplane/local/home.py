"""Where one clone keeps what it runs with: `.gatehouse/`, and a short folder for sockets."""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from controlplane.local.errors import SetupError

CLONE = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Home:
    """The places of one clone; nothing is made until `prepare`."""

    clone: Path = CLONE

    @property
    def folder(self) -> Path:
        return self.clone / ".gatehouse"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def log(self) -> Path:
        return self.folder / "log"

    @property
    def run(self) -> Path:
        return self.folder / "run"

    @property
    def secrets_file(self) -> Path:
        return self.folder / "secrets.json"

    @property
    def people_file(self) -> Path:
        return self.folder / "demo.json"

    @property
    def sockets(self) -> Path:
        """A folder whose path fits into a unix socket's 107 bytes wherever the clone lies."""
        digest = hashlib.sha256(str(self.clone).encode()).hexdigest()[:10]
        return Path(f"/tmp/gh-{os.getuid()}-{digest}")  # noqa: S108 - checked in prepare

    def prepare(self) -> None:
        """Make the folders. Only we may list them; a server's own user may pass through.

        Raises:
            SetupError: somebody else made the socket folder before us.
        """
        for folder in (self.folder, self.sockets):
            folder.mkdir(exist_ok=True)
            state = folder.lstat()
            if not stat.S_ISDIR(state.st_mode) or state.st_uid != os.getuid():
                raise SetupError(f"{folder} belongs to another user: remove it first.")
            folder.chmod(0o711)
        for folder in (self.data, self.log, self.run, self.sockets / "agent"):
            folder.mkdir(exist_ok=True)
            folder.chmod(0o700)
        # Jobs and model workers run as other users and enter their own folders below it.
        self.data.chmod(0o711)
