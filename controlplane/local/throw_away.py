"""Servers of one test run: fast, forgetful, in a folder of their own, gone afterwards.

The addresses follow from the folder's name alone, so that settings can be read before the
servers run, and a process started by a test finds the same servers as the test.

Making all schemas takes ten seconds. A finished database is kept as a template, by the digest of
what makes it, and the next run starts from a copy.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote

from controlplane.database.roles import LOGIN_ROLES, roles_sql
from controlplane.local.home import CLONE
from controlplane.local.postgres import EmbeddedPostgres
from controlplane.local.redis_server import EmbeddedRedis

HOME_VARIABLE = "GATEHOUSE_TEST_HOME"
DATABASE = "gatehouse"
_TEMPLATES = CLONE / ".gatehouse" / "test-templates"
_KEPT_TEMPLATES = 3
# Templates outlive a run, so this one cannot differ between runs. Who may enter the socket's
# folder may do anything to these servers anyway.
_SUPERUSER_PASSWORD = "throw-away"  # noqa: S105


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


def postgres() -> EmbeddedPostgres:
    """Return this run's PostgreSQL."""
    return EmbeddedPostgres(
        data=home() / "pg",
        socket_dir=home() / "s",
        password=_SUPERUSER_PASSWORD,
        is_throw_away=True,
    )


class Servers:
    """PostgreSQL with the product's roles, and Redis; as a context they stop and are deleted."""

    def __init__(self) -> None:
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._template = _TEMPLATES / _schema_digest()
        self.has_schemas = self._template.exists()

    def __enter__(self) -> Servers:
        _delete_what_killed_runs_left()
        folder = home()
        folder.mkdir(mode=0o711)
        # A restrictive umask must not hide the folder from the server's own user.
        folder.chmod(0o711)
        if self.has_schemas:
            _copy(self._template, postgres().data)
        try:
            postgres().initialise()
            _redis().initialise()
            self._start("redis", _redis().command(death_signal=signal.SIGKILL))
            self._start_postgres()
            _redis().wait_until_ready()
            passwords = {role: _password(role) for role in LOGIN_ROLES}
            postgres().make_database(DATABASE, statements=roles_sql(passwords=passwords))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for name in list(self._running):
            self._stop(name)
        shutil.rmtree(home())

    def keep_schemas(self) -> None:
        """Keep the database as it is now for later runs; nobody may be connected to it."""
        self._stop("postgres")
        _TEMPLATES.mkdir(parents=True, exist_ok=True)
        half = _TEMPLATES / f"half-{os.getpid()}"
        _copy(postgres().data, half)
        try:
            half.rename(self._template)
        except OSError:
            # Another run was faster; its copy is as good as ours.
            shutil.rmtree(half)
        by_age = sorted(_TEMPLATES.iterdir(), key=lambda entry: entry.stat().st_mtime)
        for old in by_age[:-_KEPT_TEMPLATES]:
            shutil.rmtree(old, ignore_errors=True)
        self._start_postgres()

    def _start_postgres(self) -> None:
        self._start("postgres", postgres().command(death_signal=signal.SIGINT))
        postgres().wait_until_ready()

    def _start(self, name: str, command: list[str]) -> None:
        with (home() / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                command, stdout=log, stderr=log, cwd="/", start_new_session=True
            )

    def _stop(self, name: str) -> None:
        server = self._running.pop(name)
        server.send_signal(signal.SIGINT)
        server.wait()


def _delete_what_killed_runs_left() -> None:
    """Delete our folders whose test run is gone; its servers died with it."""
    for folder in Path("/tmp").glob("gh-test-*-*"):  # noqa: S108 - where `home` puts them
        number = folder.name.split("-")[2]
        with contextlib.suppress(OSError):
            if folder.stat().st_uid == os.getuid() and not Path(f"/proc/{number}").exists():
                shutil.rmtree(folder)


def _schema_digest() -> str:
    """Return a digest of what makes the schemas; MLflow's follow from the locked packages."""
    files: Iterable[Path] = [
        CLONE / "requirements" / "base.txt",
        CLONE / "controlplane" / "database" / "roles.py",
        *sorted(CLONE.glob("*/migrations/*.py")),
        *sorted(CLONE.glob("*/*/migrations/*.py")),
        *sorted(CLONE.glob("*/*/migrations/*.sql")),
        *sorted(CLONE.glob("*/management/commands/*migrate.py")),
    ]
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.relative_to(CLONE)} {file.stat().st_size}\n".encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def _copy(source: Path, target: Path) -> None:
    """Copy a data folder with its owners: the server checks them."""
    subprocess.run(["cp", "--archive", "--reflink=auto", str(source), str(target)], check=True)


def _redis() -> EmbeddedRedis:
    return EmbeddedRedis(data=home() / "rd", socket=home() / "r" / "redis.sock", is_throw_away=True)


def _password(role: str) -> str:
    return hashlib.sha256(f"{home()}/{role}".encode()).hexdigest()


def _database_url(role: str) -> str:
    host = quote(str(home() / "s"), safe="")
    return f"postgresql://{role}:{_password(role)}@/{DATABASE}?host={host}"
