"""Servers of one test run: fast, forgetful, in a folder of their own, gone afterwards.

The addresses follow from the folder's name alone, so that settings can be read before the
servers run, and a process started by a test finds the same servers as the test.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from controlplane.database.roles import LOGIN_ROLES, roles_sql
from controlplane.local.postgres import EmbeddedPostgres
from controlplane.local.redis_server import EmbeddedRedis

HOME_VARIABLE = "GATEHOUSE_TEST_HOME"
DATABASE = "gatehouse"


def home() -> Path:
    """Return the folder of this run: the parent process's, or a new name (nothing is made)."""
    name = f"/tmp/gh-test-{os.getpid()}-{secrets.token_hex(4)}"  # noqa: S108 - sockets need short paths
    return Path(os.environ.setdefault(HOME_VARIABLE, name))


def environment() -> dict[str, str]:
    """Return the variables that point the product at this run's servers."""
    values = {
        "DATABASE_URL": _database_url("gh_app"),
        "REDIS_URL": _redis().url,
        "GATEHOUSE_DATA_DIR": str(home() / "data"),
    }
    for role in LOGIN_ROLES:
        if role != "gh_app":
            name = role.removeprefix("gh_").upper()
            values[f"GATEHOUSE_{name}_DATABASE_URL"] = _database_url(role)
    return values


@contextmanager
def running() -> Iterator[None]:
    """Start PostgreSQL with the product's roles and Redis; stop both and delete them at the end."""
    folder = home()
    folder.mkdir(mode=0o711)
    # A restrictive umask must not hide the folder from the server's own user.
    folder.chmod(0o711)
    database, broker = postgres(), _redis()
    servers: list[subprocess.Popen[bytes]] = []
    try:
        database.initialise()
        broker.initialise()
        commands = {
            "postgres": database.command(death_signal=signal.SIGINT),
            "redis": broker.command(death_signal=signal.SIGKILL),
        }
        for name, command in commands.items():
            with (folder / f"{name}.log").open("wb") as log:
                servers.append(
                    subprocess.Popen(
                        command, stdout=log, stderr=log, cwd="/", start_new_session=True
                    )
                )
        database.wait_until_ready()
        broker.wait_until_ready()
        passwords = {role: _password(role) for role in LOGIN_ROLES}
        database.make_database(DATABASE, statements=roles_sql(passwords=passwords))
        yield
    finally:
        for server in servers:
            server.send_signal(signal.SIGINT)
        for server in servers:
            server.wait()
        shutil.rmtree(folder)


def postgres() -> EmbeddedPostgres:
    """Return this run's PostgreSQL."""
    return EmbeddedPostgres(
        data=home() / "pg",
        socket_dir=home() / "s",
        password=_password("postgres"),
        is_throw_away=True,
    )


def _redis() -> EmbeddedRedis:
    return EmbeddedRedis(data=home() / "rd", socket=home() / "r" / "redis.sock", is_throw_away=True)


def _password(role: str) -> str:
    return hashlib.sha256(f"{home()}/{role}".encode()).hexdigest()


def _database_url(role: str) -> str:
    host = quote(str(home() / "s"), safe="")
    return f"postgresql://{role}:{_password(role)}@/{DATABASE}?host={host}"
