"""What the environment says to the agent."""

import os
import socket
from dataclasses import dataclass
from pathlib import Path


class SettingMissing(Exception):
    """The process cannot start; the message names the variable."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Where everything of this node lies."""

    node: str
    database_url: str
    database_options: str
    node_dir: Path
    capture_dir: Path
    blob_dir: Path
    environment_dir: Path
    agent_socket: Path
    replicas: int

    @classmethod
    def from_environment(cls) -> "Settings":
        """Return the settings of this process.

        Raises:
            SettingMissing: a variable without a default is absent.
        """
        node_dir = Path(_required("GATEHOUSE_NODE_DIR"))
        data_dir = os.environ.get("GATEHOUSE_DATA_DIR", "")
        own_login = os.environ.get("GATEHOUSE_NODE_DATABASE_URL", "")
        return cls(
            node=os.environ.get("GATEHOUSE_NODE_NAME") or socket.gethostname(),
            database_url=own_login or _required("DATABASE_URL"),
            # Without a login of its own the node still acts with no more than its role allows.
            database_options="" if own_login else "-c role=gh_node",
            node_dir=node_dir,
            capture_dir=Path(os.environ.get("GATEHOUSE_CAPTURE_DIR") or node_dir / "capture"),
            blob_dir=_path("GATEHOUSE_BLOB_DIR", data_dir, "blobs"),
            environment_dir=_path("GATEHOUSE_ENVIRONMENT_DIR", data_dir, "environments"),
            agent_socket=Path(_required("GATEHOUSE_AGENT_SOCKET")),
            replicas=int(os.environ.get("GATEHOUSE_WORKER_REPLICAS", "1")),
        )


def _required(name: str) -> str:
    value = os.environ.get(name)
    if not value:
        raise SettingMissing(f"{name} is not set; the agent cannot start without it.")
    return value


def _path(name: str, data_dir: str, folder: str) -> Path:
    value = os.environ.get(name)
    if value:
        return Path(value)
    if not data_dir:
        raise SettingMissing(f"Neither {name} nor GATEHOUSE_DATA_DIR is set.")
    return Path(data_dir) / folder
