"""The environment of each process: made from little, so that nothing of the shell leaks in."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from controlplane.local.home import Home

_SECRET = (
    "DATABASE_URL",
    "REDIS_URL",
    "GATEHOUSE_SECRET_KEY",
    *(
        f"GATEHOUSE_{role}_DATABASE_URL"
        for role in ("MIGRATE", "SEALER", "AUDITOR", "ERASER", "NODE")
    ),
)
_KEPT = {
    *("PATH", "HOME", "USER", "LOGNAME", "LANG", "TZ", "TMPDIR", "SHELL", "TERM"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"),
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"),
}
_KEPT_PREFIXES = ("LC_", "UV_", "GATEHOUSE_")


@dataclass(frozen=True)
class Ports:
    """Where the portal and the gateway listen, on loopback."""

    web: int
    gateway: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.web}"

    @property
    def gateway_url(self) -> str:
        return f"http://127.0.0.1:{self.gateway}"


def common(home: Home, ports: Ports) -> dict[str, str]:
    """Return what every process knows: no secret among it."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if (name in _KEPT or name.startswith(_KEPT_PREFIXES)) and name not in _SECRET
    }
    return kept | {
        "DJANGO_SETTINGS_MODULE": "controlplane.settings.base",
        "PYTHONUNBUFFERED": "1",
        # By default each thread may keep a heap of its own, and a web process has eight.
        "MALLOC_ARENA_MAX": "2",
        "OPENBLAS_NUM_THREADS": "1",
        "PYTHONPATH": str(home.clone),
        "GATEHOUSE_HOME": str(home.folder),
        "GATEHOUSE_RUNTIME_DIR": str(home.sockets),
        "GATEHOUSE_DATA_DIR": str(home.data),
        "GATEHOUSE_BLOB_DIR": str(home.data / "blobs"),
        "GATEHOUSE_NODE_DIR": str(home.data / "node"),
        "GATEHOUSE_CAPTURE_DIR": str(home.data / "node" / "capture"),
        "GATEHOUSE_AGENT_SOCKET": str(home.sockets / "agent" / "agent.sock"),
        "GATEHOUSE_PUBLIC_URL": ports.url,
        "GATEHOUSE_BIND": f"127.0.0.1:{ports.web}",
        "GATEHOUSE_GATEWAY_URL": ports.gateway_url,
        "GATEHOUSE_GATEWAY_HOST": "127.0.0.1",
        "GATEHOUSE_GATEWAY_PORT": str(ports.gateway),
    }


def secret(values: Mapping[str, str], names: tuple[str, ...]) -> dict[str, str]:
    """Return those of the secret values that the names allow."""
    return {name: values[name] for name in names if name in values}


def given_by_shell() -> dict[str, str]:
    """Return the secret values that the person who starts us has set."""
    return {name: os.environ[name] for name in _SECRET if os.environ.get(name)}
