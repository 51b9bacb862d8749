"""Whether a process of ours works, asked from beside it: `python -m controlplane.local.health web`.

Made for a container's health check: no Django, a fraction of a second, status 0 when it works.
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable

_TIMEOUT_SECONDS = 4
_WORKER_TIMEOUT_SECONDS = 15


def web() -> bool:
    """Its sign-in page is served."""
    port = os.environ.get("GATEHOUSE_BIND", "127.0.0.1:8000").rpartition(":")[2]
    return _answers(f"http://127.0.0.1:{port}/login/")


def gateway() -> bool:
    """It answers; that it knows no deployment of that name is an answer."""
    port = os.environ.get("GATEHOUSE_GATEWAY_PORT", "8100")
    return _answers(f"http://127.0.0.1:{port}/health")


def agent() -> bool:
    """It accepts gateways on its socket."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(_TIMEOUT_SECONDS)
        try:
            probe.connect(os.environ["GATEHOUSE_AGENT_SOCKET"])
        except OSError:
            return False
    return True


def sealer() -> bool:
    """Somebody holds the lock that only a running sealer holds."""
    from controlplane.audit.connections import SEALER_LOCK

    return _holds_lock(os.environ["GATEHOUSE_SEALER_DATABASE_URL"], SEALER_LOCK)


def scheduler() -> bool:
    """Somebody holds the lock that only the active scheduler holds."""
    from controlplane.jobs.management.commands.scheduler import LOCK

    return _holds_lock(os.environ["DATABASE_URL"], LOCK)


def worker() -> bool:
    """It answers through the broker, as it would to a message."""
    command = [sys.executable, "-m", "celery", "-A", "controlplane.celery", "inspect", "ping"]
    name = f"--destination=main@{socket.gethostname()},compute@{socket.gethostname()}"
    try:
        done = subprocess.run(
            [*command, name], capture_output=True, timeout=_WORKER_TIMEOUT_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def _holds_lock(address: str, number: int) -> bool:
    """Whether the advisory lock of this number is held in the database."""
    import psycopg

    held = (
        "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted "
        "AND classid = 0 AND objid = %s AND database = (SELECT oid FROM pg_database "
        "WHERE datname = current_database()))"
    )
    try:
        with psycopg.connect(address, connect_timeout=_TIMEOUT_SECONDS) as connection:
            row = connection.execute(held, [number]).fetchone()
    except psycopg.OperationalError:
        return False
    return row is not None and bool(row[0])


_CHECKS: dict[str, Callable[[], bool]] = {
    "web": web,
    "gateway": gateway,
    "agent": agent,
    "worker": worker,
    "scheduler": scheduler,
    "sealer": sealer,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="health")
    parser.add_argument("process", choices=list(_CHECKS))
    return 0 if _CHECKS[parser.parse_args().process]() else 1


def _answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS).close()  # noqa: S310 - loopback
    except urllib.error.HTTPError as error:
        return error.code < 500
    except OSError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
