"""What the environment says to a gateway process."""

import os
import socket
from dataclasses import dataclass
from pathlib import Path


class SettingMissing(Exception):
    """The process cannot start; the message names the variable."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Where to listen, whom to ask, and where captured predictions go."""

    name: str
    host: str
    port: int
    agent_socket: Path
    capture_dir: Path
    node_dir: Path
    unit_key: bytes

    @classmethod
    def from_environment(cls) -> "Settings":
        """Return the settings of this process.

        Raises:
            SettingMissing: a variable without a default is absent.
        """
        node_dir = Path(_required("GATEHOUSE_NODE_DIR"))
        port = int(os.environ.get("GATEHOUSE_GATEWAY_PORT", "8100"))
        return cls(
            # The name under which heartbeats and acknowledgements of this process are found.
            name="gateway:"
            + (os.environ.get("GATEHOUSE_GATEWAY_NAME") or f"{socket.gethostname()}:{port}"),
            host=os.environ.get("GATEHOUSE_GATEWAY_HOST", "127.0.0.1"),
            port=port,
            agent_socket=Path(_required("GATEHOUSE_AGENT_SOCKET")),
            capture_dir=Path(os.environ.get("GATEHOUSE_CAPTURE_DIR") or node_dir / "capture"),
            node_dir=node_dir,
            unit_key=_unit_key(node_dir),
        )


def _required(name: str) -> str:
    value = os.environ.get(name)
    if not value:
        raise SettingMissing(f"{name} is not set; the gateway cannot start without it.")
    return value


def _unit_key(node_dir: Path) -> bytes:
    """Return the key that makes a caller's unit a pseudonym before it reaches the disk.

    Nodes that share GATEHOUSE_UNIT_KEY give the same pseudonym; without it the node keeps its own.
    """
    given = os.environ.get("GATEHOUSE_UNIT_KEY")
    if given:
        return given.encode()
    path = node_dir / "unit.key"
    try:
        # Made under another name and linked: a second gateway never reads half a key.
        fresh = path.with_suffix(f".{os.getpid()}")
        node_dir.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(os.urandom(32).hex().encode())
        try:
            os.link(fresh, path)
        finally:
            fresh.unlink()
    except FileExistsError:
        pass
    return path.read_bytes()
