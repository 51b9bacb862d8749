"""Under which system user the embedded PostgreSQL runs: it refuses to be root."""

from __future__ import annotations

import functools
import os
import pwd
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from controlplane.local.errors import SetupError

_LAUNCHER = Path(__file__).with_name("launch.py")
_USER_NAME = "gatehouse-pg"


@dataclass(frozen=True)
class ServerAccount:
    """How to start a server: as ourselves, as a user of its own, or in a user namespace."""

    uid: int
    gid: int
    namespace: bool = False

    @property
    def owns_files(self) -> bool:
        """Whether the server's folders must be given to another user."""
        return self.uid != os.getuid() and not self.namespace

    def command(self, *program: str, death_signal: int = 0) -> list[str]:
        """Return the command line that runs the program under this account."""
        launch = [sys.executable, "-I", "-S", str(_LAUNCHER)]
        if self.namespace:
            launch += ["--namespace", f"{self.uid}:{self.gid}"]
        elif self.owns_files:
            launch += ["--user", f"{self.uid}:{self.gid}"]
        if death_signal:
            launch += ["--death-signal", str(death_signal)]
        return [*launch, "--", *program]


def ourselves() -> ServerAccount:
    """Return the account that changes nothing."""
    return ServerAccount(os.getuid(), os.getgid())


def account_for(*paths: Path) -> ServerAccount:
    """Return the account that can reach all these paths.

    Raises:
        SetupError: started by root, in a folder that no other user can enter, on a system
            without user namespaces.
    """
    if os.getuid() != 0:
        return ourselves()
    own = _own_user()
    if own is not None and all(_can_be_reached_by_others(path) for path in paths):
        return own
    other = own or ServerAccount(*_any_user())
    candidate = ServerAccount(other.uid, other.gid, namespace=True)
    if subprocess.run(candidate.command("true"), capture_output=True, check=False).returncode == 0:
        return candidate
    raise SetupError(
        "PostgreSQL refuses to run as root, and no other user can enter this folder: move the "
        "clone out of root's home, start it as another user, or set DATABASE_URL."
    )


def _can_be_reached_by_others(path: Path) -> bool:
    existing = path.resolve()
    while not existing.exists():
        existing = existing.parent
    return all(folder.stat().st_mode & 0o001 for folder in (existing, *existing.parents))


@functools.cache
def _own_user() -> ServerAccount | None:
    """Return the server's own user, made when it is not there; None where none can be made."""
    for _ in range(2):
        try:
            entry = pwd.getpwnam(_USER_NAME)
        except KeyError:
            useradd = shutil.which("useradd", path="/usr/sbin:/sbin:/usr/bin:/bin")
            if useradd is None:
                return None
            # Two set-ups may race here: the loser's failure is the winner's user.
            subprocess.run(
                [useradd, "--system", "--no-create-home", "--shell", "/bin/false", _USER_NAME],
                capture_output=True,
                check=False,
            )
        else:
            return ServerAccount(entry.pw_uid, entry.pw_gid)
    return None


def _any_user() -> tuple[int, int]:
    entry = next(entry for entry in pwd.getpwall() if entry.pw_uid != 0)
    return entry.pw_uid, entry.pw_gid
